//! Open faults: what a step meets again and again while no attempt of it is answered.
//!
//! A fault is a delay, so the step is sent again by itself. After a while its faults are shown, with verbs: a person may
//! know what no retry repairs.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::definition::Patience;
use crate::saga::{Saga, StepState, StepStatus};
use crate::time::Timestamp;

/// So many faults in a row are shown, once they last.
const SHOWN_FROM_COUNT: u32 = 3;
/// Faults that last for so long are shown.
const SHOWN_AFTER: Duration = Duration::from_secs(30);

/// What keeps a saga from being stored: its row is locked, or its statement takes too long. Every step that an answer is
/// awaited of shows it as its own fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageFault {
    /// The last failure, for people.
    pub text: String,
    /// How many attempts to store it failed in a row.
    pub count: u32,
    /// When the first one failed.
    pub since: Timestamp,
}

impl StorageFault {
    /// From when on it is shown; none while it is too early to tell.
    pub fn shown_from(&self) -> Option<Timestamp> {
        (self.count >= SHOWN_FROM_COUNT).then(|| self.since.plus(SHOWN_AFTER))
    }
}

/// The faults of one step in its present direction, since its last answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFault<'a> {
    /// The last one, for people.
    pub text: Cow<'a, str>,
    /// How many attempts met one. A silence counts.
    pub count: u32,
    /// When the first one was met.
    pub since: Timestamp,
    /// From when on it is shown; none while it is too early to tell.
    pub shown_from: Option<Timestamp>,
}

impl OpenFault<'_> {
    /// Whether people are to see it, and to have verbs for it.
    pub fn is_shown(&self, now: Timestamp) -> bool {
        self.shown_from.is_some_and(|from| is_shown_from(from, now))
    }
}

/// Whether a fault that is shown from this moment on is shown now. A moment that is further ahead than any right clock
/// writes was written by a clock that was ahead: it holds up no person.
pub fn is_shown_from(from: Timestamp, now: Timestamp) -> bool {
    from <= now || from > now.plus(SHOWN_AFTER)
}

impl Saga {
    /// The open fault of a step. A step that was set aside has one, too.
    pub fn open_fault(&self, step: usize) -> Option<OpenFault<'_>> {
        let (plan, state) = (&self.definition.steps[step], &self.steps[step]);
        if let Some(unstored) = self.unstored.as_deref().filter(|_| state.awaited().is_some()) {
            let StorageFault { text, count, since } = unstored;
            let (text, shown_from) = (Cow::Borrowed(text.as_str()), unstored.shown_from());
            return Some(OpenFault { text, count: *count, since: *since, shown_from });
        }
        let since = state.faulty_since?;
        if self.cause.is_some() && state.status != StepStatus::Undoing {
            return None; // it is undone, whatever it met
        }
        let count = state.faults();
        let shown_from = match (state.held, count >= SHOWN_FROM_COUNT) {
            (true, _) => Some(since),
            (false, true) => Some(since.plus(SHOWN_AFTER)),
            (false, false) => None,
        };
        let text = state.fault.as_deref().map_or_else(|| Cow::Owned(silence(&plan.patience)), Cow::Borrowed);
        Some(OpenFault { text, count, since, shown_from })
    }

    /// From when on people are to see a fault of this saga.
    pub fn fault_shown_from(&self) -> Option<Timestamp> {
        let faults = (0..self.steps.len()).filter_map(|step| self.open_fault(step));
        faults.filter_map(|fault| fault.shown_from).min()
    }
}

impl StepState {
    /// Each attempt meets at most one fault, and the last one may be on its way. Attempts outlive a crash, so this does.
    fn faults(&self) -> u32 {
        let is_out = u32::from(self.due.is_some() && !self.backing_off);
        self.attempts.saturating_sub(is_out)
    }
}

fn silence(patience: &Patience) -> String {
    format!("no answer within {:?}", patience.timeout())
}
