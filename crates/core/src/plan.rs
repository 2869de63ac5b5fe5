//! The plan of a choreography: which service reacts to which events of a chain, with what, and what undoes it.
//!
//! Plain data, whoever wrote it (the builder, YAML, a test). [`check`] says what is wrong with it before anything
//! runs, [`Chain`] follows one chain by the events that were seen, [`mermaid`] and [`text`] draw it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::Name;

mod builder;

mod check;
mod problem;
mod shape;
mod wiring;

mod explore;
mod model;

mod declared;
mod derived;

mod fold;
mod waits;

mod anomaly;
mod steps;
mod table;
mod tree;

mod draw;

pub use anomaly::Anomaly;
pub use builder::Builder;
pub use check::{check, explored};
pub use declared::{Declared, Difference, Facet, declared};
pub use derived::{Derivation, ReactionSource};
pub use draw::{mermaid, text};
pub use explore::{Explored, STATES_MAX};
pub use fold::{Chain, Seen, State, Taken, UNEXPECTED_MAX};
pub use problem::{Error, Problem, Run, Who};
pub use steps::Stage;
pub use table::Row;
pub use tree::Branch;
pub use waits::Wait;

/// The most reactions in one plan, the start included: a set of them is one 64-bit mask.
pub const REACTIONS_MAX: usize = 64;
/// The most events in one plan: a set of them is one 128-bit mask.
pub const EVENTS_MAX: usize = 128;

/// Who reacts to what, in one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// `shop`.
    pub name: Name,
    /// Raised with every change: the same version with other contents is refused.
    pub version: u32,
    /// How long a chain may take from its start; then it is overdue. An undo may take as long, from its failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Emitted when a chain is overdue, for the pivot's owner alone: in one transaction it gives the pivot up for ever
    /// and emits the first of its failures; or the pivot has acted, and it emits again what it emitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdue: Option<Name>,
    /// What begins a chain.
    pub begins: Start,
    /// In the order in which they were written.
    pub reactions: Vec<Reaction>,
}

/// What begins a chain: asked for from outside, and never refused once the chain exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Start {
    /// `create`; unique among the reactions.
    pub name: Name,
    /// Who does it.
    pub service: Name,
    /// `order.created`.
    pub event: Name,
    /// What takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
}

/// What a service does, once in a chain, when all events that it waits for are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reaction {
    /// `charge`; unique in the plan.
    pub name: Name,
    /// Who does it.
    pub service: Name,
    /// All of these must be there, in whatever order they come.
    pub on: Vec<Name>,
    /// It is done, and one of these says so. None: nobody is told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emits: Vec<Name>,
    /// It was refused, nothing was done, and one of these says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fails: Vec<Name>,
    /// What takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
    /// It never runs once one of these is there, unless it has; nobody is told. What waits for it need not wait on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never_after: Vec<Name>,
    /// The point of no return, at most one: what comes after it neither fails nor is undone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pivot: bool,
}

/// What takes a reaction back. It emits its event exactly once, also when there is nothing to undo; when it comes
/// before the reaction, the reaction never runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Undo {
    /// Any one of these events triggers it.
    pub on: Vec<Name>,
    /// `payment.refunded`.
    pub emits: Name,
}

/// The start or a reaction, seen alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// What it is called.
    pub name: &'a Name,
    /// Who does it.
    pub service: &'a Name,
    /// All of these must be there; none for the start.
    pub on: &'a [Name],
    /// One of these says that it is done.
    pub emits: &'a [Name],
    /// One of these says that it was refused.
    pub fails: &'a [Name],
    /// What takes it back.
    pub undo: Option<&'a Undo>,
    /// It never runs once one of these is there.
    pub never_after: &'a [Name],
    /// Whether it is the point of no return.
    pub pivot: bool,
}

/// What an event of a plan tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Something was done.
    Success,
    /// Something was refused, or given up.
    Failure,
    /// Something was taken back, or there was nothing to take back.
    Undone,
}

impl Plan {
    /// SHA-256 over the canonical JSON, in lower-case hex. What is waited for is a set; all else counts as written.
    pub fn hash(&self) -> String {
        let mut lowered = self.clone();
        let undos = lowered.reactions.iter_mut().filter_map(|reaction| reaction.undo.as_mut());
        let undos = undos.chain(lowered.begins.undo.as_mut()).map(|undo| &mut undo.on);
        undos.for_each(set);
        lowered.reactions.iter_mut().flat_map(|reaction| [&mut reaction.on, &mut reaction.never_after]).for_each(set);
        let canonical = serde_json::to_vec(&lowered).expect("a plan holds only what JSON can hold");
        Sha256::digest(canonical).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The start, then the reactions in the order in which they were written.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        std::iter::once(self.begins.part()).chain(self.reactions.iter().map(Reaction::part))
    }

    /// Who emits an event, and what it tells. None: nobody, or only the deadline.
    pub fn emitter(&self, event: &Name) -> Option<(Part<'_>, Role)> {
        self.parts().find_map(|part| part.role(event).map(|role| (part, role)))
    }

    /// The point of no return.
    pub fn pivot(&self) -> Option<Part<'_>> {
        self.parts().find(|part| part.pivot)
    }
}

impl Start {
    fn part(&self) -> Part<'_> {
        Part {
            name: &self.name,
            service: &self.service,
            on: &[],
            emits: std::slice::from_ref(&self.event),
            fails: &[],
            undo: self.undo.as_ref(),
            never_after: &[],
            pivot: false,
        }
    }
}

impl Reaction {
    fn part(&self) -> Part<'_> {
        Part {
            name: &self.name,
            service: &self.service,
            on: &self.on,
            emits: &self.emits,
            fails: &self.fails,
            undo: self.undo.as_ref(),
            never_after: &self.never_after,
            pivot: self.pivot,
        }
    }
}

impl<'a> Part<'a> {
    /// What this event of the part tells. None: the part does not emit it.
    pub fn role(&self, event: &Name) -> Option<Role> {
        self.events().find(|(candidate, _)| *candidate == event).map(|(_, role)| role)
    }

    /// Everything that the part may emit.
    pub fn events(&self) -> impl Iterator<Item = (&'a Name, Role)> + use<'a> {
        let done = self.emits.iter().map(|event| (event, Role::Success));
        let refused = self.fails.iter().map(|event| (event, Role::Failure));
        done.chain(refused).chain(self.undo.map(|undo| (&undo.emits, Role::Undone)))
    }

    /// The events that trigger its undo.
    pub fn undone_on(&self) -> &'a [Name] {
        self.undo.map_or(&[], |undo| &undo.on)
    }
}

fn set(names: &mut Vec<Name>) {
    names.sort();
    names.dedup();
}
