//! The check of `doctor` whether the consumer groups advance.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sagamore_engine::{ObserverOptions, Options};
use sagamore_kafka::{Group, Kafka};
use sagamore_transport::Error;

use super::topics::REPLIES;
use crate::config::Settings;
use crate::story::Story;

/// Time within which a partition with records and a reader must advance. Otherwise it is blocked.
const ADVANCE_TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

/// A consumer group with its topics.
struct Reader {
    group: String,
    topics: Vec<String>,
    /// Whether the consumers join the group, so that the brokers count its members.
    joins: bool,
}

/// A group's committed offset and the end of the log, by topic and partition.
type Positions = BTreeMap<(String, u32), (u64, u64)>;

/// Waits until every lagging partition has advanced, or reports those that do not advance in time.
pub async fn advancing(
    settings: &Settings,
    story: &Story,
    kafka: &Kafka,
    is_orchestrated: bool,
) -> Result<String, String> {
    let text = |error: Error| error.to_string();
    let (readers, begun) = (readers(settings, story), Instant::now());
    let mut lagging_readers = Vec::new();
    let mut idle = Vec::new();
    for reader in &readers {
        let group = kafka.group(&reader.group, &reader.topics).await.map_err(text)?;
        let lags = lagging(&group);
        let is_read = if reader.joins { group.members > 0 } else { is_orchestrated };
        match (lags.is_empty(), is_read) {
            (true, _) => {}
            (false, true) => lagging_readers.push((reader, lags)),
            (false, false) => idle.push(format!("group {} lags and has no consumer", reader.group)),
        }
    }
    while !lagging_readers.is_empty() {
        if begun.elapsed() > ADVANCE_TIMEOUT {
            let lines =
                lagging_readers.iter().flat_map(|(reader, lags)| stalled(&reader.group, lags));
            return Err(lines.collect::<Vec<_>>().join("\n      "));
        }
        tokio::time::sleep(PAUSE).await;
        for (reader, lags) in &mut lagging_readers {
            let now = lagging(&kafka.group(&reader.group, &reader.topics).await.map_err(text)?);
            lags.retain(|place, (mark, _)| now.get(place).is_some_and(|(new, _)| new == mark));
        }
        lagging_readers.retain(|(_, lags)| !lags.is_empty());
    }
    let idle = idle.join("; ");
    Ok(if idle.is_empty() { "every group advances or has no lag".to_owned() } else { idle })
}

fn stalled(group: &str, lags: &Positions) -> Vec<String> {
    let line = |((topic, partition), (mark, end)): (&(String, u32), &(u64, u64))| {
        format!(
            "{topic}[{partition}] does not advance: group {group} is at offset {mark} of {end}. \
             Check /readyz and the log of its consumer"
        )
    };
    lags.iter().map(line).collect()
}

fn lagging(group: &Group) -> Positions {
    let behind = group.reaches.iter().filter(|reach| reach.mark < reach.end);
    behind
        .map(|reach| ((reach.topic.to_string(), reach.partition), (reach.mark, reach.end)))
        .collect()
}

/// Returns every group that consumes topics of the story.
fn readers(settings: &Settings, story: &Story) -> Vec<Reader> {
    let joins = true;
    let (mut readers, mut events) = (Vec::new(), BTreeSet::new());
    for entry in &story.services {
        let mut topics: Vec<String> = entry.service.reacts_to().map(str::to_owned).collect();
        events.extend(entry.service.tells().chain(entry.service.reacts_to()).map(str::to_owned));
        topics.extend(entry.is_commanded().then(|| format!("{}.commands", entry.name())));
        readers.push(Reader { group: entry.name().to_string(), topics, joins });
    }
    let is_built_in = |name: &str| story.services.iter().any(|entry| entry.name().as_str() == name);
    for (name, _) in settings.services().into_iter().filter(|(name, _)| !is_built_in(name)) {
        readers.push(Reader {
            group: name.to_owned(),
            topics: vec![format!("{name}.commands")],
            joins,
        });
    }
    if story.is_observed() {
        let topics = events.into_iter().collect();
        readers.push(Reader { group: ObserverOptions::default().group, topics, joins });
    }
    if story.is_orchestrated() {
        let group = Options::default().group;
        readers.push(Reader { group, topics: vec![REPLIES.to_owned()], joins: false });
    }
    readers
}

#[cfg(test)]
mod tests {
    use sagamore_sdk::Service;
    use sagamore_transport::Reach;

    use super::*;
    use crate::blueprint::Blueprint;
    use crate::story::toy;

    #[test]
    fn a_partition_that_does_not_advance_is_named_with_its_group() {
        let reach =
            |partition, mark, end| Reach { topic: "payment.commands".into(), partition, mark, end };
        let group = Group { members: 1, reaches: vec![reach(0, 7, 7), reach(1, 1042, 1050)] };
        let lines = stalled("payment", &lagging(&group));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].contains(
                "payment.commands[1] does not advance: group payment is at offset 1042 of 1050"
            ),
            "{lines:?}"
        );
    }

    #[test]
    fn groups_of_services_orchestrators_and_the_observer_are_checked() {
        let choreography = Story::default().plan(toy::visit).service(|| Service::named("host"));
        let program = Blueprint {
            story: Story::default().service(|| Service::named("seats")),
            choreography: Some(choreography),
            ..Blueprint::named("trip")
        };
        let settings = Settings::of(&program.schema());
        let groups = |choreography: bool| {
            let readers = readers(&settings, program.story(choreography)).into_iter();
            readers.map(|reader| reader.group).collect::<Vec<_>>()
        };
        assert_eq!(groups(false), ["seats", "host", "sagamore.orchestrator"]);
        assert_eq!(groups(true), ["host", "seats", "sagamore.observer"]);
    }
}
