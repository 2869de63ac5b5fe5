//! An operator's way out of a lock that a saga has left on its order: only once that saga is at rest.

use std::time::Duration;

use sagamore_core::saga::Status;
use sagamore_database::Database;
use sagamore_shop::order::{self, Rejected};

use super::body::encoded;
use super::orders::alone;
use super::sagas::at_rest;
use crate::client::{self, Client};
use crate::problem::{Code, Problem};
use crate::view::Standing;

/// How long one orchestrator may take to say where a saga stands.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// Takes the lock from `holder`, of whom the caller knows that it is at rest.
pub async fn release(database: &Database, id: &str, holder: String) -> Result<(), Problem> {
    let outcome = alone(database, |tx| order::domain::unlock(tx, id.to_owned(), holder)).await;
    match outcome.map_err(|error| Problem::broke(&error, "unlock the order"))? {
        Ok(()) => Ok(()),
        Err(Rejected::UnknownOrder(_)) => Err(Problem::new(Code::NoSuchOrder, format!("there is no order {id}"))),
        Err(rejected @ Rejected::OrderIsLocked { .. }) => Err(Problem::new(Code::OrderPending, rejected.to_string())),
        Err(rejected @ (Rejected::LockIsGone { .. } | Rejected::AlreadySettled { .. })) => {
            Err(Problem::new(Code::OrderNotLocked, format!("order {id} is not locked: {rejected}")))
        }
        Err(rejected @ (Rejected::InvalidOrder(_) | Rejected::OrderExists(_))) => {
            Err(Problem::internal(&rejected, "unlock the order"))
        }
    }
}

/// Fails unless this saga is at rest, as the first orchestrator that answers says.
pub async fn rests(orchestrators: &[Client], saga: &str) -> Result<(), Problem> {
    let mut silent = Vec::new();
    for orchestrator in orchestrators {
        match status(orchestrator, saga).await {
            Ok(status) => return rested(saga, status),
            Err(why) => silent.push(why),
        }
    }
    let why = format!(
        "whether saga {saga} is at rest is not known, for no orchestrator answers (orchestrator.servers): {}",
        silent.join("; ")
    );
    Err(Problem::new(Code::Unavailable, why).retry_after(1))
}

/// `status` is none when the orchestrators know no such saga.
pub fn rested(saga: &str, status: Option<Status>) -> Result<(), Problem> {
    let why = match status {
        Some(status) if at_rest(status) => return Ok(()),
        Some(status) => {
            format!("it is locked by {saga}, which is {}: its lock goes when it comes to rest", status.as_str())
        }
        None => format!(
            "it is locked by {saga}, and the orchestrators (orchestrator.servers) know no such saga: are they the ones that \
             run this service's sagas?"
        ),
    };
    Err(Problem::new(Code::OrderPending, why))
}

/// Where a saga stands, or why this orchestrator does not say.
async fn status(orchestrator: &Client, saga: &str) -> Result<Option<Status>, String> {
    let path = format!("/api/v1/sagas/{}", encoded(saga));
    let answer = tokio::time::timeout(ANSWERED_WITHIN, orchestrator.get(&path)).await;
    match answer.map_err(|_| format!("{orchestrator}: no answer within {} s", ANSWERED_WITHIN.as_secs()))? {
        Ok(body) => {
            let standing: Standing = orchestrator.read(&body).map_err(|error| error.to_string())?;
            Ok(Some(standing.status))
        }
        // a holder that is no saga's id is known to nobody either
        Err(client::Error::Problem { told, .. }) if matches!(told.code.as_str(), "SAGA-0200" | "SAGA-0107") => Ok(None),
        Err(client::Error::NotRunning { source, .. }) => Err(format!("{orchestrator}: {source}")),
        Err(error) => Err(error.to_string()),
    }
}
