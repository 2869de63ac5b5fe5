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
use crate::wait::Wait;

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
    wait: Wait,
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
            Direction::Action | Direction::Query => step.generation,
            Direction::Compensation => step.undo_generation,
        };
        let is_sent = step.is_sending() && self.awaited(index) == Some(key.direction);
        (is_sent && (generation, step.attempts) == (key.generation, attempt)).then_some(index)
    }

    /// Returns the current timers.
    pub fn timers(&self) -> Timers {
        let awaited = self.steps.iter().enumerate().filter(|(_, step)| step.wait.due().is_some());
        let timer = |(index, step): (usize, &StepState)| Timer {
            step: index,
            status: step.status,
            attempts: step.attempts,
            wait: step.wait,
        };
        Timers { revision: self.revision, steps: awaited.map(timer).collect() }
    }

    /// Restores the timers of a reloaded saga. Timers of another revision are ignored. A command
    /// without a timer counts as acknowledged at `now`, so that its deadline runs.
    pub fn set_timers(&mut self, timers: Option<&Timers>, now: Timestamp) {
        let known = timers.filter(|timers| timers.revision == self.revision);
        for timer in known.into_iter().flat_map(|timers| &timers.steps) {
            if let Some(step) =
                self.steps.get_mut(timer.step).filter(|step| step.wait.due().is_some())
            {
                (step.status, step.attempts, step.wait) =
                    (timer.status, timer.attempts, timer.wait);
            }
        }
        if known.is_none() {
            for (plan, step) in self.definition.steps.iter().zip(&mut self.steps) {
                step.arm(now.plus(plan.patience.timeout()));
            }
        }
    }
}

impl Timers {
    /// Acknowledges like [`Saga::acknowledge`], for a saga that is not in memory. `due` is the
    /// reply's deadline.
    pub fn acknowledge(&mut self, step: usize, attempt: u32, due: Timestamp) -> bool {
        let sent = |timer: &&mut Timer| {
            let is_sending = matches!(timer.wait, Wait::Sending { .. });
            timer.step == step && timer.attempts == attempt && is_sending
        };
        let Some(timer) = self.steps.iter_mut().find(sent) else { return false };
        timer.wait = timer.wait.acknowledged(due);
        true
    }
}

impl StepState {
    fn is_sending(&self) -> bool {
        matches!(self.wait, Wait::Sending { .. })
    }

    /// Marks the command as sent: its reply is due at `due`.
    fn arm(&mut self, due: Timestamp) {
        let due = if planted(Bug::DeadlineFromDecision) { self.wait.due() } else { Some(due) };
        self.wait = due.map_or(self.wait, |due| self.wait.acknowledged(due));
    }
}
