//! Explores every possible end of a plan, nearest first, and reports its flaws.

use std::collections::{BTreeSet, HashSet};

use crate::id::Name;
use crate::plan::model::{Progress, Step};
use crate::plan::problem::Run;
use crate::plan::wiring::Wiring;
use crate::plan::{Problem, Role, STATES_MAX};

/// The result of exploring a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// The number of distinct states, each counted once for all orders of events that lead to it.
    pub states: usize,
    /// The failures emitted on the way to each end. Without failures every part was done; otherwise
    /// every done part is undone.
    pub ends: BTreeSet<Vec<Name>>,
}

/// A state and the step that led to it.
struct Visit {
    progress: Progress,
    from: Option<(usize, Step)>,
}

/// A flaw of an end, reported once, with the shortest run to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Flaw {
    /// A part stays done despite a failure.
    StaysDone { part: usize, failure: usize },
    /// A failure was emitted although the pivot has acted.
    AfterPivot { failure: usize },
    /// Nothing failed, but a part waits for a missing event while others have arrived.
    WaitsForEver { part: usize, lacking: usize },
}

/// Explores breadth first, so that each flaw is found with a shortest run.
pub(super) fn runs(wiring: &Wiring, problems: &mut Vec<Problem>) -> Explored {
    let mut explored = Explored::default();
    let mut visits = vec![Visit { progress: Progress::default(), from: None }];
    let mut met = HashSet::from([Progress::default()]);
    let mut told = HashSet::new();
    let mut next = 0;
    while next < visits.len() {
        let progress = visits[next].progress;
        let mut steps = progress.possible(wiring);
        // A chain at rest must be correct without the deadline. The deadline is a last resort, not
        // a way to continue.
        if steps.is_empty() {
            let new = flaws(&progress, wiring).into_iter().filter(|flaw| told.insert(*flaw));
            problems.extend(new.map(|flaw| flaw.problem(wiring, run(&visits, next, wiring))));
            explored.ends.insert(
                failures(&progress, wiring)
                    .map(|event| wiring.events[event].name.clone())
                    .collect(),
            );
        }
        steps.extend(progress.overdue(wiring));
        for step in steps {
            let after = progress.after(step);
            if met.insert(after) {
                visits.push(Visit { progress: after, from: Some((next, step)) });
            }
        }
        if visits.len() > STATES_MAX {
            let start = wiring.parts[0].who();
            problems.push(Problem::TooManyStates { reactions: wiring.parts.len(), start });
            break;
        }
        next += 1;
    }
    explored.states = visits.len();
    explored
}

/// Returns the flaws of an end: a part that was done and not undone after a failure, or that waits
/// for an event in vain.
///
/// Triggered undos need no check: they remain possible steps until they are taken.
fn flaws(end: &Progress, wiring: &Wiring) -> Vec<Flaw> {
    let failures: Vec<usize> = failures(end, wiring).collect();
    let no_return = wiring.pivot.filter(|pivot| end.stays_done().any(|part| part == *pivot));
    if failures.is_empty() {
        (0..wiring.parts.len())
            .filter(|part| end.is_open(*part) && !wiring.on[*part].is_disjoint(end.emitted))
            .filter_map(|part| {
                let lacking = end.lacks(wiring, part).iter().next()?;
                Some(Flaw::WaitsForEver { part, lacking })
            })
            .collect()
    } else if no_return.is_some() {
        failures.into_iter().map(|failure| Flaw::AfterPivot { failure }).collect()
    } else {
        let unheard =
            |part| failures.iter().map(move |failure| Flaw::StaysDone { part, failure: *failure });
        end.stays_done().flat_map(unheard).collect()
    }
}

fn failures(end: &Progress, wiring: &Wiring) -> impl Iterator<Item = usize> {
    end.emitted.intersection(wiring.with_role(Role::Failure)).iter()
}

impl Flaw {
    fn problem(self, wiring: &Wiring, mut run: Run) -> Problem {
        let who = |part: usize| wiring.parts[part].who();
        let name = |event: usize| wiring.events[event].name.clone();
        let origin = |event: usize| wiring.parts[wiring.events[event].part].who();
        match self {
            Flaw::StaysDone { part, failure } => {
                run.0.push(format!(
                    "{} ({}) is never undone",
                    wiring.parts[part].name, wiring.parts[part].service
                ));
                let (by, failing, failure) = (who(part), origin(failure), name(failure));
                match wiring.parts[part].undo {
                    Some(_) => Problem::NotUndone { by, failing, failure, run },
                    None => Problem::NoUndo { by, failing, failure, run },
                }
            }
            Flaw::AfterPivot { failure } => {
                let after = wiring.is_after_pivot(wiring.events[failure].part);
                let pivot = who(wiring.pivot.expect("only a plan with a pivot has this flaw"));
                let (failing, failure) = (origin(failure), name(failure));
                match after {
                    true => Problem::FailsAfterPivot { failing, failure, pivot, run },
                    false => Problem::FailsBesidePivot { failing, failure, pivot, run },
                }
            }
            Flaw::WaitsForEver { part, lacking } => {
                run.0.push(format!("{} never arrives", name(lacking)));
                Problem::WaitsForEver {
                    by: who(part),
                    lacking: name(lacking),
                    origin: origin(lacking),
                    run,
                }
            }
        }
    }
}

/// Returns the steps that lead to a visit.
fn run(visits: &[Visit], to: usize, wiring: &Wiring) -> Run {
    let mut steps = Vec::new();
    let mut here = to;
    while let Some((before, step)) = visits[here].from {
        steps.push(step.tell(&visits[before].progress, wiring));
        here = before;
    }
    steps.reverse();
    Run(steps)
}
