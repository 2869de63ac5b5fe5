//! The answer to one command or event of a chunk.

use sagamore_core::StepKey;
use sagamore_core::message::{Event, Outcome};

use crate::inbox::InboxRemoval;
use crate::work::{ReactionEnd, ReactionWork};

/// Estimated bytes of an answer beside its content: keys and headers.
const ANSWER_BYTES: usize = 256;

/// The answer to one command or event.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The outcome to report.
    pub outcome: Outcome,
    /// The reason to make the record a dead letter as well.
    pub poison: Option<String>,
    /// Whether the barrier does not hold the answer yet.
    pub(crate) fresh: bool,
    /// The event that reports the outcome of a reaction.
    pub event: Option<Event>,
    /// Whether the reaction still waits for other events.
    pub waits: bool,
    /// The inbox entries to remove once the outcome is published.
    pub removal: Option<Box<InboxRemoval>>,
}

impl Answer {
    /// Creates an answer that is not stored yet and has no event.
    pub(crate) fn fresh(outcome: Outcome) -> Answer {
        Answer { outcome, poison: None, fresh: true, event: None, waits: false, removal: None }
    }

    /// Returns the answer's estimated share of a chunk's bytes.
    pub(crate) fn bytes(&self) -> usize {
        let content = match &self.outcome {
            Outcome::Done(output) => output.as_str().len(),
            Outcome::Refused(refusal) => refusal.code.len() + refusal.message.len(),
            Outcome::Fault(why) => why.len(),
        };
        ANSWER_BYTES + content
    }

    /// Returns whether the event must leave the inbox.
    pub(crate) fn is_final(&self) -> bool {
        match &self.outcome {
            Outcome::Done(_) | Outcome::Refused(_) => true,
            Outcome::Fault(_) => self.waits && self.poison.is_some(),
        }
    }

    /// Returns the inbox entries that this answer to a reaction removes: all entries of the step,
    /// or only this event. The other entries may still have a result to publish.
    pub(crate) fn removal_of(&self, key: &StepKey, reaction: &ReactionWork) -> InboxRemoval {
        let is_given_up = matches!(self.outcome, Outcome::Fault(_));
        // the end of a chain emits no event, so the step's own event may still be unpublished
        let is_late_end = reaction.end == Some(ReactionEnd::ChainEnded) && !self.fresh;
        let event = (is_given_up || is_late_end).then(|| reaction.event.name.clone());
        InboxRemoval { key: key.clone(), event }
    }
}
