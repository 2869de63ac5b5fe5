//! Commands and results of the inventory service.

use sagamore::sdk::Message;
use serde::{Deserialize, Serialize};

use crate::form::Line;

/// Reserves all pieces of an order, or none.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[message(to = "inventory", yields = Reserved)]
pub struct Reserve {
    /// The order's id.
    pub order_id: String,
    /// The ordered products. Several lines may have the same sku.
    pub lines: Vec<Line>,
}

/// The pieces are reserved.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
pub struct Reserved {
    /// The order's id.
    pub order_id: String,
    /// Each sku once, sorted.
    pub pieces: Vec<Pieces>,
}

/// A number of pieces of one product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pieces {
    /// The product.
    pub sku: String,
    /// The number of pieces.
    pub quantity: i64,
}

/// Undoes [`Reserve`]: releases the pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[message(to = "inventory", undoes = Reserve)]
pub struct Release;
