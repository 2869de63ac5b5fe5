//! Topics: queries, creation and removal.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use sagamore_transport::{Error, Record, Unknown};

use crate::config;
use crate::fault::{self, QueryContext, unavailable};
use crate::names::Names;
use crate::options::Options;
use crate::refused;

/// The pause between checks whether a topic is ready.
const PAUSE: Duration = Duration::from_millis(20);

/// Maximum attempts to create a topic.
const ATTEMPTS: u32 = 5;

/// The topic setting that determines whose clock stamps its records.
const STAMP: &str = "message.timestamp.type";
const STAMPED_BY_BROKERS: &str = "LogAppendTime";

/// A topic of this namespace, as reported by the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The name without namespace.
    pub name: String,
    /// The number of partitions.
    pub partitions: u32,
    /// The number of replicas of each partition.
    pub replication: u32,
    /// The in-sync replicas required for an acknowledgement; `None` if the query was denied.
    pub min_insync: Option<u32>,
    /// Maximum retention of a record, including its segment's lifetime; the maximum duration for
    /// unlimited retention. `None` if the query was denied.
    pub retention: Option<Duration>,
    /// Whether the brokers stamp records on append, instead of the producers; `None` if the query
    /// was denied.
    pub stamped_by_brokers: Option<bool>,
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// The broker's id.
    pub id: i32,
    /// `host:port`, as advertised to clients.
    pub address: String,
}

/// The cache of topics, and the client that queries them.
pub(crate) struct Topics {
    options: Options,
    names: Names,
    admin: Arc<AdminClient<QueryContext>>,
    /// Maps names on the brokers to numbers of partitions.
    known: RwLock<HashMap<String, u32>>,
    /// Held while a view asks for a topic.
    asking: tokio::sync::Mutex<()>,
}

impl Topics {
    pub fn new(options: Options, names: Names) -> Result<Topics, Error> {
        let admin = AdminClient::from_config_and_context(&config::common(&options)?, QueryContext);
        let admin = Arc::new(admin.map_err(|error| unavailable("create a client", &error))?);
        Ok(Topics {
            options,
            names,
            admin,
            known: RwLock::default(),
            asking: tokio::sync::Mutex::default(),
        })
    }

    /// Checks that the topics and partitions of these records exist. Returns an outcome per record.
    pub async fn check(&self, records: &[Record]) -> Vec<Result<(), Error>> {
        let mut outcomes: Vec<Result<(), Error>> = Vec::with_capacity(records.len());
        let mut counts: HashMap<&str, Result<Option<u32>, Error>> = HashMap::new();
        let mut silent = None;
        for (at, record) in records.iter().enumerate() {
            if let Some(last) = at.checked_sub(1).map(|last| &records[last])
                && last.topic == record.topic
                && last.partition == record.partition
            {
                outcomes.push(outcomes[at - 1].clone());
                continue;
            }
            let least = record.partition.map_or(1, |partition| partition.saturating_add(1));
            let there = self.names.there(&record.topic);
            if self.known(&there).is_some_and(|partitions| partitions >= least) {
                outcomes.push(Ok(()));
                continue;
            }
            let count = match (counts.get(&*record.topic), &silent) {
                (Some(count), _) => count.clone(),
                (None, Some(error)) => Err(Error::clone(error)),
                (None, None) => {
                    let count =
                        self.find(&there).await.map_err(|error| silent.insert(error).clone());
                    let count = count.and_then(|found| found.partitions(&there));
                    counts.insert(&record.topic, count.clone());
                    count
                }
            };
            outcomes.push(count.and_then(|count| reaches(record, least, count)));
        }
        outcomes
    }

    /// Returns the number of a topic's partitions, from the cache or the brokers; `None` if the
    /// topic does not exist.
    pub async fn partitions(&self, topic: &str) -> Result<Option<u32>, Error> {
        let topic = self.names.there(topic);
        match self.known(&topic) {
            Some(partitions) => Ok(Some(partitions)),
            None => self.query(&topic).await,
        }
    }

