//! What the order service can be asked, and what it gives.

use sagamore::sdk::Message;

use crate::form::Line;

/// Makes the order, pending until all else has worked out.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(to = "order", yields = Created)]
pub struct Create {
    /// Its id.
    pub order_id: String,
    /// Who orders.
    pub customer_id: String,
    /// What.
    pub lines: Vec<Line>,
}

/// The order is there, and costs this.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
pub struct Created {
    /// Its id.
    pub order_id: String,
    /// The sum of its lines, in cents.
    pub total_cents: i64,
}

/// Undoes [`Create`]: the order is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[message(to = "order", undoes = Create)]
pub struct Cancel;

/// The order stands.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(to = "order")]
pub struct Confirm {
    /// Its id.
    pub order_id: String,
    /// How to follow the shipment.
    pub tracking: String,
}
