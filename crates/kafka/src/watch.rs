//! The client library's reports about a consumer: assigned and revoked partitions, and their ends.

use std::sync::Arc;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};

use crate::fault::{self, Complaints};
use crate::intake::Shared;
use crate::names::{Key, Names};

/// The context that receives the library's reports.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    names: Names,
    pub group: String,
    pub complaints: Complaints,
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        fault::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.warn(&self.group, &error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        for (topic, seen) in statistics.topics {
            let Some(topic) = self.names.here(&topic) else { continue };
            let topic: Arc<str> = topic.into();
            for (partition, seen) in seen.partitions {
                let Ok(partition) = u32::try_from(partition) else { continue };
                let is_fetched = seen.fetch_state == "active";
                let next = u64::try_from(seen.next_offset).ok().filter(|_| is_fetched);
                self.shared.intake().fetches((topic.clone(), partition), next);
                let Ok(high) = u64::try_from(seen.hi_offset) else { continue };
                if is_fetched {
                    let (committed, low) =
                        (u64::try_from(seen.committed_offset), u64::try_from(seen.lo_offset));
                    // removed records that the group has not read do not count as lag
                    let stands = committed.unwrap_or(0).max(low.unwrap_or(if committed.is_ok() {
                        0
                    } else {
                        high
                    }));
                    self.shared.intake().observe((topic.clone(), partition), stands, high);
                }
            }
        }
    }
}

impl Watch {
    pub fn new(shared: Arc<Shared>, names: Names, group: String) -> Watch {
        Watch { shared, names, group, complaints: Complaints::default() }
    }

    fn keys(&self, partitions: &TopicPartitionList) -> Vec<Key> {
        partitions.elements().iter().filter_map(|element| key(&self.names, element)).collect()
    }
}

impl ConsumerContext for Watch {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Watch>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(assigned) => {
                tracing::debug!(group = self.group, ?assigned, "partitions assigned");
                self.shared.intake().assign(self.keys(assigned));
            }
            Rebalance::Revoke(revoked) => {
                tracing::debug!(group = self.group, ?revoked, "partitions revoked");
                if !consumer.assignment_lost() {
                    commit_marks(consumer, &self.shared, &self.names, CommitMode::Sync);
                }
                let keys = self.keys(revoked);
                self.shared.intake().revoke(&keys);
                metrics::counter!("sagamore_kafka_partitions_revoked_total")
                    .increment(keys.len() as u64);
            }
            Rebalance::Error(error) => {
                tracing::warn!(group = self.group, %error, "rebalance failed")
            }
        }
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(
                group = self.group, %error, "cannot commit offsets, the next commit includes them"
            );
        }
    }
}

/// Returns a partition's key, by the topic's name without namespace.
pub(crate) fn key(names: &Names, element: &TopicPartitionListElem<'_>) -> Option<Key> {
    Some((names.here(element.topic())?.into(), u32::try_from(element.partition()).ok()?))
}

/// Commits the group's offsets to the brokers.
pub(crate) fn commit_marks(
    consumer: &BaseConsumer<Watch>,
    shared: &Shared,
    names: &Names,
    mode: CommitMode,
) {
    let unsent = shared.intake().take_unsent();
    if unsent.is_empty() {
        return;
    }
    if let Err(error) = consumer.commit(&list(&unsent, names), mode) {
        tracing::debug!(%error, "cannot commit offsets");
        shared.intake().unsent_again(&unsent);
    }
}

/// Converts offsets into a list with the names on the brokers.
pub(crate) fn list(offsets: &[(Key, u64)], names: &Names) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for ((topic, partition), offset) in offsets {
        let (partition, offset) = (i32::try_from(*partition), i64::try_from(*offset));
        if let (Ok(partition), Ok(offset)) = (partition, offset) {
            let added =
                list.add_partition_offset(&names.there(topic), partition, Offset::Offset(offset));
            debug_assert!(added.is_ok(), "an offset that came from the brokers");
        }
    }
    list
}
