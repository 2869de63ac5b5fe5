//! Operators' verbs: an accepted verb has run, a refused one has not, and none runs twice. Each has
//! a unique reason, which identifies it in the journals.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::World;

/// Verbs that ran and verbs that were refused, by reason.
#[derive(Default)]
pub(super) struct Verbs {
    ran: BTreeMap<String, u32>,
    refused: BTreeSet<String>,
}

impl Verbs {
    /// Records a committed verb.
    pub fn ran(&mut self, world: &World, reason: &str) {
        let count = self.ran.entry(reason.to_owned()).or_default();
        *count += 1;
        if *count > 1 {
            world.violate("verb-twice", format!("the verb of '{reason}' ran {count} times"));
        }
        if self.refused.contains(reason) {
            world.violate(
                "verb-after-refusal",
                format!("the verb of '{reason}' was refused, but ran"),
            );
        }
    }

    /// Checks a verb that was reported as accepted.
    pub fn accepted(&self, world: &World, reason: &str) {
        if !self.ran.contains_key(reason) {
            world.violate(
                "verb-lost",
                format!("the verb of '{reason}' was accepted, but is in no journal"),
            );
        }
    }

    /// Checks a verb that was reported as refused.
    pub fn refused(&mut self, world: &World, reason: &str) {
        self.refused.insert(reason.to_owned());
        if self.ran.contains_key(reason) {
            world.violate(
                "verb-denied",
                format!("the verb of '{reason}' ran, but was reported as refused"),
            );
        }
    }
}
