//! Facts of a service's barrier in the API's JSON.

use sagamore_core::Direction;
use sagamore_sdk::facts::{Fact, FaultFact};
use serde::{Deserialize, Serialize};

use crate::clock::rfc3339;

/// Rows of a barrier, ordered by saga id.
#[derive(Debug, Serialize, Deserialize)]
pub struct Facts {
    /// The rows of complete sagas.
    pub facts: Vec<FactView>,
    /// The value of `after` for the next page; `None` on the last page.
    pub next: Option<String>,
}

/// One row of a barrier.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FactView {
    /// The saga's id: `checkout:10248`.
    pub saga: String,
    /// The step of the saga, or the reaction of the chain.
    pub step: String,
    /// Whether the row is of the action or the compensation.
    pub direction: Direction,
    /// The generation, which an operator's retry raises.
    pub generation: u32,
    /// `done`, `refused`, or `tombstone` for a compensation that arrived first.
    pub status: String,
    /// The time of storage, by the service's clock.
    pub stored_at: String,
}

impl FactView {
    /// Converts a row.
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

/// The unfinished reactions of a service to a chain's events.
#[derive(Debug, Serialize, Deserialize)]
pub struct Faults {
    /// The faults, longest first.
    pub faults: Vec<FaultView>,
}

/// The fault of one reaction.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultView {
    /// The reaction's name.
    pub step: String,
    /// Whether the reaction or its undo has failed.
    pub direction: Direction,
    /// The last fault.
    pub why: String,
    /// The time of the first attempt.
    pub since: String,
    /// The time of the next attempt.
    pub again_at: String,
    /// The failed attempts since the last progress; absent if the service does not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
}

impl FaultView {
    /// Converts a row.
    pub fn of(fault: &FaultFact) -> FaultView {
        FaultView {
            step: fault.step.to_string(),
            direction: fault.direction,
            why: fault.why.clone(),
            since: rfc3339(fault.since),
            again_at: rfc3339(fault.again_at),
            attempts: None,
        }
    }
}
