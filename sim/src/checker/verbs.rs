//! Operators' verbs: one that was accepted has run, one that was refused has not, and none runs twice. Each has a reason
//! of its own, by which it is found in the journals.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::World;

/// Verbs that ran and verbs that were refused, each by its reason.
#[derive(Default)]
pub(super) struct Verbs {
    ran: BTreeMap<String, u32>,
    refused: BTreeSet<String>,
}

impl Verbs {
    /// An entry with this verb is committed.
    pub fn ran(&mut self, world: &World, reason: &str) {
        let count = self.ran.entry(reason.to_owned()).or_default();
        *count += 1;
        if *count > 1 {
            world.violate("verb-twice", format!("the verb of '{reason}' ran {count} times"));
        }
        if self.refused.contains(reason) {
            world.violate(
                "verb-after-refusal",
                format!("the verb of '{reason}' was refused, and ran"),
            );
        }
    }

    /// The operator was told that it ran.
    pub fn accepted(&self, world: &World, reason: &str) {
        if !self.ran.contains_key(reason) {
            world.violate(
                "verb-lost",
                format!("the verb of '{reason}' was accepted, and is in no journal"),
            );
        }
    }

    /// The operator was told that the saga's state does not allow it.
    pub fn refused(&mut self, world: &World, reason: &str) {
        self.refused.insert(reason.to_owned());
        if self.ran.contains_key(reason) {
            world.violate(
                "verb-denied",
                format!("the verb of '{reason}' ran, and its operator was told that it did not"),
            );
        }
    }
}
