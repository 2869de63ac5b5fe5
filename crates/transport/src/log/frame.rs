//! Frames, the content of a segment: length, checksum over length and payload, payload.
//!
//! The payload's first byte is its kind. Numbers are LEB128. Texts are a length and the bytes.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::record::Record;

/// The bytes of a frame before its payload.
pub(super) const HEAD_BYTES: usize = 8;

const VERSION: u64 = 1;
const RECORD: u8 = 1;
const OFFSETS: u8 = 2;
const TOPIC: u8 = 3;
const SNAPSHOT: u8 = 4;

/// The content of a frame, as parsed when a log is opened.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    /// The place of a record, whose content is read on demand.
    Record(Located),
    /// The committed offsets of a group.
    Offsets(GroupMarks),
    /// A topic.
    Topic(TopicState),
    /// All topics and offsets, at the beginning of a segment.
    Snapshot(Vec<TopicState>, Vec<GroupMarks>),
}

/// A record's place in its topic.
#[derive(Debug, PartialEq)]
pub(super) struct Located {
    pub topic: u32,
    pub partition: u32,
    pub offset: u64,
}

/// The committed offsets of one group.
#[derive(Debug, PartialEq)]
pub(super) struct GroupMarks {
    pub group: Arc<str>,
    /// Topic, partition and next offset.
    pub marks: Vec<(u32, u32, u64)>,
}

/// A topic with the first retained and the next offset of each partition.
#[derive(Debug, PartialEq)]
pub(super) struct TopicState {
    pub name: Arc<str>,
    pub partitions: Vec<(u64, u64)>,
}

/// Appends a record's frame.
pub(super) fn put_record(out: &mut Vec<u8>, at: &Located, record: &Record) {
    framed(out, RECORD, |out| {
        put_number(out, u64::from(at.topic));
        put_number(out, u64::from(at.partition));
        put_number(out, at.offset);
        put_bytes(out, &record.key);
        put_number(out, record.headers.len() as u64);
        for (name, value) in &record.headers {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value);
        }
        put_bytes(out, &record.body);
    });
}

/// Appends the frame of a group's offsets.
pub(super) fn put_offsets(out: &mut Vec<u8>, marks: &GroupMarks) {
    framed(out, OFFSETS, |out| put_marks(out, marks));
}

/// Appends a topic's frame.
pub(super) fn put_topic(out: &mut Vec<u8>, topic: &TopicState) {
    framed(out, TOPIC, |out| put_topic_state(out, topic));
}

/// Appends a segment's first frame.
pub(super) fn put_snapshot(out: &mut Vec<u8>, topics: &[TopicState], groups: &[GroupMarks]) {
    framed(out, SNAPSHOT, |out| {
        put_number(out, VERSION);
        put_number(out, topics.len() as u64);
        topics.iter().for_each(|topic| put_topic_state(out, topic));
        put_number(out, groups.len() as u64);
        groups.iter().for_each(|group| put_marks(out, group));
    });
}

/// Returns an upper bound of a record's bytes in the log.
pub(super) fn record_bytes(record: &Record) -> usize {
    let headers: usize =
        record.headers.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
    HEAD_BYTES + 36 + record.key.len() + headers + record.body.len()
}

/// Returns the payload of the first frame in `bytes`; `None` if it is truncated or its checksum is
/// wrong.
pub(super) fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.get(..4)?;
    let checksum = u32::from_le_bytes(bytes.get(4..HEAD_BYTES)?.try_into().ok()?);
    let payload_bytes = u32::from_le_bytes(length.try_into().ok()?) as usize;
    let payload = bytes[HEAD_BYTES..].get(..payload_bytes)?;
    (checksum_of(length, payload) == checksum).then_some(payload)
}

/// Returns the length of the frame, as stated in its head.
pub(super) fn length(head: &[u8]) -> Option<usize> {
    let payload_bytes = u32::from_le_bytes(head.get(..4)?.try_into().ok()?);
    usize::try_from(payload_bytes).ok()?.checked_add(HEAD_BYTES)
}

