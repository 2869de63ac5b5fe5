//! The shipping service: destinations and shipments.

mod messages;

pub mod choreographed;
mod destinations;
pub mod domain;
mod orchestrated;
mod shipments;

pub use destinations::{Destination, destinations, load};
pub use domain::{MIGRATIONS, Unshippable};
pub use messages::{Schedule, ScheduleFrom, Scheduled, ScheduledFrom};
pub use orchestrated::service;
pub use shipments::{Shipment, shipment, shipments};

/// The service's name.
pub const SERVICE: &str = "shipping";
