//! The status of a chain, as stored and reported.

use sagamore_core::plan::State;
use sagamore_core::saga::Status;
use std::collections::BTreeMap;
use std::sync::Arc;

use sagamore_core::SagaId;
use serde::{Deserialize, Serialize};

/// The chains that changed in one turn, with their new status.
pub(crate) type ChainChanges = Arc<BTreeMap<SagaId, ChainStatus>>;

/// The status of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChainStatus {
    /// A reaction is outstanding.
    Running,
    /// All reactions have completed.
    Completed,
    /// Undos are outstanding, within the deadline.
    Compensating,
    /// Everything that was done is undone.
    Compensated,
    /// The deadline passed without the next event.
    Stuck,
    /// The deadline passed with an undo outstanding.
    HalfCompensated,
    /// The events contradict the plan.
    Anomalous,
    /// This program does not know the plan's version.
    UnknownVersion,
    /// A person has resolved the chain.
    Resolved,
    /// An orchestrated saga whose row or journal cannot be read. No chain has this status.
    Unreadable,
}

impl From<Status> for ChainStatus {
    fn from(status: Status) -> ChainStatus {
        match status {
            Status::Running => ChainStatus::Running,
            Status::Compensating => ChainStatus::Compensating,
            Status::Completed => ChainStatus::Completed,
            Status::Compensated => ChainStatus::Compensated,
            Status::Stuck => ChainStatus::Stuck,
        }
    }
}

impl ChainStatus {
    /// Every status, including those of orchestrated sagas.
    pub const ALL: [ChainStatus; 10] = [
        ChainStatus::Running,
        ChainStatus::Completed,
        ChainStatus::Compensating,
        ChainStatus::Compensated,
        ChainStatus::Stuck,
        ChainStatus::HalfCompensated,
        ChainStatus::Anomalous,
        ChainStatus::UnknownVersion,
        ChainStatus::Resolved,
        ChainStatus::Unreadable,
    ];

    /// Returns the name that is stored and reported, such as `half-compensated`.
    pub const fn as_str(self) -> &'static str {
        match self {
            ChainStatus::Running => "running",
            ChainStatus::Completed => "completed",
            ChainStatus::Compensating => "compensating",
            ChainStatus::Compensated => "compensated",
            ChainStatus::Stuck => "stuck",
            ChainStatus::HalfCompensated => "half-compensated",
            ChainStatus::Anomalous => "anomalous",
            ChainStatus::UnknownVersion => "unknown-version",
            ChainStatus::Resolved => "resolved",
            ChainStatus::Unreadable => "unreadable",
        }
    }

    /// Parses the name of a status.
    pub fn read(text: &str) -> Option<ChainStatus> {
        ChainStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Parses a stored status. An unknown one, from a newer program, becomes
    /// [`ChainStatus::UnknownVersion`].
    pub(super) fn stored(text: &str) -> ChainStatus {
        ChainStatus::read(text).unwrap_or(ChainStatus::UnknownVersion)
    }

    /// Returns whether no further event is expected, unless a person acts.
    pub fn is_at_rest(self) -> bool {
        match self {
            ChainStatus::Running | ChainStatus::Compensating => false,
            ChainStatus::Completed | ChainStatus::Compensated | ChainStatus::Resolved => true,
            ChainStatus::Stuck | ChainStatus::HalfCompensated => true,
            ChainStatus::Anomalous | ChainStatus::UnknownVersion | ChainStatus::Unreadable => true,
        }
    }

    /// Whether the chain is over: ended, or resolved by a person.
    pub fn is_over(self) -> bool {
        match self {
            ChainStatus::Completed | ChainStatus::Compensated | ChainStatus::Resolved => true,
            ChainStatus::Running | ChainStatus::Compensating => false,
            ChainStatus::Stuck | ChainStatus::HalfCompensated => false,
            ChainStatus::Anomalous | ChainStatus::UnknownVersion | ChainStatus::Unreadable => false,
        }
    }

    /// Whether the chain waits for a person: at rest but not over.
    pub fn needs_a_person(self) -> bool {
        self.is_at_rest() && !self.is_over()
    }
}

/// Returns a chain's status and its problem, if any.
pub(super) fn status(state: &State) -> (ChainStatus, Option<String>) {
    match state {
        State::Running => (ChainStatus::Running, None),
        State::Completed => (ChainStatus::Completed, None),
        State::Compensating => (ChainStatus::Compensating, None),
        State::Compensated => (ChainStatus::Compensated, None),
        State::Stuck => (ChainStatus::Stuck, None),
        State::HalfCompensated => (ChainStatus::HalfCompensated, None),
        State::Anomalous(why) => (ChainStatus::Anomalous, Some(why.to_string())),
        State::UnknownVersion(_) => (ChainStatus::UnknownVersion, None),
    }
}
