//! The shipping service in an orchestrated checkout.

use sagamore_sdk::Service;

use super::domain::{MIGRATIONS, schedule};

/// The service, ready to take part.
pub fn service() -> Service {
    Service::named(super::SERVICE).migrations(MIGRATIONS).interleaved().action(schedule)
}
