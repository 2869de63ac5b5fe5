//! Reads of a version's contents, by name and version.

use sagamore_core::definition::Definition;
use sagamore_core::id::Name;
use sagamore_database::Database;

use super::{Store, bad};
use crate::error::Error;

const CONTENTS: &str = "SELECT hash, body FROM definition
    WHERE name = $1 AND version = $2 AND body <> ''
    UNION ALL SELECT hash, body FROM former_definition WHERE name = $1 AND version = $2";

/// Reads definitions from an engine's database, in any process. Clones share the connections.
#[derive(Clone)]
pub struct DefinitionReader {
    database: Database,
}

impl Store {
    /// Returns a reader of this store's definitions.
    pub(crate) fn definition_reader(&self) -> DefinitionReader {
        DefinitionReader::of(self.database.clone())
    }
}

impl DefinitionReader {
    /// Creates a reader of the engine's database, which some orchestrator has migrated.
    pub fn of(database: Database) -> DefinitionReader {
        DefinitionReader { database }
    }

    /// Returns the stored contents of a version. There are several if it was replaced in place, and
    /// none for an unknown version or for a retired one whose contents were removed.
    ///
    /// # Errors
    /// The database failed, or has no tables yet.
    pub async fn contents(&self, name: &Name, version: u32) -> Result<Vec<Definition>, Error> {
        let rows = self.database.query(CONTENTS, (name.as_str(), version)).await?;
        let definitions = rows.iter().map(|row| {
            let (hash, body): (String, String) = (row.get(0)?, row.get(1)?);
            serde_json::from_str(&body).map_err(|why| bad(hash, why))
        });
        definitions.collect()
    }
}
