//! The same order without anybody who directs it: each service listens to what the others tell, does its part, and takes it
//! back when a later part fails.

use std::time::Duration;

use sagamore::core::plan::{self, Plan};
use sagamore::sdk::Message;

use crate::form::{Line, ShipTo};
use crate::inventory::Pieces;

/// The plan's name. An order's chain is `fulfilment:10248`.
pub const NAME: &str = "fulfilment";
/// Its version.
pub const VERSION: u32 = 1;
/// The event that begins a chain.
pub const BEGINS: &str = OrderCreated::NAME;

/// After so long an order that has not come to its end is overdue.
const DEADLINE: Duration = Duration::from_secs(60);

/// Who listens to what, and says what. It directs nobody: it is what is checked before anything runs, and what chains are
/// compared with when they do.
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

/// Somebody has placed an order. It is pending until all else has worked out.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(name = "order.created")]
pub struct OrderCreated {
    /// Its id.
    pub order_id: String,
    /// Who orders.
    pub customer_id: String,
    /// The sum of its lines, in cents.
    pub total_cents: i64,
    /// What is ordered.
    pub lines: Vec<Line>,
    /// Where it goes.
    pub ship_to: ShipTo,
}

/// The money was taken.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(name = "payment.success")]
pub struct PaymentSuccess {
    /// For which order.
    pub order_id: String,
    /// From whose account.
    pub customer_id: String,
    /// How much, in cents.
    pub amount_cents: i64,
}

/// The pieces are set aside.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(name = "inventory.updated")]
pub struct InventoryUpdated {
    /// For which order.
    pub order_id: String,
    /// Each sku once, in order.
    pub pieces: Vec<Pieces>,
}

/// A carrier comes. There is no way back.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(name = "shipping.scheduled")]
pub struct ShippingScheduled {
    /// Which order.
    pub order_id: String,
    /// How to follow the shipment.
    pub tracking: String,
}

/// Events that say no more than which order, and why where something failed.
macro_rules! events {
    ($($about:literal $event:ident $name:literal { $($field:ident)* })+) => {$(
        #[doc = $about]
        #[derive(Clone, Debug, PartialEq, Eq, Message)]
        #[message(name = $name)]
        pub struct $event {
            /// Which order.
            pub order_id: String,
            $(
                #[doc = concat!("Its ", stringify!($field), ".")]
                pub $field: String,
            )*
        }
    )+};
}

events! {
    "The money could not be taken." PaymentFailed "payment.failed" { code reason }
    "There are too few pieces." InventoryFailed "inventory.failed" { code reason }
    "No carrier goes there." ShippingFailed "shipping.failed" { code reason }
    "The money was given back, if it had been taken." PaymentRefunded "payment.refunded" {}
    "The pieces are on the shelf again, if they had been set aside." InventoryReleased "inventory.released" {}
    "The order is off." OrderCancelled "order.cancelled" {}
    "The order stands." OrderConfirmed "order.confirmed" {}
    "The order takes too long: if no carrier comes yet, none will." OrderOverdue "fulfilment.overdue" {}
}
