//! The participants that a stand-in plays, and the marks of their steps in views.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use sagamore_core::Name;

use crate::view::{Line, SagaView, Style};

/// The participants that a stand-in plays in this process, and the definitions and plans that name
/// them.
/// Clones share the sets.
///
/// A view marks the steps of these participants, including steps that another service executed
/// before.
#[derive(Clone, Debug, Default)]
pub struct StandIns(Arc<RwLock<Played>>);

#[derive(Debug, Default)]
struct Played {
    participants: BTreeSet<Name>,
    definitions: BTreeSet<Name>,
    plans: BTreeSet<Name>,
    /// The participants that no stand-in will play; `None`: there are no further stand-ins.
    real: Option<BTreeSet<Name>>,
}

impl StandIns {
    /// Adds a participant.
    pub fn add(&self, participant: Name) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).participants.insert(participant);
    }

    /// Adds a definition that names a participant of these.
    pub fn add_definition(&self, definition: Name) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).definitions.insert(definition);
    }

    /// Adds a plan that names a participant of these.
    pub fn add_plan(&self, plan: Name) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).plans.insert(plan);
    }

    /// Announces stand-ins for every participant of a definition that is not among these.
    pub fn play_all_but(&self, real: BTreeSet<Name>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).real = Some(real);
    }

    /// Whether a stand-in plays a participant, or will do so once a definition names it.
    pub fn plays(&self, participant: &Name) -> bool {
        let played = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let will_play = played.real.as_ref().is_some_and(|real| !real.contains(participant));
        will_play || played.participants.contains(participant)
    }

    /// Returns the participants in the order of their names.
    pub fn names(&self) -> Vec<Name> {
        let played = self.0.read().unwrap_or_else(PoisonError::into_inner);
        played.participants.iter().cloned().collect()
    }

    /// Marks the steps of a view, and its line.
    pub fn mark(&self, view: &mut SagaView) {
        let played = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for step in &mut view.steps {
            step.stand_in =
                played.participants.iter().any(|name| name.as_str() == step.participant);
            view.line.stand_in |= step.stand_in;
        }
    }

    /// Marks the lines of sagas and chains whose definition or plan has a step of a stand-in.
    pub fn mark_lines(&self, lines: &mut [(i64, Line)]) {
        let played = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (_, line) in lines {
            let marked = match line.style {
                Style::Orchestration => &played.definitions,
                Style::Choreography => &played.plans,
            };
            line.stand_in = marked.iter().any(|name| name.as_str() == line.definition);
        }
    }
}
