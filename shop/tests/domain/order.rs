//! The order service: totals, and the lock on a pending order.

use sagamore::sdk::Database;
use sagamore_shop::order::domain::{cancel, confirm, create, unlock};
use sagamore_shop::order::{
    Confirm, Create, Created, Rejected, Status, StoredOrder, order, orders,
};

use crate::shop::{bad_names, empty, line, refused_outright, run};

const SAGA: &str = "checkout:10248";

fn wanted(order_id: &str) -> Create {
    let lines = vec![line("chai", 2, 150), line("tofu", 1, 20)];
    Create { order_id: order_id.into(), customer_id: "VINET".into(), lines }
}

fn confirmed() -> Confirm {
    Confirm { order_id: "10248".into(), tracking: "TRACK-10248".into() }
}

fn locked() -> Rejected {
    Rejected::OrderIsLocked { by: SAGA.into() }
}

async fn pending() -> Database {
    let database = empty().await.order;
    run(&database, |tx| create(tx, wanted("10248"), SAGA.into())).await.unwrap();
    database
}

async fn read(database: &Database) -> StoredOrder {
    order(database, "10248").await.unwrap().expect("the order exists")
}

#[tokio::test]
async fn the_order_service_computes_the_total() {
    let database = empty().await.order;
    let created = run(&database, |tx| create(tx, wanted("10248"), SAGA.into())).await;
    assert_eq!(created, Ok(Created { order_id: "10248".into(), total_cents: 320 }));
    let placed = read(&database).await;
    assert_eq!((placed.total_cents, placed.status, placed.tracking), (320, Status::Pending, None));
    assert_eq!(placed.lines.read::<Vec<sagamore_shop::Line>>().unwrap(), wanted("10248").lines);
}

#[tokio::test]
async fn an_invalid_order_is_refused() {
    let database = empty().await.order;
    let check = async |lines, reason: &str| {
        let create_it = Create { lines, ..wanted("10248") };
        let refusal = Rejected::InvalidOrder(reason.into());
        refused_outright(&database, refusal, |tx| create(tx, create_it, SAGA.into())).await;
    };
    check(vec![], "lines: is empty, and an order needs at least one line").await;
    check(vec![line("chai", 0, 1)], "lines[0].quantity: 0 is not from 1 to 1000000000000").await;
    check(vec![line("chai", 1, 1), line("", 1, 1)], "lines[1].sku: is empty").await;
    check(
        vec![line("chai", 1_000_000, i64::MAX)],
        &format!("lines[0].unitPriceCents: {} is not from 0 to 1000000000000000", i64::MAX),
    )
    .await;
    let overflowing = vec![line("chai", 1_000_000_000_000, 1_000_000_000_000_000)];
    check(overflowing, "lines: the total is more than 1000000000000000 cents").await;
}

#[tokio::test]
async fn an_order_id_is_used_once() {
    let database = pending().await;
    let taken = Rejected::OrderExists("10248".into());
    refused_outright(&database, taken, |tx| create(tx, wanted("10248"), "another:10248".into()))
        .await;
    assert_eq!(read(&database).await.locked_by.as_deref(), Some(SAGA));
}

/// A locked order is refused at once, without waiting or writing.
#[tokio::test]
async fn a_pending_order_is_neither_cancelled_nor_confirmed_from_outside_while_its_saga_runs() {
    let database = pending().await;
    refused_outright(&database, locked(), |tx| cancel(tx, "10248".into(), None)).await;
    refused_outright(&database, locked(), |tx| confirm(tx, confirmed(), None)).await;
    refused_outright(&database, locked(), |tx| {
        cancel(tx, "10248".into(), Some("another:10248".into()))
    })
    .await;
    assert_eq!(read(&database).await.status, Status::Pending);
}

/// The lock is removed in the transaction that settles the order.
#[tokio::test]
async fn settling_an_order_unlocks_it_in_the_same_transaction() {
    let database = pending().await;
    let open = database.begin().await.unwrap();
    confirm(open.tx(), confirmed(), Some(SAGA.into())).await.unwrap().unwrap();
    open.rollback().await.unwrap();
    let placed = read(&database).await;
    assert_eq!((placed.status, placed.locked_by.as_deref()), (Status::Pending, Some(SAGA)));

    run(&database, |tx| confirm(tx, confirmed(), Some(SAGA.into()))).await.unwrap();
    let placed = read(&database).await;
    assert_eq!(
        (placed.status, placed.locked_by, placed.tracking.as_deref()),
        (Status::Confirmed, None, Some("TRACK-10248"))
    );

    let database = pending().await;
    run(&database, |tx| cancel(tx, "10248".into(), Some(SAGA.into()))).await.unwrap();
    let placed = read(&database).await;
    assert_eq!((placed.status, placed.locked_by), (Status::Cancelled, None));
}

