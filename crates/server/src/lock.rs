//! The semantic lock: a saga holds a row until it is at rest. An operator may take the lock of a saga that has left it behind,
//! and of one that no server knows by force.

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

/// How long one server may take to report where a saga stands.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// The query of a route that takes a lock: `?force=true`.
pub const QUERY: &[Parameter] = &[Parameter { name: "force", kind: Kind::Flag }];

/// `?force=true`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForceQuery {
    #[serde(default)]
    force: bool,
}

/// Where the holder of a lock stands, in either style.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HolderState {
    /// Its status.
    pub status: ChainStatus,
    /// Its style.
    #[serde(default)]
    pub style: Style,
    /// The services that have not acted yet, and still may.
    #[serde(default)]
    pub waits_for: Vec<PendingService>,
}

/// A service that has not acted yet.
#[derive(Clone, Deserialize)]
pub struct PendingService {
    /// Its name.
    pub service: String,
}

/// Why a lock is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockRefusal {
    /// The holder may still act on what it has locked.
    Held(String),
    /// No server knows the holder.
    Unknown(String),
    /// No server answers.
    Unanswered(String),
}

/// Reads `?force=true`: whether the lock of a holder that no server knows may be taken.
pub fn forced(query: Result<Query<ForceQuery>, QueryRejection>) -> Result<bool, Problem> {
    let query = query.map_err(|_| bad_query());
    query.map(|Query(query)| query.force)
}

/// Fails unless the holder is at rest, as the first server that answers reports. `key`: the key of the configuration that names
/// the servers.
pub async fn check_holder_at(
    key: &str,
    servers: &[Client],
    holder: &str,
    force: bool,
) -> Result<(), LockRefusal> {
    let mut silent = Vec::new();
    for client in servers {
        match state_of(client, holder).await {
            Ok(state) => return check_holder(holder, state, force),
            Err(why) => silent.push(why),
        }
    }
    let why = format!(
        "whether {holder} is at rest is not known, for nobody answers ({key}): {}",
        silent.join("; ")
    );
    Err(LockRefusal::Unanswered(why))
}

/// Fails unless the lock of this holder may be taken. `state`: none when no server knows it; then only `force` takes the lock.
/// A late chain continues when its service returns, so it has to be over.
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
            let who = services.into_iter().collect::<Vec<_>>().join(", ");
            let why = format!(
                "it is locked by {holder}, of which a person has said that it is taken care of; but {who} may still act on it when \
                 it comes back, and what it then does to what is cancelled nobody undoes. Let it come back, or have the \
                 chain given up (observer.tells_overdue); once it never can act, ?force=true takes the lock"
            );
            Err(LockRefusal::Held(why))
        }
        Some(HolderState { status, style: Style::Choreography, .. }) if status.is_over() => Ok(()),
        Some(HolderState { status, style, .. }) => {
            let until = match style {
                Style::Orchestration => "its lock goes when it comes to rest".to_owned(),
                Style::Choreography => {
                    format!(
                        "its lock goes when it is over; where that never comes, a person says so (the verb `resolve` of \
                         {holder}), and takes the lock with ?force=true once nobody can act on it any more"
                    )
                }
            };
            Err(LockRefusal::Held(format!(
                "it is locked by {holder}, which is {}: {until}",
                status.as_str()
            )))
        }
        None if force => {
            tracing::warn!(
                saga = holder,
                "the lock of a saga that nobody knows is taken away by force"
            );
            Ok(())
        }
        None => Err(LockRefusal::Unknown(format!(
            "it is locked by {holder}, and those who should know (orchestrator.servers, observer.servers) know no such \
             saga: are they the ones of this service's sagas? If they are, and the saga is gone for good, ?force=true \
             takes its lock; should it go on elsewhere, it will find its lock taken"
        ))),
    }
}

/// Where a saga stands, or why this server does not report it.
async fn state_of(client: &Client, saga: &str) -> Result<Option<HolderState>, String> {
    let path = format!("/api/v1/sagas/{}", encoded(saga));
    let answer = tokio::time::timeout(ANSWERED_WITHIN, client.get(&path)).await;
    match answer
        .map_err(|_| format!("{client}: no answer within {} s", ANSWERED_WITHIN.as_secs()))?
    {
        Ok(body) => client.read(&body).map(Some).map_err(|error| error.to_string()),
        // no server knows a holder that is no saga's id
        Err(client::Error::Problem { told, .. })
            if matches!(told.code.as_str(), "SAGA-0200" | "SAGA-0107") =>
        {
            Ok(None)
        }
        Err(client::Error::NotRunning { why, .. }) => Err(format!("{client}: {why}")),
        Err(error) => Err(error.to_string()),
    }
}
