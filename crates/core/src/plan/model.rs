//! The progress of a chain and its next steps. Every interleaving of a plan is a path through these
//! states.
//!
//! A service accepts events in any order and parks the early ones invisibly. A reaction is
//! therefore modelled as one step at any moment after its last awaited event. A repeated event
//! finds the barrier's row and changes nothing.
//!
//! `never_after` is not modelled. It only removes runs in which a part acts and must be undone, and
//! each of those has a counterpart without a further failure.

use crate::plan::wiring::{EventSet, Wiring};
use crate::plan::{Part, Role};
use crate::step_set::StepSet;

/// The rows of all barriers and the emitted events. Both only grow, so every path ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Progress {
    pub(super) done: StepSet,
    refused: StepSet,
    /// Parts claimed by an undo or by the deadline before they ran. They never run.
    tombstones: StepSet,
    pub(super) undone: StepSet,
    pub(super) emitted: EventSet,
}

/// One local transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A part acts, and emits at most one event.
    Does { part: usize, event: Option<usize> },
    /// A part is refused.
    Fails { part: usize, event: usize },
    /// A part is undone, even if there is nothing to undo.
    Undoes { part: usize, event: usize },
    /// The deadline passes before the pivot has acted.
    GivesUp { part: usize, event: usize },
}

impl Progress {
    /// Returns the next steps of the services, without orders that lead to the same ends.
    ///
    /// An undo whose part can no longer act is independent of all other steps. It is therefore
    /// taken at once and alone.
    pub(super) fn possible(&self, wiring: &Wiring) -> Vec<Step> {
        let steps = self.all(wiring);
        let is_undo = |step: &Step| matches!(step, Step::Undoes { .. });
        let may_act = if steps.iter().any(is_undo) { self.may_act(wiring) } else { StepSet::EMPTY };
        let is_alone =
            |step: &&Step| matches!(step, Step::Undoes { part, .. } if !may_act.contains(*part));
        let alone = steps.iter().find(is_alone);
        alone.map_or(steps.clone(), |undo| vec![*undo])
    }

    /// Returns all next steps of the services.
    fn all(&self, wiring: &Wiring) -> Vec<Step> {
        let mut steps = Vec::new();
        for part in 0..wiring.parts.len() {
            if !self.undone.contains(part) && !self.emitted.is_disjoint(wiring.undone_on[part]) {
                steps.extend(
                    wiring.emitted(part, Role::Undone).map(|event| Step::Undoes { part, event }),
                );
            }
            if self.is_open(part) && self.lacks(wiring, part).is_empty() {
                let mut done: Vec<_> = wiring.emitted(part, Role::Success).map(Some).collect();
                if done.is_empty() {
                    done.push(None);
                }
                steps.extend(done.into_iter().map(|event| Step::Does { part, event }));
                steps.extend(
                    wiring.emitted(part, Role::Failure).map(|event| Step::Fails { part, event }),
                );
            }
        }
        steps
    }

    /// Returns the state after a possible step.
    pub(super) fn after(mut self, step: Step) -> Progress {
        let emitted = match step {
            Step::Does { part, event } => {
                self.done.insert(part);
                event
            }
            Step::Fails { part, event } => {
                self.refused.insert(part);
                Some(event)
            }
            Step::Undoes { part, event } => {
                if self.is_open(part) {
                    self.tombstones.insert(part);
                }
                self.undone.insert(part);
                Some(event)
            }
            Step::GivesUp { part, event } => {
                self.tombstones.insert(part);
                Some(event)
            }
        };
        self.emitted = self.emitted.union(emitted.into_iter().collect());
        self
    }

    /// Returns the deadline's step, possible at any moment before the pivot has acted.
    pub(super) fn overdue(&self, wiring: &Wiring) -> Option<Step> {
        let part = wiring.pivot.filter(|pivot| wiring.overdue.is_some() && self.is_open(*pivot))?;
        let event = wiring.emitted(part, Role::Failure).next()?;
        Some(Step::GivesUp { part, event })
    }

    /// Returns the parts that can still act, if every part before them succeeds.
    fn may_act(&self, wiring: &Wiring) -> StepSet {
        let (mut parts, mut hoped) = (StepSet::EMPTY, *self);
        let ready = |parts: StepSet, hoped: &Progress| {
            (0..wiring.parts.len()).find(|part| {
                self.is_open(*part)
                    && !parts.contains(*part)
                    && hoped.lacks(wiring, *part).is_empty()
            })
        };
        while let Some(part) = ready(parts, &hoped) {
            parts.insert(part);
            hoped.emitted = hoped.emitted.union(wiring.emitted(part, Role::Success).collect());
        }
        parts
    }

    /// Returns the events that a part still waits for.
    pub(super) fn lacks(&self, wiring: &Wiring, part: usize) -> EventSet {
        wiring.on[part].without(self.emitted)
    }

    /// Returns whether the part's barrier has no row.
    pub(super) fn is_open(&self, part: usize) -> bool {
        !self.done.union(self.refused).union(self.tombstones).contains(part)
    }

