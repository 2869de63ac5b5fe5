//! A shop to test on: a few accounts, products and destinations, and transactions run one by one.

use std::fmt::Debug;
use std::future::Future;

use sagamore::sdk::{Database, Decided, Tx};
use sagamore_shop::inventory::{self, Delivery};
use sagamore_shop::payment::{self, Account};
use sagamore_shop::shipping::{self, Destination};
use sagamore_shop::{Databases, Line, ShipTo};

/// Empty, but with all tables.
pub async fn empty() -> Databases {
    let shop = Databases::of_tests();
    shop.prepare().await.expect("the tables are made");
    shop
}

/// VINET with 1,000 cents and TOMSP with 50; 10 pieces of chai and 5 of tofu; France is served, Ireland is not.
pub async fn small() -> Databases {
    let shop = empty().await;
    payment::load(&shop.payment, &[account("VINET", 1_000), account("TOMSP", 50)]).await.unwrap();
    inventory::load(&shop.inventory, &[delivery("chai", 10), delivery("tofu", 5)]).await.unwrap();
    shipping::load(&shop.shipping, &[destination("France", true), destination("Ireland", false)])
        .await
        .unwrap();
    shop
}

/// One local transaction, committed when it is done. A refusal is rolled back; gives how many rows it had written.
pub async fn counted<T, R, Fut>(
    database: &Database,
    work: impl FnOnce(Tx) -> Fut,
) -> (Result<T, R>, u64)
where
    Fut: Future<Output = Decided<T, R>>,
{
    let open = database.begin().await.expect("a transaction begins");
    let decided =
        work(open.tx()).await.unwrap_or_else(|fault| panic!("no fault was expected: {fault}"));
    let written = open.tx().rows_written();
    match decided {
        Ok(_) => open.commit().await.expect("it is committed"),
        Err(_) => open.rollback().await.expect("it is rolled back"),
    }
    (decided, written)
}

/// As [`counted`], when nobody counts.
pub async fn run<T, R, Fut>(database: &Database, work: impl FnOnce(Tx) -> Fut) -> Result<T, R>
where
    Fut: Future<Output = Decided<T, R>>,
{
    counted(database, work).await.0
}

/// The work is refused like this, without having written anything.
pub async fn refused_outright<T, R, Fut>(
    database: &Database,
    refusal: R,
    work: impl FnOnce(Tx) -> Fut,
) where
    T: Debug + PartialEq,
    R: Debug + PartialEq,
    Fut: Future<Output = Decided<T, R>>,
{
    assert_eq!(counted(database, work).await, (Err(refusal), 0));
}

/// Names that nobody can keep, and what is said of each after the field's name.
pub fn bad_names() -> [(String, &'static str); 4] {
    let control = "holds a control character";
    [
        ("a\0b".into(), control),
        ("a\nb".into(), control),
        (String::new(), "is empty"),
        ("x".repeat(201), "is longer than 200 bytes"),
    ]
}

pub fn account(customer_id: &str, balance_cents: i64) -> Account {
    Account {
        customer_id: customer_id.into(),
        name: format!("{customer_id} & sons"),
        balance_cents,
    }
}

pub fn delivery(sku: &str, on_hand: i64) -> Delivery {
    Delivery { sku: sku.into(), name: format!("fine {sku}"), on_hand }
}

pub fn destination(country: &str, served: bool) -> Destination {
    Destination { country: country.into(), served }
}

pub fn line(sku: &str, quantity: i64, unit_price_cents: i64) -> Line {
    Line { sku: sku.into(), quantity, unit_price_cents }
}

pub fn ship_to(country: &str) -> ShipTo {
    ShipTo {
        name: "Vins et alcools Chevalier".into(),
        address: "59 rue de l'Abbaye".into(),
        city: "Reims".into(),
        region: None,
        postal_code: Some("51100".into()),
        country: country.into(),
    }
}
