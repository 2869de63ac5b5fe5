//! `topics apply` creates the topics of the processes, and `topics check` compares them with the
//! brokers' topics.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Subcommand;
use comfy_table::{Table, presets};
use sagamore_kafka::{Kafka, Topic};
use sagamore_transport::{Transport, wire};

use crate::blueprint::Blueprint;
use crate::config::Settings;
use crate::error::Error;
use crate::invocation::Invocation;
use crate::output::Exit;
use crate::story::{ServiceEntry, Story};

/// The replication with which a topic survives the loss of one broker.
const REPLICATION: u32 = 3;
/// The replicas that must store a record before it is acknowledged.
const MIN_INSYNC: u32 = 2;

/// The topic of replies. Orchestrators share its partitions.
pub use sagamore_inspect::REPLIES;

/// The verbs below `topics`.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Create the missing topics
    Apply,
    /// Check the topics; exit code 1 if one is missing or different
    Check,
}

/// The specification of a required topic.
struct TopicSpec {
    name: String,
    partitions: u32,
}

/// Creates or compares the topics.
pub async fn run(invocation: &Invocation, command: &TopicsCommand) -> Result<Exit> {
    let settings = invocation.settings()?;
    let kafka = settings.kafka("topics", None)?;
    let specs = specs(&invocation.program, &settings);
    if matches!(command, TopicsCommand::Apply) {
        for topic in &specs {
            kafka.create_topic(&topic.name, topic.partitions).await?;
        }
        for topic in
            kafka.topics().await?.iter().filter(|topic| topic.stamped_by_brokers == Some(false))
        {
            if specs.iter().any(|spec| spec.name == topic.name) {
                kafka.stamp_by_brokers(&topic.name).await?;
            }
        }
    }
    let (wrong, advice) = compare(invocation.name(), &kafka, &specs).await?;
    advice.iter().for_each(|line| errln!("advice: {line}"));
    if wrong.is_empty() {
        return Ok(Exit::Completed);
    }
    bail!("{}", wrong.join("\n"))
}

/// Returns the number of partitions of the topic of replies; `None` if the topic does not exist.
pub async fn reply_partitions(kafka: &Kafka) -> Option<u32> {
    let live = kafka.topics().await.ok()?;
    live.iter().find(|topic| topic.name == REPLIES).map(|topic| topic.partitions)
}

/// Returns the differences between the live topics and their specifications.
pub async fn compare_with(
    program: &Blueprint,
    settings: &Settings,
    kafka: &Kafka,
) -> Result<Vec<String>> {
    let live = kafka.topics().await?;
    Ok(wrong(program.name, &specs(program, settings), &live))
}

/// Returns the topics that retain records at least as long as the barriers retain their rows. A
/// later redelivery, or the replay of a dead letter, would repeat the work.
pub async fn retained_too_long(
    program: &Blueprint,
    settings: &Settings,
    kafka: &Kafka,
) -> Result<Vec<String>> {
    let live = kafka.topics().await?;
    Ok(too_long(settings.barrier_retention(), &consumed(program, settings), &live))
}

/// Returns an error if the live topic has another number of partitions than the configuration under
/// `key`. Call it before anything is stored: sagas in missing partitions never continue.
pub async fn disagreement(
    kafka: &Kafka,
    topic: &str,
    key: &str,
    configured: u32,
) -> Result<Option<Error>, sagamore_transport::Error> {
    kafka.brokers().await?;
    let live = kafka.topics().await?;
    Ok(mismatch(&live, topic, key, configured))
}

fn mismatch(topics: &[Topic], topic: &str, key: &str, configured: u32) -> Option<Error> {
    let live = topics.iter().find(|live| live.name == topic)?.partitions;
    // a topic without partitions is being created
    (live != configured && live > 0).then(|| Error::Partitions {
        key: key.to_owned(),
        configured,
        topic: topic.to_owned(),
        live,
    })
}

/// Compares the retention of each topic plus its dead letters with the barriers'. A record can be
/// delivered until the topic removes it, and once more as a dead letter.
fn too_long(barrier: Duration, consumed: &BTreeSet<String>, live: &[Topic]) -> Vec<String> {
    let days = |time: Duration| time.as_secs() / (24 * 3600);
    let mut problems = Vec::new();
    for topic in consumed {
        let topics = [topic.clone(), wire::dead_letter_topic(topic).to_string()];
        let mut retention = Some(Duration::ZERO);
        for topic in topics.iter().filter_map(|name| live.iter().find(|topic| topic.name == *name))
        {
            retention = retention.zip(topic.retention).map(|(sum, more)| sum.saturating_add(more));
        }
        let names = topics.join(" and ");
        match retention {
            Some(Duration::MAX) => problems.push(format!(
                "{names}: one of these topics never removes records: set its retention.ms, and \
                 cleanup.policy to delete"
            )),
            Some(retention) if retention >= barrier => problems.push(format!(
                "{names} retain their records for {} days in total, including segments: raise \
                 barrier.retention_days above that, or lower their retention.ms or segment.ms",
                days(retention)
            )),
            None => problems.push(format!(
                "{names}: the retention is not readable: allow DescribeConfigs on these topics, or \
                 verify that retention.ms and segment.ms of both add up to less than {} days",
                days(barrier)
            )),
            Some(_) => {}
        }
    }
    problems
}

