//! Commands and results of the order service.

use sagamore::sdk::Message;

use crate::form::Line;

/// Creates an order, pending until its saga ends.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(to = "order", yields = Created)]
pub struct Create {
    /// The order's id.
    pub order_id: String,
    /// The customer who places the order.
    pub customer_id: String,
    /// The ordered products.
    pub lines: Vec<Line>,
}

/// The order was created.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
pub struct Created {
    /// The order's id.
    pub order_id: String,
    /// The sum of the lines, in cents.
    pub total_cents: i64,
}

/// Undoes [`Create`]: cancels the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[message(to = "order", undoes = Create)]
pub struct Cancel;

/// Confirms an order.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(to = "order")]
pub struct Confirm {
    /// The order's id.
    pub order_id: String,
    /// The tracking id of the shipment.
    pub tracking: String,
}
