//! Reads shipments, for the HTTP API.

use sagamore::database::{Row, Text};
use sagamore::sdk::Database;
use serde::Serialize;

use crate::rows::Error;

/// A shipment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shipment {
    /// The shipped order.
    pub order_id: String,
    /// The tracking id.
    pub tracking: String,
}

impl Shipment {
    fn read(row: &Row) -> Result<Shipment, Error> {
        Ok(Shipment { order_id: row.get(0)?, tracking: row.get(1)? })
    }
}

/// Returns the shipment of this order.
pub async fn shipment(database: &Database, order_id: &str) -> Result<Option<Shipment>, Error> {
    const SQL: &str = "SELECT order_id, tracking FROM shipment WHERE order_id = $1";
    let Ok(order_id) = Text::new(order_id) else { return Ok(None) };
    database.query(SQL, (order_id,)).await?.first().map(Shipment::read).transpose()
}

/// Returns at most `limit` shipments with an order above `after`, by order. An empty `after` starts
/// at the first.
pub async fn shipments(
    database: &Database,
    after: &str,
    limit: u32,
) -> Result<Vec<Shipment>, Error> {
    const SQL: &str =
        "SELECT order_id, tracking FROM shipment WHERE order_id > $1 ORDER BY order_id LIMIT $2";
    database.query(SQL, (Text::beginning(after), limit)).await?.iter().map(Shipment::read).collect()
}
