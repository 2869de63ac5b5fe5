//! Unfinished work of a failed turn.

use std::collections::BTreeSet;

use sagamore_core::id::SagaId;
use sagamore_transport::Record;

use crate::turn::outgoing::OutgoingCommand;

/// Unfinished work. Bounded by one batch, because no inputs are taken before it is done.
#[derive(Default)]
pub(crate) struct Debts {
    /// Whether the last turn took inputs that it did not settle: replies must then be redelivered.
    pub untaken: bool,
    /// Sagas of a commit with unknown outcome: they are read again, and their outstanding commands
    /// sent.
    pub doubtful: BTreeSet<SagaId>,
    /// Commands that were committed and not delivered.
    pub commands: Vec<OutgoingCommand>,
    pub dead_letters: Vec<Record>,
}

impl Debts {
    /// Whether no work is left.
    pub fn is_empty(&self) -> bool {
        !self.untaken
            && self.doubtful.is_empty()
            && self.commands.is_empty()
            && self.dead_letters.is_empty()
    }
}
