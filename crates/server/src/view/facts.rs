//! What a service's barrier says, as the API tells it.

use sagamore_core::Direction;
use sagamore_sdk::facts::{Fact, FaultFact};
use serde::{Deserialize, Serialize};

use crate::clock::rfc3339;

/// Rows of a barrier, in the order of sagas.
#[derive(Debug, Serialize, Deserialize)]
pub struct Facts {
    /// Of whole sagas.
    pub facts: Vec<FactView>,
    /// What to go on behind; none when nothing is left.
    pub next: Option<String>,
}

/// One row of a barrier.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FactView {
    /// `checkout:10248`.
    pub saga: String,
    /// Which step.
    pub step: String,
    /// Its action or its compensation.
    pub direction: Direction,
    /// Raised by an operator's retry.
    pub generation: u32,
    /// `done`, `refused`, or `tombstone` where the compensation came first.
    pub status: String,
    /// When, by the service's clock.
    pub stored_at: String,
}

impl FactView {
    /// A row.
    pub fn of(fact: &Fact) -> FactView {
        FactView {
            saga: fact.saga.to_string(),
            step: fact.step.to_string(),
            direction: fact.direction,
            generation: fact.generation,
            status: fact.status.clone(),
            stored_at: rfc3339(fact.stored_at),
        }
    }
}

/// What a service could not do about a chain so far.
#[derive(Debug, Serialize, Deserialize)]
pub struct Faults {
    /// The longest first.
    pub faults: Vec<FaultView>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultView {
    /// Which reaction.
    pub step: String,
    /// It itself, or its undo.
    pub direction: Direction,
    /// The last fault.
    pub why: String,
    /// When it was tried first.
    pub since: String,
    /// When it is tried again.
    pub again_at: String,
}

impl FaultView {
    /// A row.
    pub fn of(fault: &FaultFact) -> FaultView {
        FaultView {
            step: fault.step.to_string(),
            direction: fault.direction,
            why: fault.why.clone(),
            since: rfc3339(fault.since),
            again_at: rfc3339(fault.again_at),
        }
    }
}
