//! `sagamore topics apply|check`: the topics that the processes need, made, or compared with what the brokers have.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};
use comfy_table::{Table, presets};
use sagamore_kafka::{Kafka, Topic};
use sagamore_transport::{Transport, wire};

use super::TopicsCommand;
use crate::config::Settings;
use crate::invocation::Invocation;
use crate::output::Exit;
use crate::program::Program;
use crate::stack;
use crate::story::{ServiceEntry, Story};

/// From this many brokers on a record survives the loss of one of them.
const REPLICATION: u32 = 3;
/// How many of them have to have it before it is acknowledged.
const MIN_INSYNC: u32 = 2;

/// Where the services answer; its partitions are what orchestrators share.
pub use sagamore_inspect::REPLIES;

/// A topic that there has to be.
struct Wanted {
    name: String,
    partitions: u32,
}

/// Makes or compares.
pub async fn run(invocation: &Invocation, command: &TopicsCommand) -> Result<Exit> {
    let settings = invocation.settings()?;
    let kafka = settings.kafka("topics", None)?;
    let wanted = wanted(&invocation.program, &settings);
    if matches!(command, TopicsCommand::Apply) {
        for topic in &wanted {
            kafka.create_topic(&topic.name, topic.partitions).await?;
        }
        for topic in
            kafka.topics().await?.iter().filter(|topic| topic.stamped_by_brokers == Some(false))
        {
            if wanted.iter().any(|wanted| wanted.name == topic.name) {
                kafka.stamp_by_brokers(&topic.name).await?;
            }
        }
    }
    let (wrong, advice) = compare(invocation.name(), &kafka, &wanted).await?;
    advice.iter().for_each(|line| errln!("advice: {line}"));
    if wrong.is_empty() {
        return Ok(Exit::Completed);
    }
    bail!("{}", wrong.join("\n"))
}

/// How many partitions the topic of replies has; none when it is not there yet.
pub async fn reply_partitions(kafka: &Kafka) -> Option<u32> {
    let there = kafka.topics().await.ok()?;
    there.iter().find(|topic| topic.name == REPLIES).map(|topic| topic.partitions)
}

/// What is wrong with the topics.
pub async fn compare_with(
    program: &Program,
    settings: &Settings,
    kafka: &Kafka,
) -> Result<Vec<String>> {
    let there = kafka.topics().await?;
    Ok(wrong(program.name, &wanted(program, settings), &there))
}

/// Which topics keep their records for as long as the barriers remember them, or longer: what is delivered again then, or
/// sent again out of the dead letters, would be carried out twice.
pub async fn kept_too_long(
    program: &Program,
    settings: &Settings,
    kafka: &Kafka,
) -> Result<Vec<String>> {
    let there = kafka.topics().await?;
    Ok(too_long(settings.barrier_retention(), &heard(program, settings), &there))
}

/// Says so when a live topic has another number of partitions than `key` of the configuration. To be asked before anything
/// is stored: rows for partitions that are not there would keep their sagas for ever. Who is not let in is told why.
pub async fn disagreement(
    kafka: &Kafka,
    topic: &str,
    key: &str,
    configured: u32,
) -> Result<Option<stack::Error>, sagamore_transport::Error> {
    kafka.brokers().await?;
    let there = kafka.topics().await?;
    Ok(divided_otherwise(&there, topic, key, configured))
}

fn divided_otherwise(
    there: &[Topic],
    topic: &str,
    key: &str,
    configured: u32,
) -> Option<stack::Error> {
    let live = there.iter().find(|there| there.name == topic)?.partitions;
    // without any it is just being made
    (live != configured && live > 0).then(|| stack::Error::Partitions {
        key: key.to_owned(),
        configured,
        topic: topic.to_owned(),
        live,
    })
}

