//! The payment service in an orchestrated checkout.

use sagamore_sdk::Service;

use super::domain::{MIGRATIONS, charge, refund};
use super::messages::Refund;

/// The service, ready to take part.
pub fn service() -> Service {
    Service::named(super::SERVICE).migrations(MIGRATIONS).interleaved().action(charge).compensation(Refund, refund)
}
