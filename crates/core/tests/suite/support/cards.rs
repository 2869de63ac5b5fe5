//! The message that charges a card, and the messages that belong to it.

use sagamore_core::Message;

#[derive(Message)]
pub struct Order {
    pub cents: i64,
}

#[derive(Message)]
#[message(to = "cards", name = "card.charge", yields = Charged)]
pub struct Charge {
    pub cents: i64,
}

#[derive(Message)]
pub struct Charged {
    pub receipt: String,
}

#[derive(Message)]
#[message(to = "cards", name = "card.refund", undoes = Charge)]
pub struct Refund {
    pub receipt: String,
}

#[derive(Message)]
#[message(to = "goods", name = "goods.ship")]
pub struct Ship;