/// A command, or an event, is delivered for as long as its topic keeps it, and once more as a dead letter that is sent again.
fn too_long(barrier: Duration, heard: &BTreeSet<String>, there: &[Topic]) -> Vec<String> {
    let days = |time: Duration| time.as_secs() / (24 * 3600);
    let mut told = Vec::new();
    for heard in heard {
        let topics = [heard.clone(), wire::dead_letter_topic(heard).to_string()];
        let mut kept = Some(Duration::ZERO);
        for topic in topics.iter().filter_map(|name| there.iter().find(|topic| topic.name == *name))
        {
            kept = kept.zip(topic.retention).map(|(sum, kept)| sum.saturating_add(kept));
        }
        let names = topics.join(" and ");
        match kept {
            Some(Duration::MAX) => told.push(format!(
                "{names}: one of them keeps its records for ever: give it a retention.ms, and the cleanup.policy delete"
            )),
            Some(kept) if kept >= barrier => told.push(format!(
                "{names} keep their records for {} days together, their segments included: raise barrier.retention_days \
                 above that, or lower their retention.ms or segment.ms",
                days(kept)
            )),
            None => told.push(format!(
                "{names}: how long they keep their records may not be asked: allow DescribeConfigs on them, or see \
                 yourself that retention.ms and segment.ms of both come to less than {} days",
                days(barrier)
            )),
            Some(_) => {}
        }
    }
    told
}

/// Every topic of which a record leads to something that must not happen twice.
fn heard(program: &Program, settings: &Settings) -> BTreeSet<String> {
    let commands =
        commanded(program, settings).into_iter().map(|(service, _)| format!("{service}.commands"));
    let events =
        reacting(program, settings).flat_map(|entry| entry.service.reacts_to().map(str::to_owned));
    commands.chain(events).collect()
}

/// The services that consume commands, with the partitions of their topics: those of the main story, those of the choreography
/// where it is configured, and those that only the configuration names.
fn commanded<'a>(program: &Program, settings: &'a Settings) -> Vec<(&'a str, u32)> {
    let is_of = |story: &Story, name: &str, wanted: fn(&ServiceEntry) -> bool| {
        story.services.iter().any(|entry| entry.name().as_str() == name && wanted(entry))
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

/// The services that react to events: of the main story, and of the choreography where it is configured.
fn reacting<'a>(
    program: &'a Program,
    settings: &Settings,
) -> impl Iterator<Item = &'a ServiceEntry> {
    let second = program.choreography.iter().filter(|_| settings.choreography);
    let stories = std::iter::once(&program.story).chain(second.collect::<Vec<_>>());
    stories.flat_map(|story| &story.services).filter(|entry| entry.reacts())
}

async fn compare(
    program: &str,
    kafka: &Kafka,
    wanted: &[Wanted],
) -> Result<(Vec<String>, Vec<String>)> {
    let there = kafka.topics().await?;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "TOPIC",
        "PARTITIONS",
        "REPLICATION",
        "MIN.INSYNC",
    ]);
    let mut advice = Vec::new();
    for topic in
        wanted.iter().filter_map(|wanted| there.iter().find(|topic| topic.name == wanted.name))
    {
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
                "{}: replication {REPLICATION} and min.insync.replicas {MIN_INSYNC} survive the loss of a broker",
                topic.name
            ));
        }
    }
    outln!("{table}");
    Ok((wrong(program, wanted, &there), advice))
}

fn wrong(program: &str, wanted: &[Wanted], there: &[Topic]) -> Vec<String> {
    let differs = |wanted: &Wanted| {
        match there.iter().find(|topic| topic.name == wanted.name) {
        None => Some(format!("{}: missing; make it with `{program} topics apply`", wanted.name)),
        Some(topic) if topic.partitions == wanted.partitions => (topic.stamped_by_brokers == Some(false)).then(|| {
            format!(
                "{}: message.timestamp.type is CreateTime, so a producer with a wrong clock decides when its records are \
                 removed. Set it to LogAppendTime with `{program} topics apply`",
                topic.name
            )
        }),
        Some(topic) => Some(format!(
            "{}: has {} partitions, and the configuration says {}. A live topic is left as it is: with more partitions a \
             key's commands would be in two of them at once, out of order. Set the configuration to {}, or stop all \
             processes, let every saga end, and make the topic anew.",
            topic.name, topic.partitions, wanted.partitions, topic.partitions
        )),
    }
    };
    wanted.iter().filter_map(differs).collect()
}

fn wanted(program: &Program, settings: &Settings) -> Vec<Wanted> {
    let mut wanted =
        vec![Wanted { name: REPLIES.into(), partitions: settings.orchestrator.partitions }];
    for (name, partitions) in commanded(program, settings) {
        wanted.push(Wanted { name: format!("{name}.commands"), partitions });
    }
    let letters = wanted.iter().map(|topic| Wanted {
        name: wire::dead_letter_topic(&topic.name).to_string(),
        partitions: topic.partitions,
    });
    let letters: Vec<Wanted> = letters.collect();
    let single = [wire::HORIZON_TOPIC, wire::PROBE_TOPIC]
        .map(|name| Wanted { name: name.into(), partitions: 1 });
    wanted.into_iter().chain(letters).chain(single).chain(events(program, settings)).collect()
}

