//! What the payment service can be asked, and what it gives.

use sagamore::sdk::Message;

/// Takes the money for an order.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(to = "payment", yields = Charged)]
pub struct Charge {
    /// For which order.
    pub order_id: String,
    /// From whose account.
    pub customer_id: String,
    /// How much, in cents.
    pub amount_cents: i64,
}

/// The money was taken.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
pub struct Charged {
    /// For which order.
    pub order_id: String,
    /// From whose account.
    pub customer_id: String,
    /// How much, in cents.
    pub amount_cents: i64,
}

/// Undoes [`Charge`]: the money is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[message(to = "payment", undoes = Charge)]
pub struct Refund;
