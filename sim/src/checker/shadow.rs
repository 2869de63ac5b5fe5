//! A saga as the checker knows it.

use sagamore_core::saga::{Cause, StepStatus};
use sagamore_core::{Saga, Timestamp};

/// The prefix of the ids of a crowd's sagas.
pub const CROWD: &str = "vigil:";

/// A saga according to its committed journal.
pub struct Shadow {
    pub seq: i64,
    pub entries: Vec<String>,
    /// The fold of the entries.
    pub saga: Saga,
    /// Steps that an operator skipped or resolved. Retried steps are not included.
    pub by_hand: Vec<String>,
    /// The partition of the saga's replies.
    pub partition: i64,
    /// The time of the saga's end, in simulated time.
    pub ended_at: Option<i64>,
    /// The time of the saga's last change, in simulated time.
    pub changed_at: i64,
}

impl Shadow {
    /// Returns the ids of the outstanding commands.
    pub fn outstanding(&self) -> Vec<String> {
        let ids = self.saga.outstanding().into_iter();
        ids.map(|(step, direction)| self.saga.command(step, direction).id()).collect()
    }

    /// Whether the saga belongs to the crowd, which no participant answers.
    pub fn belongs_to_crowd(&self) -> bool {
        self.saga.id.as_str().starts_with(CROWD)
    }

    /// Whether the saga was cancelled before its start.
    pub fn is_cancelled_before_start(&self) -> bool {
        self.saga.cause == Some(Cause::Cancelled)
            && self.saga.steps.iter().all(|step| step.status == StepStatus::Waiting)
    }

    /// Returns the steps that need an operator, as the engine shows them. A reader corrects times
    /// that another process's clock stamped ahead of its own.
    pub fn stuck_steps(&self, now: i64) -> Vec<String> {
        let now = Timestamp(now).max(self.saga.changed_at);
        let mut saga = self.saga.clone();
        saga.redraw(now);
        saga.stuck_steps(now).map(|index| saga.definition.steps[index].name.to_string()).collect()
    }

    /// Describes the status of the saga and its steps.
    pub fn describe(&self) -> String {
        let steps =
            self.saga.steps.iter().map(|step| step.status.as_str()).collect::<Vec<_>>().join(",");
        format!("{} [{steps}]", self.saga.status.as_str())
    }
}
