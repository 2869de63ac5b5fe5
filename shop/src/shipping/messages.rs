//! Commands and results of the shipping service.

use sagamore::sdk::Message;

use crate::form::ShipTo;

/// Schedules the shipment of an order. It has no compensation.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(to = "shipping", yields = Scheduled)]
pub struct Schedule {
    /// The order's id.
    pub order_id: String,
    /// The delivery address.
    pub ship_to: ShipTo,
}

/// The shipment is scheduled.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
pub struct Scheduled {
    /// The tracking id of the shipment.
    pub tracking: String,
}
