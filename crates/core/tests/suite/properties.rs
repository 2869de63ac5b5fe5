//! Under loss, repeats, delays and refusals, every saga ends completed, compensated or visibly
//! stuck.

use std::collections::BTreeSet;

use crate::support::world::World;
use proptest::prelude::*;
use sagamore_core::saga::Status;
use sagamore_core::transitions::{Cell, cells, document};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Every saga ends in exactly one of completed, compensated and stuck. Every effect and every
    /// undo happens once. Undos run in reverse order of dependency, and none after the pivot. Ended
    /// sagas ignore inputs, and the journal folds to the same saga.
    #[test]
    fn every_saga_ends_completed_compensated_or_stuck(seed: u64) {
        World::new(seed).run().check_rest();
    }
}

/// The seeds are fixed, so every run is the same.
#[test]
fn every_legal_transition_is_reached_and_no_other() {
    let mut reached = BTreeSet::new();
    let mut ends = BTreeSet::new();
    for seed in 0..4_000 {
        let world = World::new(seed).run();
        reached.extend(world.cells);
        ends.insert(world.saga.status.as_str());
    }
    let legal: BTreeSet<Cell> = cells().into_iter().collect();
    let missed: Vec<&Cell> = legal.difference(&reached).collect();
    assert!(missed.is_empty(), "never reached: {missed:#?}");
    assert_eq!(reached, legal);
    assert_eq!(
        ends,
        BTreeSet::from([Status::Completed, Status::Compensated, Status::Stuck].map(Status::as_str))
    );
}

#[test]
fn the_transitions_document_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/transitions.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == document(),
        "docs/transitions.md is out of date: cargo run -q -p sagamore-core --example transitions > \
         docs/transitions.md"
    );
}
