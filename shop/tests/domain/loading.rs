//! Loading keeps existing rows.

use sagamore_shop::inventory::{self, domain::reserve};
use sagamore_shop::payment::{self, Charge, domain::charge};
use sagamore_shop::shipping;
use sagamore_shop::{Databases, sample};

use crate::shop::{account, delivery, destination, empty, line, run, small};

#[tokio::test]
async fn loading_keeps_existing_rows_unchanged() {
    let Databases { payment: money, inventory: shelf, shipping: map, .. } = &small().await;
    let wanted = Charge { order_id: "1".into(), customer_id: "VINET".into(), amount_cents: 300 };
    run(money, |tx| charge(tx, wanted)).await.unwrap();
    let wanted = inventory::Reserve { order_id: "1".into(), lines: vec![line("chai", 4, 1)] };
    run(shelf, |tx| reserve(tx, wanted)).await.unwrap();

    let accounts = [account("VINET", 1_000), account("ALFKI", 7), account("ALFKI", 8)];
    assert_eq!(payment::load(money, &accounts).await.unwrap(), 1);
    assert_eq!(
        inventory::load(shelf, &[delivery("chai", 10), delivery("salt", 1)]).await.unwrap(),
        1
    );
    assert_eq!(shipping::load(map, &[destination("Ireland", true)]).await.unwrap(), 0);

    assert_eq!(payment::balance_cents(money).await.unwrap(), 700 + 50 + 7);
    assert_eq!(inventory::pieces_on_hand(shelf).await.unwrap(), 6 + 5 + 1);
    assert_eq!(
        shipping::destinations(map, "France", 9).await.unwrap(),
        [destination("Ireland", false)]
    );
}

#[tokio::test]
async fn rows_are_loaded_in_several_transactions() {
    let shop = empty().await;
    let accounts: Vec<_> = (0..2_500).map(|number| account(&format!("C{number:04}"), 1)).collect();
    assert_eq!(payment::load(&shop.payment, &accounts).await.unwrap(), 2_500);
    assert_eq!(payment::load(&shop.payment, &accounts).await.unwrap(), 0);
    let behind = payment::accounts(&shop.payment, "C2497", 9).await.unwrap();
    assert_eq!(behind, [account("C2498", 1), account("C2499", 1)]);
}

#[tokio::test]
async fn a_new_database_is_empty() {
    let shop = empty().await;
    assert_eq!(payment::balance_cents(&shop.payment).await.unwrap(), 0);
    assert_eq!(inventory::pieces_on_hand(&shop.inventory).await.unwrap(), 0);
    assert_eq!(inventory::stock(&shop.inventory, "", 9).await.unwrap(), []);
    shop.prepare().await.expect("a second preparation changes nothing");
}

#[tokio::test]
async fn the_sample_order_is_valid_and_can_complete() {
    let shop = empty().await;
    sample::load(&shop).await.unwrap();
    let order = sample::order("12345");
    assert_eq!(order.check(), Ok(()));
    let total = sagamore_shop::form::total_cents(&order.lines).unwrap();
    let wanted =
        Charge { order_id: "12345".into(), customer_id: order.customer_id, amount_cents: total };
    run(&shop.payment, |tx| charge(tx, wanted)).await.unwrap();
    let wanted = inventory::Reserve { order_id: "12345".into(), lines: order.lines };
    run(&shop.inventory, |tx| reserve(tx, wanted)).await.unwrap();
    let wanted = shipping::Schedule { order_id: "12345".into(), ship_to: order.ship_to };
    run(&shop.shipping, |tx| shipping::domain::schedule(tx, wanted)).await.unwrap();

    sample::load(&shop).await.unwrap();
    let left = payment::account(&shop.payment, sample::CUSTOMER_ID)
        .await
        .unwrap()
        .expect("the account exists");
    assert_eq!(left.balance_cents, sagamore_shop::form::CENTS_MAX - total);
    assert_eq!(payment::balance_cents(&shop.payment).await.unwrap(), 0);
    assert_eq!(inventory::pieces_on_hand(&shop.inventory).await.unwrap(), 0);
}
