//! A command on its way to the transport. Its step is *sending*, without a deadline, until the
//! transport acknowledges it.

use std::time::Duration;

use sagamore_core::message::Command;
use sagamore_core::{Direction, Saga, Timestamp};
use sagamore_transport::{Record, wire};

/// A command to send, with the time limit for its reply.
#[derive(Clone)]
pub(crate) struct OutgoingCommand {
    pub command: Command,
    pub step: usize,
    pub timeout: Duration,
}

impl OutgoingCommand {
    /// Builds the step's command from the saga's state.
    pub fn of(saga: &Saga, step: usize, direction: Direction) -> OutgoingCommand {
        let timeout = saga.definition.steps[step].patience.timeout();
        OutgoingCommand { command: saga.command(step, direction), step, timeout }
    }

    /// Builds all outstanding commands of the saga.
    pub fn all_of(saga: &Saga) -> impl Iterator<Item = OutgoingCommand> {
        saga.outstanding()
            .into_iter()
            .map(|(step, direction)| OutgoingCommand::of(saga, step, direction))
    }

    /// Encodes the record to publish at `now`. A command that may expire does so one timeout after
    /// this send. Counted from its decision, it might expire while the brokers are unavailable.
    pub fn record(&self, now: Timestamp) -> Record {
        let expires_at = self.command.expires_at.map(|_| now.plus(self.timeout));
        wire::encode_command(&Command { expires_at, ..self.command.clone() }, now)
    }
}