/// The lock of a failed saga names its holder, and only an operator removes it.
#[tokio::test]
async fn a_lock_left_behind_shows_its_holder_and_is_released_by_an_operator_only() {
    let database = pending().await;
    assert_eq!(read(&database).await.locked_by.as_deref(), Some(SAGA));
    let mistaken = || "checkout:10249".to_owned();
    refused_outright(&database, locked(), |tx| unlock(tx, "10248".into(), mistaken())).await;

    run(&database, |tx| unlock(tx, "10248".into(), SAGA.into())).await.unwrap();
    let placed = read(&database).await;
    assert_eq!((placed.status, placed.locked_by), (Status::Pending, None));
    run(&database, |tx| cancel(tx, "10248".into(), None)).await.unwrap();
    assert_eq!(read(&database).await.status, Status::Cancelled);
}

/// The order was settled from outside. The saga's undo is refused and does not overwrite it.
#[tokio::test]
async fn an_undo_does_not_overwrite_a_later_settlement() {
    let database = pending().await;
    run(&database, |tx| unlock(tx, "10248".into(), SAGA.into())).await.unwrap();
    let gone = Rejected::LockIsGone { by: SAGA.into() };
    refused_outright(&database, gone, |tx| cancel(tx, "10248".into(), Some(SAGA.into()))).await;

    run(&database, |tx| confirm(tx, confirmed(), None)).await.unwrap();
    let settled = Rejected::AlreadySettled { status: Status::Confirmed };
    refused_outright(&database, settled, |tx| cancel(tx, "10248".into(), Some(SAGA.into()))).await;
    assert_eq!(read(&database).await.status, Status::Confirmed);
}

#[tokio::test]
async fn an_unplaced_order_is_unknown() {
    let database = empty().await.order;
    let unknown = || Rejected::UnknownOrder("10248".into());
    refused_outright(&database, unknown(), |tx| cancel(tx, "10248".into(), None)).await;
    refused_outright(&database, unknown(), |tx| confirm(tx, confirmed(), Some(SAGA.into()))).await;
    refused_outright(&database, unknown(), |tx| unlock(tx, "10248".into(), SAGA.into())).await;
    assert_eq!(order(&database, "10248").await.unwrap(), None);
}

#[tokio::test]
async fn orders_are_listed_page_by_page() {
    let database = empty().await.order;
    for order_id in ["3", "1", "2"] {
        run(&database, |tx| create(tx, wanted(order_id), format!("checkout:{order_id}")))
            .await
            .unwrap();
    }
    let ids = async |after| {
        let page = orders(&database, after, 2).await.unwrap();
        page.into_iter().map(|placed| placed.order_id).collect::<Vec<_>>()
    };
    assert_eq!(ids("").await, ["1", "2"]);
    assert_eq!(ids("2").await, ["3"]);
    assert!(ids("3").await.is_empty());
}

/// Bad data is a refusal. A fault would be retried indefinitely.
#[tokio::test]
async fn an_order_with_an_invalid_name_is_refused() {
    let database = empty().await.order;
    for (name, why) in bad_names() {
        let unnamed = Rejected::InvalidOrder(format!("orderId: {why}"));
        refused_outright(&database, unnamed.clone(), |tx| create(tx, wanted(&name), SAGA.into()))
            .await;
        let confirm_it = Confirm { order_id: name.clone(), ..confirmed() };
        refused_outright(&database, unnamed, |tx| confirm(tx, confirm_it, Some(SAGA.into()))).await;
        let invalid_customer = Create { customer_id: name, ..wanted("10248") };
        let refusal = Rejected::InvalidOrder(format!("customerId: {why}"));
        refused_outright(&database, refusal, |tx| create(tx, invalid_customer, SAGA.into())).await;
    }
    let confirm_it = Confirm { tracking: "TRACK-\0".into(), ..confirmed() };
    let refusal = Rejected::InvalidOrder("tracking: contains a control character".into());
    refused_outright(&database, refusal, |tx| confirm(tx, confirm_it, Some(SAGA.into()))).await;
}
