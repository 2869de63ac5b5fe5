//! Timers of a saga's steps that the journal does not hold: commands in flight, deadlines and
//! pauses.
//!
//! A store that reloads a saga while its owner still drives it restores them with
//! [`Saga::set_timers`]. A takeover does not need them, because the new owner resends the
//! outstanding commands.

use crate::id::{Direction, StepKey};
use crate::planted::{Bug, planted};
use crate::saga::{Saga, StepState, StepStatus};
use crate::time::Timestamp;

/// The timers of one saga at one revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Timers {
    revision: u64,
    steps: Vec<Timer>,
}

/// The timer of one step that awaits a reply.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Timer {
    step: usize,
    status: StepStatus,
    attempts: u32,
    due: Option<Timestamp>,
    sending: bool,
    backing_off: bool,
}

impl Saga {
    /// Records that the transport acknowledged this attempt at `now`: the reply's deadline runs
    /// from then.
    ///
    /// Returns false and changes nothing if the attempt is no longer in flight, because it was
    /// answered or failed. Nothing is journalled, because a takeover resends outstanding commands.
    pub fn acknowledge(&mut self, key: &StepKey, attempt: u32, now: Timestamp) -> bool {
        let Some(index) = self.being_sent(key, attempt) else { return false };
        self.steps[index].arm(now.plus(self.definition.steps[index].patience.timeout()));
        true
    }

    /// Returns the step whose command is in flight, if it is this attempt of this command.
    pub(crate) fn being_sent(&self, key: &StepKey, attempt: u32) -> Option<usize> {
        let index = self.definition.index_of(&key.step)?;
        let step = &self.steps[index];
        let generation = match key.direction {
            Direction::Action => step.generation,
            Direction::Compensation => step.undo_generation,
        };
        let is_sent = step.sending && step.awaited() == Some(key.direction);
        (is_sent && (generation, step.attempts) == (key.generation, attempt)).then_some(index)
    }

    /// Returns the current timers.
    pub fn timers(&self) -> Timers {
        let awaited = self.steps.iter().enumerate().filter(|(_, step)| step.awaited().is_some());
        let timer = |(index, step): (usize, &StepState)| Timer {
            step: index,
            status: step.status,
            attempts: step.attempts,
            due: step.due,
            sending: step.sending,
            backing_off: step.backing_off,
        };
        Timers { revision: self.revision, steps: awaited.map(timer).collect() }
    }

    /// Restores the timers of a reloaded saga. Timers of another revision are ignored. A command
    /// without a timer counts as acknowledged at `now`, so that its deadline runs.
    pub fn set_timers(&mut self, timers: Option<&Timers>, now: Timestamp) {
        let known = timers.filter(|timers| timers.revision == self.revision);
        for timer in known.into_iter().flat_map(|timers| &timers.steps) {
            if let Some(step) =
                self.steps.get_mut(timer.step).filter(|step| step.awaited().is_some())
            {
                (step.status, step.attempts) = (timer.status, timer.attempts);
                (step.due, step.sending, step.backing_off) =
                    (timer.due, timer.sending, timer.backing_off);
            }
        }
        if known.is_none() {
            for (plan, step) in
                self.definition.steps.iter().zip(&mut self.steps).filter(|(_, step)| step.sending)
            {
                step.arm(now.plus(plan.patience.timeout()));
            }
        }
    }
}

impl Timers {
    /// Acknowledges like [`Saga::acknowledge`], for a saga that is not in memory. `due` is the
    /// reply's deadline.
    pub fn acknowledge(&mut self, step: usize, attempt: u32, due: Timestamp) -> bool {
        let sent =
            |timer: &&mut Timer| timer.step == step && timer.attempts == attempt && timer.sending;
        let Some(timer) = self.steps.iter_mut().find(sent) else { return false };
        (timer.sending, timer.due) = (false, Some(due));
        true
    }
}

impl StepState {
    fn arm(&mut self, due: Timestamp) {
        self.sending = false;
        self.due = if planted(Bug::DeadlineFromDecision) { self.due } else { Some(due) };
    }

    /// Returns the step's due time; `None` while its command is in flight to the transport.
    pub(crate) fn running_due(&self) -> Option<Timestamp> {
        self.due.filter(|_| !self.sending)
    }
}
