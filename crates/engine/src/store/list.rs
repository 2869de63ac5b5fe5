//! Read access: pages of sagas, and one saga with its journal.

use sagamore_core::Timestamp;
use sagamore_core::fault::SHOWN_AFTER;
use sagamore_core::id::{Name, SagaId};
use sagamore_core::journal::Entry;
use sagamore_core::saga::{Saga, Status};
use sagamore_database::{Text, Value};

use super::header::{HEADER, Header};
use super::load::{Source, read_entries};
use super::row::failed_at;
use super::{Store, millis};
use crate::error::Error;
use crate::registry::Registry;
use crate::unreadable::Unreadable;

/// Maximum sagas of a page.
pub const LIMIT_MAX: u32 = 1_000;
/// The default size of a page.
pub(crate) const LIMIT: u32 = 50;

/// The selection of sagas, or with another status type, of chains.
#[derive(Clone, Debug)]
pub struct Filter<S = Status> {
    /// Only sagas with this status.
    pub status: Option<S>,
    /// Only sagas of this definition.
    pub definition: Option<Name>,
    /// Only the sagas with this business key, one per definition at most.
    pub key: Option<Text>,
    /// Only sagas with a smaller row number: the `next` of the previous page.
    pub before: Option<i64>,
    /// Only sagas with a greater id, bytewise, in the order of ids instead of newest first.
    pub after: Option<Text>,
    /// Only sagas that are set aside as unreadable.
    pub unreadable: bool,
    /// Only sagas that show an open fault at this moment.
    pub open_faults_at: Option<Timestamp>,
    /// Maximum results, up to [`LIMIT_MAX`]; 50 by default.
    pub limit: Option<u32>,
}

impl<S> Default for Filter<S> {
    fn default() -> Filter<S> {
        let (status, definition, key, before, after, open_faults_at, limit) = Default::default();
        Filter { status, definition, key, before, after, unreadable: false, open_faults_at, limit }
    }
}

impl<S> Filter<S> {
    /// Returns the expression to sort by.
    pub(crate) fn order(&self) -> &'static str {
        if self.after.is_some() { "id" } else { "seq DESC" }
    }

    /// Whether the definitions' names are needed to derive the ids.
    pub(crate) fn needs_names(&self) -> bool {
        self.definition.is_none() && self.key.is_some()
    }
}

/// A page of sagas, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The readable sagas. Together with `unreadable` they are at most the limit.
    pub sagas: Vec<Header>,
    /// The sagas of this page that are set aside, in the same order.
    pub unreadable: Vec<Unreadable>,
    /// The start of the next page, if there is one.
    pub next: Option<i64>,
}

/// A saga with its journal.
#[derive(Clone, Debug)]
pub struct Detail {
    /// The saga's row.
    pub header: Header,
    /// The saga's state.
    pub saga: Saga,
    /// The journal, oldest entry first. Empty if the journal has been removed after its retention.
    pub entries: Vec<Entry>,
}

/// Selects sagas that show a fault at a moment: a step's, or the saga's own. Like
/// [`is_shown_from`](sagamore_core::fault::is_shown_from), it ignores times too far ahead.
fn open_fault() -> String {
    let ahead = millis(SHOWN_AFTER);
    let is_shown = |from: &str| format!("({from} <= ? OR {from} > ? + {ahead})");
    format!(
        "ended_at IS NULL AND ({} OR id IN (SELECT b.saga FROM blocked b WHERE {}))",
        is_shown("fault_shown_from"),
        is_shown("b.shown_from")
    )
}

impl Store {
    /// Counts the sagas that show an open fault.
    pub async fn count_open_faults(&self, now: Timestamp) -> Result<i64, Error> {
        let sql = format!("SELECT count(*) FROM saga WHERE {}", open_fault().replace('?', "$1"));
        let rows = self.database.query(&sql, (now.0,)).await?;
        Ok(rows.first().map_or(Ok(0), |row| row.get(0))?)
    }

    /// Reads a page of sagas, newest first.
    pub async fn list(&self, filter: &Filter) -> Result<Page, Error> {
        let limit = filter.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
        let names = if filter.needs_names() { self.definition_names().await? } else { Vec::new() };
        let mut clauses = Clauses::of(filter, &names);
        if let Some(status) = filter.status {
            clauses.add("status = ?", Value::from(status.as_str()));
            // stated explicitly, so that the partial index of ended or of unfinished sagas applies
            clauses.add_fixed(if status.has_ended() {
                "ended_at IS NOT NULL"
            } else {
                "ended_at IS NULL"
            });
        }
        if let Some(now) = filter.open_faults_at {
            clauses.add(&open_fault(), Value::Int(now.0));
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
        let next = rows.last().filter(|_| more).map(|last| last.get("seq")).transpose()?;
        let (mut sagas, mut unreadable) = (Vec::new(), Vec::new());
        for row in &rows {
            match Header::read(row) {
                Ok(header) => match header.unreadable.clone() {
                    Some(why) => unreadable.push(header.marked(why)),
                    None => sagas.push(header),
                },
                Err(row) => unreadable.push(*row),
            }
        }
        Ok(Page { sagas, unreadable, next })
    }

    /// Reads a saga with its journal.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if this program cannot read the saga.
    pub async fn show(&self, registry: &Registry, id: &SagaId) -> Result<Option<Detail>, Error> {
        let sql = format!("SELECT {HEADER} FROM saga WHERE id = $1");
        let rows = self.database.query(&sql, (id.as_str(),)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let header = Header::read(row).map_err(Error::Unreadable)?;
        match self.detail(registry, &header).await {
            Err(error) if error.is_of_one_row() => {
                Err(Error::Unreadable(Box::new(header.set_aside(&error))))
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

/// The SQL conditions of a filter, except its status.
pub(crate) struct Clauses {
    wheres: Vec<String>,
    pub values: Vec<Value>,
}

impl Clauses {
    /// Translates a filter. `names` are those of all definitions or plans, if the filter needs
    /// them.
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
            // `;` follows `:` in byte order, so this is the index range of the definition's ids
            (Some(definition), None) => {
                clauses.add("id > ?", Value::Text(format!("{definition}:")));
                clauses.add("id < ?", Value::Text(format!("{definition};")));
            }
            (None, Some(_)) if names.is_empty() => clauses.add_fixed("1 = 0"),
            // full ids, so that the index of ids applies
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
