//! The payment service: money is taken once, and given back once.

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
    account(database, "VINET").await.unwrap().expect("the account is there").balance_cents
}

#[tokio::test]
async fn a_charge_takes_what_it_says_down_to_the_last_cent() {
    let database = small().await.payment;
    assert_eq!(run(&database, |tx| charge(tx, wanted("1", 999))).await, Ok(charged("1", 999)));
    assert_eq!(balance(&database).await, 1);
    assert_eq!(run(&database, |tx| charge(tx, wanted("2", 1))).await, Ok(charged("2", 1)));
    assert_eq!(balance(&database).await, 0);
}

#[tokio::test]
async fn a_charge_that_cannot_be_is_refused_and_writes_nothing() {
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
async fn an_order_is_charged_once_whoever_asks() {
    let database = small().await.payment;
    run(&database, |tx| charge(tx, wanted("1", 300))).await.unwrap();
    let again = run(&database, |tx| charge(tx, wanted("1", 300))).await;
    assert_eq!(again, Err(Declined::AlreadyCharged("1".into())));
    assert_eq!(balance(&database).await, 700);
}

/// An undo is a delta: what others took from the account since stays taken.
#[tokio::test]
async fn a_refund_gives_back_what_was_taken_whatever_happened_to_the_account_since() {
    let database = small().await.payment;
    run(&database, |tx| charge(tx, wanted("1", 300))).await.unwrap();
    run(&database, |tx| charge(tx, wanted("2", 500))).await.unwrap();
    run(&database, |tx| refund(tx, charged("1", 300))).await.unwrap();
    assert_eq!(balance(&database).await, 500);
}

/// An undo that cannot apply says so, and overwrites nothing.
#[tokio::test]
async fn a_charge_that_was_refunded_by_other_means_is_not_refunded_again() {
    let database = small().await.payment;
    run(&database, |tx| charge(tx, wanted("1", 300))).await.unwrap();
    run(&database, |tx| refund(tx, charged("1", 300))).await.unwrap();
    let nothing = || Declined::NothingToRefund("1".into());
    refused_outright(&database, nothing(), |tx| refund(tx, charged("1", 300))).await;
    assert_eq!(balance(&database).await, 1_000);
}

#[tokio::test]
async fn only_what_was_charged_is_refunded() {
    let database = small().await.payment;
    run(&database, |tx| charge(tx, wanted("1", 300))).await.unwrap();
    let nothing = |order_id: &str| Declined::NothingToRefund(order_id.into());
    refused_outright(&database, nothing("2"), |tx| refund(tx, charged("2", 300))).await;
    refused_outright(&database, nothing("1"), |tx| refund(tx, charged("1", 400))).await;
    let of_another = Charged { customer_id: "TOMSP".into(), ..charged("1", 300) };
    refused_outright(&database, nothing("1"), |tx| refund(tx, of_another)).await;
    assert_eq!(balance(&database).await, 700);
}

/// Between the handlers of one transaction, the guard in the statement decides.
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
async fn a_charge_is_two_rows_and_so_is_a_refund() {
    let database = small().await.payment;
    assert_eq!(counted(&database, |tx| charge(tx, wanted("1", 300))).await.1, 2);
    assert_eq!(counted(&database, |tx| refund(tx, charged("1", 300))).await.1, 2);
}

#[tokio::test]
async fn the_sum_of_all_accounts_leaves_out_the_sample() {
    let shop = small().await;
    sagamore_shop::sample::load(&shop).await.unwrap();
    load(&shop.payment, &[shop::account("ALFKI", 5)]).await.unwrap();
    assert_eq!(balance_cents(&shop.payment).await.unwrap(), 1_055);
}

/// Bad data is a refusal: as a fault it would be asked for ever.
#[tokio::test]
async fn a_charge_with_a_name_that_cannot_be_kept_is_refused() {
    let database = small().await.payment;
    for (name, why) in bad_names() {
        let refusal = Declined::InvalidCharge(format!("orderId: {why}"));
        refused_outright(&database, refusal, |tx| charge(tx, wanted(&name, 1))).await;
        let refusal = Declined::InvalidCharge(format!("customerId: {why}"));
        let of_nobody = Charge { customer_id: name, ..wanted("1", 1) };
        refused_outright(&database, refusal, |tx| charge(tx, of_nobody)).await;
    }
}
