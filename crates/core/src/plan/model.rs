//! How far a chain has come, and what can happen next: every interleaving of a plan is a path through these states.
//!
//! A service takes events in any order and parks the early ones, which nobody sees; so a reaction is one step, taken at
//! some moment after its last event is there. A repeated event finds the barrier's row and changes nothing.

use crate::decide::{bit, members};
use crate::plan::wiring::{Wiring, one};
use crate::plan::{Part, Role};

/// The rows of all barriers, and the events that were emitted. Nothing is ever taken from it, so every path ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Progress {
    pub(super) done: u64,
    refused: u64,
    /// Claimed by an undo or by the deadline before they ran: they never will.
    tombstones: u64,
    pub(super) undone: u64,
    pub(super) emitted: u128,
}

/// One local transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A part acts, and says so or not.
    Does { part: usize, event: Option<usize> },
    /// A part is refused.
    Fails { part: usize, event: usize },
    /// A part's undo, whatever there is to undo.
    Undoes { part: usize, event: usize },
    /// The pivot has not acted when the deadline passes.
    GivesUp { part: usize, event: usize },
}

impl Progress {
    /// All that the services can do next.
    ///
    /// An undo whose own part can act no more neither hinders anything nor is hindered, whenever it comes: it is taken
    /// at once and alone, which leaves out orders that end alike.
    pub(super) fn possible(&self, wiring: &Wiring) -> Vec<Step> {
        let undos: Vec<(usize, usize)> = (0..wiring.parts.len())
            .filter(|part| self.undone & bit(*part) == 0 && self.emitted & wiring.undone_on[*part] != 0)
            .filter_map(|part| Some((part, wiring.emitted(part, Role::Undone).next()?)))
            .collect();
        let may_act = if undos.is_empty() { 0 } else { self.may_act(wiring) };
        if let Some((part, event)) = undos.iter().find(|(part, _)| may_act & bit(*part) == 0) {
            return vec![Step::Undoes { part: *part, event: *event }];
        }
        let mut steps: Vec<Step> = undos.into_iter().map(|(part, event)| Step::Undoes { part, event }).collect();
        let ready = (0..wiring.parts.len()).filter(|part| self.is_open(*part) && self.lacks(wiring, *part) == 0);
        for part in ready {
            let mut done = wiring.emitted(part, Role::Success).map(Some).collect::<Vec<_>>();
            if done.is_empty() {
                done.push(None);
            }
            steps.extend(done.into_iter().map(|event| Step::Does { part, event }));
            steps.extend(wiring.emitted(part, Role::Failure).map(|event| Step::Fails { part, event }));
        }
        steps
    }

    /// How the chain stands after a step that is possible.
    pub(super) fn after(mut self, step: Step) -> Progress {
        let told = match step {
            Step::Does { part, event } => {
                self.done |= bit(part);
                event
            }
            Step::Fails { part, event } => {
                self.refused |= bit(part);
                Some(event)
            }
            Step::Undoes { part, event } => {
                self.tombstones |= if self.is_open(part) { bit(part) } else { 0 };
                self.undone |= bit(part);
                Some(event)
            }
            Step::GivesUp { part, event } => {
                self.tombstones |= bit(part);
                Some(event)
            }
        };
        self.emitted |= told.map_or(0, one);
        self
    }

    /// What the deadline can do next, at any moment until the pivot has acted.
    pub(super) fn overdue(&self, wiring: &Wiring) -> Option<Step> {
        let part = wiring.pivot.filter(|pivot| wiring.overdue.is_some() && self.is_open(*pivot))?;
        let event = wiring.emitted(part, Role::Failure).next()?;
        Some(Step::GivesUp { part, event })
    }

    /// The parts that can still act, if all that can act before them does.
    fn may_act(&self, wiring: &Wiring) -> u64 {
        let (mut parts, mut hoped) = (0, *self);
        let ready = |parts: u64, hoped: &Progress| {
            (0..wiring.parts.len())
                .find(|part| self.is_open(*part) && parts & bit(*part) == 0 && hoped.lacks(wiring, *part) == 0)
        };
        while let Some(part) = ready(parts, &hoped) {
            parts |= bit(part);
            hoped.emitted |= wiring.emitted(part, Role::Success).fold(0, |mask, event| mask | one(event));
        }
        parts
    }

    /// The events that a part still waits for.
    pub(super) fn lacks(&self, wiring: &Wiring, part: usize) -> u128 {
        wiring.on[part] & !self.emitted
    }

    /// Whether the part's barrier holds no row.
    pub(super) fn is_open(&self, part: usize) -> bool {
        (self.done | self.refused | self.tombstones) & bit(part) == 0
    }

    /// What was done and not taken back, lowest first.
    pub(super) fn stays_done(&self) -> impl Iterator<Item = usize> + use<> {
        members(self.done & !self.undone)
    }
}

impl Step {
    /// The step, taken by this chain, in words.
    pub(super) fn tell(self, before: &Progress, wiring: &Wiring) -> String {
        let name = |event: usize| wiring.events[event].name;
        let of = |part: usize| {
            let Part { name, service, .. } = wiring.parts[part];
            format!("{name} ({service})")
        };
        match self {
            Step::Does { part, event: Some(event) } => format!("{} emits {}", of(part), name(event)),
            Step::Does { part, event: None } => format!("{} is done", of(part)),
            Step::Fails { part, event } => format!("{} fails and emits {}", of(part), name(event)),
            Step::Undoes { part, event } if before.done & bit(part) != 0 => {
                format!("{} is undone and emits {}", of(part), name(event))
            }
            Step::Undoes { part, event } => format!("{} has nothing to undo and emits {}", of(part), name(event)),
            Step::GivesUp { part, event } => {
                format!("the chain is overdue: {} gives up and emits {}", of(part), name(event))
            }
        }
    }
}
