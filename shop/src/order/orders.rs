//! The orders as people see them.

use std::fmt;

use sagamore::database::{Row, Text};
use sagamore::sdk::{Body, Database};
use serde::Serialize;

use crate::databases::Error;

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is being worked on.
    Pending,
    /// It stands.
    Confirmed,
    /// It is off.
    Cancelled,
}

/// An order as it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Placed {
    /// Its id.
    pub order_id: String,
    /// Who ordered.
    pub customer_id: String,
    /// What became of it.
    pub status: Status,
    /// The sum of its lines, in cents.
    pub total_cents: i64,
    /// A list of [`Line`](crate::Line).
    pub lines: Body,
    /// How to follow the shipment, once it is confirmed.
    pub tracking: Option<String>,
    /// Who works on it, and keeps others from settling it: `checkout:10248`.
    pub locked_by: Option<String>,
}

/// The order with this id, if it was ever made.
pub async fn order(database: &Database, order_id: &str) -> Result<Option<Placed>, Error> {
    const SQL: &str =
        "SELECT order_id, customer_id, status, total_cents, lines, tracking, locked_by
        FROM orders WHERE order_id = $1";
    let Ok(order_id) = Text::new(order_id) else { return Ok(None) };
    database.query(SQL, (order_id,)).await?.first().map(Placed::read).transpose()
}

/// At most `limit` orders, by id, behind the id `after` (empty for the first ones).
pub async fn orders(database: &Database, after: &str, limit: u32) -> Result<Vec<Placed>, Error> {
    const SQL: &str =
        "SELECT order_id, customer_id, status, total_cents, lines, tracking, locked_by
        FROM orders WHERE order_id > $1 ORDER BY order_id LIMIT $2";
    database.query(SQL, (Text::beginning(after), limit)).await?.iter().map(Placed::read).collect()
}

impl Placed {
    fn read(row: &Row) -> Result<Placed, Error> {
        let order_id: String = row.get(0)?;
        let stored = |reason: String| Error::Stored { row: format!("order {order_id}"), reason };
        let status: String = row.get(2)?;
        let lines: String = row.get(4)?;
        Ok(Placed {
            customer_id: row.get(1)?,
            status: Status::read(&status)
                .ok_or_else(|| stored(format!("'{status}' is no status")))?,
            total_cents: row.get(3)?,
            lines: Body::parse(&lines).map_err(|error| stored(error.to_string()))?,
            tracking: row.get(5)?,
            locked_by: row.get(6)?,
            order_id,
        })
    }
}

impl Status {
    /// `pending`, `confirmed` or `cancelled`, as stored.
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
