//! The problems of a plan. Each names both sides and the fix, and if it depends on timing, the
//! shortest run that shows it.

use std::fmt;

use crate::id::{Malformed, Name};
use crate::plan::{EVENTS_MAX, Part, REACTIONS_MAX, STATES_MAX};

/// A plan that must not run, with all its problems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The plan's name.
    pub plan: String,
    /// The problems, at least one.
    pub problems: Vec<Problem>,
}

/// A reaction and its service, written `'charge' of payment`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who {
    /// The name of the reaction or start.
    pub name: Name,
    /// The service that executes it.
    pub service: Name,
}

/// A run of a plan in words, one step after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run(pub Vec<String>);

/// A violated rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum Problem {
    /// A malformed name. Only the builder can produce it.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// No service starts chains. Only a derivation can produce it.
    #[error(
        "no service starts a chain: declare one reaction that begins chains and waits for no event"
    )]
    NoStart,
    /// Two reactions start chains. Only a derivation can produce it.
    #[error("{first} and {second} both start chains: derive one plan for each")]
    TwoStarts { first: Who, second: Who },
    /// Version 0.
    #[error("the version is 0: write 1 for the first one")]
    NoVersion,
    /// A deadline of 0 ms.
    #[error(
        "the deadline is 0 ms, so every chain would be overdue at once: lengthen it, or remove it"
    )]
    NoTime,
    /// A plan without reactions.
    #[error("no reaction waits for '{event}' of {start}: add at least one reaction")]
    NoReactions { start: Who, event: Name },
    /// A schema of an event that the plan does not have.
    #[error(
        "schemas.events has '{event}', which no reaction emits: remove it, or correct the name"
    )]
    SchemaOfNoEvent { event: Name },
    /// A schema that is not an object.
    #[error("the schema of '{event}' is not an object: write a JSON Schema, such as type: object")]
    SchemaIsNoObject { event: Name },
    /// A schema, or all schemas, with too many bytes.
    #[error(
        "{} {bytes} bytes as JSON, more than the limit of {bytes_max}: shorten descriptions and \
         examples",
        event.as_ref().map_or("the schemas have".to_owned(), |event| {
            format!("the schema of '{event}' has")
        })
    )]
    SchemaTooLarge { event: Option<Name>, bytes: usize, bytes_max: usize },
    /// More than [`REACTIONS_MAX`] reactions, or [`EVENTS_MAX`] events.
    #[error(
        "the plan has {reactions} reactions with {events} events, but at most {REACTIONS_MAX} with \
         {EVENTS_MAX} are allowed: \
         split the plan"
    )]
    TooLarge { reactions: usize, events: usize },
    /// Two reactions of the same name.
    #[error(
        "{first} and {second} have the same name: rename one \
         of them"
    )]
    SameName { first: Who, second: Who },
    /// An event with two emitters.
    #[error("'{event}' is emitted by {first} and by {second}: give each event one emitter")]
    TwoEmitters { event: Name, first: Who, second: Who },
    /// An event without an emitter.
    #[error(
        "{by} waits for '{event}', but no reaction emits it: name an event of this plan, or let a \
         reaction emit it"
    )]
    NotEmitted { event: Name, by: Who },
    /// A success event before the pivot that no reaction waits for.
    #[error(
        "no reaction waits for '{event}' of {by}, but the chain must go on to {pivot}: let a \
         reaction wait for it"
    )]
    Unheard { event: Name, by: Who, pivot: Who },
    /// A reaction that waits for no event.
    #[error(
        "{0} waits for no event, but only the start begins without one: name the events that it \
         reacts to"
    )]
    WaitsForNothing(Who),
    /// An undo without a triggering event.
    #[error(
        "no event triggers the undo of {by} that emits '{event}': name the failures that do, or \
         remove it"
    )]
    NeverTriggered { event: Name, by: Who },
    /// Events that cause one another in a cycle.
    #[error(
        "events cause one another in a cycle: {}: remove one of these dependencies",
        chain(events)
    )]
    Cycle { events: Vec<Name> },
    /// Two pivots.
    #[error(
        "{first} and {second} are both pivots: a plan has at most one, so remove one of the marks"
    )]
    TwoPivots { first: Who, second: Who },
    /// A pivot with an undo.
    #[error(
        "{pivot} is the pivot, but has an undo that emits '{event}': remove the undo, or make \
         another reaction the pivot"
    )]
    PivotUndone { pivot: Who, event: Name },
    /// An undo of a reaction after the pivot.
    #[error(
        "{by} comes after the pivot {pivot}, but has an undo that emits '{event}': remove the undo"
    )]
    UndoneAfterPivot { event: Name, by: Who, pivot: Who },
    /// A reaction that its own failure would undo.
    #[error(
        "{by} fails with '{event}' and is undone on it, but a failed reaction did nothing: remove \
         '{event}' from its undo"
    )]
    OwnFailure { event: Name, by: Who },
    /// A reaction that waits for a failure or an undo.
    #[error(
        "{by} acts on '{event}', with which {origin} fails or is undone: let only undos react to it"
    )]
    ForwardOnFailure { event: Name, by: Who, origin: Who },
    /// An undo that a success triggers.
    #[error(
        "{by} is undone on '{event}', which is a success of {origin}: undo it on failures only"
    )]
    UndoneOnSuccess { event: Name, by: Who, origin: Who },
    /// A `never_after` event that is not a failure or an undo.
    #[error(
        "{by} never runs after '{event}', which no reaction emits as its failure or undo: name \
         such an event"
    )]
    NeverAfter { event: Name, by: Who },
    /// A reaction that emits the deadline's event.
    #[error("'{event}' is the deadline's event, but {by} emits it too: rename the event of {by}")]
    OverdueEmitted { event: Name, by: Who },
    /// A reaction that waits for the deadline's event and is not the pivot.
    #[error(
        "{by} reacts to '{event}', which is for the owner of the pivot alone{}: else money goes \
         back and the goods go \
         out; let it react to the failure that the pivot emits then",
        pivot.as_ref().map(|pivot| format!(", {pivot}")).unwrap_or_default()
    )]
    OverdueHeard { event: Name, by: Who, pivot: Option<Who> },
    /// A deadline's event in a plan without a pivot.
    #[error(
        "no pivot answers '{event}' when a chain that {start} began is overdue: make one reaction \
         the pivot"
    )]
    OverdueWithoutPivot { event: Name, start: Who },
    /// A deadline's event in a plan without a deadline.
    #[error(
        "'{event}' for {pivot} is never emitted, because the plan has no deadline: give it one"
    )]
    OverdueWithoutDeadline { event: Name, pivot: Who },
    /// A pivot without the success or the failure that answers the deadline's event.
    #[error(
        "{pivot} answers '{event}' with its success or its failure, but has no {lacks}: let it \
         emit one"
    )]
    OverdueUnanswered { event: Name, pivot: Who, lacks: &'static str },
    /// A part that stays done after a failure, because it has no undo.
    #[error(
        "{by} has no undo, so it stays done when {failing} fails with '{failure}': add an undo on \
         '{failure}' ({run})"
    )]
    NoUndo { by: Who, failing: Who, failure: Name, run: Run },
    /// A part that stays done after a failure, because its undo does not react to it.
    #[error(
        "{by} stays done when {failing} fails with '{failure}': let its undo react to '{failure}' \
         ({run})"
    )]
    NotUndone { by: Who, failing: Who, failure: Name, run: Run },
    /// A reaction after the pivot that can fail.
    #[error(
        "{failing} may fail with '{failure}' after the pivot {pivot}: remove its failures ({run})"
    )]
    FailsAfterPivot { failing: Who, failure: Name, pivot: Who, run: Run },
    /// A reaction that can fail concurrently with the pivot.
    #[error(
        "{failing} may fail with '{failure}' after the pivot {pivot} has acted: let the pivot wait \
         for it ({run})"
    )]
    FailsBesidePivot { failing: Who, failure: Name, pivot: Who, run: Run },
    /// A reaction that waits for an event that can no longer arrive.
    #[error(
        "{by} waits indefinitely for '{lacking}' of {origin}: let it wait for an event that always \
         arrives ({run})"
    )]
    WaitsForEver { by: Who, lacking: Name, origin: Who, run: Run },
    /// More interleavings than the check explores.
    #[error(
        "the {reactions} reactions from {start} on lead to more than {STATES_MAX} states, more \
         than are \
         checked: let fewer reactions run in parallel"
    )]
    TooManyStates { reactions: usize, start: Who },
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plan '{}' cannot run", self.plan)?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n- {problem}"))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' of {}", self.name, self.service)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl Part<'_> {
    pub(super) fn who(&self) -> Who {
        Who { name: self.name.clone(), service: self.service.clone() }
    }
}

