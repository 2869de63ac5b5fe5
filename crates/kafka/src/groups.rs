//! The progress of groups, as seen from outside.

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sagamore_transport::{Error, Reach};

use crate::config;
use crate::fault::{QueryContext, unavailable};
use crate::names::Names;
use crate::options::Options;

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The number of members. A consumer that takes partitions by assignment is not a member.
    pub members: usize,
    /// The group's offset and the end of each partition.
    pub reaches: Vec<Reach>,
}

/// Queries a group's offsets in these topics, each with its number of partitions.
pub(crate) fn query(
    options: &Options,
    names: &Names,
    group: &str,
    topics: &[(String, u32)],
) -> Result<Group, Error> {
    let failed =
        |error: KafkaError| unavailable(&format!("query the offsets of group {group}"), &error);
    let (limit, there) = (options.answered_within, names.there(group));
    let consumer =
        BaseConsumer::from_config_and_context(&config::consumer(options, &there)?, QueryContext);
    let consumer = consumer.map_err(failed)?;
    let list = |offset| {
        let mut list = TopicPartitionList::new();
        for (topic, partitions) in topics {
            for partition in 0..i32::try_from(*partitions).unwrap_or(i32::MAX) {
                list.add_partition_offset(&names.there(topic), partition, offset)
                    .map_err(failed)?;
            }
        }
        Ok::<_, Error>(list)
    };
    let committed = consumer.committed_offsets(list(Offset::Invalid)?, limit).map_err(failed)?;
    let first = consumer.offsets_for_times(list(Offset::Beginning)?, limit).map_err(failed)?;
    let ends = consumer.offsets_for_times(list(Offset::End)?, limit).map_err(failed)?;
    let mut reaches = Vec::with_capacity(ends.count());
    for end in ends.elements() {
        let at = |list: &TopicPartitionList| {
            list.find_partition(end.topic(), end.partition())
                .and_then(|place| position(place.offset()))
                .unwrap_or(0)
        };
        let (Some(topic), Ok(partition)) =
            (names.here(end.topic()), u32::try_from(end.partition()))
        else {
            continue;
        };
        let mark = at(&committed).max(at(&first));
        let end = position(end.offset()).unwrap_or(mark).max(mark);
        reaches.push(Reach { topic: topic.into(), partition, mark, end });
    }
    let known = consumer.fetch_group_list(Some(&there), limit).map_err(failed)?;
    let members = known
        .groups()
        .iter()
        .find(|known| known.name() == there)
        .map_or(0, |known| known.members().len());
    Ok(Group { members, reaches })
}

fn position(offset: Offset) -> Option<u64> {
    match offset {
        Offset::Offset(offset) => u64::try_from(offset).ok(),
        _ => None,
    }
}
