//! A record that proves, by its acknowledgement, that its sender can publish. No one consumes it.

use bytes::Bytes;

use crate::record::Record;

/// Where orchestrators publish their probes. One partition.
pub const PROBE_TOPIC: &str = "sagamore.probe";

/// A probe of this orchestrator: its name as the key, and nothing else.
pub fn probe(owner: &str) -> Record {
    Record {
        topic: PROBE_TOPIC.into(),
        partition: Some(0),
        key: Bytes::copy_from_slice(owner.as_bytes()),
        headers: Vec::new(),
        body: Bytes::new(),
    }
}
