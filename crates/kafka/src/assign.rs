//! Assigns partitions at the group's offsets, and finds a partition that the group left out.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sagamore_transport::Error;

use crate::coverage;
use crate::fault::unavailable;
use crate::options::Options;
use crate::watch::Watch;

/// Maximum time of an offset query while fetching is suspended.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(1);

/// Assigns these partitions at the group's offsets. Returns the start offset of each.
pub(crate) fn assign(
    consumer: &BaseConsumer<Watch>,
    topics: &[String],
    partitions: &[u32],
    options: &Options,
) -> Result<TopicPartitionList, Error> {
    let mut wanted = TopicPartitionList::new();
    for topic in topics {
        for partition in partitions {
            wanted.add_partition(topic, i32::try_from(*partition).unwrap_or(-1));
        }
    }
    let stands = consumer.committed_offsets(wanted, options.answered_within);
    let mut stands = stands.map_err(|error| unavailable("query the group's offsets", &error))?;
    let mut fresh = TopicPartitionList::new();
    for element in stands.elements() {
        if !matches!(element.offset(), Offset::Offset(_)) {
            let added =
                fresh.add_partition_offset(element.topic(), element.partition(), Offset::Beginning);
            added.map_err(|error| unavailable("start at the earliest record", &error))?;
        }
    }
    if fresh.count() > 0 {
        let first = consumer.offsets_for_times(fresh, options.answered_within);
        for element in first
            .map_err(|error| unavailable("query the ends of the partitions", &error))?
            .elements()
        {
            let known = matches!(element.offset(), Offset::Offset(offset) if offset >= 0);
            let start = if known { element.offset() } else { Offset::Beginning };
            let set = stands.set_partition_offset(element.topic(), element.partition(), start);
            set.map_err(|error| unavailable("start at the earliest record", &error))?;
        }
    }
    consumer.assign(&stands).map_err(|error| unavailable("assign the partitions", &error))?;
    Ok(stands)
}

/// Finds a partition of these topics that no member of the consumer's group has.
///
/// Returns `None` while the group rebalances, and without a request if this consumer has all
/// partitions.
pub(crate) fn find_gap<'a>(
    consumer: &BaseConsumer<Watch>,
    topics: impl Iterator<Item = &'a String>,
) -> Result<Option<(String, u32)>, Error> {
    let failed =
        |error: KafkaError| unavailable("compare the group's assignments with its topics", &error);
    let mut counted = Vec::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), QUERY_TIMEOUT).map_err(failed)?;
        let known = metadata.topics().iter().filter(|known| known.error().is_none());
        counted
            .extend(known.map(|known| (known.name().to_owned(), known.partitions().len() as u32)));
    }
    let ours = consumer.assignment().map_err(failed)?;
    let all: u32 = counted.iter().map(|(_, count)| count).sum();
    if u32::try_from(ours.count()).is_ok_and(|count| count >= all) {
        return Ok(None);
    }
    let group = &consumer.context().group;
    let list = consumer.fetch_group_list(Some(group), QUERY_TIMEOUT).map_err(failed)?;
    let Some(group) =
        list.groups().iter().find(|known| known.name() == group && known.state() == "Stable")
    else {
        return Ok(None);
    };
    let members = group
        .members()
        .iter()
        .map(|member| coverage::assignment(member.assignment().unwrap_or_default()));
    Ok(members.collect::<Option<Vec<_>>>().and_then(|members| coverage::gap(&counted, &members)))
}
