//! Reads sagas: their rows, and the fold of their journals.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sagamore_core::Body;
use sagamore_core::definition::Definition;
use sagamore_core::id::SagaId;
use sagamore_core::journal::Entry;
use sagamore_core::message::ReplyTo;
use sagamore_core::saga::Saga;
use sagamore_database::{Row, Statement, Tx, given_row};

use super::header::{HEADER, Header};
use super::{Store, bad};
use crate::error::Error;
use crate::registry::Registry;
use crate::unreadable::Unreadable;

given_row! {
    /// A saga by its id.
    pub(super) struct SagaKey<'a> {
        saga: &'a str,
    }
}

given_row! {
    /// A saga by the number of its row, with its position in the batch.
    struct SagaPlace {
        place: i64,
        saga_seq: i64,
    }
}

given_row! {
    /// A saga by the number of its row.
    struct SagaSeq {
        saga_seq: i64,
    }
}

impl SagaKey<'_> {
    pub fn of(saga: &SagaId) -> SagaKey<'_> {
        SagaKey { saga: saga.as_str() }
    }
}

static ROWS: Statement<SagaKey<'_>> =
    Statement::built(|| format!("SELECT {HEADER} FROM given, saga WHERE saga.id = given.saga"));

/// Selects the sizes of journals in bytes, which both databases return without reading the entries.
static BYTES: Statement<SagaKey<'_>> = Statement::new(
    "SELECT saga.id, (
        SELECT coalesce(sum(octet_length(j.entry)), 0) FROM journal j WHERE j.seq = saga.seq
     ) AS bytes
     FROM given, saga WHERE saga.id = given.saga",
);

/// Like [`BYTES`], in the order of the positions.
static BYTES_IN_ORDER: Statement<SagaPlace> = Statement::new(
    "SELECT (
        SELECT coalesce(sum(octet_length(j.entry)), 0) FROM journal j WHERE j.seq = given.saga_seq
     ) AS bytes
     FROM given ORDER BY given.place",
);

static JOURNALS: Statement<SagaSeq> = Statement::new(
    "SELECT journal.seq, journal.entry FROM given, journal WHERE journal.seq = given.saga_seq
     ORDER BY journal.seq, journal.revision",
);

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

impl Store {
    /// Reads sagas by id, in two round trips. Missing sagas are left out, and unreadable ones are
    /// returned with the reason.
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
        let rows = open.tx().query_rows(&BYTES, ids.iter().map(|id| SagaKey::of(id))).await?;
        open.rollback().await?;
        rows.iter().map(|row| Ok((row.get("id")?, bytes(row.get("bytes")?)))).collect()
    }

    /// Truncates the rows to the first ones whose journals fit into `bytes_max`, but to at least
    /// one.
    pub async fn within(
        &self,
        tx: &Tx,
        mut rows: Vec<Row>,
        bytes_max: usize,
    ) -> Result<Vec<Row>, Error> {
        let place = |(place, row): (i64, &Row)| Ok(SagaPlace { place, saga_seq: row.get("seq")? });
        let places = (0..).zip(&rows).map(place).collect::<Result<Vec<_>, Error>>()?;
        let (mut total, mut count) = (0_usize, 0);
        for of_row in tx.query_rows(&BYTES_IN_ORDER, places).await? {
            total = total.saturating_add(bytes(of_row.get("bytes")?));
            if total > bytes_max && count > 0 {
                break;
            }
            count += 1;
        }
        rows.truncate(count);
        Ok(rows)
    }

    async fn rows(&self, tx: &Tx, ids: &[&SagaId]) -> Result<Vec<Row>, Error> {
        Ok(tx.query_rows(&ROWS, ids.iter().map(|id| SagaKey::of(id))).await?)
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
        let seqs = headers.iter().flatten().map(|header| SagaSeq { saga_seq: header.seq });
        let mut journals: HashMap<i64, Vec<Row>> = HashMap::with_capacity(headers.len());
        for row in tx.query_rows(&JOURNALS, seqs).await? {
            journals.entry(row.get("seq")?).or_default().push(row);
        }
        let mut read = Vec::with_capacity(headers.len());
        for header in headers {
            read.push(match header {
                Ok(header) => {
                    let journal = journals.remove(&header.seq).unwrap_or_default();
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
            Err(error) if error.is_of_one_row() => Ok(Err(Box::new(header.set_aside(&error)))),
            Err(error) => Err(error),
        }
    }

    /// Returns the definition with this hash, from memory or from the committed rows.
    pub async fn read_definition(
        &self,
        registry: &Registry,
        hash: &str,
    ) -> Result<Arc<Definition>, Error> {
        self.definition(Source::Committed, registry, hash).await
    }

    /// Returns the definition with this hash: a registered one, or one that another program version
    /// stored.
    pub(super) async fn definition(
        &self,
        from: Source<'_>,
        registry: &Registry,
        hash: &str,
    ) -> Result<Arc<Definition>, Error> {
        if let Some(definition) = registry.by_hash(hash) {
            return Ok(definition);
        }
        let body = match from {
            Source::Tx(tx) => self.versions().body_within(tx, hash).await?,
            Source::Committed => self.versions().body(hash).await?,
        };
        let body = body.ok_or_else(|| bad(hash, "no definition of this hash is stored"))?;
        let definition: Definition = serde_json::from_str(&body).map_err(|why| bad(hash, why))?;
        let attached = sagamore_schema::attach(definition.clone()).unwrap_or_else(|errors| {
            // another program's compiler accepted them, and its sagas must not stop
            tracing::warn!(hash, ?errors, "cannot compile schemas: data is not checked");
            definition
        });
        Ok(registry.add(attached))
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
    pub(super) fn saga(
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

/// The reader that fetches a definition.
pub(super) enum Source<'a> {
    Tx(&'a Tx),
    Committed,
}

fn bytes(count: i64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

pub(super) fn read_entries(id: &SagaId, journal: &[Row]) -> Result<Vec<Entry>, Error> {
    journal
        .iter()
        .map(|row| serde_json::from_str(&row.get::<String>("entry")?).map_err(|why| bad(id, why)))
        .collect()
}