/// Parses a payload; `None` if this program does not understand it.
pub(super) fn parse(payload: &[u8]) -> Option<Frame> {
    let (kind, rest) = payload.split_first()?;
    let mut read = Reader { bytes: rest, at: 0 };
    let frame = match *kind {
        RECORD => return Some(Frame::Record(read.located()?)),
        OFFSETS => Frame::Offsets(read.marks()?),
        TOPIC => Frame::Topic(read.topic()?),
        SNAPSHOT => {
            if read.number()? != VERSION {
                return None;
            }
            let topics = read.many(Reader::topic)?;
            Frame::Snapshot(topics, read.many(Reader::marks)?)
        }
        _ => return None,
    };
    (read.at == rest.len()).then_some(frame)
}

/// Returns the record in the frame at `range`, sharing its bytes; `None` if it is not an intact
/// record.
pub(super) fn record(bytes: &Bytes, range: Range<usize>, topic: &Arc<str>) -> Option<Record> {
    let payload = payload(bytes.get(range)?)?;
    let (RECORD, rest) = payload.split_first().map(|(kind, rest)| (*kind, rest))? else {
        return None;
    };
    let mut read = Reader { bytes: rest, at: 0 };
    let at = read.located()?;
    let key = bytes.slice_ref(read.bytes()?);
    let count = read.size()?;
    let mut headers = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        let name = std::str::from_utf8(read.bytes()?).ok()?;
        headers.push((Cow::Owned(name.to_owned()), bytes.slice_ref(read.bytes()?)));
    }
    let body = bytes.slice_ref(read.bytes()?);
    Some(Record { topic: topic.clone(), partition: Some(at.partition), key, headers, body })
}

fn framed(out: &mut Vec<u8>, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    out.push(kind);
    write(out);
    let length =
        u32::try_from(out.len() - start - HEAD_BYTES).expect("records are limited far below 4 GiB");
    let length = length.to_le_bytes();
    let checksum = checksum_of(&length, &out[start + HEAD_BYTES..]);
    out[start..start + 4].copy_from_slice(&length);
    out[start + 4..start + HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// Computes the checksum over length and payload, so that a run of zeros is not a valid frame.
fn checksum_of(length: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(length);
    hasher.update(payload);
    hasher.finalize()
}

fn put_marks(out: &mut Vec<u8>, marks: &GroupMarks) {
    put_bytes(out, marks.group.as_bytes());
    put_number(out, marks.marks.len() as u64);
    for (topic, partition, next) in &marks.marks {
        put_number(out, u64::from(*topic));
        put_number(out, u64::from(*partition));
        put_number(out, *next);
    }
}

fn put_topic_state(out: &mut Vec<u8>, topic: &TopicState) {
    put_bytes(out, topic.name.as_bytes());
    put_number(out, topic.partitions.len() as u64);
    for (first, next) in &topic.partitions {
        put_number(out, *first);
        put_number(out, *next);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn size(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let size = self.size()?;
        let bytes = self.bytes.get(self.at..)?.get(..size)?;
        self.at += size;
        Some(bytes)
    }

    fn text(&mut self) -> Option<Arc<str>> {
        std::str::from_utf8(self.bytes()?).ok().map(Arc::from)
    }

    fn many<T>(&mut self, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.size()?;
        (0..count).map(|_| one(self)).collect()
    }

    fn located(&mut self) -> Option<Located> {
        Some(Located { topic: self.small()?, partition: self.small()?, offset: self.number()? })
    }

    fn marks(&mut self) -> Option<GroupMarks> {
        let group = self.text()?;
        let marks = self.many(|read| Some((read.small()?, read.small()?, read.number()?)))?;
        Some(GroupMarks { group, marks })
    }

    fn topic(&mut self) -> Option<TopicState> {
        let name = self.text()?;
        let partitions = self.many(|read| Some((read.number()?, read.number()?)))?;
        Some(TopicState { name, partitions })
    }
}
