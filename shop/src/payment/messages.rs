//! Commands and results of the payment service.

use sagamore::sdk::Message;

/// Charges the customer of an order.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(to = "payment", yields = Charged)]
pub struct Charge {
    /// The order's id.
    pub order_id: String,
    /// The account to charge.
    pub customer_id: String,
    /// The amount, in cents.
    pub amount_cents: i64,
}

/// The customer was charged.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
pub struct Charged {
    /// The order's id.
    pub order_id: String,
    /// The charged account.
    pub customer_id: String,
    /// The amount, in cents.
    pub amount_cents: i64,
}

/// Undoes [`Charge`]: refunds the amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[message(to = "payment", undoes = Charge)]
pub struct Refund;
