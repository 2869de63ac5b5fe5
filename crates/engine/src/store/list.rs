//! The read side: pages of sagas, and one saga with its journal.

use sagamore_core::Timestamp;
use sagamore_core::id::{Name, SagaId};
use sagamore_core::saga::{Entry, Saga, Status};
use sagamore_database::{Text, Value};

use super::write::failed_at;
use super::{HEADER, Header, Source, Store, Unreadable, read_entries};
use crate::error::Error;
use crate::registry::Registry;

/// The most sagas on a page.
pub const LIMIT_MAX: u32 = 1_000;
/// How many there are unless somebody says.
pub(crate) const LIMIT: u32 = 50;

/// Which sagas are wanted; or chains, whose status is another sort.
#[derive(Clone, Debug)]
pub struct Filter<S = Status> {
    /// Only those that stand so.
    pub status: Option<S>,
    /// Only those of this definition.
    pub definition: Option<Name>,
    /// Only the one with this business key, of whatever definition.
    pub key: Option<Text>,
    /// Only those with a smaller number: the `next` of the page before.
    pub before: Option<i64>,
    /// Only those with a greater id, byte by byte, and in the order of ids instead of the newest first.
    pub after: Option<Text>,
    /// Only those that are set aside because they cannot be read.
    pub unreadable: bool,
    /// Only those that show an open fault at this moment.
    pub open_faults_at: Option<Timestamp>,
    /// How many at most, up to [`LIMIT_MAX`]; 50 when absent.
    pub limit: Option<u32>,
}

impl<S> Default for Filter<S> {
    fn default() -> Filter<S> {
        let (status, definition, key, before, after, open_faults_at, limit) = Default::default();
        Filter { status, definition, key, before, after, unreadable: false, open_faults_at, limit }
    }
}

impl<S> Filter<S> {
    /// In which order they come.
    pub(crate) fn order(&self) -> &'static str {
        if self.after.is_some() { "id" } else { "seq DESC" }
    }

    /// Whether only the names of all definitions tell which ids are meant.
    pub(crate) fn needs_names(&self) -> bool {
        self.definition.is_none() && self.key.is_some()
    }
}

/// Some sagas, the newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// At most as many as wanted, together with those that are set aside.
    pub sagas: Vec<Header>,
    /// Those among them that are set aside, in the same order.
    pub unreadable: Vec<Unreadable>,
    /// Where the next page begins; none when there is none.
    pub next: Option<i64>,
}

/// One saga with all that is known of it.
#[derive(Clone, Debug)]
pub struct Detail {
    /// Its row.
    pub header: Header,
    /// Its state.
    pub saga: Saga,
    /// Its journal, the oldest first; empty when it is gone after the retention.
    pub entries: Vec<Entry>,
}

/// A saga that shows a fault at a moment: one of a step, or its own.
const OPEN_FAULT: &str = "ended_at IS NULL AND (fault_shown_from <= ? OR id IN
    (SELECT b.saga FROM blocked b WHERE b.shown_from <= ?))";

impl Store {
    /// Counts the sagas that show an open fault.
    pub async fn count_open_faults(&self, now: Timestamp) -> Result<i64, Error> {
        let sql = format!("SELECT count(*) FROM saga WHERE {}", OPEN_FAULT.replace('?', "$1"));
        let rows = self.database.query(&sql, (now.0,)).await?;
        Ok(rows.first().map_or(Ok(0), |row| row.get(0))?)
    }