impl Problem {
    /// Returns the shortest run that shows a problem of timing. The message ends with it, in
    /// parentheses.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Problem::NoUndo { run, .. }
            | Problem::NotUndone { run, .. }
            | Problem::FailsAfterPivot { run, .. }
            | Problem::FailsBesidePivot { run, .. }
            | Problem::WaitsForEver { run, .. } => Some(run),
            Problem::Malformed(_)
            | Problem::NoStart
            | Problem::TwoStarts { .. }
            | Problem::NoVersion
            | Problem::NoTime
            | Problem::NoReactions { .. }
            | Problem::TooLarge { .. }
            | Problem::SameName { .. }
            | Problem::TwoEmitters { .. }
            | Problem::NotEmitted { .. }
            | Problem::Unheard { .. }
            | Problem::WaitsForNothing(_)
            | Problem::NeverTriggered { .. }
            | Problem::Cycle { .. }
            | Problem::TwoPivots { .. }
            | Problem::PivotUndone { .. }
            | Problem::UndoneAfterPivot { .. }
            | Problem::OwnFailure { .. }
            | Problem::ForwardOnFailure { .. }
            | Problem::UndoneOnSuccess { .. }
            | Problem::NeverAfter { .. }
            | Problem::OverdueEmitted { .. }
            | Problem::OverdueHeard { .. }
            | Problem::OverdueWithoutPivot { .. }
            | Problem::OverdueWithoutDeadline { .. }
            | Problem::OverdueUnanswered { .. }
            | Problem::SchemaOfNoEvent { .. }
            | Problem::SchemaIsNoObject { .. }
            | Problem::SchemaTooLarge { .. }
            | Problem::TooManyStates { .. } => None,
        }
    }

    /// Returns whether this problem makes the exploration of the plan's runs meaningless.
    pub(super) fn hides_the_runs(&self) -> bool {
        !matches!(
            self,
            Problem::NoVersion
                | Problem::NoTime
                | Problem::SchemaOfNoEvent { .. }
                | Problem::SchemaIsNoObject { .. }
                | Problem::SchemaTooLarge { .. }
                | Problem::OwnFailure { .. }
                | Problem::Unheard { .. }
                | Problem::UndoneAfterPivot { .. }
                | Problem::NeverAfter { .. }
        )
    }
}

fn chain(events: &[Name]) -> String {
    events.iter().map(|event| format!("'{event}'")).collect::<Vec<_>>().join(" -> ")
}
