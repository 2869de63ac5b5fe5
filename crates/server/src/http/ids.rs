//! Resolves the text in an address to a saga or chain: an id, or a business key of the program's
//! first definition or plan.
//!
//! The id has precedence over the key, and the first interpretation that exists is used. If no saga
//! exists, the first one is used, so that a misspelt definition reserves no key of another one. If
//! no chain exists, the plan's is used.

use sagamore_core::{Name, SagaId};
use sagamore_engine::{ChainDetail, Chains, Detail, Error, Unreadable};

use super::state::App;
use crate::problem::{Code, Problem};

/// Returns the chain that the text denotes, without checking for existence.
pub fn chain(text: &str, plan: Option<&Name>) -> Result<SagaId, Problem> {
    let mut all = readings(text, plan)?;
    let place = all
        .iter()
        .position(|id| plan.is_some_and(|plan| id.definition() == plan.as_str()))
        .unwrap_or(0);
    Ok(all.swap_remove(place))
}

/// The result of a lookup by text.
pub enum SagaLookup {
    /// The saga exists.
    Saga(Box<Detail>),
    /// The saga exists, and its row cannot be read.
    Unreadable(Box<Unreadable>),
    /// No saga exists; the id is the one that the text denotes.
    None(SagaId),
}

/// Looks up the saga that the text denotes.
pub async fn saga(app: &App, text: &str) -> Result<SagaLookup, Problem> {
    let mut all = readings(text, app.definition.as_ref())?;
    for id in &all {
        match app.handle.show(id).await {
            Ok(Some(detail)) => return Ok(SagaLookup::Saga(Box::new(detail))),
            Ok(None) => {}
            Err(Error::Unreadable(row)) => return Ok(SagaLookup::Unreadable(row)),
            Err(error) => return Err(Problem::broke(&error, "read the saga")),
        }
    }
    Ok(SagaLookup::None(all.swap_remove(0)))
}

/// Returns the id of the saga that the text denotes.
pub async fn id_of(app: &App, text: &str) -> Result<SagaId, Problem> {
    let all = readings(text, app.definition.as_ref())?;
    if let [only] = all.as_slice() {
        return Ok(only.clone());
    }
    Ok(match saga(app, text).await? {
        SagaLookup::Saga(detail) => detail.header.id,
        SagaLookup::Unreadable(row) => {
            all.iter().find(|id| id.as_str() == row.id).unwrap_or(&all[0]).clone()
        }
        SagaLookup::None(id) => id,
    })
}

/// Looks up the chain that the text denotes. `Err` has its id if no such chain exists.
pub async fn chain_of(
    chains: &Chains,
    plan: Option<&Name>,
    text: &str,
) -> Result<Result<ChainDetail, SagaId>, Problem> {
    for id in readings(text, plan)? {
        if let Some(detail) = chains.show(&id).await.map_err(unread)? {
            return Ok(Ok(detail));
        }
    }
    Ok(Err(chain(text, plan)?))
}

/// Returns the possible ids in order of precedence. `definition` owns business keys without prefix.
fn readings(text: &str, definition: Option<&Name>) -> Result<Vec<SagaId>, Problem> {
    let all = match definition {
        Some(definition) => SagaId::readings(text, definition),
        None => text.parse().map(|id| vec![id]),
    };
    all.map_err(|malformed| Problem::new(Code::BadName, malformed.to_string()))
}

/// Returns the problem for chains that cannot be read.
pub fn unread(error: sagamore_engine::Error) -> Problem {
    Problem::broke(&error, "read the chains")
}
