//! Outages of a single process: it cannot publish, poll, or write to a topic for a while.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagamore_transport::{Error, Record};

use crate::faults::Fault;
use crate::world::World;

/// The longest outage of a process.
const OUTAGE_MS_MAX: i64 = 20_000;

/// The outages of one process.
#[derive(Default)]
pub(super) struct Outages {
    publish_until: i64,
    poll_until: i64,
    /// The topics that it may not write to, each with the end of the outage.
    denied: BTreeMap<Arc<str>, i64>,
}

impl Outages {
    /// Whether the process cannot publish now.
    pub(super) fn holds_publish(&mut self, world: &World) -> bool {
        holds(world, Fault::CutFromPublishing, &mut self.publish_until)
    }

    /// Whether the process cannot poll now.
    pub(super) fn holds_poll(&mut self, world: &World) -> bool {
        holds(world, Fault::CutFromPolling, &mut self.poll_until)
    }

    /// Returns an error for each record whose topic the process may not write to now.
    pub(super) fn deny(
        &mut self,
        world: &World,
        keeps: bool,
        records: &[Record],
    ) -> Vec<Option<Error>> {
        let now = world.now();
        if let Some(first) = records.iter().find(|record| may_be_denied(keeps, &record.topic))
            && world.strikes(Fault::Denied)
        {
            self.denied.insert(first.topic.clone(), now + world.between(1, OUTAGE_MS_MAX));
        }
        let is_denied = |topic: &Arc<str>| {
            !world.is_healed() && self.denied.get(topic).is_some_and(|until| now < *until)
        };
        let denied = |record: &Record| {
            is_denied(&record.topic).then(|| Error::denied_topic("WRITE", &record.topic))
        };
        records.iter().map(denied).collect()
    }
}

/// Whether a topic may be denied: events in choreographed runs, else replies. Dead letters are
/// never denied, since they replace denied replies.
fn may_be_denied(events: bool, topic: &str) -> bool {
    if events {
        !topic.ends_with("-dlt") && !topic.starts_with("sagamore.")
    } else {
        topic == "sagamore.replies"
    }
}

/// Whether an outage holds, started now or earlier.
pub(crate) fn holds(world: &World, fault: Fault, until: &mut i64) -> bool {
    let now = world.now();
    if now >= *until && world.strikes(fault) {
        *until = now + world.between(1, OUTAGE_MS_MAX);
    }
    now < *until && !world.is_healed()
}