/// Every event of the stories, and its dead letters where a service reacts to it.
fn events(program: &Program, settings: &Settings) -> Vec<Wanted> {
    let partitions = settings.observer.partitions;
    let mut names = BTreeSet::new();
    for entry in reacting(program, settings) {
        names.extend(entry.service.tells().map(str::to_owned));
        names.extend(entry.service.reacts_to().map(str::to_owned));
        names.extend(
            entry.service.reacts_to().map(|event| wire::dead_letter_topic(event).to_string()),
        );
    }
    names.into_iter().map(|name| Wanted { name, partitions }).collect()
}

#[cfg(test)]
mod tests {
    use sagamore_sdk::Service;

    use super::*;

    fn of_four_services() -> (Program, Settings) {
        let names = ["order", "payment", "inventory", "shipping"];
        let program = names
            .into_iter()
            .fold(Program::named("shop"), |program, name| program.service(|| Service::named(name)));
        let settings = Settings::of(&program.schema());
        (program, settings)
    }

    #[test]
    fn what_is_kept_for_longer_than_the_barriers_remember_is_told() {
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
        let there = [
            topic("order.commands", Some(14)),
            topic("order.commands-dlt", Some(14)),
            topic("payment.commands", Some(14)),
            topic("payment.commands-dlt", Some(16)),
            topic("inventory.commands-dlt", None),
            Topic { retention: None, ..topic("shipping.commands", None) },
            topic("sagamore.replies", None), // old replies change nothing
            topic("somebody.commands", None),
        ];
        let told = too_long(settings.barrier_retention(), &heard(&program, &settings), &there);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(
            told[0].contains("inventory.commands-dlt: one of them keeps its records for ever"),
            "{told:?}"
        );
        assert!(
            told[1].contains("payment.commands and payment.commands-dlt keep")
                && told[1].contains("30 days")
        );
        assert!(told[2].contains("shipping.commands-dlt: how long they keep"), "{told:?}");
    }

    #[test]
    fn a_start_with_another_number_of_partitions_than_the_live_topics_is_refused() {
        let topic = |partitions| Topic {
            name: REPLIES.into(),
            partitions,
            replication: 1,
            min_insync: None,
            retention: None,
            stamped_by_brokers: None,
        };
        let told = |there: &[Topic], configured| {
            divided_otherwise(there, REPLIES, "orchestrator.partitions", configured)
                .map(|error| error.to_string())
        };
        assert_eq!(told(&[], 8), None, "it will be made");
        assert_eq!(told(&[topic(0)], 8), None, "it is being made");
        assert_eq!(told(&[topic(8)], 8), None);
        for configured in [3, 8] {
            let told = told(&[topic(4)], configured).expect("4 are there");
            assert!(
                told.contains(&format!("partitions is {configured}")) && told.contains("has 4"),
                "{told}"
            );
            assert!(told.contains("Set orchestrator.partitions = 4"), "{told}");
        }
    }

    #[test]
    fn what_is_missing_or_divided_otherwise_is_told() {
        let (program, settings) = of_four_services();
        let topic = |name: &str, partitions| Topic {
            name: name.into(),
            partitions,
            replication: 1,
            min_insync: None,
            retention: None,
            stamped_by_brokers: Some(true),
        };
        let mut there: Vec<Topic> = wanted(&program, &settings)
            .iter()
            .map(|topic_| topic(&topic_.name, topic_.partitions))
            .collect();
        assert_eq!(wrong(program.name, &wanted(&program, &settings), &there), [] as [String; 0]);
        assert_eq!(
            there.len(),
            12,
            "replies and four services, each with its dead letters, the horizon and the probe"
        );
        there[2].stamped_by_brokers = Some(false);
        there[0].partitions = 24;
        there.remove(1);
        let told = wrong(program.name, &wanted(&program, &settings), &there).join("\n");
        assert!(
            told.contains("sagamore.replies: has 24 partitions")
                && told.contains("order.commands: missing"),
            "{told}"
        );
        assert!(told.contains("payment.commands: message.timestamp.type is CreateTime"), "{told}");
    }
}
