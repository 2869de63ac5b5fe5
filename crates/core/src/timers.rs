//! What runs for the steps of a saga and no journal tells: which command is on its way, which deadline or pause runs.
//!
//! A store that reads a saga again while its owner still drives it gets these back by [`Saga::set_timers`]. After a
//! takeover they are of no use: the new owner sends what is outstanding again.

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

/// What runs for one step that an answer is awaited for.
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
    /// The transport has acknowledged this attempt of a command at `now`: the deadline for its answer runs from then.
    /// Returns false, and changes nothing, when that attempt is not being sent any more: it was answered, or failed.
    /// Nothing is journalled: whoever takes the saga over sends what is outstanding again.
    pub fn acknowledge(&mut self, key: &StepKey, attempt: u32, now: Timestamp) -> bool {
        let Some(index) = self.being_sent(key, attempt) else { return false };
        self.steps[index].arm(now.plus(self.definition.steps[index].patience.timeout()));
        true
    }

    /// The step whose command is on its way, if it is this attempt of this command.
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

    /// The timers as they run now.
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

    /// Sets the timers of a saga that was read again. A command that they do not tell of, or that they tell of at
    /// another revision, counts as acknowledged at `now`: late rather than never.
    pub fn set_timers(&mut self, timers: Option<&Timers>, now: Timestamp) {
        let known = timers.filter(|timers| timers.revision == self.revision);
        for timer in known.into_iter().flat_map(|timers| &timers.steps) {
            if let Some(step) = self.steps.get_mut(timer.step).filter(|step| step.awaited().is_some()) {
                (step.status, step.attempts) = (timer.status, timer.attempts);
                (step.due, step.sending, step.backing_off) = (timer.due, timer.sending, timer.backing_off);
            }
        }
        if known.is_none() {
            for (plan, step) in self.definition.steps.iter().zip(&mut self.steps).filter(|(_, step)| step.sending) {
                step.arm(now.plus(plan.patience.timeout()));
            }
        }
    }
}

impl Timers {
    /// [`Saga::acknowledge`] for a saga that is not in memory: `due` is when the answer is overdue.
    pub fn acknowledge(&mut self, step: usize, attempt: u32, due: Timestamp) -> bool {
        let sent = |timer: &&mut Timer| timer.step == step && timer.attempts == attempt && timer.sending;
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

    /// When something is to be done about the step; none while its command is on its way to the transport.
    pub(crate) fn running_due(&self) -> Option<Timestamp> {
        self.due.filter(|_| !self.sending)
    }
}
