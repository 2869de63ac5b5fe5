//! The shipping service's local transactions.

use sagamore::sdk::{Decided, Fault, Migration, Refusal, Tx, done, refused};

use super::messages::{Schedule, Scheduled};
use crate::form::identifier;
use crate::schema::table;

/// Two tables. `ship_to` is JSON, a [`ShipTo`](crate::ShipTo); an order is shipped at most once.
pub const MIGRATIONS: &[Migration] = &[
    table!(
        "0001-destination",
        "CREATE TABLE destination (country TEXT PRIMARY KEY, served BOOLEAN NOT NULL)"
    ),
    table!(
        "0002-shipment",
        "CREATE TABLE shipment (order_id TEXT PRIMARY KEY, tracking TEXT NOT NULL, ship_to TEXT NOT NULL)"
    ),
];

/// Why the shipping service says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Refusal)]
pub enum Unshippable {
    /// No carrier goes there, or nobody has ever heard of it.
    #[error("no carrier serves {country}")]
    #[refusal(code = "no-carrier")]
    NoCarrier {
        /// Where to.
        country: String,
    },
    /// The order has no name that can be kept, or the address is none.
    #[error("{0}")]
    #[refusal(code = "invalid-shipment")]
    InvalidShipment(String),
    /// There is a shipment of the order, asked for by somebody else.
    #[error("order {0} is on its way already")]
    #[refusal(code = "already-scheduled")]
    AlreadyScheduled(String),
}

/// Has a carrier fetch the order. The tracking id follows from the order's: the same however often this runs.
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

/// Why nothing was scheduled, found afterwards.
async fn obstacle(tx: &Tx, order_id: String, country: String) -> Result<Unshippable, Fault> {
    let shipped = tx.query("SELECT 1 FROM shipment WHERE order_id = $1", (&order_id,)).await?;
    Ok(if shipped.is_empty() {
        Unshippable::NoCarrier { country }
    } else {
        Unshippable::AlreadyScheduled(order_id)
    })
}