    /// A page of sagas, the newest first.
    pub async fn list(&self, filter: &Filter) -> Result<Page, Error> {
        let limit = filter.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
        let names = if filter.needs_names() { self.definition_names().await? } else { Vec::new() };
        let mut clauses = Clauses::of(filter, &names);
        if let Some(status) = filter.status {
            clauses.add("status = ?", Value::from(status.as_str()));
            // said in words, so that the index of the ended or of the unfinished sagas serves
            clauses.add_fixed(if status.has_ended() {
                "ended_at IS NOT NULL"
            } else {
                "ended_at IS NULL"
            });
        }
        if let Some(now) = filter.open_faults_at {
            clauses.add(OPEN_FAULT, Value::Int(now.0));
        }
        if filter.unreadable {
            clauses.add_fixed("unreadable IS NOT NULL");
        }
        let condition = clauses.condition();
        let sql = format!(
            "SELECT {HEADER} FROM saga WHERE {condition} ORDER BY {} LIMIT {}",
            filter.order(),
            limit + 1
        );
        let mut rows = self.database.query(&sql, clauses.values).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|last| last.get(0)).transpose()?;
        let (mut sagas, mut unreadable) = (Vec::new(), Vec::new());
        for row in &rows {
            match Header::read(row) {
                Ok(header) => match header.unreadable.clone() {
                    Some(why) => unreadable.push(Unreadable::of_mark(&header, why)),
                    None => sagas.push(header),
                },
                Err(row) => unreadable.push(*row),
            }
        }
        Ok(Page { sagas, unreadable, next })
    }

    /// One saga with its journal. Fails with [`Error::Unreadable`] for one that this program cannot read.
    pub async fn show(&self, registry: &Registry, id: &SagaId) -> Result<Option<Detail>, Error> {
        let sql = format!("SELECT {HEADER} FROM saga WHERE id = $1");
        let rows = self.database.query(&sql, (id.as_str(),)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let header = Header::read(row).map_err(Error::Unreadable)?;
        match self.detail(registry, &header).await {
            Err(error) if error.is_of_one_row() => {
                Err(Error::Unreadable(Box::new(Unreadable::of_journal(&header, &error))))
            }
            detail => detail.map(Some),
        }
    }

    async fn detail(&self, registry: &Registry, header: &Header) -> Result<Detail, Error> {
        let definition = self.definition(Source::Committed, registry, &header.hash).await?;
        let journal = self
            .database
            .query("SELECT entry FROM journal WHERE seq = $1 ORDER BY revision", (header.seq,))
            .await?;
        let entries = read_entries(&header.id, &journal)?;
        let mut saga = self.saga(header, definition, entries.clone())?;
        saga.unstored = header.unstored.clone().filter(|_| !saga.status.has_ended()).map(Box::new);
        let mut header = header.clone();
        // The two reads are no snapshot: the journal may be ahead of the row, never behind it.
        if !entries.is_empty() {
            header.status = saga.status;
            header.revision = saga.revision;
            header.changed_at = saga.changed_at;
            header.ended_at = saga.status.has_ended().then_some(saga.changed_at);
            header.failed_at = failed_at(&saga).cloned();
            header.fault_shown_from = saga.fault_shown_from().filter(|_| !saga.status.has_ended());
        }
        Ok(Detail { header, saga, entries })
    }
}

/// What a filter asks of a row, but for its status.
pub(crate) struct Clauses {
    wheres: Vec<String>,
    pub values: Vec<Value>,
}

impl Clauses {
    /// `names`: of all definitions or plans, where the filter needs them.
    pub fn of<S>(filter: &Filter<S>, names: &[Name]) -> Clauses {
        let mut clauses = Clauses { wheres: Vec::new(), values: Vec::new() };
        if let Some(before) = filter.before {
            clauses.add("seq < ?", Value::Int(before));
        }
        if let Some(after) = &filter.after {
            clauses.add("id > ?", Value::from(after.as_str()));
        }
        match (&filter.definition, &filter.key) {
            (Some(definition), Some(key)) => {
                clauses.add("id = ?", Value::Text(format!("{definition}:{key}")))
            }
            // ';' is the character after ':', so this is every id of the definition, by the index of ids
            (Some(definition), None) => {
                clauses.add("id > ?", Value::Text(format!("{definition}:")));
                clauses.add("id < ?", Value::Text(format!("{definition};")));
            }
            (None, Some(_)) if names.is_empty() => clauses.add_fixed("1 = 0"),
            // each id in full, by the index of ids
            (None, Some(key)) => {
                clauses.add_any(names.iter().map(|name| Value::Text(format!("{name}:{key}"))))
            }
            (None, None) => {}
        }
        clauses
    }

    pub fn add(&mut self, clause: &str, value: Value) {
        self.values.push(value);
        self.wheres.push(clause.replace('?', &format!("${}", self.values.len())));
    }

    pub fn add_fixed(&mut self, clause: &str) {
        self.wheres.push(clause.to_owned());
    }

    fn add_any(&mut self, ids: impl Iterator<Item = Value>) {
        let first = self.values.len() + 1;
        self.values.extend(ids);
        let places: Vec<String> =
            (first..=self.values.len()).map(|place| format!("${place}")).collect();
        self.wheres.push(format!("id IN ({})", places.join(", ")));
    }

    pub fn condition(&self) -> String {
        if self.wheres.is_empty() { "1 = 1".into() } else { self.wheres.join(" AND ") }
    }
}
