//! The reference shop: four services with a database each, and the saga that takes an order through
//! them, or the choreography that does the same with events.
//!
//! The local transactions of a service are in its `domain.rs` and do not depend on sagas. One file
//! per style connects them to messages. Stored data, and its loading and reading, is in a file
//! named after it.

pub mod databases;
mod schema;

pub mod form;

pub mod checkout;
pub mod choreography;

pub mod inventory;
pub mod order;
pub mod payment;
pub mod shipping;

pub mod import;
pub mod rows;
pub mod sample;

pub mod http;

mod stories;

mod bench;
mod output;
mod replay;

mod program;

pub use checkout::checkout;
pub use databases::Databases;
pub use form::{Line, Order, ShipTo};
pub use program::program;
pub use rows::Error;

use sagamore::sdk::{Body, Service};

/// Returns the four services of the checkout, in the order of its steps. Each has its database in
/// [`Databases`].
pub fn services() -> [Service; 4] {
    [order::service(), payment::service(), inventory::service(), shipping::service()]
}

/// Returns the same four services for the choreography, on the same databases.
pub fn choreographed() -> [Service; 4] {
    [
        order::choreographed::service(),
        payment::choreographed::service(),
        inventory::choreographed::service(),
        shipping::choreographed::service(),
    ]
}

/// Returns the sample order with this id, as the input of its saga.
pub fn sample_order(order_id: &str) -> Body {
    Body::of(&sample::order(order_id)).expect("an order serializes to JSON")
}
