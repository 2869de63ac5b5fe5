//! `sagamore doctor`: whether the groups that read the topics advance.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sagamore_engine::{ObserverOptions, Options};
use sagamore_kafka::{Group, Kafka};
use sagamore_transport::Error;

use super::topics::REPLIES;
use crate::config::Settings;

/// A partition that has records and is read advances in less than this, unless something holds it up.
const ADVANCES_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

/// A group, and the topics that it reads.
struct Reader {
    group: String,
    topics: Vec<String>,
    /// Whether its consumers are members of the group, so that the brokers know of them.
    joins: bool,
}

/// Where a group stands in one partition, by topic and partition.
type Positions = BTreeMap<(String, u32), (u64, u64)>;

/// Waits until every partition that lags has advanced, or for so long that one is held up. None where nothing lags.
pub async fn advancing(settings: &Settings, kafka: &Kafka, is_orchestrated: bool) -> Result<String, String> {
    let told = |error: Error| error.to_string();
    let (readers, begun) = (readers(settings), Instant::now());
    let mut waiting = Vec::new();
    let mut idle = Vec::new();
    for reader in &readers {
        let group = kafka.group(&reader.group, &reader.topics).await.map_err(told)?;
        let lags = lagging(&group);
        let is_read = if reader.joins { group.members > 0 } else { is_orchestrated };
        match (lags.is_empty(), is_read) {
            (true, _) => {}
            (false, true) => waiting.push((reader, lags)),
            (false, false) => idle.push(format!("nobody reads for group {}, which lags", reader.group)),
        }
    }
    while !waiting.is_empty() {
        if begun.elapsed() > ADVANCES_WITHIN {
            let lines = waiting.iter().flat_map(|(reader, lags)| stalled(&reader.group, lags));
            return Err(lines.collect::<Vec<_>>().join("\n      "));
        }
        tokio::time::sleep(PAUSE).await;
        for (reader, lags) in &mut waiting {
            let now = lagging(&kafka.group(&reader.group, &reader.topics).await.map_err(told)?);
            lags.retain(|place, (mark, _)| now.get(place).is_some_and(|(new, _)| new == mark));
        }
        waiting.retain(|(_, lags)| !lags.is_empty());
    }
    let idle = idle.join("; ");
    Ok(if idle.is_empty() { "every group advances, or has read all there is".to_owned() } else { idle })
}

fn stalled(group: &str, lags: &Positions) -> Vec<String> {
    let line = |((topic, partition), (mark, end)): (&(String, u32), &(u64, u64))| {
        format!(
            "{topic}[{partition}] does not advance: group {group} is at {mark} of {end}. \
             See /readyz and the log of the process that reads it"
        )
    };
    lags.iter().map(line).collect()
}

fn lagging(group: &Group) -> Positions {
    let behind = group.reaches.iter().filter(|reach| reach.mark < reach.end);
    behind.map(|reach| ((reach.topic.to_string(), reach.partition), (reach.mark, reach.end))).collect()
}

/// Everybody who reads topics of the shop.
fn readers(settings: &Settings) -> Vec<Reader> {
    let joins = true;
    let mut readers = Vec::new();
    if settings.choreography {
        let mut events: Vec<String> = Vec::new();
        for service in sagamore_shop::choreographed() {
            let topics: Vec<String> = service.reacts_to().map(str::to_owned).collect();
            events.extend(service.tells().chain(service.reacts_to()).map(str::to_owned));
            readers.push(Reader { group: service.name().to_string(), topics, joins });
        }
        events.sort_unstable();
        events.dedup();
        readers.push(Reader { group: ObserverOptions::default().group, topics: events, joins });
    } else {
        for (name, _) in settings.services() {
            readers.push(Reader { group: name.to_owned(), topics: vec![format!("{name}.commands")], joins });
        }
        let group = Options::default().group;
        readers.push(Reader { group, topics: vec![REPLIES.to_owned()], joins: false });
    }
    readers
}

#[cfg(test)]
mod tests {
    use sagamore_transport::Reach;

    use super::*;

    #[test]
    fn a_partition_that_does_not_advance_is_named_with_its_group() {
        let reach = |partition, mark, end| Reach { topic: "payment.commands".into(), partition, mark, end };
        let group = Group { members: 1, reaches: vec![reach(0, 7, 7), reach(1, 1042, 1050)] };
        let told = stalled("payment", &lagging(&group));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("payment.commands[1] does not advance: group payment is at 1042 of 1050"), "{told:?}");
    }

    #[test]
    fn services_orchestrators_and_the_observer_are_looked_at() {
        let groups = |settings: &Settings| readers(settings).into_iter().map(|reader| reader.group).collect::<Vec<_>>();
        let services = ["order", "payment", "inventory", "shipping"];
        let mut settings = Settings::default();
        let orchestrated = groups(&settings);
        settings.choreography = true;
        let choreographed = groups(&settings);
        assert_eq!(orchestrated, [&services[..], &["sagamore.orchestrator"]].concat());
        assert_eq!(choreographed, [&services[..], &["sagamore.observer"]].concat());
    }
}
