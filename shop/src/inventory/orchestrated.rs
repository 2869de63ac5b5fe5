//! The inventory service in an orchestrated checkout.

use sagamore::sdk::Service;

use super::domain::{MIGRATIONS, release, reserve};
use super::messages::{Release, Reserve, Reserved};

/// Returns the service for the orchestrated checkout.
pub fn service() -> Service {
    Service::named(super::SERVICE)
        .migrations(MIGRATIONS)
        .action(reserve)
        .compensation::<Release>(release)
        .keyed_by(|reserve: &Reserve| &reserve.order_id)
        .keyed_by_each(|reserve: &Reserve| {
            reserve.lines.iter().map(|line| line.sku.as_str()).collect()
        })
        .keyed_by(|reserved: &Reserved| &reserved.order_id)
        .keyed_by_each(|reserved: &Reserved| {
            reserved.pieces.iter().map(|pieces| pieces.sku.as_str()).collect()
        })
}
