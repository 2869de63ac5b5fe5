//! The committed offsets of all groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::log::frame::GroupMarks;
use crate::log::index::{Index, Slot};

/// All groups that ever subscribed.
#[derive(Default)]
pub(super) struct Groups(Vec<Group>);

struct Group {
    name: Arc<str>,
    /// The first unfinished offset of each partition that the group has ever subscribed to.
    marks: BTreeMap<Slot, u64>,
}

impl Groups {
    /// Returns the group's number. An unknown group is added.
    pub fn number(&mut self, name: &Arc<str>) -> usize {
        if let Some(number) = self.0.iter().position(|group| group.name == *name) {
            return number;
        }
        self.0.push(Group { name: name.clone(), marks: BTreeMap::new() });
        self.0.len() - 1
    }

    /// Returns the group's name.
    pub fn name(&self, group: usize) -> &Arc<str> {
        &self.0[group].name
    }

    /// Returns the group's offset in a partition that it has ever subscribed to.
    pub fn mark(&self, group: usize, slot: Slot) -> Option<u64> {
        self.0[group].marks.get(&slot).copied()
    }

    /// Advances an offset, never backwards. Returns whether it changed.
    pub fn advance(&mut self, group: usize, slot: Slot, next: u64) -> bool {
        let mark = self.0[group].marks.get(&slot).copied();
        let moves = mark.is_none_or(|mark| mark < next);
        if moves {
            self.0[group].marks.insert(slot, next);
        }
        moves
    }

    /// Returns the least offset of all groups in a partition; `None` without any group.
    pub fn floor(&self, slot: Slot) -> Option<u64> {
        self.0.iter().filter_map(|group| group.marks.get(&slot)).copied().min()
    }

    /// Returns the group with the least offset in a partition.
    pub fn slowest(&self, slot: Slot) -> Option<&Arc<str>> {
        let marked = self.0.iter().filter_map(|group| Some((group.marks.get(&slot)?, &group.name)));
        marked.min_by_key(|(mark, _)| **mark).map(|(_, name)| name)
    }

    /// Returns all offsets for a snapshot.
    pub fn states(&self, index: &Index) -> Vec<GroupMarks> {
        let state = |group: &Group| GroupMarks {
            group: group.name.clone(),
            marks: group.marks.iter().map(|(slot, next)| on_disk(index, *slot, *next)).collect(),
        };
        self.0.iter().map(state).collect()
    }

    /// Adds offsets read from the disk; `None` if they name an unknown partition.
    pub fn learn(&mut self, index: &Index, marks: &GroupMarks) -> Option<()> {
        let group = self.number(&marks.group);
        for (topic, partition, next) in &marks.marks {
            self.advance(group, index.slot(*topic, *partition)?, *next);
        }
        Some(())
    }

    /// Iterates over all offsets.
    pub fn marks(&self) -> impl Iterator<Item = (Slot, u64)> {
        self.0.iter().flat_map(|group| group.marks.iter().map(|(slot, next)| (*slot, *next)))
    }
}

/// Converts an offset to its form on disk: topic, partition, next offset.
pub(super) fn on_disk(index: &Index, slot: Slot, next: u64) -> (u32, u32, u64) {
    let partition = &index.partitions[slot];
    (partition.topic, partition.number, next)
}
