//! Sets of steps, parts or events, each identified by a small number.

use std::fmt;

/// A set of steps of a definition, or of parts or events of a plan, by number. It holds numbers
/// below 128.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct StepSet(u128);

impl StepSet {
    /// The set without members.
    pub const EMPTY: StepSet = StepSet(0);

    /// Adds a step.
    pub fn insert(&mut self, step: usize) {
        self.0 |= 1 << step;
    }

    /// Returns whether the step is a member.
    pub fn contains(self, step: usize) -> bool {
        self.0 & (1 << step) != 0
    }

    /// Returns whether the set has no members.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the number of members.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Returns whether every member is a member of `other`.
    pub fn is_subset(self, other: StepSet) -> bool {
        self.without(other).is_empty()
    }

    /// Returns whether no member is a member of `other`.
    pub fn is_disjoint(self, other: StepSet) -> bool {
        self.0 & other.0 == 0
    }

    /// Returns the union: the members of either set.
    #[must_use]
    pub fn union(self, other: StepSet) -> StepSet {
        StepSet(self.0 | other.0)
    }

    /// Returns the intersection: the members that both sets have.
    #[must_use]
    pub fn intersection(self, other: StepSet) -> StepSet {
        StepSet(self.0 & other.0)
    }

    /// Returns the difference: the members that are not members of `other`.
    #[must_use]
    pub fn without(self, other: StepSet) -> StepSet {
        StepSet(self.0 & !other.0)
    }

    /// Iterates over the members, lowest first.
    pub fn iter(self) -> impl Iterator<Item = usize> + use<> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let lowest = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(lowest)
        })
    }
}

impl FromIterator<usize> for StepSet {
    fn from_iter<I: IntoIterator<Item = usize>>(steps: I) -> StepSet {
        let mut set = StepSet::EMPTY;
        steps.into_iter().for_each(|step| set.insert(step));
        set
    }
}

impl fmt::Debug for StepSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_every_number_below_128() {
        let set: StepSet = [127, 0, 5, 63, 5].into_iter().collect();
        assert_eq!((format!("{set:?}").as_str(), set.len()), ("{0, 5, 63, 127}", 4));
        assert!(set.contains(127) && !set.contains(126) && !set.contains(64));
    }

    #[test]
    fn sets_are_compared_and_combined_by_their_members() {
        let [low, high, both]: [StepSet; 3] =
            [[0, 1], [1, 2], [0, 2]].map(|steps| steps.into_iter().collect());
        assert_eq!(low.union(high).iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(low.intersection(high), [1].into_iter().collect());
        assert_eq!(low.without(high), [0].into_iter().collect());
        assert!(!low.is_disjoint(both) && low.without(both).is_disjoint(both));
        assert!(low.is_subset(low.union(high)) && !low.is_subset(both));
        assert!(StepSet::EMPTY.is_empty() && StepSet::EMPTY.is_subset(low) && !low.is_empty());
    }
}
