//! The inventory service: stock and reservations.

mod messages;

pub mod choreographed;
pub mod domain;
mod orchestrated;
mod stock;

pub use domain::{MIGRATIONS, Short};
pub use messages::{Pieces, Release, Reserve, ReserveFrom, Reserved, ReservedFrom};
pub use orchestrated::service;
pub use stock::{Delivery, Product, load, pieces_on_hand, product, stock};

/// The service's name.
pub const SERVICE: &str = "inventory";
