//! Records: a key, headers and a body.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

/// A record to publish.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The topic to publish to.
    pub topic: Arc<str>,
    /// The partition, if the sender chooses it. Otherwise the hash of the key selects it.
    pub partition: Option<u32>,
    /// The saga's business key. Records of one key stay in order.
    pub key: Bytes,
    /// Names and values, in the order given.
    pub headers: Vec<(Cow<'static, str>, Bytes)>,
    /// The payload.
    pub body: Bytes,
}

/// A delivered record.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The record as published.
    pub record: Record,
    /// The partition it was read from.
    pub partition: u32,
    /// Its offset in the partition.
    pub offset: u64,
    /// The reason why the transport cannot read the record, which then has no key, headers or body.
    /// The consumer publishes a dead letter for this offset and continues after it.
    pub unreadable: Option<Arc<str>>,
}

/// A group's offset in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Mark {
    pub topic: Arc<str>,
    pub partition: u32,
    /// The offset of the first unfinished record.
    pub next: u64,
}

impl Mark {
    /// Returns the marks after the last of these records in each partition, all of which are
    /// finished.
    pub fn behind<'a>(taken: impl IntoIterator<Item = &'a Delivery>) -> Vec<Mark> {
        let mut marks = BTreeMap::new();
        for Delivery { record, partition, offset, .. } in taken {
            let next = marks.entry((&record.topic, *partition)).or_insert(0);
            *next = offset.saturating_add(1).max(*next);
        }
        marks
            .into_iter()
            .map(|((topic, partition), next)| Mark { topic: topic.clone(), partition, next })
            .collect()
    }
}

impl Record {
    /// Returns the bytes of key, headers and body.
    pub fn bytes(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.len() + headers + self.body.len()
    }

    /// Returns the value of the first header with this name.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value)
    }
}
