//! Rejections: a command that the brokers never take is not sent in another attempt before a person has decided.

use std::collections::BTreeMap;

use sagamore_core::saga::{Change, Entry, Rescue};
use sagamore_core::{Command, Name};

use crate::world::World;

/// The attempts that were rejected, by command.
#[derive(Default)]
pub(super) struct Rejections(BTreeMap<String, u32>);

impl Rejections {
    /// The brokers reject this command for its own sake.
    pub fn rejected(&mut self, world: &World, command: &Command) {
        world.count("command rejected by the brokers");
        let id = command.id();
        if let Some(attempt) = self.0.insert(id.clone(), command.attempt)
            && attempt < command.attempt
        {
            let detail = format!(
                "{id} was too large at attempt {attempt}, and is sent as attempt {}",
                command.attempt
            );
            world.violate("oversized-resent", detail);
        }
    }

    /// Whether the brokers rejected this attempt of a command last.
    pub fn has(&self, id: &str, attempt: u32) -> bool {
        self.0.get(id) == Some(&attempt)
    }

    /// The orchestrator has forgotten a rejection, together with a saga that it had set aside or whose batch has failed: when
    /// it reads the saga again, timers run for all that is outstanding. It takes the step for silent.
    pub fn forgotten(&mut self, id: &str, entry: &Entry) {
        for change in &entry.changes {
            if let Change::Silent { step, .. } = change {
                self.forget(id, step);
            }
        }
    }

    /// A person has decided about a step of this saga.
    pub fn decided(&mut self, id: &str, rescue: &Rescue) {
        self.forget(id, &rescue.step);
    }

    fn forget(&mut self, id: &str, step: &Name) {
        let prefix = format!("{id}/{step}/");
        self.0.retain(|command, _| !command.starts_with(&prefix));
    }
}
