//! What can be wrong with a plan: both sides of it, what to do about it, and where it is a matter of timing, the
//! shortest run that shows it.

use std::fmt;

use crate::id::{Malformed, Name};
use crate::plan::{EVENTS_MAX, Part, REACTIONS_MAX, STATES_MAX};

/// A plan that must not run, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What it is called.
    pub plan: String,
    /// At least one.
    pub problems: Vec<Problem>,
}

/// A reaction and whose it is, written `'charge' of payment`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who {
    /// The reaction, or the start.
    pub name: Name,
    /// The service.
    pub service: Name,
}

/// A run of a plan in words, one step after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run(pub Vec<String>);

/// One violation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Problem {
    /// A name that is none; only the builder can meet one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Services of which none starts chains; only a derivation can meet it.
    #[error("no service starts a chain: declare one reaction that begins chains and waits for no event")]
    NoStart,
    /// Two reactions that start chains; only a derivation can meet them.
    #[error("{first} and {second} both start chains: derive one plan for each")]
    TwoStarts { first: Who, second: Who },
    /// A version that none comes before.
    #[error("the version is 0: write 1 for the first one")]
    NoVersion,
    /// A deadline that has passed when the chain begins.
    #[error("the deadline is 0 ms, and every chain would be overdue at once: lengthen it, or leave it out for none")]
    NoTime,
    /// A plan in which nobody reacts.
    #[error("nobody reacts to '{event}' of {start}: write at least one reaction")]
    NoReactions { start: Who, event: Name },
    /// More than [`REACTIONS_MAX`] reactions, or [`EVENTS_MAX`] events.
    #[error(
        "there are {reactions} reactions with {events} events, and {REACTIONS_MAX} with {EVENTS_MAX} is the most: \
         split the plan"
    )]
    TooLarge { reactions: usize, events: usize },
    /// Two reactions with one name.
    #[error("{first} and {second} have one name, which is the key of what they do: give each a name of its own")]
    SameName { first: Who, second: Who },
    /// An event with two origins.
    #[error("'{event}' is emitted by {first} and by {second}: let each event have one origin")]
    TwoEmitters { event: Name, first: Who, second: Who },
    /// An event without an origin.
    #[error("{by} waits for '{event}', but nobody emits it: name an event of this plan, or let one emit it")]
    NotEmitted { event: Name, by: Who },
    /// A success that leads nowhere, although the pivot is still to come.
    #[error("nobody reacts to '{event}' of {by}, and it is no end before {pivot}: let a reaction wait for it")]
    Unheard { event: Name, by: Who, pivot: Who },
    /// A reaction that waits for no event.
    #[error("{0} waits for no event: say on which it reacts, for only the start begins by itself")]
    WaitsForNothing(Who),
    /// An undo that no event triggers.
    #[error("nothing triggers the undo of {by} that emits '{event}': say on which failures, or leave it out")]
    NeverTriggered { event: Name, by: Who },
    /// Events that wait for one another.
    #[error("events lead to one another without an end: {}: let one not wait for the other", chain(events))]
    Cycle { events: Vec<Name> },
    /// Two points of no return.
    #[error("{first} and {second} are both pivots: there is one point of no return")]
    TwoPivots { first: Who, second: Who },
    /// A pivot with an undo.
    #[error("{pivot} is the pivot, but '{event}' takes it back: remove its undo, or let it not be the pivot")]
    PivotUndone { pivot: Who, event: Name },
    /// An undo behind the point of no return.
    #[error("{by} comes after the pivot {pivot}, but '{event}' takes it back: remove its undo")]
    UndoneAfterPivot { event: Name, by: Who, pivot: Who },
    /// A reaction that takes itself back when it failed.
    #[error("{by} fails with '{event}' and would undo itself on it: nothing was done, so take '{event}' from its undo")]
    OwnFailure { event: Name, by: Who },
    /// A reaction that goes forward while the chain goes back.
    #[error("{by} goes forward on '{event}', by which {origin} goes back: let only undos react to it")]
    ForwardOnFailure { event: Name, by: Who, origin: Who },
    /// An undo that a success triggers.
    #[error("{by} is undone on '{event}', which says that {origin} went well: undo on failures only")]
    UndoneOnSuccess { event: Name, by: Who, origin: Who },
    /// A reaction that would not run though nothing failed, or that listens to nobody.
    #[error("{by} never runs after '{event}', by which nobody says that it failed or was undone: name such an event")]
    NeverAfter { event: Name, by: Who },
    /// The deadline's event, emitted by a reaction.
    #[error("'{event}' is the deadline's, but {by} emits it too: give that one another name")]
    OverdueEmitted { event: Name, by: Who },
    /// The deadline's event, heard by another than the pivot's owner.
    #[error(
        "{by} reacts to '{event}', which is for the owner of the pivot alone{}: else money goes back and the goods go \
         out; let it react to the failure that the pivot emits then",
        pivot.as_ref().map(|pivot| format!(", {pivot}")).unwrap_or_default()
    )]
    OverdueHeard { event: Name, by: Who, pivot: Option<Who> },
    /// A deadline's event that nobody answers.
    #[error("nobody answers '{event}' when a chain that {start} began is overdue: make one reaction the pivot")]
    OverdueWithoutPivot { event: Name, start: Who },
    /// A deadline's event without a deadline.
    #[error("'{event}' for {pivot} is never emitted, because the plan has no deadline: give it one")]
    OverdueWithoutDeadline { event: Name, pivot: Who },
    /// A pivot that has no answer to the deadline.
    #[error("{pivot} answers '{event}' with its success or its failure, but has no {lacks}: let it emit one")]
    OverdueUnanswered { event: Name, pivot: Who, lacks: &'static str },
    /// Something done that stays done, because it has no undo.
    #[error(
        "{by} has no undo, and stays done when {failing} fails with '{failure}': give it one, on '{failure}' ({run})"
    )]
    NoUndo { by: Who, failing: Who, failure: Name, run: Run },
    /// Something done that stays done, because its undo does not hear of the failure.
    #[error("{by} stays done when {failing} fails with '{failure}': let its undo react to '{failure}' ({run})")]
    NotUndone { by: Who, failing: Who, failure: Name, run: Run },
    /// A failure behind the point of no return.
    #[error("{failing} may fail with '{failure}' after the pivot {pivot}: let it be repeated until it is done ({run})")]
    FailsAfterPivot { failing: Who, failure: Name, pivot: Who, run: Run },
    /// A failure that the pivot does not wait for.
    #[error("{failing} may fail with '{failure}' when the pivot {pivot} has acted: let the pivot wait for it ({run})")]
    FailsBesidePivot { failing: Who, failure: Name, pivot: Who, run: Run },
    /// A reaction that waits for an event that does not come any more.
    #[error("{by} waits for ever for '{lacking}' of {origin}: let it wait for what always comes ({run})")]
    WaitsForEver { by: Who, lacking: Name, origin: Who, run: Run },
    /// More interleavings than are looked at.
    #[error(
        "the {reactions} reactions from {start} on can interleave in more than {STATES_MAX} ways, more than are \
         checked: let fewer run side by side"
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
    /// The shortest run that shows it, where it is a matter of timing; the message ends with it, in brackets.
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
            | Problem::TooManyStates { .. } => None,
        }
    }

    /// Whether it makes no sense to ask how such a plan runs.
    pub(super) fn hides_the_runs(&self) -> bool {
        !matches!(
            self,
            Problem::NoVersion
                | Problem::NoTime
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
