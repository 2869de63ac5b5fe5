//! The work of a turn, as decoded: commands to answer and events to react to.

use std::sync::Arc;

use sagamore_core::{Body, Direction, Event, Name, ReplyTo, StepKey, TraceContext};

use crate::reaction::{Declared, EventType};

/// One command to answer, or one event to react to.
#[derive(Clone, Debug)]
pub(crate) struct WorkItem {
    /// The index of the record in the turn.
    pub place: usize,
    /// The barrier's key.
    pub key: StepKey,
    pub work: Work,
}

/// The origin of an item, which determines its handler and the form of its answer.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// A command, which is answered by a reply.
    Command(CommandWork),
    /// An event, which is answered by another event.
    Reaction(ReactionWork),
}

/// A command, and the address for its reply.
#[derive(Clone, Debug)]
pub(crate) struct CommandWork {
    pub reply_to: ReplyTo,
    /// The trace to continue.
    pub trace: Option<TraceContext>,
    /// The message's name and body, or the reason why they are unreadable.
    pub message: Result<(Name, Body), String>,
}

/// An event, and the reaction that it concerns.
#[derive(Clone, Debug)]
pub(crate) struct ReactionWork {
    pub event: Box<Event>,
    pub declared: Arc<Declared>,
    /// Set if the event ends the reaction instead of triggering or undoing it.
    pub end: Option<ReactionEnd>,
    /// Whether the event comes from the inbox, and stays there until its result is published.
    pub from_inbox: bool,
}

/// An event that neither triggers nor undoes the reaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReactionEnd {
    /// The deadline's event: a reaction that has not acted is given up. The result is emitted in
    /// both cases.
    Overdue,
    /// The end of the chain: a reaction that has not acted never runs. No event is emitted.
    ChainEnded,
}

impl WorkItem {
    /// Creates the item of an event for the reaction's step.
    pub(crate) fn reaction(
        place: usize,
        key: StepKey,
        event: Event,
        declared: &Arc<Declared>,
        from_inbox: bool,
    ) -> WorkItem {
        let end = ReactionEnd::of(declared, key.direction, &event);
        let (event, declared) = (Box::new(event), Arc::clone(declared));
        let work = Work::Reaction(ReactionWork { event, declared, end, from_inbox });
        WorkItem { place, key, work }
    }

    /// Returns the way in which an event ends its reaction, if it does.
    pub(crate) fn end(&self) -> Option<ReactionEnd> {
        match &self.work {
            Work::Command(_) => None,
            Work::Reaction(reaction) => reaction.end,
        }
    }
}

impl ReactionEnd {
    fn of(declared: &Declared, direction: Direction, event: &Event) -> Option<ReactionEnd> {
        let is_this = |other: &EventType| other.name == event.name.as_str();
        match direction {
            Direction::Compensation | Direction::Query => None,
            Direction::Action if declared.overdue.as_ref().is_some_and(is_this) => {
                Some(ReactionEnd::Overdue)
            }
            Direction::Action => {
                declared.never_after.iter().any(is_this).then_some(ReactionEnd::ChainEnded)
            }
        }
    }
}
