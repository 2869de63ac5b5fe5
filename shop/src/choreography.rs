//! The order as a choreography: each service reacts to the events of the others, and undoes its
//! part when a later one fails.

use std::time::Duration;

use sagamore::core::plan::{self, Plan};
use sagamore::sdk::Message;

use crate::form::{Line, ShipTo};
use crate::inventory::Pieces;

/// The plan's name. An order's chain is `fulfilment:10248`.
pub const NAME: &str = "fulfilment";
/// The plan's version.
pub const VERSION: u32 = 1;
/// The event that starts a chain.
pub const BEGINS: &str = OrderCreated::NAME;

/// The age at which an unfinished order is overdue.
const DEADLINE: Duration = Duration::from_secs(60);

/// Returns the plan: the events that each reaction consumes and emits. It controls nothing at run
/// time. It is checked at the start, and the observer compares chains with it.
pub fn plan() -> Result<Plan, plan::Error> {
    Plan::named(NAME)
        .version(VERSION)
        .begins("order", "create", "order.created")
        .undone_on(["payment.failed", "inventory.failed", "shipping.failed"], "order.cancelled")
        .reaction("payment", "charge")
        .on(["order.created"])
        .emits(["payment.success"])
        .fails(["payment.failed"])
        .undone_on(["inventory.failed", "shipping.failed"], "payment.refunded")
        .reaction("inventory", "reserve")
        .on(["payment.success", "order.created"])
        .emits(["inventory.updated"])
        .fails(["inventory.failed"])
        .undone_on(["shipping.failed"], "inventory.released")
        .never_after(["order.cancelled"])
        .pivot("shipping", "schedule")
        .on(["inventory.updated", "order.created"])
        .emits(["shipping.scheduled"])
        .fails(["shipping.failed"])
        .never_after(["order.cancelled"])
        .reaction("order", "confirm")
        .on(["shipping.scheduled"])
        .emits(["order.confirmed"])
        .deadline(DEADLINE)
        .overdue("fulfilment.overdue")
        .build()
}

/// An order was placed. It is pending until its chain ends.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(name = "order.created")]
pub struct OrderCreated {
    /// The order's id, and the chain's key.
    pub order_id: String,
    /// The customer whose account is charged.
    pub customer_id: String,
    /// The sum of the lines, in cents.
    pub total_cents: i64,
    /// The products and quantities.
    pub lines: Vec<Line>,
    /// The delivery address.
    pub ship_to: ShipTo,
}

/// The customer was charged.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(name = "payment.success")]
pub struct PaymentSuccess {
    /// The order that was paid.
    pub order_id: String,
    /// The account that was charged.
    pub customer_id: String,
    /// The charged amount, in cents.
    pub amount_cents: i64,
}

/// The pieces are reserved.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(name = "inventory.updated")]
pub struct InventoryUpdated {
    /// The order that the pieces are reserved for.
    pub order_id: String,
    /// Each sku once, sorted.
    pub pieces: Vec<Pieces>,
}

/// The shipment is scheduled: the pivot.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(name = "shipping.scheduled")]
pub struct ShippingScheduled {
    /// The order that is shipped.
    pub order_id: String,
    /// The tracking id of the shipment.
    pub tracking: String,
}

/// Declares events with an order's id and, for failures, a code and a reason.
macro_rules! events {
    ($($about:literal $event:ident $name:literal { $($field:ident)* })+) => {$(
        #[doc = $about]
        #[derive(Clone, Debug, PartialEq, Eq, Message)]
        #[message(name = $name)]
        pub struct $event {
            /// The order's id.
            pub order_id: String,
            $(
                #[doc = concat!("The ", stringify!($field), ".")]
                pub $field: String,
            )*
        }
    )+};
}

events! {
    "The charge was refused." PaymentFailed "payment.failed" { code reason }
    "The reservation was refused." InventoryFailed "inventory.failed" { code reason }
    "The shipment was refused." ShippingFailed "shipping.failed" { code reason }
    "The charge was refunded, if there was one." PaymentRefunded "payment.refunded" {}
    "The reservation was released, if there was one." InventoryReleased "inventory.released" {}
    "The order is cancelled." OrderCancelled "order.cancelled" {}
    "The order is confirmed." OrderConfirmed "order.confirmed" {}
    "The order is overdue: a shipment that is not scheduled yet never will be."
    OrderOverdue "fulfilment.overdue" {}
}
