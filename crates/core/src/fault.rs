//! Open faults: the faults of a step since its last reply.
//!
//! A fault is a delay, and the command is resent automatically. Faults that last are shown to
//! operators with verbs, because some faults are beyond any retry.

use std::borrow::Cow;
use std::time::Duration;

use crate::definition::Patience;
use crate::saga::{Saga, StepState, StepStatus, StorageFault};
use crate::time::Timestamp;

/// Number of consecutive faults from which they are shown, once they also last.
const SHOWN_FROM_COUNT: u32 = 3;
/// Duration of consecutive faults after which they are shown.
pub const SHOWN_AFTER: Duration = Duration::from_secs(30);

impl StorageFault {
    /// Returns when the fault becomes visible; `None` after too few failures.
    pub fn shown_from(&self) -> Option<Timestamp> {
        (self.count >= SHOWN_FROM_COUNT).then(|| self.since.plus(SHOWN_AFTER))
    }
}

/// The faults of one step in its current direction, since its last reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFault<'a> {
    /// The text of the last fault.
    pub text: Cow<'a, str>,
    /// The number of failed attempts. A missing reply counts.
    pub count: u32,
    /// The time of the first fault.
    pub since: Timestamp,
    /// When the fault becomes visible; `None` after too few faults.
    pub shown_from: Option<Timestamp>,
}

impl OpenFault<'_> {
    /// Returns whether the fault is visible to operators, with verbs.
    pub fn is_shown(&self, now: Timestamp) -> bool {
        self.shown_from.is_some_and(|from| is_shown_from(from, now))
    }
}

/// Returns whether a fault with this visibility time is visible at `now`. A time too far ahead
/// comes from a wrong clock and is ignored, so that the fault is visible at once.
pub fn is_shown_from(from: Timestamp, now: Timestamp) -> bool {
    from <= now || from > now.plus(SHOWN_AFTER)
}

impl Saga {
    /// Returns the open fault of a step. A step that was set aside has one, too.
    pub fn open_fault(&self, step: usize) -> Option<OpenFault<'_>> {
        let (plan, state) = (&self.definition.steps[step], &self.steps[step]);
        if let Some(unstored) = self.unstored.as_deref().filter(|_| state.wait.due().is_some()) {
            let StorageFault { text, count, since } = unstored;
            let (text, shown_from) = (Cow::Borrowed(text.as_str()), unstored.shown_from());
            return Some(OpenFault { text, count: *count, since: *since, shown_from });
        }
        let since = state.wait.faulty_since()?;
        let decides = match state.status {
            StepStatus::Undoing => true,
            StepStatus::Asked | StepStatus::Unknown => self.resolves_first(step),
            StepStatus::Waiting | StepStatus::Done | StepStatus::Refused => false,
            StepStatus::Undone | StepStatus::UndoFailed | StepStatus::Skipped => false,
        };
        if self.cause.is_some() && !decides {
            return None; // the step is undone in any case
        }
        let count = state.faults();
        let shown_from = match (state.wait.is_held(), count >= SHOWN_FROM_COUNT) {
            (true, _) => Some(since),
            (false, true) => Some(since.plus(SHOWN_AFTER)),
            (false, false) => None,
        };
        let text = state
            .fault
            .as_deref()
            .map_or_else(|| Cow::Owned(silence(&plan.patience)), Cow::Borrowed);
        Some(OpenFault { text, count, since, shown_from })
    }

    /// Returns when the saga's first fault becomes visible.
    pub fn fault_shown_from(&self) -> Option<Timestamp> {
        let faults = (0..self.steps.len()).filter_map(|step| self.open_fault(step));
        faults.filter_map(|fault| fault.shown_from).min()
    }
}

impl StepState {
    /// Counts the faults: each attempt has at most one, and the last attempt may still be
    /// outstanding. Attempts are stored, so the count survives a crash.
    fn faults(&self) -> u32 {
        let is_out = u32::from(self.wait.expects_reply());
        self.attempts.saturating_sub(is_out)
    }
}

fn silence(patience: &Patience) -> String {
    format!("no answer within {:?}", patience.timeout())
}
