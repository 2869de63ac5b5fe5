//! The saga or chain that the text in an address means: its id, or the business key of the program's first definition or plan.
//!
//! Both styles read alike: the id goes before the key, and the first reading that exists is meant. Where no saga exists it
//! is the first one, so that a misspelt definition reserves no key of another one; where no chain does, the one of the plan.

use sagamore_core::{Name, SagaId};
use sagamore_engine::{ChainDetail, Chains, Detail, Error, Unreadable};

use super::App;
use super::chains::unread;
use crate::problem::{Code, Problem};

/// Returns the chain that the text means where nothing says which ones exist.
pub fn chain(text: &str, plan: Option<&Name>) -> Result<SagaId, Problem> {
    let mut all = readings(text, plan)?;
    let place = all
        .iter()
        .position(|id| plan.is_some_and(|plan| id.definition() == plan.as_str()))
        .unwrap_or(0);
    Ok(all.swap_remove(place))
}

/// A saga by any reading of a text.
pub enum Found {
    /// It exists.
    Saga(Box<Detail>),
    /// It exists, and its data cannot be read here.
    Unreadable(Box<Unreadable>),
    /// None exists; this one is meant.
    None(SagaId),
}

/// The saga that the text means.
pub async fn saga(app: &App, text: &str) -> Result<Found, Problem> {
    let mut all = readings(text, app.definition.as_ref())?;
    for id in &all {
        match app.handle.show(id).await {
            Ok(Some(detail)) => return Ok(Found::Saga(Box::new(detail))),
            Ok(None) => {}
            Err(Error::Unreadable(row)) => return Ok(Found::Unreadable(row)),
            Err(error) => return Err(Problem::broke(&error, "read the saga")),
        }
    }
    Ok(Found::None(all.swap_remove(0)))
}

/// The id of the saga that the text means.
pub async fn id_of(app: &App, text: &str) -> Result<SagaId, Problem> {
    let all = readings(text, app.definition.as_ref())?;
    if let [only] = all.as_slice() {
        return Ok(only.clone());
    }
    Ok(match saga(app, text).await? {
        Found::Saga(detail) => detail.header.id,
        Found::Unreadable(row) => {
            all.iter().find(|id| id.as_str() == row.id).unwrap_or(&all[0]).clone()
        }
        Found::None(id) => id,
    })
}

/// The chain that the text means, with all that was seen of it; or, when none of its readings exists, which one is meant.
pub async fn chain_of(
    known: &Chains,
    plan: Option<&Name>,
    text: &str,
) -> Result<Result<ChainDetail, SagaId>, Problem> {
    for id in readings(text, plan)? {
        if let Some(detail) = known.show(&id).await.map_err(unread)? {
            return Ok(Ok(detail));
        }
    }
    Ok(Err(chain(text, plan)?))
}

/// `definition`: the definition or plan that a business key alone belongs to.
fn readings(text: &str, definition: Option<&Name>) -> Result<Vec<SagaId>, Problem> {
    let all = match definition {
        Some(definition) => SagaId::readings(text, definition),
        None => text.parse().map(|id| vec![id]),
    };
    all.map_err(|malformed| Problem::new(Code::BadName, malformed.to_string()))
}