/// Returns the topics whose records must not be processed twice.
fn consumed(program: &Blueprint, settings: &Settings) -> BTreeSet<String> {
    let commands =
        commanded(program, settings).into_iter().map(|(service, _)| format!("{service}.commands"));
    let events =
        reacting(program, settings).flat_map(|entry| entry.service.reacts_to().map(str::to_owned));
    commands.chain(events).collect()
}

/// Returns the services that consume commands, with the partitions of their topics. These are the
/// services of the main story, of the choreography if it is configured, and those that only the
/// configuration names.
fn commanded<'a>(program: &Blueprint, settings: &'a Settings) -> Vec<(&'a str, u32)> {
    let is_of = |story: &Story, name: &str, matches: fn(&ServiceEntry) -> bool| {
        story.services.iter().any(|entry| entry.name().as_str() == name && matches(entry))
    };
    let is_commanded = |name: &str| {
        let is_built_in = program.stories().any(|story| is_of(story, name, |_| true));
        let mut running = std::iter::once(&program.story)
            .chain(program.choreography.iter().filter(|_| settings.choreography));
        !is_built_in || running.any(|story| is_of(story, name, ServiceEntry::is_commanded))
    };
    let services = settings.services().into_iter().filter(|(name, _)| is_commanded(name));
    services.map(|(name, service)| (name, service.partitions)).collect()
}

/// Returns the services that react to events: those of the main story, and of the choreography if
/// it is configured.
fn reacting<'a>(
    program: &'a Blueprint,
    settings: &Settings,
) -> impl Iterator<Item = &'a ServiceEntry> {
    let second = program.choreography.iter().filter(|_| settings.choreography);
    let stories = std::iter::once(&program.story).chain(second.collect::<Vec<_>>());
    stories.flat_map(|story| &story.services).filter(|entry| entry.reacts())
}

async fn compare(
    program: &str,
    kafka: &Kafka,
    specs: &[TopicSpec],
) -> Result<(Vec<String>, Vec<String>)> {
    let live = kafka.topics().await?;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "TOPIC",
        "PARTITIONS",
        "REPLICATION",
        "MIN.INSYNC",
    ]);
    let mut advice = Vec::new();
    for topic in specs.iter().filter_map(|spec| live.iter().find(|topic| topic.name == spec.name)) {
        let insync = topic.min_insync.map_or_else(|| "?".to_owned(), |count| count.to_string());
        table.add_row([
            &topic.name,
            &topic.partitions.to_string(),
            &topic.replication.to_string(),
            &insync,
        ]);
        if topic.replication < REPLICATION
            || topic.min_insync.is_some_and(|count| count < MIN_INSYNC)
        {
            advice.push(format!(
                "{}: replication {REPLICATION} and min.insync.replicas {MIN_INSYNC} survive the \
                 loss of a broker",
                topic.name
            ));
        }
    }
    outln!("{table}");
    Ok((wrong(program, specs, &live), advice))
}

fn wrong(program: &str, specs: &[TopicSpec], live: &[Topic]) -> Vec<String> {
    let differs = |spec: &TopicSpec| match live.iter().find(|topic| topic.name == spec.name) {
        None => Some(format!("{}: missing: create it with `{program} topics apply`", spec.name)),
        Some(topic) if topic.partitions == spec.partitions => {
            (topic.stamped_by_brokers == Some(false)).then(|| {
                format!(
                    "{}: message.timestamp.type is CreateTime, so a producer with a wrong clock \
                 decides when its records are removed. Set it to LogAppendTime with `{program} \
                 topics apply`",
                    topic.name
                )
            })
        }
        Some(topic) => Some(format!(
            "{}: has {} partitions, but the configuration has {}. A live topic is never \
             repartitioned, because the commands of a key must stay in one partition. Set the \
             configuration to {}, or stop all processes after every saga has ended, and create the \
             topic again.",
            topic.name, topic.partitions, spec.partitions, topic.partitions
        )),
    };
    specs.iter().filter_map(differs).collect()
}

fn specs(program: &Blueprint, settings: &Settings) -> Vec<TopicSpec> {
    let mut specs =
        vec![TopicSpec { name: REPLIES.into(), partitions: settings.orchestrator.partitions }];
    for (name, partitions) in commanded(program, settings) {
        specs.push(TopicSpec { name: format!("{name}.commands"), partitions });
    }
    let letters = specs.iter().map(|topic| TopicSpec {
        name: wire::dead_letter_topic(&topic.name).to_string(),
        partitions: topic.partitions,
    });
    let letters: Vec<TopicSpec> = letters.collect();
    let single = [wire::HORIZON_TOPIC, wire::PARTICIPANTS_TOPIC, wire::PROBE_TOPIC]
        .map(|name| TopicSpec { name: name.into(), partitions: 1 });
    specs.into_iter().chain(letters).chain(single).chain(events(program, settings)).collect()
}

