//! The four choreographed services over a log and databases in memory (or on PostgreSQL).

#[path = "../support/northwind.rs"]
mod files;
mod halting;
mod storm;
mod street;

use std::collections::BTreeMap;
use std::time::Duration;

use sagamore::sdk::StartOutcome;
use sagamore_shop::order::{Rejected, Status};
use sagamore_shop::{Line, Order, ShipTo, inventory, payment, shipping};

use files::{all, folder};
use street::Street;

fn an_order(order_id: &str, customer_id: &str, quantity: i64, country: &str) -> Order {
    Order {
        order_id: order_id.into(),
        customer_id: customer_id.into(),
        lines: vec![Line { sku: "chai".into(), quantity, unit_price_cents: 100 }],
        ship_to: ShipTo {
            name: "Vins et alcools".into(),
            address: "59 rue de l'Abbaye".into(),
            city: "Reims".into(),
            region: None,
            postal_code: None,
            country: country.into(),
        },
    }
}

/// Places one order and compares its events, sorted by hop and name, and its final status.
async fn check(order: Order, status: Status, events: &[&str]) {
    let mut street = Street::small().await;
    let id = order.order_id.clone();
    assert_eq!(street.place(order).await, Ok(StartOutcome::New));
    street.settle().await;
    assert_eq!(street.names_of(&id).await, events);
    assert_eq!(street.status(&id).await, status);
    if status == Status::Cancelled {
        assert_eq!(
            (street.cents().await, street.pieces().await),
            (1_050, 10),
            "all effects are undone"
        );
    }
}

#[tokio::test]
async fn an_order_goes_from_service_to_service_and_is_confirmed() {
    let events = [
        "order.created",
        "payment.success",
        "inventory.updated",
        "shipping.scheduled",
        "order.confirmed",
    ];
    check(an_order("1", "VINET", 3, "France"), Status::Confirmed, &events).await;
}

/// Covers a new order, a repetition and a different order under the same id, all in a transaction
/// whose commit fails.
#[tokio::test]
async fn no_order_is_reported_from_an_uncommitted_transaction() {
    let mut street = Street::small_in_memory().await;
    let (order, other) = (an_order("1", "VINET", 3, "France"), an_order("1", "VINET", 4, "France"));
    for answer in
        street.place_and_lose(vec![order.clone(), order.clone(), other, order.clone()]).await
    {
        let fault = answer.expect_err("the transaction is lost");
        assert!(fault.is_transient(), "{fault}");
    }
    assert_eq!(street.place(order).await, Ok(StartOutcome::New), "the order was never placed");
}

/// When the late service starts, the pivot has expired, and everything is undone.
#[tokio::test]
async fn an_order_that_is_overdue_before_its_pivot_is_undone_in_every_interleaving() {
    for turns_before in 0..8 {
        let mut street = Street::small().await;
        assert_eq!(street.place(an_order("1", "VINET", 3, "France")).await, Ok(StartOutcome::New));
        street.turn_of(0).await;
        for turn in 0..turns_before {
            street.turn_of(1 + turn % 2).await; // payment and inventory, but not shipping
        }
        street.overdue("1").await;
        for _ in 0..3 {
            street.turn_of(3).await;
        }
        street.settle().await;
        assert_eq!(street.status("1").await, Status::Cancelled, "{turns_before}");
        assert_eq!(
            (street.cents().await, street.pieces().await),
            (1_050, 10),
            "{turns_before}: all effects are undone"
        );
        let names = street.names_of("1").await;
        assert!(
            names.contains(&"shipping.failed".to_owned())
                && !names.contains(&"shipping.scheduled".to_owned()),
            "{names:?}"
        );
    }
}

#[tokio::test]
async fn an_order_that_is_overdue_after_its_pivot_is_confirmed() {
    let mut street = Street::small().await;
    assert_eq!(street.place(an_order("1", "VINET", 3, "France")).await, Ok(StartOutcome::New));
    for service in [0, 1, 2, 3, 3] {
        // the shipment is scheduled, but not yet consumed by the order service
        street.turn_of(service).await;
    }
    let before = street.names_of("1").await;
    street.overdue("1").await;
    street.settle().await;
    assert_eq!(before.last().map(String::as_str), Some("shipping.scheduled"), "{before:?}");
    assert_eq!(street.status("1").await, Status::Confirmed);
    assert!(!street.names_of("1").await.contains(&"shipping.failed".to_owned()));
}

