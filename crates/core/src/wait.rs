//! The cause of a waiting step.

use crate::time::Timestamp;

/// The event that a step waits for, and its times. Every time comes from the clock that applied the
/// change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of common fields say it")]
pub enum Wait {
    /// Nothing: no command is outstanding.
    None,
    /// The transport's acknowledgement of the command, so no deadline runs.
    ///
    /// [`Saga::acknowledge`](crate::Saga::acknowledge) ends this state. It is not journalled: a
    /// saga that is read from the store is sending.
    Sending {
        /// The deadline of the reply if the transport acknowledges the command at once.
        due: Timestamp,
        /// The time of the first attempt in the current direction.
        since: Timestamp,
        faulty_since: Option<Timestamp>,
    },
    /// The reply to the command.
    Reply {
        /// The deadline of the reply.
        due: Timestamp,
        /// The time of the first attempt in the current direction.
        since: Timestamp,
        faulty_since: Option<Timestamp>,
    },
    /// The next attempt, after a fault or a missed reply.
    Retry {
        /// The time of the next attempt.
        due: Timestamp,
        /// The time of the first attempt in the current direction.
        since: Timestamp,
        faulty_since: Timestamp,
    },
    /// The participant's next reply: it is working on the command. Nothing is resent before `due`,
    /// and a takeover keeps the time.
    Pending {
        /// The end of the time that the participant asked for.
        due: Timestamp,
        /// The time of the first attempt in the current direction.
        since: Timestamp,
    },
    /// An operator: the step is set aside. Nothing is resent, but a late reply counts. A waiting
    /// step is set aside when its command cannot be sent.
    Held { since: Timestamp },
}

impl Wait {
    /// Returns the deadline of the reply or the time of the next attempt.
    pub fn due(self) -> Option<Timestamp> {
        match self {
            Wait::Sending { due, .. } | Wait::Reply { due, .. } | Wait::Retry { due, .. } => {
                Some(due)
            }
            Wait::Pending { due, .. } => Some(due),
            Wait::None | Wait::Held { .. } => None,
        }
    }

    /// Returns the time of the first attempt in the current direction, while a reply is awaited.
    pub fn asked_since(self) -> Option<Timestamp> {
        match self {
            Wait::Sending { since, .. } | Wait::Reply { since, .. } | Wait::Retry { since, .. } => {
                Some(since)
            }
            Wait::Pending { since, .. } => Some(since),
            Wait::None | Wait::Held { .. } => None,
        }
    }

    /// Returns the time of the first fault or missed reply since the last reply, or of setting the
    /// step aside. See [`Saga::open_fault`](crate::Saga::open_fault).
    pub fn faulty_since(self) -> Option<Timestamp> {
        match self {
            Wait::None | Wait::Pending { .. } => None,
            Wait::Sending { faulty_since, .. } | Wait::Reply { faulty_since, .. } => faulty_since,
            Wait::Retry { faulty_since: since, .. } | Wait::Held { since } => Some(since),
        }
    }

    /// Returns whether a command was sent and neither answered nor given up. A takeover resends it.
    pub fn is_outstanding(self) -> bool {
        matches!(self, Wait::Sending { .. } | Wait::Reply { .. })
    }

    /// Returns whether a reply is expected: the command is outstanding, or the participant works on
    /// it.
    pub fn expects_reply(self) -> bool {
        self.is_outstanding() || matches!(self, Wait::Pending { .. })
    }

    /// Returns whether the step pauses before its next attempt.
    pub fn is_retry(self) -> bool {
        matches!(self, Wait::Retry { .. })
    }

    /// Returns whether the step is set aside.
    pub fn is_held(self) -> bool {
        matches!(self, Wait::Held { .. })
    }

    /// Returns the due time that runs; `None` while the command is being sent.
    pub(crate) fn running_due(self) -> Option<Timestamp> {
        self.due().filter(|_| !matches!(self, Wait::Sending { .. }))
    }

    /// Returns the wait after a command was sent at `at`.
    pub(crate) fn sent(self, at: Timestamp, due: Timestamp) -> Wait {
        let since = self.asked_since().unwrap_or(at);
        Wait::Sending { due, since, faulty_since: self.faulty_since() }
    }

    /// Returns the wait after a fault or a missed reply at `at`. Without a next attempt there is
    /// none.
    pub(crate) fn failed(self, at: Timestamp, next: Option<Timestamp>) -> Wait {
        let since = self.asked_since().unwrap_or(at);
        let faulty_since = self.faulty_since().unwrap_or(at);
        next.map_or(Wait::None, |due| Wait::Retry { due, since, faulty_since })
    }

    /// Returns the wait after a pending reply.
    pub(crate) fn pending(self, at: Timestamp, due: Timestamp) -> Wait {
        Wait::Pending { due, since: self.asked_since().unwrap_or(at) }
    }

    /// Returns the wait after the transport acknowledged the command: the reply's deadline runs.
    pub(crate) fn acknowledged(self, due: Timestamp) -> Wait {
        match self {
            Wait::Sending { since, faulty_since, .. } => Wait::Reply { due, since, faulty_since },
            Wait::None | Wait::Reply { .. } | Wait::Retry { .. } => self,
            Wait::Pending { .. } | Wait::Held { .. } => self,
        }
    }
}
