//! Probing for records that the client library cannot read: an unknown codec, a damaged batch, a
//! wrong checksum.
//!
//! The library reports neither partition nor offset of such a record, and fetches it repeatedly. A
//! second client outside of any group reads one partition from one offset, so its answer concerns
//! that offset only.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sagamore_transport::Error;

use crate::config;
use crate::fault::{QueryContext, unavailable};
use crate::names::Key;
use crate::options::Options;

/// Maximum time of one probe.
const LOOK_MAX: Duration = Duration::from_secs(2);
const WAIT: Duration = Duration::from_millis(50);

/// Offsets to probe one after another.
pub(crate) struct Doubts {
    options: Options,
    group: String,
    probe: Option<Probe>,
    doubts: VecDeque<Doubt>,
}

/// A partition that may be blocked by an unreadable record.
struct Doubt {
    key: Key,
    begun: u64,
    next: u64,
}

/// Reads single records, beside a consumer.
struct Probe {
    consumer: BaseConsumer<QueryContext>,
}

/// The result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// A record that the library cannot read.
    Unreadable(RDKafkaErrorCode),
    /// A readable record, at this offset or a later one.
    Record,
    /// The end of the partition, or no answer in time.
    Nothing,
}

/// Returns whether this error concerns a stored record, and so recurs with every fetch.
pub(crate) fn is_of_a_record(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BadCompression
            | RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::NotImplemented
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::UnsupportedCompressionType
    )
}

impl Doubts {
    pub fn new(options: Options, group: String) -> Doubts {
        Doubts { options, group, probe: None, doubts: VecDeque::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.doubts.is_empty()
    }

    /// Adds partitions to probe, each from this offset.
    pub fn raise(&mut self, places: Vec<(Key, u64)>) {
        self.doubts.extend(places.into_iter().map(|(key, begun)| Doubt {
            key,
            begun,
            next: begun,
        }));
    }

    /// Returns the next offset to probe.
    pub fn next(&self) -> Option<(Key, u64)> {
        self.doubts.front().map(|doubt| (doubt.key.clone(), doubt.next))
    }

    /// Moves to the next offset after an unreadable record.
    pub fn pass(&mut self) {
        if let Some(doubt) = self.doubts.front_mut() {
            doubt.next += 1;
        }
    }

    /// Returns whether an unreadable record was found before the current offset.
    pub fn has_passed(&self) -> bool {
        self.doubts.front().is_some_and(|doubt| doubt.begun < doubt.next)
    }

    /// Ends the probes of the current partition.
    pub fn settle(&mut self) {
        self.doubts.pop_front();
        if self.doubts.is_empty() {
            self.probe = None; // closes its connections
        }
    }

    /// Probes one offset of a partition, by the topic's name on the brokers.
    pub fn look(&mut self, topic: &str, partition: u32, offset: u64) -> Result<Finding, Error> {
        let probe = match &self.probe {
            Some(probe) => probe,
            None => self.probe.insert(Probe::open(&self.options, &self.group)?),
        };
        probe.look(topic, i32::try_from(partition).unwrap_or(i32::MAX), offset)
    }
}

impl Probe {
    /// Creates a client that reads by assignment. The group is set only for its permissions.
    fn open(options: &Options, group: &str) -> Result<Probe, Error> {
        let mut config = config::consumer(options, group)?;
        config.set("enable.partition.eof", "true").set("statistics.interval.ms", "0");
        config
            .set("fetch.error.backoff.ms", "10")
            .set("fetch.wait.max.ms", "10")
            .set("queued.min.messages", "1");
        let consumer = BaseConsumer::from_config_and_context(&config, QueryContext);
        Ok(Probe { consumer: consumer.map_err(|error| unavailable("create a consumer", &error))? })
    }

    fn look(&self, topic: &str, partition: i32, offset: u64) -> Result<Finding, Error> {
        let mut place = TopicPartitionList::with_capacity(1);
        let offset = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        let named = place.add_partition_offset(topic, partition, offset);
        named
            .and_then(|()| self.consumer.assign(&place))
            .map_err(|error| unavailable("probe a record", &error))?;
        let until = Instant::now() + LOOK_MAX;
        while Instant::now() < until {
            match self.consumer.poll(WAIT) {
                Some(Ok(_)) => return Ok(Finding::Record),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Finding::Nothing),
                Some(Err(KafkaError::MessageConsumption(code))) if is_of_a_record(code) => {
                    return Ok(Finding::Unreadable(code));
                }
                Some(Err(_)) | None => {}
            }
        }
        Ok(Finding::Nothing)
    }
}