#[tokio::test]
async fn a_customer_without_money_gets_no_order() {
    check(
        an_order("1", "TOMSP", 3, "France"),
        Status::Cancelled,
        &["order.created", "payment.failed", "order.cancelled"],
    )
    .await;
}

#[tokio::test]
async fn a_charge_is_refunded_when_the_reservation_fails() {
    // stock is reserved after the charge
    let mut street = Street::small().await;
    street.place(an_order("0", "VINET", 8, "France")).await.expect("the order is placed");
    street.settle().await;
    street
        .place(an_order("1", "TOMSP", 0, "France"))
        .await
        .expect_err("an order without pieces is invalid");
    street.add_customer("RICH", 1_000).await;
    street.place(an_order("2", "RICH", 5, "France")).await.expect("the order is placed");
    street.settle().await;
    let events = [
        "order.created",
        "payment.success",
        "inventory.failed",
        "order.cancelled",
        "payment.refunded",
    ];
    assert_eq!(street.names_of("2").await, events);
    assert_eq!((street.cents().await, street.pieces().await), (1_050 + 1_000 - 800, 2));
}

#[tokio::test]
async fn a_failed_shipment_undoes_the_charge_and_the_reservation() {
    let events = [
        "order.created",
        "payment.success",
        "inventory.updated",
        "shipping.failed",
        "inventory.released",
        "order.cancelled",
        "payment.refunded",
    ];
    check(an_order("1", "VINET", 3, "Ireland"), Status::Cancelled, &events).await;
}

#[tokio::test]
async fn an_order_placed_twice_starts_once_and_a_different_order_is_refused() {
    let mut street = Street::small().await;
    assert_eq!(street.place(an_order("1", "VINET", 3, "France")).await, Ok(StartOutcome::New));
    assert_eq!(street.place(an_order("1", "VINET", 3, "France")).await, Ok(StartOutcome::Before));
    let other = street.place(an_order("1", "VINET", 4, "France")).await;
    assert_eq!(other, Err(Rejected::OrderExists("1".into())));
    street.settle().await;
    assert_eq!(street.place(an_order("1", "VINET", 3, "France")).await, Ok(StartOutcome::Before));
    street.settle().await;
    assert_eq!(street.cents().await, 1_050 - 300);
}

/// Concurrent orders share a transaction, but each has its own outcome.
#[tokio::test]
async fn orders_placed_in_one_transaction_have_the_same_outcomes_as_alone() {
    let mut street = Street::small().await;
    street.place(an_order("5", "VINET", 1, "France")).await.expect("the order is placed");
    let mut nothing = an_order("6", "VINET", 1, "France");
    nothing.lines.clear();
    let orders = vec![
        an_order("9", "VINET", 1, "France"),
        an_order("5", "VINET", 1, "France"),
        nothing,
        an_order("5", "VINET", 2, "France"),
        an_order("7", "TOMSP", 1, "France"),
        an_order("9", "VINET", 1, "France"),
    ];
    let placed = street.place_each(orders).await;
    assert_eq!([&placed[0], &placed[4]], [&Ok(StartOutcome::New), &Ok(StartOutcome::New)]);
    assert_eq!([&placed[1], &placed[5]], [&Ok(StartOutcome::Before), &Ok(StartOutcome::Before)]);
    assert_eq!(placed[3], Err(Rejected::OrderExists("5".into())));
    assert!(matches!(&placed[2], Err(Rejected::InvalidOrder(_))), "{placed:?}");
    street.settle().await;
    for (id, status) in
        [("5", Status::Confirmed), ("7", Status::Cancelled), ("9", Status::Confirmed)]
    {
        assert_eq!(street.status(id).await, status, "{id}");
    }
    assert_eq!((street.orders().await, street.cents().await), (3, 1_050 - 200));
}

