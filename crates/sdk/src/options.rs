//! The bounds and limits of a participant.

use std::time::Duration;

use sagamore_core::Name;

/// Bounds and limits of a participant.
#[derive(Clone, Debug)]
pub struct Options {
    /// Maximum messages of a turn; halved after each failed turn.
    pub messages_max: usize,
    /// Bytes of answers after which a chunk is committed and published; halved after each failed
    /// turn. The transport bounds the bytes of a turn's input.
    pub chunk_bytes_max: usize,
    /// Attempts of a chunk when the database reports conflicts, at least 2.
    pub attempts_max: u32,
    /// The time limit of a handler, shorter than a transaction may be idle. Requires tokio's timer.
    /// `None`: [`Participant::run`](crate::Participant::run) chooses one, and a single turn has
    /// none.
    pub handler_limit: Option<Duration>,
    /// Partitions of topics that the participant creates.
    pub partitions: u32,
    /// Maximum bytes of a reply's body. A larger one is a fault of its handler.
    pub reply_bytes_max: usize,
    /// The longest pause after a failed turn.
    pub pause_max: Duration,
    /// Retention of barrier rows after a saga's end. Every message of the saga that may still be
    /// delivered, dead letters included, must be younger.
    pub barrier_retention: Duration,
    /// Maximum time that an event waits for another one that its reaction needs. After that it
    /// becomes a dead letter.
    pub early_max: Duration,
    /// The plans that this program knows, each with its version. An event of a later version
    /// becomes a dead letter. Versions of other plans are not compared.
    pub plans: Vec<(Name, u32)>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            messages_max: 1_000,
            chunk_bytes_max: 4 << 20,
            attempts_max: 3,
            handler_limit: None,
            partitions: 4,
            reply_bytes_max: 512 * 1024,
            pause_max: Duration::from_secs(5),
            barrier_retention: Duration::from_secs(30 * 24 * 3600),
            early_max: Duration::from_secs(24 * 3600),
            plans: Vec::new(),
        }
    }
}
