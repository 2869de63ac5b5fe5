//! The order service: what was ordered, and whether it stands.

mod messages;

pub mod choreographed;
pub mod domain;
mod orchestrated;
mod orders;

pub use domain::{MIGRATIONS, Rejected};
pub use messages::{Cancel, Confirm, ConfirmFrom, Create, CreateFrom, Created, CreatedFrom};
pub use orchestrated::service;
pub use orders::{Placed, Status, order, orders};

/// The service's name.
pub const SERVICE: &str = "order";
