//! The semantic lock: a saga holds a row until it is at rest. An operator may take the lock of a
//! finished saga, and with `force` the lock of a saga that no server knows.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use sagamore_engine::ChainStatus;
use serde::Deserialize;

use crate::client::{self, Client};
use crate::http::encoded;
use crate::http::routes::{Kind, Parameter};
use crate::http::{Problem, bad_query};
use crate::view::Style;

/// Time limit of one server's response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The query parameters of a route that takes a lock: `?force=true`.
pub const QUERY: &[Parameter] = &[Parameter { name: "force", kind: Kind::Flag }];

/// The parsed query of a route that takes a lock.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForceQuery {
    #[serde(default)]
    force: bool,
}

/// The state of a lock's holder, in either style.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HolderState {
    /// The status that the holder's server reports.
    pub status: ChainStatus,
    /// The style; orchestration, unless the server reports another one.
    #[serde(default)]
    pub style: Style,
    /// The services that have not acted yet and still may.
    #[serde(default)]
    pub waits_for: Vec<PendingService>,
}

/// A service that has not acted yet and still may.
#[derive(Clone, Deserialize)]
pub struct PendingService {
    /// The name of the service.
    pub service: String,
}

/// The reason why a lock is not released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockRefusal {
    /// The holder may still act on what it has locked.
    Held(String),
    /// No server knows the holder.
    Unknown(String),
    /// No server answers.
    Unanswered(String),
}

/// Parses `?force=true`, which allows to take the lock of a holder that no server knows.
pub fn forced(query: Result<Query<ForceQuery>, QueryRejection>) -> Result<bool, Problem> {
    let query = query.map_err(|_| bad_query());
    query.map(|Query(query)| query.force)
}

/// Fails unless the holder is at rest according to the first server that responds. `key`: the
/// configuration key of the servers, for the error.
pub async fn check_holder_at(
    key: &str,
    servers: &[Client],
    holder: &str,
    force: bool,
) -> Result<(), LockRefusal> {
    let mut failures = Vec::new();
    for client in servers {
        match state_of(client, holder).await {
            Ok(state) => return check_holder(holder, state, force),
            Err(why) => failures.push(why),
        }
    }
    let why = format!(
        "cannot determine whether {holder} is at rest, because no server responds ({key}): {}",
        failures.join("; ")
    );
    Err(LockRefusal::Unanswered(why))
}

/// Fails unless the holder's lock may be taken. Without a `state` no server knows the holder, and
/// only `force` takes the lock.
///
/// A chain must be over: a late one continues when its service returns.
pub fn check_holder(
    holder: &str,
    state: Option<HolderState>,
    force: bool,
) -> Result<(), LockRefusal> {
    match state {
        Some(HolderState { status, style: Style::Orchestration, .. }) if status.is_at_rest() => {
            Ok(())
        }
        Some(HolderState {
            status: ChainStatus::Resolved,
            style: Style::Choreography,
            waits_for,
        }) if !waits_for.is_empty() && !force => {
            let services: BTreeSet<&str> =
                waits_for.iter().map(|wait| wait.service.as_str()).collect();
            let services = services.into_iter().collect::<Vec<_>>().join(", ");
            let why = format!(
                "the row is locked by {holder}, which an operator has resolved. But {services} may \
                 still act on it after a restart, and nothing undoes that action after a cancel. \
                 Wait for the service, or let the chain be given up (observer.tells_overdue). Once \
                 it can no longer act, ?force=true takes the lock"
            );
            Err(LockRefusal::Held(why))
        }
        Some(HolderState { status, style: Style::Choreography, .. }) if status.is_over() => Ok(()),
        Some(HolderState { status, style, .. }) => {
            let until = match style {
                Style::Orchestration => {
                    "the lock is released when the saga comes to rest".to_owned()
                }
                Style::Choreography => {
                    format!(
                        "the lock is released when the chain is over. If the chain never ends, \
                         resolve it (`resolve` of {holder}), and take the lock with \
                         ?force=true once no service can act on it"
                    )
                }
            };
            Err(LockRefusal::Held(format!(
                "the row is locked by {holder}, which is {}: {until}",
                status.as_str()
            )))
        }
        None if force => {
            tracing::warn!(saga = holder, "forced release of the lock of an unknown saga");
            Ok(())
        }
        None => Err(LockRefusal::Unknown(format!(
            "the row is locked by {holder}, which is unknown to the configured servers \
             (orchestrator.servers, observer.servers). Do these serve this service's sagas? If \
             they do, and the saga is lost, ?force=true takes the lock. If the saga continues \
             elsewhere, it will find its lock taken"
        ))),
    }
}

/// Returns the holder's state as one server reports it; `None` if the server does not know the
/// holder.
async fn state_of(client: &Client, saga: &str) -> Result<Option<HolderState>, String> {
    let path = format!("/api/v1/sagas/{}", encoded(saga));
    let answer = tokio::time::timeout(RESPONSE_TIMEOUT, client.get(&path)).await;
    match answer
        .map_err(|_| format!("{client}: no response within {} s", RESPONSE_TIMEOUT.as_secs()))?
    {
        Ok(body) => client.read(&body).map(Some).map_err(|error| error.to_string()),
        // no server knows a holder that is not a valid saga id
        Err(client::Error::Problem { problem, .. })
            if matches!(problem.code.as_str(), "SAGA-0200" | "SAGA-0107") =>
        {
            Ok(None)
        }
        Err(client::Error::NotRunning { why, .. }) => Err(format!("{client}: {why}")),
        Err(error) => Err(error.to_string()),
    }
}
