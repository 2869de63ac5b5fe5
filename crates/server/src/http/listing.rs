//! The query of a list of sagas, the same for both styles.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use sagamore_core::saga::Status;
use sagamore_core::{Name, Timestamp};
use sagamore_database::Text;
use sagamore_engine::{ChainStatus, Chains, Filter};
use serde::Deserialize;

use super::body;
use super::ids::unread;
use super::routes::{AFTER, Kind, Parameter};
use crate::problem::{Code, Problem};
use crate::view::{Line, Lines, ListPosition, Style, chain_line};

/// Default sagas of a page.
const LIMIT: u32 = 50;
/// Maximum sagas of a page.
const LIMIT_MAX: u32 = 500;

/// All statuses that a list can select.
const STATUSES: &[&str] = &{
    let (mut names, mut at) = ([""; ChainStatus::ALL.len()], 0);
    while at < names.len() {
        names[at] = ChainStatus::ALL[at].as_str();
        at += 1;
    }
    names
};

/// The query parameters of a list.
pub const QUERY: &[Parameter] = &[
    Parameter { name: "status", kind: Kind::OneOf(STATUSES) },
    Parameter { name: "style", kind: Kind::OneOf(&["orchestration", "choreography"]) },
    Parameter { name: "definition", kind: Kind::Text },
    Parameter { name: "key", kind: Kind::Text },
    Parameter { name: "openFaults", kind: Kind::Flag },
    Parameter { name: "limit", kind: Kind::Count(LIMIT_MAX) },
    Parameter { name: "cursor", kind: Kind::Text },
    AFTER,
];

/// The query, as axum extracts it.
pub type ListRequest = Result<Query<ListQuery>, QueryRejection>;

/// `?status=`, `?style=`, `?definition=`, `?key=`, `?openFaults=`, `?limit=` and `?cursor=`.
/// `?after=` lists by id instead, after this one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ListQuery {
    status: Option<ChainStatus>,
    style: Option<Style>,
    definition: Option<String>,
    key: Option<String>,
    #[serde(default)]
    open_faults: bool,
    limit: Option<u32>,
    cursor: Option<String>,
    after: Option<String>,
}

/// The checked query of a page.
pub struct ListFilter {
    status: Option<ChainStatus>,
    style: Option<Style>,
    definition: Option<Name>,
    key: Option<Text>,
    open_faults: bool,
    limit: u32,
    from: ListPosition,
    after: Option<Text>,
}

impl ListFilter {
    /// Checks a query.
    pub fn of(query: ListRequest) -> Result<ListFilter, Problem> {
        let Query(query) = query.map_err(|_| body::bad_query())?;
        let definition = query.definition.map(|name| Name::new(&name)).transpose();
        if query.cursor.is_some() && query.after.is_some() {
            return Err(Problem::new(Code::BadParameter, "cursor, after: use only one of them"));
        }
        if query.status.is_some() && query.after.is_some() {
            return Err(Problem::new(
                Code::BadParameter,
                "status, after: a list by id includes all statuses",
            ));
        }
        let no_cursor =
            |()| Problem::new(Code::BadParameter, "cursor: not a cursor of this server");
        Ok(ListFilter {
            status: query.status,
            style: query.style,
            definition: definition
                .map_err(|malformed| Problem::new(Code::BadName, malformed.to_string()))?,
            key: text("key", query.key)?,
            open_faults: query.open_faults,
            limit: query.limit.unwrap_or(LIMIT),
            from: query
                .cursor
                .map(|text| text.parse())
                .transpose()
                .map_err(no_cursor)?
                .unwrap_or_default(),
            after: text("after", query.after)?,
        })
    }

    /// Returns the filter for the orchestrator's sagas; `None` if none can match.
    pub fn of_sagas(&self, now: Timestamp) -> Option<Filter> {
        let unreadable = self.status == Some(ChainStatus::Unreadable);
        let status = match self.status.map(status_of_saga) {
            Some(None) if !unreadable => return None,
            status => status.flatten(),
        };
        let open_faults_at = self.open_faults.then_some(now);
        let filter =
            || Filter { unreadable, open_faults_at, ..self.filter(status, self.from.saga) };
        (self.style != Some(Style::Choreography)).then(filter)
    }

    /// Returns the matching chains of the observer, each with its sequence number.
    pub async fn chains(&self, chains: &Chains) -> Result<Vec<(i64, Line)>, Problem> {
        if self.style == Some(Style::Orchestration) || self.open_faults {
            return Ok(Vec::new());
        }
        let page = chains.list(&self.filter(self.status, self.from.chain)).await.map_err(unread)?;
        Ok(page.iter().map(|header| (header.seq, chain_line(header))).collect())
    }

    /// Merges both lists into the page: the newest lines, or the next ones by id.
    pub fn page(&self, sagas: Vec<(i64, Line)>, chains: Vec<(i64, Line)>) -> Lines {
        if self.after.is_some() {
            let lines = sagas.into_iter().chain(chains).map(|(_, line)| line);
            return Lines::by_id(lines.collect(), self.limit as usize);
        }
        Lines::merged(sagas, chains, self.from, self.limit as usize)
    }

    /// Selects one line more than the page has, which shows whether another page follows.
    fn filter<S>(&self, status: Option<S>, before: Option<i64>) -> Filter<S> {
        let (definition, key) = (self.definition.clone(), self.key.clone());
        let (after, limit) = (self.after.clone(), Some(self.limit + 1));
        Filter {
            status,
            definition,
            key,
            before,
            after,
            unreadable: false,
            open_faults_at: None,
            limit,
        }
    }
}

fn text(name: &str, value: Option<String>) -> Result<Option<Text>, Problem> {
    let checked = value.map(|value| Text::new(&value)).transpose();
    checked.map_err(|why| Problem::new(Code::BadParameter, format!("{name} {why}")))
}

/// Returns the status, if an orchestrated saga can have it.
fn status_of_saga(status: ChainStatus) -> Option<Status> {
    match status {
        ChainStatus::Running => Some(Status::Running),
        ChainStatus::Compensating => Some(Status::Compensating),
        ChainStatus::Completed => Some(Status::Completed),
        ChainStatus::Compensated => Some(Status::Compensated),
        ChainStatus::Stuck => Some(Status::Stuck),
        ChainStatus::HalfCompensated | ChainStatus::Anomalous => None,
        ChainStatus::UnknownVersion | ChainStatus::Resolved | ChainStatus::Unreadable => None,
    }
}
