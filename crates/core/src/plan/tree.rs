//! The causal tree of a chain. It is built from causes and hops, never from times.

use crate::plan::{Chain, Seen};

/// An event in the tree of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the name says it")]
pub struct Branch<'a> {
    /// 0 for an event without an observed cause, else one more than its cause's depth.
    pub depth: usize,
    pub seen: &'a Seen,
}

impl Chain {
    /// Returns every event once, below its cause. Siblings are ordered by hop, then by name.
    pub fn tree(&self) -> Vec<Branch<'_>> {
        let mut sorted: Vec<&Seen> = self.seen().iter().collect();
        sorted.sort_by_key(|seen| (seen.hop, &seen.name, &seen.id));
        let is_root = |seen: &Seen| {
            let cause = seen.causation.as_ref();
            cause.is_none_or(|cause| sorted.iter().all(|other| other.id != *cause))
        };
        let (roots, others): (Vec<&Seen>, Vec<&Seen>) =
            sorted.iter().partition(|seen| is_root(seen));
        let mut tree: Vec<Branch> = Vec::with_capacity(sorted.len());
        // The second half of the iteration only adds events whose causes form a cycle.
        for root in roots.into_iter().chain(others) {
            let mut open = vec![Branch { depth: 0, seen: root }];
            while let Some(branch) = open.pop() {
                if tree.iter().any(|drawn| drawn.seen.id == branch.seen.id) {
                    continue;
                }
                let caused = sorted
                    .iter()
                    .rev()
                    .filter(|seen| seen.causation.as_ref() == Some(&branch.seen.id));
                open.extend(caused.map(|seen| Branch { depth: branch.depth + 1, seen }));
                tree.push(branch);
            }
        }
        tree
    }
}
