//! The plan of a choreography: which service reacts to which events of a chain, what it emits, and
//! what undoes it.
//!
//! A plan is plain data, from the builder, YAML or a test. [`check`] finds its problems before a
//! chain runs. [`Chain`] follows one chain by its observed events. [`mermaid`] and [`text`] draw a
//! plan.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
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

mod anomaly;
mod fold;
mod waits;

mod contradictions;
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
pub use explore::Explored;
pub use fold::{Chain, Seen, State, Taken, UNEXPECTED_MAX};
pub use problem::{Error, Problem, Run, Who};
pub use steps::Stage;
pub use table::Row;
pub use tree::Branch;
pub use waits::Wait;

/// Maximum number of reactions in a plan, including the start.
pub const REACTIONS_MAX: usize = 64;
/// Maximum number of events in a plan: a [`StepSet`](crate::StepSet) holds no more.
pub const EVENTS_MAX: usize = 128;
/// Maximum number of states that are explored per plan.
pub const STATES_MAX: usize = 300_000;

/// One version of a choreography: its start and its reactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The plan's name, such as `shop`.
    pub name: Name,
    /// Raised with every change: the same version with other contents is rejected.
    pub version: u32,
    /// Milliseconds until a chain is overdue, counted from its start, and until its undos are
    /// overdue, counted from the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// The event that is emitted when a chain is overdue. Only the pivot's service reacts to it.
    ///
    /// In one transaction it gives the pivot up and emits the pivot's first failure. If the pivot
    /// has acted, it emits the pivot's event again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdue: Option<Name>,
    /// The start of each chain.
    pub begins: Start,
    /// The reactions in the order in which they were written.
    pub reactions: Vec<Reaction>,
    /// The schemas of events.
    #[serde(default, skip_serializing_if = "EventSchemas::is_empty")]
    pub schemas: EventSchemas,
}

/// JSON Schemas (2020-12) of a plan's events. They are part of the plan's contents and are
/// exported. Events are not checked against them at run time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EventSchemas {
    /// The schema of each event, by the event's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<Name, Value>,
}

/// The start of a chain. A client requests it, and it is never refused once the chain exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Start {
    /// A name that is unique among the reactions, such as `create`.
    pub name: Name,
    /// The service that executes the start.
    pub service: Name,
    /// The event that the start emits, such as `order.created`.
    pub event: Name,
    /// The undo of the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
}

/// A step of one service, executed once per chain when all events that it waits for have arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reaction {
    /// A name that is unique in the plan, such as `charge`.
    pub name: Name,
    /// The service that executes the reaction.
    pub service: Name,
    /// The events that must all have arrived, in any order.
    pub on: Vec<Name>,
    /// The success events, of which the reaction emits one. Empty: it emits none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emits: Vec<Name>,
    /// The failure events. A refused reaction does nothing and emits one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fails: Vec<Name>,
    /// The undo of the reaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
    /// After one of these events the reaction never runs and emits no event. Reactions that wait
    /// for its event stop waiting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never_after: Vec<Name>,
    /// Marks the point of no return, at most one. Later reactions neither fail nor are undone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pivot: bool,
}

/// The undo of a reaction. It emits its event exactly once, also when there is nothing to undo. An
/// undo that arrives before its reaction prevents the reaction from ever running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Undo {
    /// The events of which any one triggers the undo.
    pub on: Vec<Name>,
    /// The event that the undo emits, such as `payment.refunded`.
    pub emits: Name,
}

/// A uniform view of the start or a reaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The name of the start or reaction.
    pub name: &'a Name,
    /// The service that executes it.
    pub service: &'a Name,
    /// The events that must all have arrived; empty for the start.
    pub on: &'a [Name],
    /// The success events, of which it emits one.
    pub emits: &'a [Name],
    /// The failure events, of which it emits one when refused.
    pub fails: &'a [Name],
    /// The undo, if it has one.
    pub undo: Option<&'a Undo>,
    /// The events after any of which it never runs.
    pub never_after: &'a [Name],
    /// Whether it is the point of no return.
    pub pivot: bool,
}

/// The meaning of a plan's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A reaction succeeded.
    Success,
    /// A reaction was refused or given up.
    Failure,
    /// A reaction was undone, or had nothing to undo.
    Undone,
}

impl Plan {
    /// Returns the SHA-256 of the canonical JSON in lower-case hex. Awaited events count as sets.
    /// All other lists keep their order.
    pub fn hash(&self) -> String {
        let mut lowered = self.clone();
        let undos = lowered.reactions.iter_mut().filter_map(|reaction| reaction.undo.as_mut());
        let undos = undos.chain(lowered.begins.undo.as_mut()).map(|undo| &mut undo.on);
        undos.for_each(set);
        lowered
            .reactions
            .iter_mut()
            .flat_map(|reaction| [&mut reaction.on, &mut reaction.never_after])
            .for_each(set);
        lowered.schemas.events.values_mut().for_each(Value::sort_all_objects);
        let canonical = serde_json::to_vec(&lowered).expect("a plan holds only what JSON can hold");
        Sha256::digest(canonical).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Iterates over the start, then the reactions in the order in which they were written.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        std::iter::once(self.begins.part()).chain(self.reactions.iter().map(Reaction::part))
    }

    /// Returns the part that emits an event, and the event's role; `None` for an unknown event and
    /// the deadline event.
    pub fn emitter(&self, event: &Name) -> Option<(Part<'_>, Role)> {
        self.parts().find_map(|part| part.role(event).map(|role| (part, role)))
    }

    /// Returns the pivot.
    pub fn pivot(&self) -> Option<Part<'_>> {
        self.parts().find(|part| part.pivot)
    }
}

impl EventSchemas {
    /// Returns whether no event has a schema.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
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
    /// Returns the role of an event; `None` if the part does not emit it.
    pub fn role(&self, event: &Name) -> Option<Role> {
        self.events().find(|(candidate, _)| *candidate == event).map(|(_, role)| role)
    }

    /// Iterates over all events that the part may emit.
    pub fn events(&self) -> impl Iterator<Item = (&'a Name, Role)> + use<'a> {
        let done = self.emits.iter().map(|event| (event, Role::Success));
        let refused = self.fails.iter().map(|event| (event, Role::Failure));
        done.chain(refused).chain(self.undo.map(|undo| (&undo.emits, Role::Undone)))
    }

    /// Returns the events that trigger the part's undo.
    pub fn undone_on(&self) -> &'a [Name] {
        self.undo.map_or(&[], |undo| &undo.on)
    }
}

fn set(names: &mut Vec<Name>) {
    names.sort();
    names.dedup();
}
