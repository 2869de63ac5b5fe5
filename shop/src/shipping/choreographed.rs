//! The shipping service in a choreography: sends off what was paid for and set aside. There is no way back.

use sagamore::sdk::{Decided, Reaction, Service, Tx};

use super::domain::{self, MIGRATIONS, Unshippable};
use super::messages::Schedule;
use crate::choreography::{
    InventoryUpdated, OrderCancelled, OrderCreated, OrderOverdue, ShippingFailed, ShippingScheduled,
};

/// The service, ready to take part.
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

/// Where it goes is in the order's own event.
async fn on_inventory_updated(
    tx: Tx,
    _: InventoryUpdated,
    order: OrderCreated,
) -> Decided<ShippingScheduled, Unshippable> {
    let OrderCreated { order_id, ship_to, .. } = order;
    let scheduled = domain::schedule(tx, Schedule { order_id: order_id.clone(), ship_to }).await?;
    Ok(scheduled.map(|scheduled| ShippingScheduled { order_id, tracking: scheduled.tracking }))
}
