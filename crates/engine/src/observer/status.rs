//! Where a chain stands, as it is stored and told.

use sagamore_core::plan::State;
use sagamore_core::saga::Status;
use serde::{Deserialize, Serialize};

/// Where a chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChainStatus {
    /// Somebody is to go on.
    Running,
    /// All is done.
    Completed,
    /// Undos are owed that may still come.
    Compensating,
    /// All that was done is undone.
    Compensated,
    /// Nobody has gone on within the deadline.
    Stuck,
    /// An undo is owed for longer than the deadline.
    HalfCompensated,
    /// What was seen contradicts the plan.
    Anomalous,
    /// Its plan's version is not known here.
    UnknownVersion,
    /// A person has taken care of what was wrong with it.
    Resolved,
    /// An orchestrated saga whose row or journal its orchestrator cannot read: it is set aside. No chain has this status.
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
    /// All of them; those that an orchestrated saga can have are among them.
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

    /// As it is stored and told: `half-compensated`.
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

    /// The status that is told so.
    pub fn read(text: &str) -> Option<ChainStatus> {
        ChainStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// The status as stored. One that a newer program stored is [`ChainStatus::UnknownVersion`] here.
    pub(super) fn stored(text: &str) -> ChainStatus {
        ChainStatus::read(text).unwrap_or(ChainStatus::UnknownVersion)
    }

    /// Whether nothing more is expected of the chain without a person.
    pub fn is_at_rest(self) -> bool {
        match self {
            ChainStatus::Running | ChainStatus::Compensating => false,
            ChainStatus::Completed | ChainStatus::Compensated | ChainStatus::Resolved => true,
            ChainStatus::Stuck | ChainStatus::HalfCompensated => true,
            ChainStatus::Anomalous | ChainStatus::UnknownVersion | ChainStatus::Unreadable => true,
        }
    }

    /// Whether it is over: for itself, or because a person has said so.
    pub fn is_over(self) -> bool {
        match self {
            ChainStatus::Completed | ChainStatus::Compensated | ChainStatus::Resolved => true,
            ChainStatus::Running | ChainStatus::Compensating => false,
            ChainStatus::Stuck | ChainStatus::HalfCompensated => false,
            ChainStatus::Anomalous | ChainStatus::UnknownVersion | ChainStatus::Unreadable => false,
        }
    }

    /// Whether it waits for a person: nothing more is expected of it, and it is not over.
    pub fn needs_a_person(self) -> bool {
        self.is_at_rest() && !self.is_over()
    }
}

/// A chain's status, and what is wrong with it.
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
