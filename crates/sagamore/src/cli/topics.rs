//! `sagamore topics apply|check`: the topics that the processes need, made, or compared with what the brokers have.

use anyhow::{Result, bail};
use comfy_table::{Table, presets};
use sagamore_kafka::{Kafka, Topic};
use sagamore_transport::{Transport, wire};

use super::output::Exit;
use super::{ConfigArgs, TopicsCommand};
use crate::config::Settings;

/// From this many brokers on a record survives the loss of one of them.
const REPLICATION: u32 = 3;
/// How many of them have to have it before it is acknowledged.
const MIN_INSYNC: u32 = 2;

/// A topic that there has to be.
struct Wanted {
    name: String,
    partitions: u32,
}

/// Makes or compares.
pub async fn run(config: &ConfigArgs, command: &TopicsCommand) -> Result<Exit> {
    let settings = Settings::load(config.config.as_deref())?;
    let kafka = settings.kafka("topics", None)?;
    let wanted = wanted(&settings);
    if matches!(command, TopicsCommand::Apply) {
        for topic in &wanted {
            kafka.create_topic(&topic.name, topic.partitions).await?;
        }
    }
    let (wrong, advice) = compare(&kafka, &wanted).await?;
    advice.iter().for_each(|line| anstream::eprintln!("advice: {line}"));
    if wrong.is_empty() {
        return Ok(Exit::Completed);
    }
    bail!("{}", wrong.join("\n"))
}

/// Prints what there is; gives what is wrong, and what is not wise.
pub async fn compare_with(settings: &Settings, kafka: &Kafka) -> Result<Vec<String>> {
    let there = kafka.topics().await?;
    Ok(wrong(&wanted(settings), &there))
}

async fn compare(kafka: &Kafka, wanted: &[Wanted]) -> Result<(Vec<String>, Vec<String>)> {
    let there = kafka.topics().await?;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["TOPIC", "PARTITIONS", "REPLICATION", "MIN.INSYNC"]);
    let mut advice = Vec::new();
    for topic in wanted.iter().filter_map(|wanted| there.iter().find(|topic| topic.name == wanted.name)) {
        let insync = topic.min_insync.map_or_else(|| "?".to_owned(), |count| count.to_string());
        table.add_row([&topic.name, &topic.partitions.to_string(), &topic.replication.to_string(), &insync]);
        if topic.replication < REPLICATION || topic.min_insync.is_some_and(|count| count < MIN_INSYNC) {
            advice.push(format!(
                "{}: replication {REPLICATION} and min.insync.replicas {MIN_INSYNC} survive the loss of a broker",
                topic.name
            ));
        }
    }
    anstream::println!("{table}");
    Ok((wrong(wanted, &there), advice))
}

fn wrong(wanted: &[Wanted], there: &[Topic]) -> Vec<String> {
    let differs = |wanted: &Wanted| match there.iter().find(|topic| topic.name == wanted.name) {
        None => Some(format!("{}: missing; make it with `sagamore topics apply`", wanted.name)),
        Some(topic) if topic.partitions == wanted.partitions => None,
        Some(topic) => Some(format!(
            "{}: has {} partitions, and the configuration says {}. A live topic is left as it is: with more partitions a \
             key's commands would be in two of them at once, out of order. Set the configuration to {}, or stop all \
             processes, let every saga end, and make the topic anew.",
            topic.name, topic.partitions, wanted.partitions, topic.partitions
        )),
    };
    wanted.iter().filter_map(differs).collect()
}

fn wanted(settings: &Settings) -> Vec<Wanted> {
    let mut wanted = vec![Wanted { name: "sagamore.replies".into(), partitions: settings.orchestrator.partitions }];
    for (name, service) in settings.services() {
        wanted.push(Wanted { name: format!("{name}.commands"), partitions: service.partitions });
    }
    let letters = wanted
        .iter()
        .map(|topic| Wanted { name: wire::dead_letter_topic(&topic.name).to_string(), partitions: topic.partitions });
    let letters: Vec<Wanted> = letters.collect();
    wanted.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_divided_otherwise_is_told() {
        let settings = Settings::default();
        let topic = |name: &str, partitions| Topic { name: name.into(), partitions, replication: 1, min_insync: None };
        let mut there: Vec<Topic> =
            wanted(&settings).iter().map(|topic_| topic(&topic_.name, topic_.partitions)).collect();
        assert_eq!(wrong(&wanted(&settings), &there), [] as [String; 0]);
        assert_eq!(there.len(), 10, "replies and four services, each with its dead letters");
        there[0].partitions = 24;
        there.remove(1);
        let told = wrong(&wanted(&settings), &there).join("\n");
        assert!(
            told.contains("sagamore.replies: has 24 partitions") && told.contains("order.commands: missing"),
            "{told}"
        );
    }
}
