//! Where carriers go: loaded once, read by people.

use sagamore::database::{Row, Text};
use sagamore::sdk::Database;
use serde::{Deserialize, Serialize};

use crate::databases::{Error, insert};
use crate::form;

/// A country, and whether a carrier goes there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Destination {
    /// As it stands in addresses.
    pub country: String,
    /// Whether a carrier goes there.
    pub served: bool,
}

impl Destination {
    /// Whether it can be loaded like this; else what is wrong with it, in words.
    pub fn check(&self) -> Result<(), String> {
        form::identifier("country", &self.country)
    }

    fn read(row: &Row) -> Result<Destination, Error> {
        Ok(Destination { country: row.get(0)?, served: row.get(1)? })
    }
}

/// Loads the destinations that are not there yet, and leaves alone those that are; gives how many are new.
pub async fn load(database: &Database, destinations: &[Destination]) -> Result<u64, Error> {
    const SQL: &str = "INSERT INTO destination (country, served) VALUES ($1, $2) ON CONFLICT (country) DO NOTHING";
    let row =
        |destination: &Destination| vec![(&destination.country).into(), destination.served.into()];
    insert(database, SQL, destinations.iter().map(row).collect()).await
}

/// At most `limit` destinations, by country, behind the country `after` (empty for the first ones).
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
