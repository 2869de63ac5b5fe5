//! Dead letters: a record that could not be handled, with its place and the reason, and the
//! function that restores the record.
//!
//! A dead letter has the headers of Spring Kafka, whose big-endian numbers are not always UTF-8. It
//! also has the same values as text, for other clients. Either set is enough to redrive the record.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::headers::parse_number;
use super::malformed::cut;
use crate::error::Error;
use crate::port::Transport;
use crate::record::{Delivery, Record};

const TOPIC: &str = "kafka_dlt-original-topic";
const PARTITION: &str = "kafka_dlt-original-partition";
const OFFSET: &str = "kafka_dlt-original-offset";
const MESSAGE: &str = "kafka_dlt-exception-message";
const SPRING: &str = "kafka_dlt-";
const READABLE: &str = "sagamore-dlt-";
const READABLE_TOPIC: &str = "sagamore-dlt-topic";
const READABLE_PARTITION: &str = "sagamore-dlt-partition";
const READABLE_OFFSET: &str = "sagamore-dlt-offset";
const READABLE_PLACE: &str = "sagamore-dlt-place";
const READABLE_REASON: &str = "sagamore-dlt-reason";
const SUFFIX: &str = "-dlt";
/// Maximum bytes of a bare letter's key. Business keys are shorter.
const BARE_KEY_BYTES_MAX: usize = 200;

/// Returns the topic of dead letters, `payment.commands-dlt`. It needs as many partitions as its
/// topic.
pub fn dead_letter_topic(topic: &str) -> Arc<str> {
    [topic, SUFFIX].concat().into()
}

/// Converts a record into a dead letter: same partition, key, headers and body, plus place and
/// reason.
///
/// The place is written as `payment.commands[3]@1042`. The reason is truncated to 2,000 bytes.
pub fn dead_letter(delivery: &Delivery, reason: &str) -> Record {
    let Delivery { record, partition, offset, .. } = delivery;
    let mut headers = without_dead_letter_headers(record);
    let place = format!("{}[{partition}]@{offset}", record.topic);
    let reason = Bytes::copy_from_slice(cut(reason).as_bytes());
    let added: [(&'static str, Bytes); 9] = [
        (TOPIC, Bytes::copy_from_slice(record.topic.as_bytes())),
        (PARTITION, Bytes::copy_from_slice(&partition.to_be_bytes())),
        (OFFSET, Bytes::copy_from_slice(&offset.to_be_bytes())),
        (MESSAGE, reason.clone()),
        (READABLE_TOPIC, Bytes::copy_from_slice(record.topic.as_bytes())),
        (READABLE_PARTITION, Bytes::from(partition.to_string())),
        (READABLE_OFFSET, Bytes::from(offset.to_string())),
        (READABLE_PLACE, Bytes::from(place)),
        (READABLE_REASON, reason),
    ];
    headers.extend(added.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)));
    Record {
        topic: dead_letter_topic(&record.topic),
        partition: Some(*partition),
        key: record.key.clone(),
        headers,
        body: record.body.clone(),
    }
}

/// Reduces a dead letter to place, reason and key, for a record that is too large as a whole.
pub fn bare_letter(letter: &Record) -> Record {
    Record {
        headers: letter.headers.iter().filter(|(name, _)| is_ours(name)).cloned().collect(),
        key: letter.key.slice(..letter.key.len().min(BARE_KEY_BYTES_MAX)),
        body: Bytes::new(),
        ..letter.clone()
    }
}

/// Publishes a dead letter. If its partition is missing, the letter may go to any other. If it is
/// too large, it is published bare.
///
/// # Errors
/// [`Error::UnknownTopic`] or [`Error::TooLarge`] are permanent: the caller must not retry them.
pub async fn publish_letter(transport: &dyn Transport, letter: Record) -> Result<(), Error> {
    let (mut letter, mut bare) = (letter, false);
    loop {
        match transport.publish(vec![letter.clone()]).await {
            Err(Error::UnknownTopic(_)) if letter.partition.is_some() => letter.partition = None,
            Err(Error::TooLarge { .. }) if !bare => (letter, bare) = (bare_letter(&letter), true),
            published => return published,
        }
    }
}

/// Restores the record of a dead letter for its topic and partition; `None` if the letter does not
/// name them.
pub fn redrive(dead: &Record) -> Option<Record> {
    let text = |name| dead.header(name).and_then(|value| std::str::from_utf8(value).ok());
    let topic = text(READABLE_TOPIC).or_else(|| text(TOPIC))?;
    let of_spring = || Some(u32::from_be_bytes(dead.header(PARTITION)?.as_ref().try_into().ok()?));
    let partition = text(READABLE_PARTITION).and_then(parse_number).or_else(of_spring)?;
    Some(Record {
        topic: topic.into(),
        partition: Some(partition),
        key: dead.key.clone(),
        headers: without_dead_letter_headers(dead),
        body: dead.body.clone(),
    })
}

fn without_dead_letter_headers(record: &Record) -> Vec<(Cow<'static, str>, Bytes)> {
    record.headers.iter().filter(|(name, _)| !is_ours(name)).cloned().collect()
}

fn is_ours(name: &str) -> bool {
    name.starts_with(SPRING) || name.starts_with(READABLE)
}
