//! A consumer's thread: fetches records while there is room, commits offsets, and skips unreadable
//! records.

use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sagamore_transport::{Delivery, Error, Mark, Reach, Record, Resource, Subscription};
use tokio::sync::oneshot;

use crate::assign::{QUERY_TIMEOUT, assign, find_gap};
use crate::config;
use crate::coverage::Coverage;
use crate::fault::{QueryContext, unavailable};
use crate::intake::Shared;
use crate::names::{Key, Names};
use crate::options::Options;
use crate::stall::Standing;
use crate::stuck::Stuck;
use crate::unreadable::{Doubts, Finding, is_of_a_record};
use crate::watch::{Watch, commit_marks, key, list};

/// Maximum wait for a record before orders are checked.
const WAIT: Duration = Duration::from_millis(50);
/// The interval between commits to the brokers. After a crash the uncommitted records are
/// redelivered, and the barrier recognizes them.
const COMMIT_INTERVAL: Duration = Duration::from_millis(100);
/// The interval between checks for partitions that do not advance.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time without a poll after which missing progress is not a fault of the partitions.
const UNPOLLED_MAX: Duration = Duration::from_secs(10);

/// The thread's side of a consumer.
pub(crate) struct Taker {
    consumer: BaseConsumer<Watch>,
    shared: Arc<Shared>,
    names: Names,
    options: Options,
    /// Maps names on the brokers to names without namespace.
    topics: HashMap<String, Arc<str>>,
    told: Instant,
    paused: bool,
    nameless: Arc<AtomicBool>,
    doubts: Doubts,
    standing: Standing,
    looked: Instant,
    stuck: Stuck,
    /// `None` for a consumer that names its partitions.
    coverage: Option<Coverage>,
    /// The number of polls, and when it last changed.
    polled: (u64, Instant),
}

/// A request to the thread.
pub(crate) enum Order {
    /// Returns all partitions to their marks.
    Rewind(Answer<()>),
    /// Queries the ends of the partitions and the group's offsets.
    Reaches(Answer<Option<Vec<Reach>>>),
}

/// The receiver of an order's answer.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, Error>>;

impl Taker {
    pub fn open(
        options: Options,
        names: Names,
        Subscription { group, topics, partitions }: Subscription,
        shared: Arc<Shared>,
        nameless: Arc<AtomicBool>,
    ) -> Result<Taker, Error> {
        let group = names.there(&group).into_owned();
        let mut config = config::consumer(&options, &group)?;
        if let (Some(instance), None) = (&options.instance, &partitions)
            && !nameless.load(Ordering::Relaxed)
        {
            config.set("group.instance.id", format!("{instance}-{:08x}", topics_hash(&topics)));
        }
        let watch = Watch::new(shared.clone(), names.clone(), group.clone());
        let consumer = BaseConsumer::from_config_and_context(&config, watch);
        let consumer = consumer.map_err(|error| unavailable("create a consumer", &error))?;
        let now = Instant::now();
        let coverage = partitions.is_none().then(|| Coverage::new(now));
        let there: Vec<String> =
            topics.iter().map(|topic| names.there(topic).into_owned()).collect();
        match partitions {
            None => {
                shared.intake().is_member();
                subscribe(&consumer, &there)?;
            }
            Some(partitions) => {
                // a consumer that names its partitions is assigned none
                shared.intake().assign(Vec::new());
                for element in assign(&consumer, &there, &partitions, &options)?.elements() {
                    if let (Some(key), Offset::Offset(start)) =
                        (key(&names, &element), element.offset())
                    {
                        shared.intake().begin(key, u64::try_from(start).unwrap_or(0));
                    }
                }
            }
        }
        let topics = there.into_iter().zip(topics).collect();
        let stalled_after = options.stalled_after;
        Ok(Taker {
            consumer,
            shared,
            names,
            doubts: Doubts::new(options.clone(), group),
            options,
            topics,
            told: now,
            paused: false,
            nameless,
            standing: Standing::new(stalled_after),
            looked: now,
            stuck: Stuck::new(now),
            coverage,
            polled: (0, now),
        })
    }

