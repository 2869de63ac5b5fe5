//! The Northwind orders, one after another, with their expected outcomes and remaining money and
//! stock.

use sagamore_shop::inventory::{self, Reserve};
use sagamore_shop::order::{self, Confirm, Create};
use sagamore_shop::payment::{self, Charge};
use sagamore_shop::shipping::{self, Schedule};
use sagamore_shop::{Databases, Order};

use crate::files::{all, folder};
use crate::shop::{empty, run};

#[derive(Debug, Default, PartialEq)]
struct Outcomes {
    completed: u32,
    failed_at_payment: u32,
    failed_at_inventory: u32,
    failed_at_shipping: u32,
}

/// Runs one order, and undoes it by hand if it fails.
async fn checkout(shop: &Databases, wanted: Order, outcomes: &mut Outcomes) {
    let Order { order_id, customer_id, lines, ship_to } = wanted;
    let holder = || "by hand".to_owned();
    let create = Create {
        order_id: order_id.clone(),
        customer_id: customer_id.clone(),
        lines: lines.clone(),
    };
    let created = run(&shop.order, |tx| order::domain::create(tx, create, holder())).await.unwrap();
    let cancel = async || {
        run(&shop.order, |tx| order::domain::cancel(tx, order_id.clone(), Some(holder())))
            .await
            .unwrap();
    };

    let charge =
        Charge { order_id: order_id.clone(), customer_id, amount_cents: created.total_cents };
    let Ok(charged) = run(&shop.payment, |tx| payment::domain::charge(tx, charge)).await else {
        outcomes.failed_at_payment += 1;
        return cancel().await;
    };
    let reserve = Reserve { order_id: order_id.clone(), lines };
    let Ok(reserved) = run(&shop.inventory, |tx| inventory::domain::reserve(tx, reserve)).await
    else {
        outcomes.failed_at_inventory += 1;
        run(&shop.payment, |tx| payment::domain::refund(tx, charged)).await.unwrap();
        return cancel().await;
    };
    let schedule = Schedule { order_id: order_id.clone(), ship_to };
    let Ok(shipment) = run(&shop.shipping, |tx| shipping::domain::schedule(tx, schedule)).await
    else {
        outcomes.failed_at_shipping += 1;
        run(&shop.inventory, |tx| inventory::domain::release(tx, reserved)).await.unwrap();
        run(&shop.payment, |tx| payment::domain::refund(tx, charged)).await.unwrap();
        return cancel().await;
    };
    let confirm = Confirm { order_id: order_id.clone(), tracking: shipment.tracking };
    run(&shop.order, |tx| order::domain::confirm(tx, confirm, Some(holder()))).await.unwrap();
    outcomes.completed += 1;
}

#[tokio::test]
async fn sequential_northwind_orders_have_the_expected_outcomes() {
    let Some(folder) = folder() else { return };
    let shop = empty().await;
    // two of them have no order
    assert_eq!(payment::load(&shop.payment, &all(&folder)).await.unwrap(), 91);
    assert_eq!(inventory::load(&shop.inventory, &all(&folder)).await.unwrap(), 77);
    assert_eq!(shipping::load(&shop.shipping, &all(&folder)).await.unwrap(), 21);

    let orders = all::<Order>(&folder);
    assert_eq!(orders.len(), 830);
    let mut outcomes = Outcomes::default();
    for order in orders {
        checkout(&shop, order, &mut outcomes).await;
    }

    let wanted = Outcomes {
        completed: 629,
        failed_at_payment: 113,
        failed_at_inventory: 29,
        failed_at_shipping: 59,
    };
    assert_eq!(outcomes, wanted);
    assert_eq!(payment::balance_cents(&shop.payment).await.unwrap(), 17_975_404);
    assert_eq!(inventory::pieces_on_hand(&shop.inventory).await.unwrap(), 6_255);
}
