//! Reads orders, for the HTTP API.

use std::fmt;

use sagamore::database::{Row, Text};
use sagamore::sdk::{Body, Database};
use serde::Serialize;

use crate::rows::Error;

/// The status of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its saga or chain is under way.
    Pending,
    /// Paid, reserved and shipped.
    Confirmed,
    /// Undone, or cancelled from outside.
    Cancelled,
}

/// An order as stored.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredOrder {
    /// The order's id.
    pub order_id: String,
    /// The customer who placed it.
    pub customer_id: String,
    /// The status.
    pub status: Status,
    /// The sum of the lines, in cents.
    pub total_cents: i64,
    /// A list of [`Line`](crate::Line).
    pub lines: Body,
    /// The tracking id of the shipment of a confirmed order.
    pub tracking: Option<String>,
    /// The saga or chain that alone may settle the order: `checkout:10248`.
    pub locked_by: Option<String>,
}

/// Returns the order with this id.
pub async fn order(database: &Database, order_id: &str) -> Result<Option<StoredOrder>, Error> {
    const SQL: &str =
        "SELECT order_id, customer_id, status, total_cents, lines, tracking, locked_by
        FROM orders WHERE order_id = $1";
    let Ok(order_id) = Text::new(order_id) else { return Ok(None) };
    database.query(SQL, (order_id,)).await?.first().map(StoredOrder::read).transpose()
}

/// Returns at most `limit` orders with an id above `after`, by id. An empty `after` starts at the
/// first.
pub async fn orders(
    database: &Database,
    after: &str,
    limit: u32,
) -> Result<Vec<StoredOrder>, Error> {
    const SQL: &str =
        "SELECT order_id, customer_id, status, total_cents, lines, tracking, locked_by
        FROM orders WHERE order_id > $1 ORDER BY order_id LIMIT $2";
    database
        .query(SQL, (Text::beginning(after), limit))
        .await?
        .iter()
        .map(StoredOrder::read)
        .collect()
}

impl StoredOrder {
    fn read(row: &Row) -> Result<StoredOrder, Error> {
        let order_id: String = row.get(0)?;
        let stored = |reason: String| Error::Stored { row: format!("order {order_id}"), reason };
        let status: String = row.get(2)?;
        let lines: String = row.get(4)?;
        Ok(StoredOrder {
            customer_id: row.get(1)?,
            status: Status::read(&status)
                .ok_or_else(|| stored(format!("'{status}' is not a status")))?,
            total_cents: row.get(3)?,
            lines: Body::parse(&lines).map_err(|error| stored(error.to_string()))?,
            tracking: row.get(5)?,
            locked_by: row.get(6)?,
            order_id,
        })
    }
}

impl Status {
    /// Returns the stored spelling: `pending`, `confirmed` or `cancelled`.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Confirmed => "confirmed",
            Status::Cancelled => "cancelled",
        }
    }

    pub(super) fn read(text: &str) -> Option<Status> {
        [Status::Pending, Status::Confirmed, Status::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