    /// Iterates over the parts that are done and not undone, lowest first.
    pub(super) fn stays_done(&self) -> impl Iterator<Item = usize> + use<> {
        self.done.without(self.undone).iter()
    }
}

impl Step {
    /// Describes the step of this chain.
    pub(super) fn tell(self, before: &Progress, wiring: &Wiring) -> String {
        let name = |event: usize| wiring.events[event].name;
        let of = |part: usize| {
            let Part { name, service, .. } = wiring.parts[part];
            format!("{name} ({service})")
        };
        match self {
            Step::Does { part, event: Some(event) } => {
                format!("{} emits {}", of(part), name(event))
            }
            Step::Does { part, event: None } => format!("{} is done", of(part)),
            Step::Fails { part, event } => format!("{} fails and emits {}", of(part), name(event)),
            Step::Undoes { part, event } if before.done.contains(part) => {
                format!("{} is undone and emits {}", of(part), name(event))
            }
            Step::Undoes { part, event } => {
                format!("{} has nothing to undo and emits {}", of(part), name(event))
            }
            Step::GivesUp { part, event } => {
                format!("the chain is overdue: {} gives up and emits {}", of(part), name(event))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;
    use crate::plan::{Plan, check};

    /// Builds a random plan in which any part may wait for any earlier one and be undone by any
    /// failure. Most are flawed.
    fn any_plan(rng: &mut fastrand::Rng) -> Plan {
        let count = rng.usize(2..=5);
        let some = |rng: &mut fastrand::Rng, of: Vec<String>| -> Vec<String> {
            let kept: Vec<String> = of.iter().filter(|_| rng.bool()).cloned().collect();
            if kept.is_empty() { of.into_iter().take(1).collect() } else { kept }
        };
        let undo = |rng: &mut fastrand::Rng, index: usize| {
            let failures =
                (1..=count).filter(|other| *other != index).map(|other| format!("failed.{other}"));
            json!({"on": some(rng, failures.collect()), "emits": format!("undone.{index}")})
        };
        let begins = json!({"name": "r0", "service": "s", "event": "done.0", "undo": undo(rng, 0)});
        let reaction = |index: usize| {
            let before = (0..index).map(|other| format!("done.{other}")).collect();
            let mut reaction = json!({
                "name": format!("r{index}"), "service": "s", "on": some(rng, before),
                "emits": [format!("done.{index}")], "fails": [format!("failed.{index}")]
            });
            if index == count && rng.bool() {
                reaction["pivot"] = true.into();
            } else {
                reaction["undo"] = undo(rng, index);
            }
            reaction
        };
        let reactions: Vec<_> = (1..=count).map(reaction).collect();
        let pivot = reactions.iter().any(|reaction| reaction.get("pivot").is_some());
        let mut plan =
            json!({"name": "any", "version": 1, "begins": begins, "reactions": reactions});
        if pivot && rng.bool() {
            (plan["overdue"], plan["deadlineMs"]) = ("late".into(), 1.into());
        }
        serde_json::from_value(plan).unwrap()
    }

    fn ends(wiring: &Wiring, next: impl Fn(&Progress) -> Vec<Step>) -> HashSet<Progress> {
        let (mut open, mut met, mut ends) =
            (vec![Progress::default()], HashSet::new(), HashSet::new());
        while let Some(progress) = open.pop() {
            let steps = next(&progress);
            if steps.is_empty() {
                ends.insert(progress);
            }
            let after =
                steps.into_iter().chain(progress.overdue(wiring)).map(|step| progress.after(step));
            open.extend(after.filter(|after| met.insert(*after)));
        }
        ends
    }

    #[test]
    fn omitted_orders_reach_the_same_ends() {
        let (mut ends_met, mut right) = (0, 0);
        for seed in 0..300 {
            let plan = any_plan(&mut fastrand::Rng::with_seed(seed));
            let wiring = Wiring::of(&plan);
            let all = ends(&wiring, |progress| progress.all(&wiring));
            assert_eq!(ends(&wiring, |progress| progress.possible(&wiring)), all, "seed {seed}");
            ends_met += all.len();
            right += usize::from(check(&plan).is_empty());
        }
        assert!(
            ends_met > 3_000 && right > 3,
            "{ends_met} ends of {right} right plans: the plans are too tame"
        );
    }

    #[test]
    fn every_step_changes_the_state_so_that_every_path_ends() {
        for seed in 0..50 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let plan = any_plan(&mut rng);
            let (wiring, mut progress) = (Wiring::of(&plan), Progress::default());
            let mut count = 0;
            loop {
                let steps: Vec<Step> =
                    progress.all(&wiring).into_iter().chain(progress.overdue(&wiring)).collect();
                let Some(step) = rng.choice(steps) else { break };
                assert_ne!(progress.after(step), progress, "seed {seed}");
                progress = progress.after(step);
                count += 1;
            }
            assert!(count <= 2 * wiring.parts.len(), "seed {seed}");
        }
    }
}
