//! The shipping service's local transactions.

use sagamore::sdk::{Decided, Fault, Migration, Refusal, Tx, done, refused};

use super::messages::{Schedule, Scheduled};
use crate::form::identifier;
use crate::schema::table;

/// Two tables. `ship_to` is JSON, a [`ShipTo`](crate::ShipTo). An order is shipped at most once.
pub const MIGRATIONS: &[Migration] = &[
    table!(
        "0001-destination",
        "CREATE TABLE destination (country TEXT PRIMARY KEY, served BOOLEAN NOT NULL)"
    ),
    table!(
        "0002-shipment",
        "CREATE TABLE shipment (order_id TEXT PRIMARY KEY, tracking TEXT NOT NULL, ship_to TEXT \
         NOT NULL)"
    ),
];

/// Refusals of the shipping service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Refusal)]
pub enum Unshippable {
    /// No carrier delivers to the country, or the country is unknown.
    #[error("no carrier serves {country}")]
    #[refusal(code = "no-carrier")]
    NoCarrier {
        /// The country of the address.
        country: String,
    },
    /// The order's id or the address is invalid.
    #[error("{0}")]
    #[refusal(code = "invalid-shipment")]
    InvalidShipment(String),
    /// Another saga or chain scheduled a shipment of this order.
    #[error("order {0} already has a shipment")]
    #[refusal(code = "already-scheduled")]
    AlreadyScheduled(String),
}

/// Schedules the shipment. The tracking id is derived from the order's id, so repetitions return
/// the same one.
pub async fn schedule(tx: Tx, schedule: Schedule) -> Decided<Scheduled, Unshippable> {
    let Schedule { order_id, ship_to } = schedule;
    if let Err(reason) = identifier("orderId", &order_id).and_then(|()| ship_to.check()) {
        return refused(Unshippable::InvalidShipment(reason));
    }
    let tracking = format!("TRACK-{order_id}");
    let scheduled = tx
        .execute(
            "INSERT INTO shipment (order_id, tracking, ship_to)
             SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT) FROM destination
             WHERE country = $4 AND served = TRUE
             ON CONFLICT (order_id) DO NOTHING",
            (&order_id, &tracking, serde_json::to_string(&ship_to)?, &ship_to.country),
        )
        .await?;
    if scheduled == 0 {
        return refused(obstacle(&tx, order_id, ship_to.country).await?);
    }
    done(Scheduled { tracking })
}

/// Returns the reason why nothing was scheduled, read afterwards.
async fn obstacle(tx: &Tx, order_id: String, country: String) -> Result<Unshippable, Fault> {
    let shipped = tx.query("SELECT 1 FROM shipment WHERE order_id = $1", (&order_id,)).await?;
    Ok(if shipped.is_empty() {
        Unshippable::NoCarrier { country }
    } else {
        Unshippable::AlreadyScheduled(order_id)
    })
}
