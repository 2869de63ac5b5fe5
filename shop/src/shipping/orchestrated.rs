//! The shipping service in an orchestrated checkout.

use sagamore::sdk::Service;

use super::domain::{MIGRATIONS, schedule};
use super::messages::Schedule;

/// Returns the service for the orchestrated checkout.
pub fn service() -> Service {
    Service::named(super::SERVICE)
        .migrations(MIGRATIONS)
        .action(schedule)
        .keyed_by(|schedule: &Schedule| &schedule.order_id)
}
