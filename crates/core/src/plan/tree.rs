//! What led to what in a chain: by causes and hops, never by time.

use crate::plan::{Chain, Seen};

/// An event in the tree of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch<'a> {
    /// 0 for what nothing that was seen led to, one more with every cause.
    pub depth: usize,
    /// The event.
    pub seen: &'a Seen,
}

impl Chain {
    /// Every event once, each below the one that led to it; what a cause led to goes by hop, then by name.
    pub fn tree(&self) -> Vec<Branch<'_>> {
        let mut sorted: Vec<&Seen> = self.seen().iter().collect();
        sorted.sort_by_key(|seen| (seen.hop, &seen.name, &seen.id));
        let is_root = |seen: &Seen| {
            let cause = seen.causation.as_ref();
            cause.is_none_or(|cause| sorted.iter().all(|other| other.id != *cause))
        };
        let (roots, others): (Vec<&Seen>, Vec<&Seen>) = sorted.iter().partition(|seen| is_root(seen));
        let mut tree: Vec<Branch> = Vec::with_capacity(sorted.len());
        // After the roots come the others, most of which are drawn by then: all but causes that lead in a circle.
        for root in roots.into_iter().chain(others) {
            let mut open = vec![Branch { depth: 0, seen: root }];
            while let Some(branch) = open.pop() {
                if tree.iter().any(|drawn| drawn.seen.id == branch.seen.id) {
                    continue;
                }
                let caused = sorted.iter().rev().filter(|seen| seen.causation.as_ref() == Some(&branch.seen.id));
                open.extend(caused.map(|seen| Branch { depth: branch.depth + 1, seen }));
                tree.push(branch);
            }
        }
        tree
    }
}
