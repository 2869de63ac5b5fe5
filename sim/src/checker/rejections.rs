//! Rejections: a command that the brokers reject is not sent in another attempt before an operator
//! has decided.

use std::collections::BTreeMap;

use sagamore_core::journal::{Change, Entry, StepChange};
use sagamore_core::{Command, Name};

use crate::world::World;

/// The rejected attempt of each command.
#[derive(Default)]
pub(super) struct Rejections(BTreeMap<String, u32>);

impl Rejections {
    /// Records that the brokers reject this command itself.
    pub fn rejected(&mut self, world: &World, command: &Command) {
        world.count("command rejected by the brokers");
        let id = command.id();
        if let Some(attempt) = self.0.insert(id.clone(), command.attempt)
            && attempt < command.attempt
        {
            let detail = format!(
                "{id} was too large at attempt {attempt}, but is sent as attempt {}",
                command.attempt
            );
            world.violate("oversized-resent", detail);
        }
    }

    /// Whether this attempt was the last rejected one of the command.
    pub fn has(&self, id: &str, attempt: u32) -> bool {
        self.0.get(id) == Some(&attempt)
    }

    /// Forgets rejections of silent steps. The orchestrator forgets a rejection with a saga that it
    /// sets aside or whose batch fails, and then runs timers for all outstanding commands.
    pub fn forgotten(&mut self, id: &str, entry: &Entry) {
        for change in &entry.changes {
            if let Change::Step { step, change: StepChange::Silent { .. } } = change {
                self.forget(id, step);
            }
        }
    }

    /// Forgets the rejections of a step that an operator decided about.
    pub fn decided(&mut self, id: &str, step: &Name) {
        self.forget(id, step);
    }

    fn forget(&mut self, id: &str, step: &Name) {
        let prefix = format!("{id}/{step}/");
        self.0.retain(|command, _| !command.starts_with(&prefix));
    }
}