    pub fn run(mut self, orders: &Receiver<Order>) {
        loop {
            self.shared.intake().rounds += 1;
            match orders.try_recv() {
                Ok(Order::Rewind(done)) => drop(done.send(self.rewind())),
                Ok(Order::Reaches(done)) => drop(done.send(self.reaches())),
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {}
            }
            if self.told.elapsed() >= COMMIT_INTERVAL {
                self.told = Instant::now();
                commit_marks(&self.consumer, &self.shared, &self.names, CommitMode::Async);
            }
            if self.looked.elapsed() >= CHECK_INTERVAL {
                self.looked = Instant::now();
                self.check_progress();
            }
            self.make_room();
            self.check_stuck();
            self.check_unassigned();
            let wait = if self.probe_unreadable() { Duration::ZERO } else { WAIT };
            match self.consumer.poll(wait) {
                None => {}
                Some(Ok(message)) => {
                    if let Some(delivery) = read(&message, &mut self.topics, &self.names) {
                        self.shared.intake().push(delivery);
                        self.shared.ready.notify_one();
                    }
                }
                Some(Err(error)) => self.note(&error),
            }
        }
        commit_marks(&self.consumer, &self.shared, &self.names, CommitMode::Sync);
    }

    /// Probes one offset at which a record may be unreadable, and moves the consumer past it.
    /// Returns whether more offsets must be probed.
    fn probe_unreadable(&mut self) -> bool {
        let Some((key, offset)) = self.doubts.next() else { return false };
        let (held, position) = {
            let intake = self.shared.intake();
            (intake.bytes(), intake.position(&key))
        };
        if held > self.options.prefetch_bytes {
            return false;
        }
        if position != Some(offset) {
            self.doubts.settle(); // its records arrive, or belong to another consumer
            return true;
        }
        let finding = self.doubts.look(&self.names.there(&key.0), key.1, offset);
        match finding {
            Ok(Finding::Unreadable(code)) => {
                tracing::error!(
                    topic = %key.0, partition = key.1, offset, %code,
                    "cannot read a record, setting it aside"
                );
                metrics::counter!("sagamore_kafka_unreadable_total").increment(1);
                let reason = format!("the Kafka client cannot read it: {code}");
                self.shared.intake().push_unreadable(key, offset, &reason);
                self.shared.ready.notify_one();
                self.doubts.pass();
                return true;
            }
            Ok(Finding::Record | Finding::Nothing) if !self.doubts.has_passed() => {
                self.doubts.settle()
            }
            Ok(Finding::Record | Finding::Nothing) => match self.seek(&[(key, offset)]) {
                Ok(()) => self.doubts.settle(),
                Err(error) => tracing::warn!(%error, "cannot skip an unreadable record, retrying"),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot probe for an unreadable record, retrying");
                self.doubts.settle(); // the library reports it again
            }
        }
        false
    }

    /// Suspects all partitions with outstanding records, because an unreadable record blocks one of
    /// them.
    fn doubt(&mut self) -> Result<(), Error> {
        let fresh = self.shared.intake().unbegun();
        if !fresh.is_empty() {
            let (committed, first) =
                (self.committed(&fresh)?, self.offsets_at(&fresh, Offset::Beginning)?);
            for key in fresh {
                let of = |offsets: &HashMap<Key, Option<u64>>| {
                    offsets.get(&key).copied().flatten().unwrap_or(0)
                };
                let start = of(&committed).max(of(&first));
                self.shared.intake().begin(key, start);
            }
        }
        self.doubts.raise(self.shared.intake().awaited());
        Ok(())
    }

