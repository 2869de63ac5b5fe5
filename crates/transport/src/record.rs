//! What travels: a record with a key, headers and a body.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

/// A record on its way to a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Where it goes.
    pub topic: Arc<str>,
    /// Which partition, when the sender decides; otherwise the key's hash does.
    pub partition: Option<u32>,
    /// The saga's business key: records with one key stay in order.
    pub key: Bytes,
    /// Names and values, in the order given.
    pub headers: Vec<(Cow<'static, str>, Bytes)>,
    /// The payload.
    pub body: Bytes,
}

/// A record as it comes in.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    /// What was published.
    pub record: Record,
    /// Where it was.
    pub partition: u32,
    /// Its place in the partition.
    pub offset: u64,
    /// Why the transport cannot read the record. It has then neither key nor headers nor body: its consumer sets the
    /// place aside as a dead letter, and goes on behind it.
    pub unreadable: Option<Arc<str>>,
}

/// How far a group has got in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// The offset of the first record that is not yet done with.
    pub next: u64,
}

impl Mark {
    /// The marks behind the last of these in each partition: all of them are done with.
    pub fn behind<'a>(taken: impl IntoIterator<Item = &'a Delivered>) -> Vec<Mark> {
        let mut marks = BTreeMap::new();
        for Delivered { record, partition, offset, .. } in taken {
            let next = marks.entry((&record.topic, *partition)).or_insert(0);
            *next = offset.saturating_add(1).max(*next);
        }
        marks.into_iter().map(|((topic, partition), next)| Mark { topic: topic.clone(), partition, next }).collect()
    }
}

impl Record {
    /// How many bytes its key, its headers and its body have.
    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.len() + headers + self.body.len()
    }

    /// The value of a header, the first of that name.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value)
    }
}
