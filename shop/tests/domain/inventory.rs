//! The inventory service reserves all pieces of an order or none, and never more than it has.

use sagamore::sdk::Database;
use sagamore_shop::inventory::domain::{release, reserve};
use sagamore_shop::inventory::{Pieces, Reserve, Reserved, Short, product};

use crate::shop::{bad_names, counted, line, refused_outright, run, small};

fn wanted(order_id: &str, lines: &[(&str, i64)]) -> Reserve {
    Reserve {
        order_id: order_id.into(),
        lines: lines.iter().map(|(sku, quantity)| line(sku, *quantity, 1)).collect(),
    }
}

fn reserved(order_id: &str, pieces: &[(&str, i64)]) -> Reserved {
    let pieces =
        pieces.iter().map(|(sku, quantity)| Pieces { sku: (*sku).into(), quantity: *quantity });
    Reserved { order_id: order_id.into(), pieces: pieces.collect() }
}

fn out_of(sku: &str) -> Short {
    Short::OutOfStock { sku: sku.into() }
}

/// Returns pieces on hand and reserved, of chai and of tofu.
async fn shelves(database: &Database) -> [(i64, i64); 2] {
    let mut shelves = [(0, 0); 2];
    for (shelf, sku) in shelves.iter_mut().zip(["chai", "tofu"]) {
        let product = product(database, sku).await.unwrap().expect("the product exists");
        *shelf = (product.on_hand, product.reserved);
    }
    shelves
}

#[tokio::test]
async fn pieces_go_from_the_shelf_to_the_order_and_back() {
    let database = small().await.inventory;
    let both = [("tofu", 5), ("chai", 2)];
    let given = run(&database, |tx| reserve(tx, wanted("1", &both))).await;
    assert_eq!(given, Ok(reserved("1", &[("chai", 2), ("tofu", 5)])));
    assert_eq!(shelves(&database).await, [(8, 2), (0, 5)]);
    run(&database, |tx| release(tx, given.unwrap())).await.unwrap();
    assert_eq!(shelves(&database).await, [(10, 0), (5, 0)]);
}

/// The order of the lines does not matter, so two transactions never deadlock.
#[tokio::test]
async fn stock_rows_are_updated_in_the_order_of_their_skus() {
    let database = small().await.inventory;
    for (order_id, lines) in [("1", [("chai", 1), ("tofu", 1)]), ("2", [("tofu", 1), ("chai", 1)])]
    {
        let given = run(&database, |tx| reserve(tx, wanted(order_id, &lines))).await;
        assert_eq!(given, Ok(reserved(order_id, &[("chai", 1), ("tofu", 1)])));
    }
}

#[tokio::test]
async fn lines_of_one_sku_are_summed_before_the_check() {
    let database = small().await.inventory;
    let twice = [("chai", 6), ("tofu", 1), ("chai", 5)];
    refused_outright(&database, out_of("chai"), |tx| reserve(tx, wanted("1", &twice))).await;
    let twice = [("chai", 6), ("tofu", 1), ("chai", 4)];
    let given = run(&database, |tx| reserve(tx, wanted("1", &twice))).await;
    assert_eq!(given, Ok(reserved("1", &[("chai", 10), ("tofu", 1)])));
}

#[tokio::test]
async fn one_short_line_leaves_the_stock_unchanged() {
    let database = small().await.inventory;
    let check = async |lines: &[(&str, i64)], short| {
        refused_outright(&database, short, |tx| reserve(tx, wanted("1", lines))).await;
    };
    check(&[("chai", 11)], out_of("chai")).await;
    check(&[("chai", 1), ("tofu", 6)], out_of("tofu")).await;
    check(&[("coal", 1)], Short::UnknownSku("coal".into())).await;
    check(&[("chai", 1), ("coal", 1)], Short::UnknownSku("coal".into())).await;
    check(&[("chai", 0)], Short::InvalidQuantity { sku: "chai".into(), quantity: 0 }).await;
    check(
        &[("chai", 2), ("chai", -1)],
        Short::InvalidQuantity { sku: "chai".into(), quantity: -1 },
    )
    .await;
    check(
        &[("chai", i64::MAX), ("chai", 1)],
        Short::InvalidQuantity { sku: "chai".into(), quantity: i64::MAX },
    )
    .await;
    assert_eq!(shelves(&database).await, [(10, 0), (5, 0)]);
}

