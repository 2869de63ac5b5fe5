//! Warnings about messages that may not be handled.

use sagamore_core::{Name, Timestamp};

/// A reason why a message may not be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants name the fields")]
pub enum Warning {
    /// No process of the participant has announced itself within the retention.
    NeverAnnounced { participant: Name },
    /// Processes of the participant have announced themselves, and none handles the message.
    NotHandled { participant: Name, message: Name },
    /// No live process handles the message. `since`: the last announcement of one that did.
    Gone { participant: Name, message: Name, since: Timestamp },
    /// A live process has another schema of the message than the definition.
    OtherSchema { participant: Name, message: Name, announced: String, expected: String },
    /// The topic of a message is missing.
    MissingTopic { topic: String },
}

impl Warning {
    /// Returns the participant; `None` for a topic.
    pub fn participant(&self) -> Option<&Name> {
        match self {
            Warning::NeverAnnounced { participant }
            | Warning::NotHandled { participant, .. }
            | Warning::Gone { participant, .. }
            | Warning::OtherSchema { participant, .. } => Some(participant),
            Warning::MissingTopic { .. } => None,
        }
    }
}
