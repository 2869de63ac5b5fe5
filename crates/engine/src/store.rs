//! The engine's tables: sagas with their journals, definitions, and the owners of partitions.
//!
//! A saga's state is the fold of its journal. Its row is small, for listings and for updates
//! guarded by the revision.

mod contents;
mod faults;
mod handed;
mod header;
mod horizon;
mod list;
mod load;
mod membership;
mod ownership;
mod postgres;
mod row;
mod schema;
mod sqlite;
mod sweep;
mod unreadable;
mod write;

use std::sync::Arc;
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_database::database::Open;
use sagamore_database::{Database, lifetime};

use crate::announcements::ANNOUNCEMENT_MIGRATIONS;
use crate::error::Error;
use crate::versions::{VersionKind, VersionStore};

pub use contents::DefinitionReader;
pub(crate) use handed::{HandedVerb, RETENTION as HANDED_RETENTION};
pub use header::Header;
pub(crate) use horizon::{SweptRows, named};
pub(crate) use list::{Clauses, LIMIT};
pub use list::{Detail, Filter, LIMIT_MAX, Page};
pub(crate) use load::{LoadResult, LoadResults, LoadedSaga};
pub use membership::Standing;
pub(crate) use membership::{PublishHealth, RenewalRequest, Survey};
pub(crate) use ownership::{Epochs, Seat};
pub(crate) use row::{Write, WriteOutcome};
pub(crate) use schema::{LASTING, PROGRAM as PROGRAM_VERSION, lasting_ms, versions};
pub(crate) use sweep::SweepTarget;
pub(crate) use unreadable::Mark;
pub(crate) use write::Idempotent;

/// The engine's database. Clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) database: Database,
    reply_topic: Arc<str>,
}

impl Store {
    /// Migrates the schema.
    pub async fn open(database: Database, reply_topic: &str) -> Result<Store, Error> {
        database.migrate("engine", schema::MIGRATIONS, schema::PROGRAM).await?;
        database.migrate("lifetime", lifetime::MIGRATIONS, schema::PROGRAM).await?;
        database.migrate("announcement", ANNOUNCEMENT_MIGRATIONS, schema::PROGRAM).await?;
        Ok(Store { database, reply_topic: reply_topic.into() })
    }

    /// Returns the same store with connections of its own.
    pub fn apart(&self) -> Store {
        Store { database: self.database.apart(), ..self.clone() }
    }

    /// Returns the stored versions of definitions.
    pub fn versions(&self) -> VersionStore {
        VersionStore::of(self.database.clone(), VersionKind::Definition)
    }

    pub async fn begin(&self) -> Result<Open, Error> {
        Ok(self.database.begin().await?)
    }
}

/// Converts a duration into milliseconds.
pub(crate) fn millis(length: Duration) -> i64 {
    Timestamp::default().plus(length).0
}

fn bad(what: impl ToString, why: impl ToString) -> Error {
    Error::BadData { what: what.to_string(), why: why.to_string() }
}
