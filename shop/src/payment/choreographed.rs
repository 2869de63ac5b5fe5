//! The payment service in a choreography: charges new orders, and refunds them when a later
//! reaction fails.

use sagamore::sdk::{Decided, Reaction, Service, Tx, on};

use super::domain::{self, Declined, MIGRATIONS};
use super::messages::{Charge, Charged};
use crate::choreography::{
    InventoryFailed, OrderCreated, PaymentFailed, PaymentRefunded, PaymentSuccess, ShippingFailed,
};

/// Returns the service for the choreography.
pub fn service() -> Service {
    Service::named(super::SERVICE)
        .migrations(MIGRATIONS)
        .reaction(
            Reaction::named("charge").to(on_order_created).fails::<PaymentFailed>().undone_by(
                refund,
                on::<(InventoryFailed, ShippingFailed)>().says::<PaymentRefunded>(),
            ),
        )
        .keyed_by(|order: &OrderCreated| &order.customer_id)
        .keyed_by(|order: &OrderCreated| &order.order_id)
        .keyed_by(|paid: &PaymentSuccess| &paid.customer_id)
        .keyed_by(|paid: &PaymentSuccess| &paid.order_id)
}

async fn on_order_created(tx: Tx, order: OrderCreated) -> Decided<PaymentSuccess, Declined> {
    let OrderCreated { order_id, customer_id, total_cents, .. } = order;
    let charged =
        domain::charge(tx, Charge { order_id, customer_id, amount_cents: total_cents }).await?;
    Ok(charged.map(|Charged { order_id, customer_id, amount_cents }| PaymentSuccess {
        order_id,
        customer_id,
        amount_cents,
    }))
}

async fn refund(tx: Tx, paid: PaymentSuccess) -> Decided<(), Declined> {
    let PaymentSuccess { order_id, customer_id, amount_cents } = paid;
    domain::refund(tx, Charged { order_id, customer_id, amount_cents }).await
}