/// An order that can never start does not affect the others of its transaction.
#[tokio::test]
async fn an_order_that_cannot_start_does_not_block_others() {
    let mut street = Street::small().await;
    street.place(an_order("1", "TOMSP", 3, "France")).await.expect("the order is placed");
    street.settle().await;
    street.delete_orders().await;
    street.repeat(1).await;
    street.settle().await;
    let placed = street
        .place_each(vec![an_order("1", "TOMSP", 3, "France"), an_order("2", "VINET", 3, "France")])
        .await;
    assert_eq!(placed, [Ok(StartOutcome::Never), Ok(StartOutcome::New)]);
}

/// The order service restores an older database, and receives the failure of an order that it no
/// longer has.
#[tokio::test]
async fn an_order_whose_failure_arrived_first_never_starts() {
    let mut street = Street::small().await;
    street.place(an_order("1", "TOMSP", 3, "France")).await.expect("the order is placed");
    street.settle().await;
    assert_eq!(street.status("1").await, Status::Cancelled);
    street.delete_orders().await;
    street.repeat(1).await;
    street.settle().await;
    assert_eq!(street.place(an_order("1", "TOMSP", 3, "France")).await, Ok(StartOutcome::Never));
    assert_eq!(street.orders().await, 0);
}

/// Publishes all records again, in random order.
#[tokio::test]
async fn redelivered_events_in_any_order_change_nothing() {
    let mut street = Street::small().await;
    for (id, customer, country) in
        [("1", "VINET", "France"), ("2", "VINET", "Ireland"), ("3", "TOMSP", "France")]
    {
        street.place(an_order(id, customer, 2, country)).await.expect("the order is placed");
    }
    street.settle().await;
    let before = (street.cents().await, street.pieces().await);
    for seed in 0..5 {
        street.repeat(seed).await;
        street.settle().await;
    }
    assert_eq!((street.cents().await, street.pieces().await), before);
}

#[test]
fn the_services_declare_what_the_plan_requires() {
    let plan = sagamore_shop::choreography::plan().unwrap_or_else(|error| panic!("{error}"));
    for service in sagamore_shop::choreographed() {
        let differences =
            sagamore::core::plan::declared(&plan, service.name(), &service.declares());
        assert_eq!(differences, [], "{}", service.name());
    }
}

#[test]
fn the_plan_is_derived_from_the_services() {
    let plan = sagamore_shop::choreography::plan().unwrap_or_else(|error| panic!("{error}"));
    let deadline = Duration::from_millis(plan.deadline_ms.expect("a deadline"));
    let derived =
        sagamore::core::Plan::from_services(plan.name.as_str(), &sagamore_shop::choreographed());
    let derived = derived.version(plan.version).deadline(deadline).build();
    assert_eq!(derived.unwrap_or_else(|error| panic!("{error}")), plan);
}

#[tokio::test]
async fn sequential_northwind_orders_have_the_expected_outcomes() {
    let Some(folder) = folder() else { return };
    let mut street = Street::empty().await;
    let shop = street.shop.clone();
    payment::load(&shop.payment, &all(&folder)).await.unwrap();
    inventory::load(&shop.inventory, &all(&folder)).await.unwrap();
    shipping::load(&shop.shipping, &all(&folder)).await.unwrap();
    for order in all::<Order>(&folder) {
        assert_eq!(street.place(order).await, Ok(StartOutcome::New));
        street.settle().await;
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for event in street.events().await {
        *counts.entry(event.name.to_string()).or_default() += 1;
    }
    let count = |name: &str| counts.get(name).copied().unwrap_or_default();
    assert_eq!(count("order.confirmed"), 629);
    assert_eq!(
        (count("payment.failed"), count("inventory.failed"), count("shipping.failed")),
        (113, 29, 59)
    );
    assert_eq!(
        (count("order.cancelled"), count("payment.refunded"), count("inventory.released")),
        (113 + 29 + 59, 29 + 59, 59)
    );
    assert_eq!(payment::balance_cents(&shop.payment).await.unwrap(), 17_975_404);
    assert_eq!(inventory::pieces_on_hand(&shop.inventory).await.unwrap(), 6_255);
}
