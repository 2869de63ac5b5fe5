//! Every end that a plan can come to, nearest first, and what is wrong with it.

use std::collections::{BTreeSet, HashSet};

use crate::id::Name;
use crate::plan::model::{Progress, Step};
use crate::plan::problem::Run;
use crate::plan::wiring::{Wiring, each};
use crate::plan::{Problem, Role};

/// The most states of one plan that are looked at.
pub const STATES_MAX: usize = 300_000;

/// What was walked through of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// How many states, each once, by however many orders of events it is come to.
    pub states: usize,
    /// The ends among them, by the failures that were told on the way: after none, everything was done; after any,
    /// everything is undone.
    pub ends: BTreeSet<Vec<Name>>,
}

/// A state, and how it was come to.
struct Visit {
    progress: Progress,
    from: Option<(usize, Step)>,
}

/// What is wrong with an end; told once, with the shortest run to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Flaw {
    /// The part stays done, although there was the failure.
    StaysDone { part: usize, failure: usize },
    /// The pivot has acted, and there was the failure.
    AfterPivot { failure: usize },
    /// Nothing failed, and the part waits for the event with others that came.
    WaitsForEver { part: usize, lacking: usize },
}

/// Walks breadth first, so that what is found first takes the fewest steps.
pub(super) fn runs(wiring: &Wiring, problems: &mut Vec<Problem>) -> Explored {
    let mut explored = Explored::default();
    let mut visits = vec![Visit { progress: Progress::default(), from: None }];
    let mut met = HashSet::from([Progress::default()]);
    let mut told = HashSet::new();
    let mut next = 0;
    while next < visits.len() {
        let progress = visits[next].progress;
        let mut steps = progress.possible(wiring);
        // A chain that comes to rest must be right without the deadline, which is no way to go on, only the last one.
        if steps.is_empty() {
            let new = flaws(&progress, wiring).into_iter().filter(|flaw| told.insert(*flaw));
            problems.extend(new.map(|flaw| flaw.problem(wiring, run(&visits, next, wiring))));
            explored.ends.insert(failures(&progress, wiring).map(|event| wiring.events[event].name.clone()).collect());
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

/// An end is right when everything was done and nothing undone, or everything that was done is undone. That each undo
/// that was triggered says so needs no look: it is a step that is possible until it is taken.
fn flaws(end: &Progress, wiring: &Wiring) -> Vec<Flaw> {
    let failures: Vec<usize> = failures(end, wiring).collect();
    let no_return = wiring.pivot.filter(|pivot| end.stays_done().any(|part| part == *pivot));
    if failures.is_empty() {
        (0..wiring.parts.len())
            .filter(|part| end.is_open(*part) && wiring.on[*part] & end.emitted != 0)
            .map(|part| Flaw::WaitsForEver { part, lacking: end.lacks(wiring, part).trailing_zeros() as usize })
            .collect()
    } else if no_return.is_some() {
        failures.into_iter().map(|failure| Flaw::AfterPivot { failure }).collect()
    } else {
        let unheard = |part| failures.iter().map(move |failure| Flaw::StaysDone { part, failure: *failure });
        end.stays_done().flat_map(unheard).collect()
    }
}

fn failures(end: &Progress, wiring: &Wiring) -> impl Iterator<Item = usize> {
    each(end.emitted & wiring.telling(Role::Failure))
}

impl Flaw {
    fn problem(self, wiring: &Wiring, mut run: Run) -> Problem {
        let who = |part: usize| wiring.parts[part].who();
        let name = |event: usize| wiring.events[event].name.clone();
        let origin = |event: usize| wiring.parts[wiring.events[event].part].who();
        match self {
            Flaw::StaysDone { part, failure } => {
                run.0.push(format!("{} ({}) is never undone", wiring.parts[part].name, wiring.parts[part].service));
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
                run.0.push(format!("{} never comes", name(lacking)));
                Problem::WaitsForEver { by: who(part), lacking: name(lacking), origin: origin(lacking), run }
            }
        }
    }
}

/// The steps that lead to a visit.
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
