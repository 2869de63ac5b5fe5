//! The payment service charges an order once, and refunds it once.

use sagamore::sdk::Database;
use sagamore_shop::payment::domain::{charge, refund};
use sagamore_shop::payment::{Charge, Charged, Declined, account, balance_cents, load};

use crate::shop::{self, bad_names, counted, refused_outright, run, small};

fn wanted(order_id: &str, amount_cents: i64) -> Charge {
    Charge { order_id: order_id.into(), customer_id: "VINET".into(), amount_cents }
}

fn charged(order_id: &str, amount_cents: i64) -> Charged {
    Charged { order_id: order_id.into(), customer_id: "VINET".into(), amount_cents }
}

async fn balance(database: &Database) -> i64 {
    account(database, "VINET").await.unwrap().expect("the account exists").balance_cents
}

#[tokio::test]
async fn a_charge_may_use_the_whole_balance() {
    let database = small().await.payment;
    assert_eq!(run(&database, |tx| charge(tx, wanted("1", 999))).await, Ok(charged("1", 999)));
    assert_eq!(balance(&database).await, 1);
    assert_eq!(run(&database, |tx| charge(tx, wanted("2", 1))).await, Ok(charged("2", 1)));
    assert_eq!(balance(&database).await, 0);
}

#[tokio::test]
async fn a_refused_charge_writes_nothing() {
    let database = small().await.payment;
    refused_outright(&database, Declined::NotEnoughMoney, |tx| charge(tx, wanted("1", 1_001)))
        .await;
    let unknown = Charge { customer_id: "NOBOD".into(), ..wanted("1", 1) };
    refused_outright(&database, Declined::UnknownCustomer("NOBOD".into()), |tx| {
        charge(tx, unknown)
    })
    .await;
    refused_outright(&database, Declined::InvalidAmount(-1), |tx| charge(tx, wanted("1", -1)))
        .await;
    refused_outright(&database, Declined::InvalidAmount(i64::MAX), |tx| {
        charge(tx, wanted("1", i64::MAX))
    })
    .await;
    assert_eq!(balance(&database).await, 1_000);
}

#[tokio::test]
async fn an_order_is_charged_at_most_once() {
    let database = small().await.payment;
    run(&database, |tx| charge(tx, wanted("1", 300))).await.unwrap();
    let again = run(&database, |tx| charge(tx, wanted("1", 300))).await;
    assert_eq!(again, Err(Declined::AlreadyCharged("1".into())));
    assert_eq!(balance(&database).await, 700);
}

/// A refund adds the difference, so later charges keep their effect.
#[tokio::test]
async fn a_refund_is_independent_of_later_charges() {
    let database = small().await.payment;
    run(&database, |tx| charge(tx, wanted("1", 300))).await.unwrap();
    run(&database, |tx| charge(tx, wanted("2", 500))).await.unwrap();
    run(&database, |tx| refund(tx, charged("1", 300))).await.unwrap();
    assert_eq!(balance(&database).await, 500);
}

/// A refund without a charge is refused and changes nothing.
#[tokio::test]
async fn a_charge_is_refunded_once() {
    let database = small().await.payment;
    run(&database, |tx| charge(tx, wanted("1", 300))).await.unwrap();
    run(&database, |tx| refund(tx, charged("1", 300))).await.unwrap();
    let nothing = || Declined::NothingToRefund("1".into());
    refused_outright(&database, nothing(), |tx| refund(tx, charged("1", 300))).await;
    assert_eq!(balance(&database).await, 1_000);
}

#[tokio::test]
async fn a_refund_must_match_its_charge() {
    let database = small().await.payment;
    run(&database, |tx| charge(tx, wanted("1", 300))).await.unwrap();
    let nothing = |order_id: &str| Declined::NothingToRefund(order_id.into());
    refused_outright(&database, nothing("2"), |tx| refund(tx, charged("2", 300))).await;
    refused_outright(&database, nothing("1"), |tx| refund(tx, charged("1", 400))).await;
    let of_another = Charged { customer_id: "TOMSP".into(), ..charged("1", 300) };
    refused_outright(&database, nothing("1"), |tx| refund(tx, of_another)).await;
    assert_eq!(balance(&database).await, 700);
}

/// Within one transaction, the condition in the statement sees the earlier charges.
#[tokio::test]
async fn charges_in_one_transaction_see_one_another() {
    let database = small().await.payment;
    let open = database.begin().await.unwrap();
    charge(open.tx(), wanted("1", 600)).await.unwrap().unwrap();
    assert_eq!(charge(open.tx(), wanted("2", 600)).await.unwrap(), Err(Declined::NotEnoughMoney));
    charge(open.tx(), wanted("3", 400)).await.unwrap().unwrap();
    open.commit().await.unwrap();
    assert_eq!(balance(&database).await, 0);
}

#[tokio::test]
async fn a_charge_and_a_refund_write_two_rows_each() {
    let database = small().await.payment;
    assert_eq!(counted(&database, |tx| charge(tx, wanted("1", 300))).await.1, 2);
    assert_eq!(counted(&database, |tx| refund(tx, charged("1", 300))).await.1, 2);
}

#[tokio::test]
async fn the_sum_of_all_accounts_excludes_the_sample() {
    let shop = small().await;
    sagamore_shop::sample::load(&shop).await.unwrap();
    load(&shop.payment, &[shop::account("ALFKI", 5)]).await.unwrap();
    assert_eq!(balance_cents(&shop.payment).await.unwrap(), 1_055);
}

/// Bad data is a refusal. A fault would be retried indefinitely.
#[tokio::test]
async fn a_charge_with_an_invalid_name_is_refused() {
    let database = small().await.payment;
    for (name, why) in bad_names() {
        let refusal = Declined::InvalidCharge(format!("orderId: {why}"));
        refused_outright(&database, refusal, |tx| charge(tx, wanted(&name, 1))).await;
        let refusal = Declined::InvalidCharge(format!("customerId: {why}"));
        let invalid_customer = Charge { customer_id: name, ..wanted("1", 1) };
        refused_outright(&database, refusal, |tx| charge(tx, invalid_customer)).await;
    }
}
