//! The order service in an orchestrated checkout: the saga holds the lock on its order.

use sagamore::sdk::{Decided, Service, Tx};

use super::domain::{self, MIGRATIONS, Rejected};
use super::messages::{Cancel, Confirm, Create, Created};
use crate::checkout;

/// Returns the service for the orchestrated checkout.
pub fn service() -> Service {
    Service::named(super::SERVICE)
        .migrations(MIGRATIONS)
        .action(create)
        .compensation::<Cancel>(cancel)
        .action(confirm)
        .keyed_by(|create: &Create| &create.order_id)
        .keyed_by(|created: &Created| &created.order_id)
        .keyed_by(|confirm: &Confirm| &confirm.order_id)
}

async fn create(tx: Tx, create: Create) -> Decided<Created, Rejected> {
    let saga = saga(&create.order_id);
    domain::create(tx, create, saga).await
}

async fn cancel(tx: Tx, created: Created) -> Decided<(), Rejected> {
    let saga = saga(&created.order_id);
    domain::cancel(tx, created.order_id, Some(saga)).await
}

async fn confirm(tx: Tx, confirm: Confirm) -> Decided<(), Rejected> {
    let saga = saga(&confirm.order_id);
    domain::confirm(tx, confirm, Some(saga)).await
}

/// Returns the holder of an order's lock, its saga: `checkout:10248`.
fn saga(order_id: &str) -> String {
    format!("{}:{order_id}", checkout::NAME)
}
