//! The members of groups that share partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The maximum silence of a member before others take its partitions.
const SESSION_MS: i64 = 6_000;
/// More partitions than any topic has.
const PARTITIONS_MAX: u32 = 8;

/// All groups with shared partitions.
#[derive(Default)]
pub(super) struct Groups(pub BTreeMap<Arc<str>, Group>);

#[derive(Default)]
pub(super) struct Group {
    /// Incremented when a member joins or leaves.
    pub generation: u64,
    /// The time of each member's last sign of life.
    members: BTreeMap<u64, i64>,
    pub joined: u64,
}

impl Group {
    /// Records a sign of life of this member. Evicts members that were silent for too long.
    pub fn touch(&mut self, member: u64, now: i64) {
        let before = self.members.len();
        self.members.retain(|other, seen_at| *other == member || *seen_at + SESSION_MS >= now);
        let is_new = self.members.insert(member, now).is_none();
        if is_new || self.members.len() != before {
            self.generation += 1;
        }
    }

    /// Returns the partitions of a member, in every topic.
    pub fn share(&self, member: u64) -> Vec<u32> {
        let count = u32::try_from(self.members.len()).unwrap_or(1).max(1);
        let place = self.members.keys().position(|other| *other == member).unwrap_or(0) as u32;
        (0..PARTITIONS_MAX).filter(|partition| partition % count == place).collect()
    }
}
