//! The orchestrator's bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use sagamore_core::Name;
use sagamore_transport::Subscription;

/// Every bound of an orchestrator, with its default.
#[derive(Clone, Debug)]
pub struct Options {
    /// The topic that replies come by, and its dead letters with `-dlt` behind.
    pub reply_topic: String,
    /// How many partitions it has when it is created.
    pub reply_partitions: u32,
    /// The consumer group under which replies are taken.
    pub group: String,
    /// Who this orchestrator is, for the ownership rows. With a lease: a name that no other process has.
    pub owner: String,
    /// None: this orchestrator is the only one, and takes every partition. Otherwise any number of them share the
    /// partitions, each for so long from one renewal to the next: who is silent for longer is succeeded by the others.
    pub lease: Option<Duration>,
    /// A turn that makes no step for so long hangs: leases are renewed no more. Longer than every call that a turn makes.
    pub turn_max: Duration,
    /// Sagas of gained partitions that are read, and whose outstanding commands are sent again, in one turn.
    pub takeover_page: usize,
    /// The commands that one turn sends again for gained partitions, in bytes; one more command may pass it.
    pub takeover_bytes_max: usize,
    /// Requests that wait for a turn; more are refused as busy.
    pub requests_max: usize,
    /// Requests that wait for a turn, in bytes together; more are refused as busy.
    pub request_bytes_max: usize,
    /// Sagas that are under way; more starts are refused as busy.
    pub in_flight_max: usize,
    /// Sagas kept in memory between their messages; the others are read again when something comes.
    pub live_max: usize,
    /// The bytes that these take; those beyond it are read again likewise.
    pub live_bytes_max: usize,
    /// Inputs taken in one turn, of each sort.
    pub batch_max: usize,
    /// The bytes of inputs taken in one turn, of each sort, and of the sagas in one transaction. A single larger one is
    /// taken by itself.
    pub batch_bytes_max: usize,
    /// The longest input of a saga, in bytes.
    pub input_bytes_max: usize,
    /// How long a saga's journal and idempotency keys are kept after its end. Its row stays until every participant has
    /// said that its barrier has forgotten the saga.
    pub retention: Duration,
    /// How long participants remember a saga after its end: longer than anything of it can still be delivered, or be sent
    /// again out of the dead letters.
    pub barrier_retention: Duration,
    /// By how much the clocks of orchestrators and participants may differ, for all that concerns retention.
    pub skew_max: Duration,
    /// Partitions of a participant's command topic, when it is created and `partitions_of` does not name it.
    pub command_partitions: u32,
    /// Partitions of the command topics of these participants, when they are created.
    pub partitions_of: BTreeMap<Name, u32>,
}

impl Options {
    /// How many partitions the command topic of a participant gets.
    pub(crate) fn partitions_for(&self, participant: &Name) -> u32 {
        self.partitions_of.get(participant).copied().unwrap_or(self.command_partitions)
    }

    /// The replies, of all partitions.
    pub(crate) fn subscription(&self) -> Subscription {
        let (group, topic) = (self.group.as_str().into(), self.reply_topic.as_str().into());
        Subscription { group, topics: vec![topic], partitions: None }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            reply_topic: "sagamore.replies".into(),
            reply_partitions: 1,
            group: "sagamore.orchestrator".into(),
            owner: "orchestrator".into(),
            lease: None,
            turn_max: Duration::from_secs(30),
            takeover_page: 500,
            takeover_bytes_max: 4 * 1024 * 1024,
            requests_max: 10_000,
            request_bytes_max: 64 * 1024 * 1024,
            in_flight_max: 20_000,
            live_max: 20_000,
            live_bytes_max: 256 * 1024 * 1024,
            batch_max: 1_000,
            batch_bytes_max: 16 * 1024 * 1024,
            input_bytes_max: 256 * 1024,
            retention: Duration::from_secs(30 * 24 * 3600),
            barrier_retention: Duration::from_secs(30 * 24 * 3600),
            skew_max: Duration::from_secs(24 * 3600),
            command_partitions: 1,
            partitions_of: BTreeMap::new(),
        }
    }
}
