//! The payment service in an orchestrated checkout.

use sagamore::sdk::Service;

use super::domain::{MIGRATIONS, charge, refund};
use super::messages::{Charge, Charged, Refund};

/// Returns the service for the orchestrated checkout.
pub fn service() -> Service {
    Service::named(super::SERVICE)
        .migrations(MIGRATIONS)
        .action(charge)
        .compensation::<Refund>(refund)
        .keyed_by(|charge: &Charge| &charge.customer_id)
        .keyed_by(|charge: &Charge| &charge.order_id)
        .keyed_by(|charged: &Charged| &charged.customer_id)
        .keyed_by(|charged: &Charged| &charged.order_id)
}
