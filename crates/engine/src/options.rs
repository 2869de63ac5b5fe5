//! Settings and limits of the orchestrator.

use std::collections::BTreeMap;
use std::time::Duration;

use sagamore_core::Name;
use sagamore_transport::Subscription;

/// Settings and limits of an orchestrator, with defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// The topic of replies. Its dead letters have the suffix `-dlt`.
    pub reply_topic: String,
    /// Partitions of the reply topic when it is created.
    pub reply_partitions: u32,
    /// The consumer group for replies.
    pub group: String,
    /// This orchestrator's name in the ownership rows. With a lease it must be unique among all
    /// processes.
    pub owner: String,
    /// The length of a lease. `None`: this orchestrator is the only one, and owns every partition.
    ///
    /// With a lease, any number of orchestrators share the partitions. If one does not renew for
    /// this long, the others claim its partitions.
    pub lease: Option<Duration>,
    /// The time without progress after which a turn counts as hanging and leases are not renewed.
    /// Longer than any call that a turn makes.
    pub turn_max: Duration,
    /// Maximum sagas of gained partitions that are read per turn to resend their outstanding
    /// commands.
    pub takeover_page: usize,
    /// Maximum bytes of commands resent per turn for gained partitions; exceeded by one command at
    /// most.
    pub takeover_bytes_max: usize,
    /// Maximum requests that wait for a turn. Further ones are rejected as busy.
    pub requests_max: usize,
    /// Maximum total bytes of requests that wait for a turn. Further ones are rejected as busy.
    pub request_bytes_max: usize,
    /// Maximum sagas that are not at rest. Further starts are rejected as busy.
    pub in_flight_max: usize,
    /// Maximum sagas in memory. Others are read again for their next input.
    pub live_max: usize,
    /// Maximum bytes of the sagas in memory.
    pub live_bytes_max: usize,
    /// Maximum inputs of each kind per turn.
    pub batch_max: usize,
    /// Maximum bytes of inputs of each kind per turn, and of sagas per transaction. A single larger
    /// one is still taken.
    pub batch_bytes_max: usize,
    /// Maximum bytes of a saga's input.
    pub input_bytes_max: usize,
    /// Retention of a saga's journal and idempotency keys after its end. Its row remains until
    /// every participant has acknowledged that it removed the saga's barrier rows.
    pub retention: Duration,
    /// Retention of the participants' barrier rows after a saga's end. Every message of the saga
    /// that may still be delivered, dead letters included, must be younger.
    pub barrier_retention: Duration,
    /// Maximum difference between the clocks of orchestrators and participants, for retention.
    pub skew_max: Duration,
    /// Partitions of a participant's command topic when it is created, unless `partitions_of` names
    /// it.
    pub command_partitions: u32,
    /// Partitions of the command topics of these participants when they are created.
    pub partitions_of: BTreeMap<Name, u32>,
}

impl Options {
    /// Returns the number of partitions for a participant's command topic.
    pub(crate) fn partitions_for(&self, participant: &Name) -> u32 {
        self.partitions_of.get(participant).copied().unwrap_or(self.command_partitions)
    }

    /// Returns a subscription to the replies of all partitions.
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