    /// Ends this consumer if the client library fetches nothing from a partition with records. Its
    /// successor does.
    fn check_stuck(&mut self) {
        let now = Instant::now();
        if !self.stuck.is_due(now) {
            return;
        }
        let (fetched, has_reason) = {
            let intake = self.shared.intake();
            let has_reason = self.paused
                || !self.doubts.is_empty()
                || intake.denied.is_some()
                || intake.dead.is_some();
            (intake.fetched(), has_reason)
        };
        if has_reason {
            return self.stuck.reset(now);
        }
        let idle = self.stuck.idle(&fetched, now);
        let ends = match self.ends(&idle) {
            Ok(ends) => ends,
            Err(error) => {
                tracing::debug!(%error, "cannot compare partitions with the brokers");
                return self.stuck.reset(now); // without brokers nothing can be fetched
            }
        };
        for (key, first, end) in ends {
            if self.stuck.compare(&key, first, end) {
                let (topic, partition) = (&key.0, key.1);
                let next = fetched.get(&key).copied().flatten();
                tracing::warn!(
                    %topic, partition, next, end,
                    "the client fetches nothing, reopening the consumer"
                );
                metrics::counter!("sagamore_kafka_consumers_reopened_total").increment(1);
                let why =
                    format!("{topic}[{partition}] ends at {end}, and the client fetches nothing");
                return self.shared.end(Error::Unavailable(why));
            }
        }
    }

    /// Leaves the group and joins it again if a partition has no member, so that the group
    /// rebalances.
    fn check_unassigned(&mut self) {
        let now = Instant::now();
        let Some(coverage) = self.coverage.as_mut().filter(|coverage| coverage.is_due(now)) else {
            return;
        };
        let gap = find_gap(&self.consumer, self.topics.keys());
        let gap = gap.inspect_err(|error| {
            tracing::debug!(
                %error, "cannot compare the group's assignments with its topics"
            )
        });
        let gap = gap.unwrap_or_default();
        if coverage.compare(gap.is_some(), now)
            && let Some((topic, partition)) = gap
        {
            let group = &self.consumer.context().group;
            tracing::warn!(
                group,
                topic,
                partition,
                "no member of the group has this partition, rejoining the group"
            );
            metrics::counter!("sagamore_kafka_rejoins_total").increment(1);
            self.consumer.unsubscribe();
            let topics: Vec<String> = self.topics.keys().cloned().collect();
            if let Err(error) = subscribe(&self.consumer, &topics) {
                self.shared.end(error);
            }
        }
    }

    /// Returns the first and the last offset of these partitions. A client that remembers leader
    /// epochs of deleted topics gets no answer, so a new one retries.
    fn ends(&self, keys: &[Key]) -> Result<Vec<(Key, u64, u64)>, Error> {
        let own = keys.iter().map(|key| self.watermarks(&self.consumer, key)).collect();
        if let Ok(ends) = own {
            return Ok(ends);
        }
        let config = config::consumer(&self.options, &self.consumer.context().group)?;
        let client = BaseConsumer::from_config_and_context(&config, QueryContext);
        let client: BaseConsumer<QueryContext> =
            client.map_err(|error| unavailable("create a consumer", &error))?;
        keys.iter().map(|key| self.watermarks(&client, key)).collect()
    }

    fn watermarks<C: ConsumerContext>(
        &self,
        client: &BaseConsumer<C>,
        key: &Key,
    ) -> Result<(Key, u64, u64), Error> {
        let partition = i32::try_from(key.1).unwrap_or(-1);
        let marks = client.fetch_watermarks(&self.names.there(&key.0), partition, QUERY_TIMEOUT);
        let (first, end) =
            marks.map_err(|error| unavailable("query the ends of the partitions", &error))?;
        Ok((key.clone(), u64::try_from(first).unwrap_or(0), u64::try_from(end).unwrap_or(0)))
    }

    /// Records the partitions that do not advance.
    fn check_progress(&mut self) {
        let now = Instant::now();
        let mut intake = self.shared.intake();
        if intake.waiting > 0 || intake.polls != self.polled.0 {
            self.polled = (intake.polls, now);
        }
        if now.saturating_duration_since(self.polled.1) > UNPOLLED_MAX {
            self.standing.reset();
        }
        let group = self.names.here(&self.consumer.context().group).unwrap_or_default().to_owned();
        let stalled = self.standing.observe(&group, intake.standing(), now);
        for stall in
            stalled.iter().filter(|stall| !intake.stalled.iter().any(|known| known.is_of(stall)))
        {
            tracing::error!(topic = stall.topic, partition = stall.partition, "{stall}");
        }
        metrics::gauge!("sagamore_kafka_stalled_partitions", "group" => group)
            .set(stalled.len() as f64);
        intake.stalled = stalled;
    }

