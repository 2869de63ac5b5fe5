//! What the inventory service can be asked, and what it gives.

use sagamore::sdk::Message;
use serde::{Deserialize, Serialize};

use crate::form::Line;

/// Sets the pieces of an order aside, all or none.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(to = "inventory", yields = Reserved)]
pub struct Reserve {
    /// For which order.
    pub order_id: String,
    /// What is wanted; a sku may stand in several lines.
    pub lines: Vec<Line>,
}

/// The pieces are set aside.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
pub struct Reserved {
    /// For which order.
    pub order_id: String,
    /// Each sku once, in order.
    pub pieces: Vec<Pieces>,
}

/// So many pieces of a sku.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pieces {
    /// What.
    pub sku: String,
    /// How many.
    pub quantity: i64,
}

/// Undoes [`Reserve`]: the pieces go back on the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[message(to = "inventory", undoes = Reserve)]
pub struct Release;
