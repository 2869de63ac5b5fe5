//! The simulator itself: a seed always gives the same trace, seeds find no violation, and they
//! reach the listed counters.

use sagamore_sim::faults::Fault;
use sagamore_sim::sweep::{Options, Sweep, seeds};
use sagamore_sim::{Style, run};

/// The counters that a sweep of orchestrated runs must reach, besides every fault. The rows of the
/// tables are separate points, which the sweep of `cargo xtask simulate` must reach.
const REACHED: &[&str] = &[
    "command rejected by the brokers",
    "dead letter redriven",
    "idle transaction ended",
    "joined transactions lost",
    "note written beside",
    "partitions moved",
    "saga set aside that cannot be stored",
    "zombie of a group",
    "orchestrator that cannot publish owns nothing",
    "partition changes hands",
    "verb of an old view refused",
    "cancel accepted",
    "cancel before the start",
    "cancel too late",
    "command sent again",
    "fault answered",
    "late success after turning back",
    "log tail lost",
    "log tail torn",
    "operator resolved",
    "operator retried",
    "operator skipped",
    "orchestrator fenced off",
    "orchestrator fenced off, goes on",
    "other body refused",
    "other request refused",
    "refused at inventory",
    "refused at payment",
    "refused at shipping",
    "saga compensated",
    "saga completed",
    "saga read",
    "saga stuck",
    "start made again",
    "start repeated",
    "step undone",
    "turn failed",
    "turned back: cancelled",
    "turned back: deadline",
    "turned back: given up",
    "turned back: refused",
    "undo refused",
    "unknown, resent",
    "unknown, given up",
    "action refused after its compensation",
    "reply to a command that is resolved",
    "reply to a saga that has ended",
    "stored answer sent again",
    "barrier rows of ended sagas removed",
    "saga open for longer than the retention of barriers",
    "tombstone left",
];

/// The counters that a sweep of choreographed runs must reach.
const REACHED_BY_CHAINS: &[&str] = &[
    "chain compensated",
    "chain completed",
    "chain told to be overdue",
    "idle transaction ended",
    "joined transactions lost",
    "note written beside",
    "partitions moved",
    "zombie of a group",
    "early event made a dead letter",
    "event told again",
    "event waits in an inbox",
    "log tail lost",
    "log tail torn",
    "observer begun anew",
    "order placed again",
    "orders placed together",
    "order read",
    "order to be placed again",
    "other order refused",
    "overdue, and the pivot has acted",
    "overdue by the observer",
    "pivot given up",
    "tombstone left",
    "undo with nothing to undo",
];

#[test]
fn the_same_seed_gives_the_same_trace() {
    let styles: Vec<Style> = seeds(0x7ace, 12).into_iter().map(Style::of).collect();
    assert!(styles.contains(&Style::Orchestrated) && styles.contains(&Style::Choreographed));
    for seed in seeds(0x7ace, 12) {
        let (one, other) = (run(seed, false), run(seed, false));
        assert_eq!(one.trace, other.trace, "seed {seed}");
        assert_eq!(one.counters, other.counters, "seed {seed}");
    }
}

#[test]
fn different_seeds_give_different_traces() {
    let traces: std::collections::BTreeSet<_> =
        seeds(0x7ace, 12).into_iter().map(|seed| run(seed, false).trace).collect();
    assert_eq!(traces.len(), 12);
}

/// Runs seeds in this style, which must find no violation and reach all of these counters.
fn check(style: Style, count: u64, reached: &[&'static str]) {
    let options = Options { style: Some(style), ..Options::default() };
    let sweep = Sweep::run(&seeds(0x5eed, count), options, &|_| {});
    assert!(sweep.failed.is_empty(), "{:?}", sweep.failed);
    let faults = Fault::ALL.into_iter().filter(|fault| fault.strikes_in(style)).map(Fault::name);
    let missed: Vec<_> = reached
        .iter()
        .copied()
        .chain(faults)
        .filter(|name| !sweep.counters.contains_key(name))
        .collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}

#[test]
fn a_sweep_finds_nothing_and_reaches_everything() {
    check(Style::Orchestrated, 300, REACHED);
}

#[test]
fn a_sweep_of_choreographed_runs_finds_nothing_and_reaches_everything() {
    check(Style::Choreographed, 200, REACHED_BY_CHAINS);
}