    /// Pauses fetching while enough is buffered, without leaving the group. A returning partition
    /// keeps its earlier state, which may be paused.
    fn make_room(&mut self) {
        let (held, regrouped) = {
            let intake = self.shared.intake();
            (intake.bytes(), intake.regrouped)
        };
        let wanted = if self.paused {
            held > self.options.prefetch_bytes / 2
        } else {
            held > self.options.prefetch_bytes
        };
        if wanted == self.paused && !regrouped {
            return;
        }
        let Ok(assigned) = self.consumer.assignment() else { return };
        let done =
            if wanted { self.consumer.pause(&assigned) } else { self.consumer.resume(&assigned) };
        match done {
            Ok(()) => {
                self.paused = wanted;
                self.shared.intake().regrouped = false;
            }
            Err(error) => tracing::debug!(%error, "cannot pause or resume fetching"),
        }
    }

    fn rewind(&mut self) -> Result<(), Error> {
        let starts = self.shared.intake().rewind();
        if starts.is_empty() { Ok(()) } else { self.seek(&starts) }
    }

    fn seek(&self, starts: &[(Key, u64)]) -> Result<(), Error> {
        let sought =
            self.consumer.seek_partitions(list(starts, &self.names), self.options.answered_within);
        let sought = sought.map_err(|error| unavailable("seek", &error))?;
        for element in sought.elements() {
            element.error().map_err(|error| unavailable("seek", &error))?;
        }
        Ok(())
    }

    /// Queries the brokers, because the library's own ends are as old as its last fetch.
    fn reaches(&self) -> Result<Option<Vec<Reach>>, Error> {
        let Some(keys) = self.shared.intake().ours() else { return Ok(None) };
        if keys.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let committed = self.committed(&keys)?;
        let first = self.offsets_at(&keys, Offset::Beginning)?;
        let ends = self.offsets_at(&keys, Offset::End)?;
        let mut intake = self.shared.intake();
        for key in &keys {
            let of = |offsets: &HashMap<Key, Option<u64>>| {
                offsets.get(key).copied().flatten().unwrap_or(0)
            };
            intake.observe(key.clone(), of(&committed).max(of(&first)), of(&ends));
            intake.trim(key, of(&first));
        }
        let reach = |mark: Mark| {
            let end = ends.get(&(mark.topic.clone(), mark.partition)).copied().flatten()?;
            Some(Reach {
                topic: mark.topic,
                partition: mark.partition,
                mark: mark.next,
                end: end.max(mark.next),
            })
        };
        let marks: Vec<Mark> = intake.marks();
        Ok(marks.into_iter().map(reach).collect())
    }

    /// Returns the group's offsets in these partitions.
    fn committed(&self, keys: &[Key]) -> Result<HashMap<Key, Option<u64>>, Error> {
        let list = self
            .consumer
            .committed_offsets(self.list_at(keys, Offset::Invalid)?, self.options.answered_within);
        self.offsets(&list.map_err(|error| unavailable("query the group's offsets", &error))?)
    }

    /// Returns the first or the last offset of these partitions.
    fn offsets_at(&self, keys: &[Key], end: Offset) -> Result<HashMap<Key, Option<u64>>, Error> {
        let list =
            self.consumer.offsets_for_times(self.list_at(keys, end)?, self.options.answered_within);
        self.offsets(
            &list.map_err(|error| unavailable("query the ends of the partitions", &error))?,
        )
    }

    fn list_at(&self, keys: &[Key], offset: Offset) -> Result<TopicPartitionList, Error> {
        let mut list = TopicPartitionList::with_capacity(keys.len());
        for (topic, partition) in keys {
            let partition = i32::try_from(*partition).unwrap_or(-1);
            let added = list.add_partition_offset(&self.names.there(topic), partition, offset);
            added.map_err(|error| unavailable("name a partition", &error))?;
        }
        Ok(list)
    }

