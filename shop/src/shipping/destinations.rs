//! The destinations of carriers: loaded once, read by the HTTP API.

use sagamore::database::{Row, Text};
use sagamore::sdk::Database;
use serde::{Deserialize, Serialize};

use crate::form;
use crate::rows::{Error, insert};

/// A country, and whether a carrier delivers there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Destination {
    /// The country, spelled as in addresses.
    pub country: String,
    /// Whether a carrier delivers there.
    pub served: bool,
}

impl Destination {
    /// Checks the destination. The error names the field.
    pub fn check(&self) -> Result<(), String> {
        form::identifier("country", &self.country)
    }

    fn read(row: &Row) -> Result<Destination, Error> {
        Ok(Destination { country: row.get(0)?, served: row.get(1)? })
    }
}

/// Adds new destinations, keeps existing ones unchanged, and returns the number of new ones.
pub async fn load(database: &Database, destinations: &[Destination]) -> Result<u64, Error> {
    const SQL: &str = "INSERT INTO destination (country, served) VALUES ($1, $2) ON CONFLICT \
        (country) DO NOTHING";
    let row =
        |destination: &Destination| vec![(&destination.country).into(), destination.served.into()];
    insert(database, SQL, destinations.iter().map(row).collect()).await
}

/// Returns at most `limit` destinations with a country above `after`, by country. An empty `after`
/// starts at the first.
pub async fn destinations(
    database: &Database,
    after: &str,
    limit: u32,
) -> Result<Vec<Destination>, Error> {
    const SQL: &str =
        "SELECT country, served FROM destination WHERE country > $1 ORDER BY country LIMIT $2";
    database
        .query(SQL, (Text::beginning(after), limit))
        .await?
        .iter()
        .map(Destination::read)
        .collect()
}
