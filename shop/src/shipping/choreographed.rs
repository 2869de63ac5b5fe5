//! The shipping service in a choreography: ships paid and reserved orders. This is the pivot.

use sagamore::sdk::{Decided, Reaction, Service, Tx};

use super::domain::{self, MIGRATIONS, Unshippable};
use super::messages::Schedule;
use crate::choreography::{
    InventoryUpdated, OrderCancelled, OrderCreated, OrderOverdue, ShippingFailed, ShippingScheduled,
};

/// Returns the service for the choreography.
pub fn service() -> Service {
    Service::named(super::SERVICE)
        .migrations(MIGRATIONS)
        .reaction(
            Reaction::named("schedule")
                .to_both(on_inventory_updated)
                .never_after::<(OrderCancelled,)>()
                .fails::<ShippingFailed>()
                .gives_up_on::<OrderOverdue>(),
        )
        .keyed_by(|order: &OrderCreated| &order.order_id)
}

/// Schedules a shipment to the address, which only the order's own event has.
async fn on_inventory_updated(
    tx: Tx,
    _: InventoryUpdated,
    order: OrderCreated,
) -> Decided<ShippingScheduled, Unshippable> {
    let OrderCreated { order_id, ship_to, .. } = order;
    let scheduled = domain::schedule(tx, Schedule { order_id: order_id.clone(), ship_to }).await?;
    Ok(scheduled.map(|scheduled| ShippingScheduled { order_id, tracking: scheduled.tracking }))
}
