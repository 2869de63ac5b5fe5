//! The engine's tables: sagas with their journals, definitions, and the owners of partitions.
//!
//! A saga's state is the fold of its journal. Its row is small, for listings and for updates
//! guarded by the revision.

mod faults;
mod handed;
mod horizon;
mod list;
mod membership;
mod ownership;
mod postgres;
mod schema;
mod sqlite;
mod sweep;
mod unreadable;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::definition::Definition;
use sagamore_core::id::{Name, SagaId};
use sagamore_core::message::ReplyTo;
use sagamore_core::saga::{Entry, Saga, Status, StorageFault};
use sagamore_core::{Body, Timestamp};
use sagamore_database::database::Open;
use sagamore_database::port::Dialect;
use sagamore_database::{Database, Row, Tx, Value, lifetime};

use crate::error::Error;
use crate::registry::Registry;

pub(crate) use handed::{HandedVerb, RETENTION as HANDED_RETENTION};
pub(crate) use horizon::named;
pub(crate) use list::{Clauses, LIMIT};
pub use list::{Detail, Filter, LIMIT_MAX, Page};
pub use membership::Standing;
pub(crate) use membership::{RenewalRequest, Survey};
pub(crate) use ownership::{Epochs, Seat};
pub(crate) use schema::{LASTING, PROGRAM as PROGRAM_VERSION};
pub(crate) use sweep::SweepTarget;
pub(crate) use unreadable::Mark;
pub use unreadable::Unreadable;
pub(crate) use write::{Idempotent, Write, WriteOutcome};

/// The engine's database. Clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) database: Database,
    reply_topic: Arc<str>,
}

/// A saga's row, as listed.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Ascending in the order in which sagas were stored.
    pub seq: i64,
    /// The saga's id.
    pub id: SagaId,
    /// The definition's version.
    pub version: u32,
    /// The definition's hash.
    pub hash: String,
    /// The reply partition.
    pub partition: u32,
    /// The saga's status.
    pub status: Status,
    /// The number of journal entries.
    pub revision: u64,
    /// The time of the first entry.
    pub started_at: Timestamp,
    /// The time of the last entry.
    pub changed_at: Timestamp,
    /// The time of the end.
    pub ended_at: Option<Timestamp>,
    /// The step whose refusal or silence turned the saga back.
    pub failed_at: Option<Name>,
    /// The error that keeps the saga's owner from reading it.
    pub unreadable: Option<String>,
    /// The earliest time from which a step's fault is shown to operators. `None` after the end.
    pub fault_shown_from: Option<Timestamp>,
    /// The reason why nothing that arrives for the saga can be stored.
    pub unstored: Option<StorageFault>,
}

/// A saga with the number of its row.
pub(crate) struct LoadedSaga {
    pub seq: i64,
    pub saga: Saga,
    /// Whether the row is marked as unreadable.
    pub is_marked: bool,
}

/// A saga, or the readable part of its row.
pub(crate) type LoadResult = Result<LoadedSaga, Box<Unreadable>>;

/// The sagas that exist, by id.
pub(crate) type LoadResults = BTreeMap<SagaId, LoadResult>;

/// The columns of [`Header`], in order.
const HEADER: &str = "seq, id, version, hash, reply_partition, status, revision, started_at, \
     changed_at, ended_at, failed_at, unreadable, fault_shown_from, \
     (SELECT b.fault FROM blocked b WHERE b.saga = saga.id)";

/// The bytes of a saga's journal, which both databases know without reading the entries.
const BYTES: &str =
    "(SELECT coalesce(sum(octet_length(j.entry)), 0) FROM journal j WHERE j.seq = saga.seq)";

impl Store {
    /// Migrates the schema.
    pub async fn open(database: Database, reply_topic: &str) -> Result<Store, Error> {
        database.migrate("engine", schema::MIGRATIONS, schema::PROGRAM).await?;
        database.migrate("lifetime", lifetime::MIGRATIONS, schema::PROGRAM).await?;
        Ok(Store { database, reply_topic: reply_topic.into() })
    }

    pub async fn begin(&self) -> Result<Open, Error> {
        Ok(self.database.begin().await?)
    }

