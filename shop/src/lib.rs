//! The reference shop: four services with a database each, and the saga that takes an order through them; or the chain of
//! events that does so without anybody who directs it.
//!
//! Each service has its local transactions in `domain.rs`, which know nothing of sagas, and one file for the style in
//! which they are called. What a service keeps, and how it is loaded and read, is in a file named after it.

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
pub mod sample;

pub mod http;

mod stories;

mod bench;
mod output;
mod replay;

mod program;

pub use checkout::checkout;
pub use databases::{Databases, Error};
pub use form::{Line, Order, ShipTo};
pub use program::program;

use sagamore::sdk::{Body, Service};

/// The four services, in the order in which an order meets them; each has its database in [`Databases`].
pub fn services() -> [Service; 4] {
    [order::service(), payment::service(), inventory::service(), shipping::service()]
}

/// The same four for a choreography, on the same databases.
pub fn choreographed() -> [Service; 4] {
    [
        order::choreographed::service(),
        payment::choreographed::service(),
        inventory::choreographed::service(),
        shipping::choreographed::service(),
    ]
}

/// The sample order with this id, as a saga is started with it.
pub fn sample_order(order_id: &str) -> Body {
    Body::of(&sample::order(order_id)).expect("an order is written as JSON")
}
