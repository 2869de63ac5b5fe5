//! What the shipping service can be asked, and what it gives.

use sagamore::sdk::Message;

use crate::form::ShipTo;

/// Has a carrier fetch the order. There is no way back.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(to = "shipping", yields = Scheduled)]
pub struct Schedule {
    /// Which order.
    pub order_id: String,
    /// Where it goes.
    pub ship_to: ShipTo,
}

/// A carrier comes.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
pub struct Scheduled {
    /// How to follow the shipment.
    pub tracking: String,
}