/// Returns every event of the stories, and the dead letters of those that a service reacts to.
fn events(program: &Blueprint, settings: &Settings) -> Vec<TopicSpec> {
    let partitions = settings.observer.partitions;
    let mut names = BTreeSet::new();
    for entry in reacting(program, settings) {
        names.extend(entry.service.tells().map(str::to_owned));
        names.extend(entry.service.reacts_to().map(str::to_owned));
        names.extend(
            entry.service.reacts_to().map(|event| wire::dead_letter_topic(event).to_string()),
        );
    }
    names.into_iter().map(|name| TopicSpec { name, partitions }).collect()
}

#[cfg(test)]
mod tests {
    use sagamore_sdk::Service;

    use super::*;

    fn of_four_services() -> (Blueprint, Settings) {
        let names = ["order", "payment", "inventory", "shipping"];
        let story = names
            .into_iter()
            .fold(Story::default(), |story, name| story.service(|| Service::named(name)));
        let program = Blueprint { story, ..Blueprint::named("shop") };
        let settings = Settings::of(&program.schema());
        (program, settings)
    }

    #[test]
    fn topics_with_a_longer_retention_than_the_barriers_are_reported() {
        let (program, settings) = of_four_services();
        let topic = |name: &str, days: Option<u64>| Topic {
            name: name.into(),
            partitions: 12,
            replication: 3,
            min_insync: Some(2),
            stamped_by_brokers: Some(true),
            retention: Some(
                days.map_or(Duration::MAX, |days| Duration::from_secs(days * 24 * 3600)),
            ),
        };
        let live = [
            topic("order.commands", Some(14)),
            topic("order.commands-dlt", Some(14)),
            topic("payment.commands", Some(14)),
            topic("payment.commands-dlt", Some(16)),
            topic("inventory.commands-dlt", None),
            Topic { retention: None, ..topic("shipping.commands", None) },
            topic("sagamore.replies", None), // redelivered replies change nothing
            topic("other.commands", None),
        ];
        let problems =
            too_long(settings.barrier_retention(), &consumed(&program, &settings), &live);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(
            problems[0]
                .contains("inventory.commands-dlt: one of these topics never removes records"),
            "{problems:?}"
        );
        assert!(
            problems[1].contains("payment.commands and payment.commands-dlt retain")
                && problems[1].contains("30 days")
        );
        assert!(
            problems[2].contains("shipping.commands-dlt: the retention is not readable"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_start_with_other_partitions_than_the_live_topics_is_rejected() {
        let topic = |partitions| Topic {
            name: REPLIES.into(),
            partitions,
            replication: 1,
            min_insync: None,
            retention: None,
            stamped_by_brokers: None,
        };
        let error = |live: &[Topic], configured| {
            mismatch(live, REPLIES, "orchestrator.partitions", configured)
                .map(|error| error.to_string())
        };
        assert_eq!(error(&[], 8), None, "the topic will be created");
        assert_eq!(error(&[topic(0)], 8), None, "the topic is being created");
        assert_eq!(error(&[topic(8)], 8), None);
        for configured in [3, 8] {
            let error = error(&[topic(4)], configured).expect("4 differs");
            assert!(
                error.contains(&format!("partitions is {configured}")) && error.contains("has 4"),
                "{error}"
            );
            assert!(error.contains("Set orchestrator.partitions = 4"), "{error}");
        }
    }

    #[test]
    fn missing_and_differing_topics_are_reported() {
        let (program, settings) = of_four_services();
        let topic = |name: &str, partitions| Topic {
            name: name.into(),
            partitions,
            replication: 1,
            min_insync: None,
            retention: None,
            stamped_by_brokers: Some(true),
        };
        let mut live: Vec<Topic> = specs(&program, &settings)
            .iter()
            .map(|spec| topic(&spec.name, spec.partitions))
            .collect();
        assert_eq!(wrong(program.name, &specs(&program, &settings), &live), [] as [String; 0]);
        assert_eq!(
            live.len(),
            13,
            "replies and four services, each with its dead letters; horizons, announcements, probes"
        );
        live[2].stamped_by_brokers = Some(false);
        live[0].partitions = 24;
        live.remove(1);
        let problems = wrong(program.name, &specs(&program, &settings), &live).join("\n");
        assert!(
            problems.contains("sagamore.replies: has 24 partitions")
                && problems.contains("order.commands: missing"),
            "{problems}"
        );
        assert!(
            problems.contains("payment.commands: message.timestamp.type is CreateTime"),
            "{problems}"
        );
    }
}
