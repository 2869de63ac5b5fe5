//! The inventory service in an orchestrated checkout.

use sagamore_sdk::Service;

use super::domain::{MIGRATIONS, release, reserve};
use super::messages::Release;

/// The service, ready to take part.
pub fn service() -> Service {
    Service::named(super::SERVICE).migrations(MIGRATIONS).interleaved().action(reserve).compensation(Release, release)
}
