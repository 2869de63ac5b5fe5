//! A shop for tests: a few accounts, products and destinations, and transactions that run one by
//! one.

use std::fmt::Debug;
use std::future::Future;

use sagamore::sdk::{Database, Decided, Tx};
use sagamore_shop::inventory::{self, Delivery};
use sagamore_shop::payment::{self, Account};
use sagamore_shop::shipping::{self, Destination};
use sagamore_shop::{Databases, Line, ShipTo};

/// Returns empty databases with all tables.
pub async fn empty() -> Databases {
    let shop = Databases::of_tests();
    shop.prepare().await.expect("the tables are created");
    shop
}

/// VINET has 1,000 cents and TOMSP 50. There are 10 pieces of chai and 5 of tofu. France is served,
/// Ireland is not.
pub async fn small() -> Databases {
    let shop = empty().await;
    payment::load(&shop.payment, &[account("VINET", 1_000), account("TOMSP", 50)]).await.unwrap();
    inventory::load(&shop.inventory, &[delivery("chai", 10), delivery("tofu", 5)]).await.unwrap();
    shipping::load(&shop.shipping, &[destination("France", true), destination("Ireland", false)])
        .await
        .unwrap();
    shop
}

/// Runs one local transaction. Commits it unless it is refused. Returns the number of written rows
/// as well.
pub async fn counted<T, R, Fut>(
    database: &Database,
    work: impl FnOnce(Tx) -> Fut,
) -> (Result<T, R>, u64)
where
    Fut: Future<Output = Decided<T, R>>,
{
    let open = database.begin().await.expect("begin a transaction");
    let decided = work(open.tx()).await.unwrap_or_else(|fault| panic!("unexpected fault: {fault}"));
    let written = open.tx().rows_written();
    match decided {
        Ok(_) => open.commit().await.expect("commit"),
        Err(_) => open.rollback().await.expect("roll back"),
    }
    (decided, written)
}

/// Runs one local transaction, like [`counted`] without the number of rows.
pub async fn run<T, R, Fut>(database: &Database, work: impl FnOnce(Tx) -> Fut) -> Result<T, R>
where
    Fut: Future<Output = Decided<T, R>>,
{
    counted(database, work).await.0
}

/// Asserts that the work is refused without any written row.
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

/// Returns invalid names, with the reason that follows the field's name.
pub fn bad_names() -> [(String, &'static str); 4] {
    let control = "contains a control character";
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