    /// Stores the definitions. Fails for a version that is stored with other contents.
    pub async fn register(&self, definitions: &[Definition]) -> Result<(), Error> {
        for definition in definitions {
            // a parsed definition may predate the latest rules
            Definition::check(definition.clone().into())?;
        }
        let open = self.begin().await?;
        for definition in definitions {
            let body = Body::of(definition).map_err(|why| bad(&definition.name, why))?;
            open.tx()
                .execute(
                    "INSERT INTO definition (name, version, hash, body) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (name, version) DO NOTHING",
                    (
                        definition.name.as_str(),
                        definition.version,
                        definition.hash(),
                        body.as_str(),
                    ),
                )
                .await?;
            let stored = open
                .tx()
                .query(
                    "SELECT hash FROM definition WHERE name = $1 AND version = $2",
                    (definition.name.as_str(), definition.version),
                )
                .await?;
            let same = stored.first().map(|row| row.get::<String>(0)).transpose()?;
            if same.as_deref() != Some(definition.hash()) {
                let (name, version) = (definition.name.clone(), definition.version);
                return Err(Error::DefinitionChanged { name, version });
            }
        }
        Ok(open.commit().await?)
    }

    /// Reads sagas by id, in two round trips. Missing ones are left out, and unreadable ones come
    /// with the reason.
    pub async fn load(
        &self,
        tx: &Tx,
        registry: &Registry,
        ids: &[&SagaId],
    ) -> Result<LoadResults, Error> {
        let rows = self.rows(tx, ids).await?;
        let mut of_id: HashMap<String, LoadResult> = HashMap::with_capacity(rows.len());
        for reading in self.read_sagas(tx, registry, rows).await? {
            let id = match &reading {
                Ok(loaded) => loaded.saga.id.to_string(),
                Err(unreadable) => unreadable.id.clone(),
            };
            of_id.insert(id, reading);
        }
        Ok(ids.iter().filter_map(|id| Some(((*id).clone(), of_id.remove(id.as_str())?))).collect())
    }

    /// Reads the rows of these sagas without their journals. Unreadable ones are left out.
    pub async fn headers(&self, ids: &[&SagaId]) -> Result<Vec<Header>, Error> {
        let open = self.begin().await?;
        let rows = self.rows(&open.tx(), ids).await?;
        open.rollback().await?;
        // the owner reports unreadable rows
        Ok(rows.iter().filter_map(|row| Header::read(row).ok()).collect())
    }

    /// Returns the journal sizes of these sagas in bytes. Missing sagas are left out.
    pub async fn bytes(&self, ids: &[&SagaId]) -> Result<HashMap<String, usize>, Error> {
        let open = self.begin().await?;
        let rows = match open.tx().dialect() {
            Dialect::Sqlite => {
                let sql = format!("SELECT id, {BYTES} FROM saga WHERE id = $1");
                let sets = ids.iter().map(|id| vec![Value::from(id.as_str())]).collect();
                open.tx().query_each(&sql, sets).await?.into_iter().flatten().collect()
            }
            Dialect::Postgres => postgres::bytes(&open.tx(), ids).await?,
        };
        open.rollback().await?;
        rows.iter().map(|row| Ok((row.get(0)?, bytes(row.get(1)?)))).collect()
    }

    /// Truncates to rows whose journals fit into `bytes_max`, at least one.
    pub async fn within(
        &self,
        tx: &Tx,
        mut rows: Vec<Row>,
        bytes_max: usize,
    ) -> Result<Vec<Row>, Error> {
        let seqs = rows.iter().map(|row| row.get(0)).collect::<Result<Vec<i64>, _>>()?;
        let sql = format!("SELECT {BYTES} FROM saga WHERE seq = $1");
        let of_rows: Vec<Row> = match tx.dialect() {
            Dialect::Sqlite => {
                let sets = seqs.into_iter().map(|seq| vec![Value::Int(seq)]).collect();
                tx.query_each(&sql, sets).await?.into_iter().flatten().collect()
            }
            Dialect::Postgres => postgres::bytes_of_rows(tx, &seqs).await?,
        };
        let (mut total, mut count) = (0_usize, 0);
        for of_row in &of_rows {
            total = total.saturating_add(bytes(of_row.get(0)?));
            if total > bytes_max && count > 0 {
                break;
            }
            count += 1;
        }
        rows.truncate(count);
        Ok(rows)
    }