#[tokio::test]
async fn reservations_in_one_transaction_see_one_another() {
    let database = small().await.inventory;
    let open = database.begin().await.unwrap();
    reserve(open.tx(), wanted("1", &[("chai", 7), ("tofu", 1)])).await.unwrap().unwrap();
    let refused = reserve(open.tx(), wanted("2", &[("chai", 4), ("tofu", 1)])).await.unwrap();
    assert_eq!(refused, Err(out_of("chai")));
    reserve(open.tx(), wanted("3", &[("chai", 3)])).await.unwrap().unwrap();
    open.commit().await.unwrap();
    assert_eq!(shelves(&database).await, [(0, 10), (4, 1)]);
}

#[tokio::test]
async fn an_order_has_at_most_one_reservation() {
    let database = small().await.inventory;
    run(&database, |tx| reserve(tx, wanted("1", &[("chai", 1)]))).await.unwrap();
    let again = run(&database, |tx| reserve(tx, wanted("1", &[("chai", 1)]))).await;
    assert_eq!(again, Err(Short::AlreadyReserved("1".into())));
    assert_eq!(shelves(&database).await, [(9, 1), (5, 0)]);
}

/// A release adds the difference, so later reservations keep their pieces.
#[tokio::test]
async fn a_release_is_independent_of_later_reservations() {
    let database = small().await.inventory;
    let first = run(&database, |tx| reserve(tx, wanted("1", &[("chai", 3)]))).await.unwrap();
    run(&database, |tx| reserve(tx, wanted("2", &[("chai", 6)]))).await.unwrap();
    run(&database, |tx| release(tx, first)).await.unwrap();
    assert_eq!(shelves(&database).await, [(4, 6), (5, 0)]);
}

/// A release without a reservation is refused and changes nothing.
#[tokio::test]
async fn a_reservation_is_released_once() {
    let database = small().await.inventory;
    let given = run(&database, |tx| reserve(tx, wanted("1", &[("chai", 3)]))).await.unwrap();
    run(&database, |tx| release(tx, given.clone())).await.unwrap();
    let nothing = |order_id: &str| Short::NothingToRelease(order_id.into());
    refused_outright(&database, nothing("1"), |tx| release(tx, given)).await;
    refused_outright(&database, nothing("2"), |tx| release(tx, reserved("2", &[("chai", 1)])))
        .await;
    assert_eq!(shelves(&database).await, [(10, 0), (5, 0)]);
}

#[tokio::test]
async fn a_release_must_match_its_reservation() {
    let database = small().await.inventory;
    run(&database, |tx| reserve(tx, wanted("1", &[("chai", 3), ("tofu", 1)]))).await.unwrap();
    // enough pieces are reserved
    run(&database, |tx| reserve(tx, wanted("2", &[("chai", 3), ("tofu", 3)]))).await.unwrap();
    for others in
        [vec![("chai", 3), ("tofu", 2)], vec![("chai", 2), ("tofu", 1)], vec![("chai", 3)], vec![]]
    {
        let nothing = Short::NothingToRelease("1".into());
        refused_outright(&database, nothing, |tx| release(tx, reserved("1", &others))).await;
    }
    assert_eq!(shelves(&database).await, [(4, 6), (1, 4)]);
}

#[tokio::test]
async fn a_reservation_writes_one_row_and_one_per_sku() {
    let database = small().await.inventory;
    let (given, written) =
        counted(&database, |tx| reserve(tx, wanted("1", &[("chai", 3), ("tofu", 1)]))).await;
    assert_eq!(written, 3);
    assert_eq!(counted(&database, |tx| release(tx, given.unwrap())).await.1, 3);
}

/// Bad data is a refusal. A fault would be retried indefinitely.
#[tokio::test]
async fn a_reservation_with_an_invalid_name_is_refused() {
    let database = small().await.inventory;
    for (name, why) in bad_names() {
        let refusal = Short::InvalidReservation(format!("orderId: {why}"));
        refused_outright(&database, refusal, |tx| reserve(tx, wanted(&name, &[("chai", 1)]))).await;
        let refusal = Short::InvalidReservation(format!("sku: {why}"));
        refused_outright(&database, refusal, |tx| {
            reserve(tx, wanted("1", &[("chai", 1), (&name, 1)]))
        })
        .await;
    }
    assert_eq!(shelves(&database).await, [(10, 0), (5, 0)]);
}
