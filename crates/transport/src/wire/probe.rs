//! Probes: records whose acknowledgement proves that an orchestrator can publish. They are not
//! consumed.

use bytes::Bytes;

use crate::record::Record;

/// The topic of probes. It has one partition.
pub const PROBE_TOPIC: &str = "sagamore.probe";

/// Returns a probe of this orchestrator, with its name as the key and no body.
pub fn probe(owner: &str) -> Record {
    Record {
        topic: PROBE_TOPIC.into(),
        partition: Some(0),
        key: Bytes::copy_from_slice(owner.as_bytes()),
        headers: Vec::new(),
        body: Bytes::new(),
    }
}