    async fn rows(&self, tx: &Tx, ids: &[&SagaId]) -> Result<Vec<Row>, Error> {
        match tx.dialect() {
            Dialect::Sqlite => {
                let sql = format!("SELECT {HEADER} FROM saga WHERE id = $1");
                let sets = ids.iter().map(|id| vec![Value::from(id.as_str())]).collect();
                Ok(tx.query_each(&sql, sets).await?.into_iter().flatten().collect())
            }
            Dialect::Postgres => postgres::headers(tx, ids).await,
        }
    }

    /// Returns the largest row number of a partition's unfinished sagas, 0 without any.
    pub async fn last_unfinished(&self, tx: &Tx, partition: u32) -> Result<i64, Error> {
        let sql = "SELECT coalesce(max(seq), 0) FROM saga WHERE ended_at IS NULL
            AND reply_partition = $1";
        Ok(tx.query(sql, (partition,)).await?.first().map_or(Ok(0), |row| row.get(0))?)
    }

    /// Reads the rows of at most `limit` unfinished sagas of a partition with numbers in `(after,
    /// until]`, in order.
    pub async fn unfinished(
        &self,
        tx: &Tx,
        partition: u32,
        (after, until): (i64, i64),
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        let sql = format!(
            "SELECT {HEADER} FROM saga WHERE ended_at IS NULL AND reply_partition = $1 AND seq > $2
                AND seq <= $3
             ORDER BY seq LIMIT $4"
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(tx.query(&sql, (partition, after, until, limit)).await?)
    }

    /// Folds the journals of these rows, in the same order.
    pub async fn read_sagas(
        &self,
        tx: &Tx,
        registry: &Registry,
        rows: Vec<Row>,
    ) -> Result<Vec<LoadResult>, Error> {
        let headers: Vec<Result<Header, Box<Unreadable>>> = rows.iter().map(Header::read).collect();
        let seqs: Vec<i64> = headers.iter().flatten().map(|header| header.seq).collect();
        let journals = match tx.dialect() {
            _ if seqs.is_empty() => Vec::new(),
            Dialect::Sqlite => {
                let sets = seqs.into_iter().map(|seq| vec![Value::Int(seq)]).collect();
                tx.query_each("SELECT entry FROM journal WHERE seq = $1 ORDER BY revision", sets)
                    .await?
            }
            Dialect::Postgres => postgres::journals(tx, &seqs).await?,
        };
        let (mut journals, mut read) = (journals.into_iter(), Vec::with_capacity(headers.len()));
        for header in headers {
            read.push(match header {
                Ok(header) => {
                    let journal = journals.next().unwrap_or_default();
                    self.read_saga(tx, registry, &header, &journal).await?
                }
                Err(unreadable) => Err(unreadable),
            });
        }
        Ok(read)
    }

    async fn read_saga(
        &self,
        tx: &Tx,
        registry: &Registry,
        header: &Header,
        journal: &[Row],
    ) -> Result<LoadResult, Error> {
        let folded = match self.definition(Source::Tx(tx), registry, &header.hash).await {
            Ok(definition) => self.fold(header, definition, journal),
            Err(error) => Err(error),
        };
        match folded {
            Ok(mut saga) => {
                saga.unstored = header.unstored.clone().map(Box::new);
                Ok(Ok(LoadedSaga { seq: header.seq, saga, is_marked: header.unreadable.is_some() }))
            }
            Err(error) if error.is_of_one_row() => {
                Ok(Err(Box::new(Unreadable::of_journal(header, &error))))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the definition with this hash: a registered one, or one that another program version
    /// stored.
    async fn definition(
        &self,
        from: Source<'_>,
        registry: &Registry,
        hash: &str,
    ) -> Result<Arc<Definition>, Error> {
        if let Some(definition) = registry.by_hash(hash) {
            return Ok(definition);
        }
        let sql = "SELECT body FROM definition WHERE hash = $1";
        let rows = match from {
            Source::Tx(tx) => tx.query(sql, (hash,)).await?,
            Source::Committed => self.database.query(sql, (hash,)).await?,
        };
        let row = rows.first().ok_or_else(|| bad(hash, "no definition of this hash is stored"))?;
        let definition =
            serde_json::from_str(&row.get::<String>(0)?).map_err(|why| bad(hash, why))?;
        Ok(registry.add(definition, false))
    }

    fn fold(
        &self,
        header: &Header,
        definition: Arc<Definition>,
        journal: &[Row],
    ) -> Result<Saga, Error> {
        let entries = read_entries(&header.id, journal)?;
        let saga = self.saga(header, definition, entries)?;
        if saga.revision == header.revision && saga.status == header.status {
            Ok(saga)
        } else {
            Err(bad(&header.id, "its row and its journal disagree"))
        }
    }

    /// Folds the entries. A saga whose journal was removed after the retention has only the facts
    /// of its row.
    fn saga(
        &self,
        header: &Header,
        definition: Arc<Definition>,
        entries: Vec<Entry>,
    ) -> Result<Saga, Error> {
        let reply_to = ReplyTo { topic: self.reply_topic.to_string(), partition: header.partition };
        if let (true, Some(ended_at)) = (entries.is_empty(), header.ended_at) {
            let begun = Saga::begin(
                header.id.clone(),
                definition,
                reply_to,
                Body::empty(),
                header.started_at,
            );
            let (status, revision) = (header.status, header.revision);
            return Ok(Saga { status, revision, changed_at: ended_at, ..begun });
        }
        Saga::fold(header.id.clone(), definition, reply_to, header.started_at, entries)
            .map_err(|why| bad(&header.id, why))
    }
}

fn bytes(count: i64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The reader that fetches a definition.
enum Source<'a> {
    Tx(&'a Tx),
    Committed,
}

impl Header {
    /// Reads the columns of [`HEADER`]. On an error, returns the readable ones.
    fn read(row: &Row) -> Result<Header, Box<Unreadable>> {
        Header::try_read(row).map_err(|why| Box::new(Unreadable::of_row(row, &why)))
    }

    fn try_read(row: &Row) -> Result<Header, Error> {
        let id: String = row.get(1)?;
        let small = |value: i64| u32::try_from(value).map_err(|why| bad(&id, why));
        let failed_at = row.get::<Option<String>>(10)?.map(|name| Name::new(&name)).transpose();
        let ended_at = row.get::<Option<i64>>(9)?.map(Timestamp);
        let unstored = if ended_at.is_some() { None } else { faults::read(row.get(13)?) };
        let shown_from = [
            row.get::<Option<i64>>(12)?.map(Timestamp),
            unstored.as_ref().and_then(StorageFault::shown_from),
        ];
        Ok(Header {
            seq: row.get(0)?,
            version: small(row.get(2)?)?,
            hash: row.get(3)?,
            partition: small(row.get(4)?)?,
            status: read_status(&id, &row.get::<String>(5)?)?,
            revision: u64::try_from(row.get::<i64>(6)?).map_err(|why| bad(&id, why))?,
            started_at: Timestamp(row.get(7)?),
            changed_at: Timestamp(row.get(8)?),
            ended_at,
            failed_at: failed_at.map_err(|why| bad(&id, why))?,
            unreadable: row.get(11)?,
            fault_shown_from: shown_from.into_iter().flatten().min(),
            unstored,
            id: id.parse().map_err(|why| bad(&id, why))?,
        })
    }
}

fn read_status(id: &str, text: &str) -> Result<Status, Error> {
    let all = [
        Status::Running,
        Status::Compensating,
        Status::Completed,
        Status::Compensated,
        Status::Stuck,
    ];
    all.into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| bad(id, format!("'{text}' is not a status")))
}

fn read_entries(id: &SagaId, journal: &[Row]) -> Result<Vec<Entry>, Error> {
    journal
        .iter()
        .map(|row| serde_json::from_str(&row.get::<String>(0)?).map_err(|why| bad(id, why)))
        .collect()
}

/// Converts a duration into milliseconds.
pub(crate) fn millis(length: Duration) -> i64 {
    Timestamp::default().plus(length).0
}

fn bad(what: impl ToString, why: impl ToString) -> Error {
    Error::BadData { what: what.to_string(), why: why.to_string() }
}