    /// Returns the offset of each partition; `None` where there is none.
    fn offsets(&self, list: &TopicPartitionList) -> Result<HashMap<Key, Option<u64>>, Error> {
        let mut offsets = HashMap::new();
        for element in list.elements() {
            element
                .error()
                .map_err(|error| unavailable("query the ends of the partitions", &error))?;
            let (Some(topic), Ok(partition)) =
                (self.names.here(element.topic()), u32::try_from(element.partition()))
            else {
                continue;
            };
            let offset = match element.offset() {
                Offset::Offset(offset) => u64::try_from(offset).ok(),
                _ => None,
            };
            offsets.insert((topic.into(), partition), offset);
        }
        Ok(offsets)
    }

    /// Handles an error. The library recovers from most errors; a fatal error ends this consumer.
    fn note(&mut self, error: &KafkaError) {
        let watch = self.consumer.context();
        let group = &watch.group;
        match error {
            KafkaError::MessageConsumptionFatal(code) => {
                if *code == RDKafkaErrorCode::FencedInstanceId {
                    // a broker may also err: after a kill it has forgotten the last holder of the
                    // name
                    tracing::warn!(
                        group,
                        "another member has this one's name, rejoining without a name"
                    );
                    self.nameless.store(true, Ordering::Relaxed);
                } else {
                    tracing::error!(%error, group, "the consumer failed permanently");
                }
                self.shared.end(Error::Unavailable(format!("consume: {code}")));
            }
            KafkaError::MessageConsumption(code) if is_of_a_record(*code) => {
                if self.doubts.is_empty()
                    && let Err(error) = self.doubt()
                {
                    tracing::warn!(%error, "cannot probe for an unreadable record, retrying");
                }
            }
            KafkaError::MessageConsumption(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                let denied =
                    Error::Denied { operation: "READ", resource: Resource::Group(group.clone()) };
                tracing::error!(error = %denied, "cannot consume");
                self.shared.end(denied);
            }
            KafkaError::MessageConsumption(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                let topics = self.topics.keys().cloned().collect::<Vec<_>>().join("' or '");
                let denied = Error::denied_topic("READ", &topics);
                watch.complaints.warn(group, error, &denied.to_string());
                self.shared.intake().denied = Some(denied);
            }
            error => watch.complaints.warn(group, error, "consume"),
        }
    }
}

/// Returns a hash of the topics. A member that returned under its old name with other topics would
/// get its old partitions.
fn topics_hash(topics: &[Arc<str>]) -> u32 {
    let mut hasher = std::hash::DefaultHasher::new();
    topics.iter().for_each(|topic| hasher.write(topic.as_bytes()));
    hasher.finish() as u32
}

fn subscribe(consumer: &BaseConsumer<Watch>, topics: &[String]) -> Result<(), Error> {
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(|error| unavailable("subscribe", &error))
}

fn read(
    message: &BorrowedMessage<'_>,
    topics: &mut HashMap<String, Arc<str>>,
    names: &Names,
) -> Option<Delivery> {
    let topic = match topics.get(message.topic()) {
        Some(topic) => topic.clone(),
        None => {
            let here: Arc<str> = names.here(message.topic())?.into();
            topics.insert(message.topic().to_owned(), here.clone());
            here
        }
    };
    let bytes = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice).unwrap_or_default();
    let headers = message.headers().map(|headers| {
        let owned = |header: rdkafka::message::Header<'_, &[u8]>| {
            (header.key.to_owned().into(), bytes(header.value))
        };
        headers.iter().map(owned).collect()
    });
    let (partition, offset) =
        (u32::try_from(message.partition()).ok()?, u64::try_from(message.offset()).ok()?);
    let record = Record {
        topic,
        partition: Some(partition),
        key: bytes(message.key()),
        headers: headers.unwrap_or_default(),
        body: bytes(message.payload()),
    };
    Some(Delivery { record, partition, offset, unreadable: None })
}
