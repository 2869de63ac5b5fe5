//! The size of a turn and of its chunks: halved after each failure, doubled after each success.
//!
//! **Invariant:** a turn that keeps failing shrinks to one message, so that one message blocks no
//! other.

use sagamore_database::Error;

use crate::options::Options;

/// Number of failed single-message turns after which that message is suspected of making the
/// database unavailable.
const ALONE_MAX: u32 = 3;

/// The bounds of the next turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    messages: usize,
    messages_max: usize,
    bytes: usize,
    bytes_max: usize,
    /// Messages of the current turn.
    taken: usize,
    /// Consecutive failures of turns that could not be smaller.
    alone: u32,
}

impl Load {
    /// Returns the largest bounds that the options allow.
    pub(crate) fn of(options: &Options) -> Load {
        let (messages_max, bytes_max) =
            (options.messages_max.max(1), options.chunk_bytes_max.max(1));
        Load {
            messages: messages_max,
            messages_max,
            bytes: bytes_max,
            bytes_max,
            taken: 0,
            alone: 0,
        }
    }

    /// Returns the maximum number of messages of a turn.
    pub(crate) fn messages(&self) -> usize {
        self.messages
    }

    /// Returns the bytes of answers after which a chunk ends.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records the number of messages of the current turn.
    pub(crate) fn took(&mut self, messages: usize) {
        self.taken = messages;
    }

    /// Doubles the bounds, unless the turn had no messages.
    pub(crate) fn succeeded(&mut self) {
        if std::mem::take(&mut self.taken) > 0 {
            self.messages = self.messages.saturating_mul(2).min(self.messages_max);
            self.bytes = self.bytes.saturating_mul(2).min(self.bytes_max);
            self.alone = 0;
        }
    }

    /// Halves the bounds. Returns whether the next turn is smaller.
    pub(crate) fn failed(&mut self) -> bool {
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 && self.messages == 1 {
            self.alone = self.alone.saturating_add(1);
        }
        if taken == 0 || self.messages == 1 {
            return false;
        }
        self.messages = (self.messages.min(taken) / 2).max(1);
        self.bytes = (self.bytes / 2).max(1);
        true
    }

    /// Returns whether a chunk of one command failed because of that command, not of the database.
    pub(crate) fn blames_the_command(&self, error: &Error) -> bool {
        match error {
            Error::Conflict(_)
            | Error::Constraint(_)
            | Error::Statement(_)
            | Error::Column { .. } => true,
            // the command may be what ends the connection
            Error::Unavailable(_) | Error::CommitUnknown(_) => self.alone >= ALONE_MAX,
            Error::Aborted(cause) => self.blames_the_command(cause),
            Error::Name(_) | Error::Over | Error::InUse(_) | Error::ProgramTooOld { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(messages_max: usize) -> Load {
        Load::of(&Options { messages_max, chunk_bytes_max: 1_000, ..Options::default() })
    }

    #[test]
    fn failures_halve_a_turn_down_to_one_message_and_successes_double_it() {
        let mut load = load(100);
        let mut sizes = Vec::new();
        loop {
            load.took(load.messages());
            sizes.push((load.messages(), load.bytes()));
            if !load.failed() {
                break;
            }
        }
        assert_eq!(
            sizes,
            [(100, 1_000), (50, 500), (25, 250), (12, 125), (6, 62), (3, 31), (1, 15)]
        );
        for size in [
            (2, 30),
            (4, 60),
            (8, 120),
            (16, 240),
            (32, 480),
            (64, 960),
            (100, 1_000),
            (100, 1_000),
        ] {
            load.took(1);
            load.succeeded();
            assert_eq!((load.messages(), load.bytes()), size);
        }
    }

    /// The next size is half of the messages that the failed turn took, not half of the limit.
    #[test]
    fn the_next_turn_is_half_as_large_and_an_empty_turn_changes_nothing() {
        let mut load = load(100);
        load.took(3);
        assert!(load.failed());
        assert_eq!(load.messages(), 1);
        load.took(0);
        load.succeeded();
        assert!(!load.failed());
        assert_eq!(load.messages(), 1);
    }

    #[test]
    fn a_command_is_blamed_for_an_unavailable_database_only_after_failing_alone() {
        let away = Error::Unavailable("the connection is gone".into());
        let mut load = load(1);
        for _ in 0..ALONE_MAX {
            assert!(
                !load.blames_the_command(&away)
                    && load.blames_the_command(&Error::Constraint("NUL".into()))
            );
            load.took(1);
            load.failed();
        }
        assert!(load.blames_the_command(&away));
        load.took(1);
        load.succeeded();
        assert!(!load.blames_the_command(&away));
    }
}
