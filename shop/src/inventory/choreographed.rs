//! The inventory service in a choreography: reserves the pieces of paid orders, and releases them
//! when the shipment fails.

use sagamore::sdk::{Decided, Reaction, Service, Tx, on};

use super::domain::{self, MIGRATIONS, Short};
use super::messages::{Reserve, Reserved};
use crate::choreography::{
    InventoryFailed, InventoryReleased, InventoryUpdated, OrderCancelled, OrderCreated,
    PaymentSuccess, ShippingFailed,
};

/// Returns the service for the choreography.
pub fn service() -> Service {
    Service::named(super::SERVICE)
        .migrations(MIGRATIONS)
        .reaction(
            Reaction::named("reserve")
                .to_both(on_payment_success)
                .never_after::<(OrderCancelled,)>()
                .fails::<InventoryFailed>()
                .undone_by(release, on::<(ShippingFailed,)>().says::<InventoryReleased>()),
        )
        .keyed_by(|order: &OrderCreated| &order.order_id)
        .keyed_by_each(|order: &OrderCreated| {
            order.lines.iter().map(|line| line.sku.as_str()).collect()
        })
        .keyed_by(|updated: &InventoryUpdated| &updated.order_id)
        .keyed_by_each(|updated: &InventoryUpdated| {
            updated.pieces.iter().map(|pieces| pieces.sku.as_str()).collect()
        })
}

/// Reserves the lines, which only the order's own event has.
async fn on_payment_success(
    tx: Tx,
    _: PaymentSuccess,
    order: OrderCreated,
) -> Decided<InventoryUpdated, Short> {
    let OrderCreated { order_id, lines, .. } = order;
    let reserved = domain::reserve(tx, Reserve { order_id, lines }).await?;
    Ok(reserved.map(|Reserved { order_id, pieces }| InventoryUpdated { order_id, pieces }))
}

async fn release(tx: Tx, updated: InventoryUpdated) -> Decided<(), Short> {
    let InventoryUpdated { order_id, pieces } = updated;
    domain::release(tx, Reserved { order_id, pieces }).await
}
