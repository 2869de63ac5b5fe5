//! What one process cannot do for a while, though all others can: publish, take records, or write to a topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagamore_transport::{Error, Record};

use crate::faults::Fault;
use crate::world::World;

/// How long a process is cut off, or a right is missing.
const OUTAGE_MS_MAX: i64 = 20_000;

/// The outages of one process.
#[derive(Default)]
pub(super) struct Outages {
    publish_until: i64,
    poll_until: i64,
    /// Topic -> until when it may not be written to.
    denied: BTreeMap<Arc<str>, i64>,
}

impl Outages {
    /// Whether the process cannot publish now.
    pub(super) fn holds_publish(&mut self, world: &World) -> bool {
        holds(world, Fault::CutFromPublishing, &mut self.publish_until)
    }

    /// Whether the process is given nothing now.
    pub(super) fn holds_poll(&mut self, world: &World) -> bool {
        holds(world, Fault::CutFromPolling, &mut self.poll_until)
    }

    /// For each record, whether the process may not write to its topic now.
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

/// Events where there are any, and else replies. A dead letter is the last resort of what is denied.
fn may_be_denied(events: bool, topic: &str) -> bool {
    if events {
        !topic.ends_with("-dlt") && !topic.starts_with("sagamore.")
    } else {
        topic == "sagamore.replies"
    }
}

/// Whether an outage holds that began now or before.
pub(crate) fn holds(world: &World, fault: Fault, until: &mut i64) -> bool {
    let now = world.now();
    if now >= *until && world.strikes(fault) {
        *until = now + world.between(1, OUTAGE_MS_MAX);
    }
    now < *until && !world.is_healed()
}
