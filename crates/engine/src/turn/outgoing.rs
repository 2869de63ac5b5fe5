//! A command on its way to the transport. Until that acknowledges it, its step is *sending*: no deadline runs.

use std::time::Duration;

use sagamore_core::message::Command;
use sagamore_core::{Direction, Saga, Timestamp};
use sagamore_transport::{Record, wire};

/// A command to send, with the time that its answer may take.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub command: Command,
    pub step: usize,
    pub timeout: Duration,
}

impl Outgoing {
    /// The command for this step, as the saga stands.
    pub fn of(saga: &Saga, step: usize, direction: Direction) -> Outgoing {
        let timeout = saga.definition.steps[step].patience.timeout();
        Outgoing { command: saga.command(step, direction), step, timeout }
    }

    /// Everything that the saga has outstanding.
    pub fn all_of(saga: &Saga) -> impl Iterator<Item = Outgoing> {
        saga.outstanding().into_iter().map(|(step, direction)| Outgoing::of(saga, step, direction))
    }

    /// The record to publish at `now`. A command that may expire does so one timeout after this send, not after the
    /// decision to send it: brokers that were unavailable would otherwise deliver it expired.
    pub fn record(&self, now: Timestamp) -> Record {
        let expires_at = self.command.expires_at.map(|_| now.plus(self.timeout));
        wire::encode_command(&Command { expires_at, ..self.command.clone() }, now)
    }
}