    /// Returns whether the brokers have a topic. A topic that the process may not describe counts
    /// as existing.
    pub async fn exists(&self, topic: &str) -> Result<bool, Error> {
        let topic = self.names.there(topic);
        if self.known(&topic).is_some() {
            return Ok(true);
        }
        // one question at a time: each occupies a thread until the brokers answer
        let _turn = self.asking.try_lock().map_err(|_| {
            Error::Unavailable("another question about topics is not answered yet".to_owned())
        })?;
        match self.find(&topic).await? {
            TopicState::Topic(_) | TopicState::Denied | TopicState::Leaderless => Ok(true),
            TopicState::Nothing => Ok(false),
        }
    }

    /// Clears the cache.
    pub fn forget(&self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Creates a topic if missing, and waits until it is usable. Without the permission to create
    /// topics, existing topics can be used.
    pub async fn create(&self, topic: &str, partitions: u32) -> Result<(), Error> {
        let name = self.names.there(topic);
        match self.find(&name).await? {
            TopicState::Topic(_) => return Ok(()),
            TopicState::Denied => return Err(Error::denied_topic("DESCRIBE", &name)),
            TopicState::Leaderless => {}
            TopicState::Nothing => retried(|| self.make_or_find(&name, partitions)).await?,
        }
        let until = Instant::now() + self.options.answered_within * 2;
        while Instant::now() < until {
            if let TopicState::Topic(_) = self.find(&name).await? {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(Error::Unavailable(format!(
            "topic {name} exists, but some of its partitions have no leader yet"
        )))
    }

    /// Creates a topic. A creation that timed out may nevertheless have succeeded.
    async fn make_or_find(&self, name: &str, partitions: u32) -> Result<(), Error> {
        let Err(error) = self.make(name, partitions).await else { return Ok(()) };
        match error.is_transient() {
            true if !matches!(self.find(name).await?, TopicState::Nothing) => Ok(()),
            _ => Err(error),
        }
    }

    async fn make(&self, name: &str, partitions: u32) -> Result<(), Error> {
        let replication = self.options.replication.map_or(-1, i32::from);
        let partitions = i32::try_from(partitions.max(1)).unwrap_or(i32::MAX);
        let new = NewTopic::new(name, partitions, TopicReplication::Fixed(replication))
            .set(STAMP, STAMPED_BY_BROKERS);
        let made = self.admin.create_topics([&new], &self.admin_options()).await;
        let made = made.map_err(|error| unavailable(&format!("create topic {name}"), &error))?;
        for result in made {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(fault::of_topic("create", "CREATE", &name, code)),
            }
        }
        Ok(())
    }

    /// Makes the brokers stamp the records of this topic from now on. The topic's other settings
    /// are sent as well, because the request would reset them.
    pub async fn stamp_by_brokers(&self, topic: &str) -> Result<(), Error> {
        let name = self.names.there(topic);
        let describe = self
            .admin
            .describe_configs(&[ResourceSpecifier::Topic(&name)], &self.admin_options())
            .await;
        let described =
            describe.map_err(|error| unavailable(&format!("describe topic {name}"), &error))?;
        let mut altered =
            AlterConfig::new(ResourceSpecifier::Topic(&name)).set(STAMP, STAMPED_BY_BROKERS);
        for answer in &described {
            let found = answer
                .as_ref()
                .map_err(|code| fault::of_topic("describe", "DESCRIBE_CONFIGS", &name, *code))?;
            let own =
                found.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
            for entry in own.filter(|entry| entry.name != STAMP) {
                altered
                    .entries
                    .extend(entry.value.as_deref().map(|value| (entry.name.as_str(), value)));
            }
        }
        let done = self.admin.alter_configs([&altered], &self.admin_options()).await;
        for result in done.map_err(|error| unavailable(&format!("alter topic {name}"), &error))? {
            result.map_err(|(_, code)| fault::of_topic("alter", "ALTER_CONFIGS", &name, code))?;
        }
        Ok(())
    }

    /// Removes topics. Missing ones are not an error.
    pub async fn delete(&self, topics: &[&str]) -> Result<(), Error> {
        let names: Vec<_> = topics.iter().map(|topic| self.names.there(topic)).collect();
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let gone = self.admin.delete_topics(&names, &self.admin_options()).await;
        self.forget();
        for result in gone.map_err(|error| unavailable("delete topics", &error))? {
            match result {
                Ok(_)
                | Err((
                    _,
                    RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
                )) => {}
                Err((name, code)) => return Err(fault::of_topic("delete", "DELETE", &name, code)),
            }
        }
        Ok(())
    }

    /// Returns all topics of the namespace.
    pub async fn all(&self) -> Result<Vec<Topic>, Error> {
        let metadata = self.metadata(None).await?;
        let mut topics: Vec<Topic> =
            metadata.topics().iter().filter_map(|topic| self.read(topic)).collect();
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        let named: Vec<_> = topics.iter().map(|topic| self.names.there(&topic.name)).collect();
        let resources: Vec<ResourceSpecifier<'_>> =
            named.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        if let Ok(answers) = self.admin.describe_configs(&resources, &self.admin_options()).await {
            for (topic, answer) in topics.iter_mut().zip(answers) {
                let Ok(answer) = answer else { continue };
                let value = |name: &str| answer.get(name)?.value.as_deref();
                topic.min_insync =
                    value("min.insync.replicas").and_then(|value| value.parse().ok());
                topic.stamped_by_brokers = value(STAMP).map(|value| value == STAMPED_BY_BROKERS);
                topic.retention =
                    retention(value("cleanup.policy"), value("retention.ms"), value("segment.ms"));
            }
        }
        Ok(topics)
    }

    /// Returns all brokers. After a failure, a second client determines why the brokers reject the
    /// connection.
    pub async fn brokers(&self) -> Result<Vec<Broker>, Error> {
        let metadata = match self.metadata(None).await {
            Ok(metadata) => metadata,
            Err(error) => return Err(self.refused().await.unwrap_or(error)),
        };
        let broker = |broker: &rdkafka::metadata::MetadataBroker| Broker {
            id: broker.id(),
            address: format!("{}:{}", broker.host(), broker.port()),
        };
        Ok(metadata.brokers().iter().map(broker).collect())
    }

    fn known(&self, topic: &str) -> Option<u32> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(topic).copied()
    }

    /// Returns the number of a topic's partitions; `None` if it does not exist. A topic with a
    /// leaderless partition exists.
    async fn query(&self, topic: &str) -> Result<Option<u32>, Error> {
        self.find(topic).await?.partitions(topic)
    }

    async fn find(&self, topic: &str) -> Result<TopicState, Error> {
        let metadata = self.metadata(Some(topic.to_owned())).await?;
        let of_topic = metadata.topics().iter().find(|found| found.name() == topic);
        let Some(found) = of_topic else { return Ok(TopicState::Nothing) };
        match found.error().map(RDKafkaErrorCode::from) {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => return Ok(TopicState::Denied),
            Some(RDKafkaErrorCode::LeaderNotAvailable) => return Ok(TopicState::Leaderless),
            Some(_) => return Ok(TopicState::Nothing),
            None if found.partitions().is_empty() => return Ok(TopicState::Nothing),
            None => {}
        }
        if found.partitions().iter().any(|partition| partition.leader() < 0) {
            return Ok(TopicState::Leaderless);
        }
        let partitions = u32::try_from(found.partitions().len()).unwrap_or(u32::MAX);
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(topic.to_owned(), partitions);
        Ok(TopicState::Topic(partitions))
    }

    async fn metadata(&self, topic: Option<String>) -> Result<Metadata, Error> {
        let (admin, options) = (self.admin.clone(), self.options.clone());
        let answer = tokio::task::spawn_blocking(move || {
            let answer = admin.inner().fetch_metadata(topic.as_deref(), options.answered_within);
            answer.map_err(|error| {
                unavailable(&format!("query the topics of {}", options.brokers), &error)
            })
        });
        answer.await.map_err(|error| Error::Unavailable(error.to_string()))?
    }

    /// Returns why the brokers reject the connection, if that is the cause of the failure.
    async fn refused(&self) -> Option<Error> {
        let options = self.options.clone();
        let rejection =
            tokio::task::spawn_blocking(move || refused::rejection(&options)).await.ok()??;
        Some(Error::Unavailable(format!("connect to {}: {rejection}", self.options.brokers)))
    }

    fn read(&self, topic: &rdkafka::metadata::MetadataTopic) -> Option<Topic> {
        let name = self.names.here(topic.name())?.to_owned();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let replication = topic
            .partitions()
            .iter()
            .map(|partition| partition.replicas().len())
            .min()
            .unwrap_or(0);
        Some(Topic {
            name,
            partitions: count(topic.partitions().len()),
            replication: count(replication),
            min_insync: None,
            retention: None,
            stamped_by_brokers: None,
        })
    }

    fn admin_options(&self) -> AdminOptions {
        AdminOptions::new().request_timeout(Some(self.options.answered_within))
    }
}

/// Retries temporary failures: creations time out while a controller moves or many topics are
/// created.
async fn retried<F: Future<Output = Result<(), Error>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<(), Error> {
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(Error::Unavailable(reason)) => {
                tracing::warn!(reason, "cannot create a topic, retrying");
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
    attempt().await
}

/// The brokers' answer about a topic.
enum TopicState {
    Nothing,
    /// This program may not query the topic.
    Denied,
    /// The topic exists, but a partition has no leader currently.
    Leaderless,
    /// The topic exists with this many partitions.
    Topic(u32),
}

impl TopicState {
    /// Returns the number of partitions; `None` if the topic does not exist.
    fn partitions(self, topic: &str) -> Result<Option<u32>, Error> {
        match self {
            TopicState::Nothing => Ok(None),
            TopicState::Denied => Err(Error::denied_topic("DESCRIBE", topic)),
            TopicState::Leaderless => Err(Error::Unavailable(format!(
                "topic {topic}: a partition has no leader currently"
            ))),
            TopicState::Topic(partitions) => Ok(Some(partitions)),
        }
    }
}

/// Checks that a topic with `count` partitions has the record's partition.
fn reaches(record: &Record, least: u32, count: Option<u32>) -> Result<(), Error> {
    match count {
        Some(partitions) if partitions >= least => Ok(()),
        Some(partitions) => {
            let partition = record.partition.unwrap_or_default();
            Err(Error::UnknownTopic(Unknown::Partition {
                topic: record.topic.to_string(),
                partition,
                partitions,
            }))
        }
        None => Err(Error::no_topic(&record.topic)),
    }
}

/// Returns the retention of a record: until its segment is full or old, then for `retention.ms`.
/// Retention is unlimited below zero, and with compaction.
fn retention(
    policy: Option<&str>,
    retention_ms: Option<&str>,
    segment_ms: Option<&str>,
) -> Option<Duration> {
    let time = |ms: &str| {
        Some(u64::try_from(ms.parse::<i64>().ok()?).map_or(Duration::MAX, Duration::from_millis))
    };
    if policy.is_some_and(|policy| !policy.contains("delete")) {
        return Some(Duration::MAX);
    }
    Some(time(retention_ms?)?.saturating_add(time(segment_ms?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_timed_out_creation_is_retried_and_a_denied_one_is_not() {
        let check = async |outcomes: Vec<Result<(), Error>>, attempts: u32, created: bool| {
            let (mut outcomes, mut count) = (outcomes.into_iter(), 0);
            let outcome = retried(|| {
                count += 1;
                std::future::ready(outcomes.next().expect("no more attempts than these"))
            });
            assert_eq!((outcome.await.is_ok(), count), (created, attempts));
        };
        let late = || Err(Error::Unavailable("create topic: the operation timed out".into()));
        check(vec![Ok(())], 1, true).await;
        check(vec![late(), late(), Ok(())], 3, true).await;
        check((0..ATTEMPTS).map(|_| late()).collect(), ATTEMPTS, false).await;
        check(vec![late(), Err(Error::denied_topic("CREATE", "a"))], 2, false).await;
    }

    #[test]
    fn a_record_is_retained_for_its_segment_plus_the_retention() {
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(retention(Some("delete"), Some("100"), Some("20")), ms(120));
        assert_eq!(retention(Some("compact,delete"), Some("100"), Some("20")), ms(120));
        assert_eq!(retention(Some("compact"), Some("100"), Some("20")), Some(Duration::MAX));
        assert_eq!(retention(Some("delete"), Some("-1"), Some("20")), Some(Duration::MAX));
        assert_eq!(retention(None, None, None), None);
        assert_eq!(retention(Some("delete"), Some("soon"), Some("20")), None);
    }
}
