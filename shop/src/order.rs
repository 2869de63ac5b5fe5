//! The order service: orders and their status.

mod messages;

pub mod choreographed;
pub mod domain;
mod orchestrated;
mod orders;

pub use domain::{MIGRATIONS, Rejected};
pub use messages::{Cancel, Confirm, ConfirmFrom, Create, CreateFrom, Created, CreatedFrom};
pub use orchestrated::service;
pub use orders::{Status, StoredOrder, order, orders};

/// The service's name.
pub const SERVICE: &str = "order";
