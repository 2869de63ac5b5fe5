//! A consumer: a thread of its own takes records from the brokers, as long as there is room, and keeps its place in the
//! group however long the handlers take.

use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Consumer, Delivered, Error, Mark, Reach, Record, Subscription};
use tokio::sync::oneshot;

use crate::config;
use crate::fault::{self, Complaints, unavailable};
use crate::intake::{Key, Shared};
use crate::names::Names;
use crate::options::Options;

/// How long the thread waits for a record before it looks at its orders.
const WAIT: Duration = Duration::from_millis(50);
/// How often the brokers are told how far the group is: what they have not heard of comes again after a crash, and the
/// barrier knows it.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// One consumer of a group, for the tasks.
pub(crate) struct GroupConsumer {
    shared: Arc<Shared>,
    /// Dropped, the thread ends.
    orders: Sender<Order>,
}

/// What the thread is to do.
enum Order {
    /// Everything back to the marks.
    Rewind(Answer<()>),
    /// How far our partitions go, and how far the group is there.
    Reaches(Answer<Option<Vec<Reach>>>),
}

type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// What the library tells while it is polled.
struct Watch {
    shared: Arc<Shared>,
    names: Names,
    group: String,
    complaints: Complaints,
}

/// The thread's side.
struct Taker {
    consumer: BaseConsumer<Watch>,
    shared: Arc<Shared>,
    names: Names,
    options: Options,
    /// Names on the brokers -> names here.
    topics: HashMap<String, Arc<str>>,
    told: Instant,
    paused: bool,
    nameless: Arc<AtomicBool>,
}

impl GroupConsumer {
    /// Joins the group, or takes the partitions that are named without being a member of it. Whose name in the group another
    /// one takes is `nameless` from then on.
    pub async fn open(
        options: Options,
        names: Names,
        subscription: Subscription,
        nameless: Arc<AtomicBool>,
    ) -> Result<GroupConsumer, Error> {
        let shared = Arc::new(Shared::default());
        let (orders, received) = channel();
        let (opened, told) = oneshot::channel();
        let of_thread = shared.clone();
        let name = format!("kafka-{}", subscription.group);
        let spawned = std::thread::Builder::new().name(name).spawn(move || {
            match Taker::open(options, names, subscription, of_thread, nameless) {
                Ok(taker) => {
                    if opened.send(Ok(())).is_ok() {
                        taker.run(&received);
                    }
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
        spawned.map_err(|error| Error::Unavailable(format!("start a thread: {error}")))?;
        told.await.map_err(|_| Error::Unavailable("the consumer's thread has ended".to_owned()))??;
        Ok(GroupConsumer { shared, orders })
    }
}

impl GroupConsumer {
    /// Has the thread do something, and waits for what comes of it.
    async fn order<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Result<T, Error> {
        let gone = || Error::Unavailable("the consumer's thread has ended".to_owned());
        if let Some(error) = &self.shared.intake().dead {
            return Err(error.clone());
        }
        let (done, told) = oneshot::channel();
        self.orders.send(order(done)).map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

impl Consumer for GroupConsumer {
    fn poll(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivered>, Error>> {
        Box::pin(async move {
            let mut intake = self.shared.intake();
            match &intake.dead {
                Some(error) => Err(error.clone()),
                None => Ok(intake.take(max)),
            }
        })
    }

    fn ready(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            loop {
                let woken = self.shared.ready.notified();
                if !self.shared.intake().is_empty() || self.shared.intake().dead.is_some() {
                    return;
                }
                woken.await;
            }
        })
    }

    /// The brokers are told by and by, and when the consumer is dropped.
    fn commit(&mut self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let strange = self.shared.intake().mark(marks);
            if strange > 0 {
                metrics::counter!("sagamore_kafka_marks_of_others_total").increment(strange as u64);
            }
            Ok(())
        })
    }

    fn rewind(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.order(Order::Rewind).await })
    }

    fn lag(&self) -> u64 {
        self.shared.intake().lag()
    }

    fn reaches(&mut self) -> BoxFuture<'_, Result<Option<Vec<Reach>>, Error>> {
        Box::pin(async move { self.order(Order::Reaches).await })
    }

    fn marks(&self) -> Vec<Mark> {
        self.shared.intake().marks()
    }
}

impl Taker {
    fn open(
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
            config.set("group.instance.id", format!("{instance}-{:08x}", listening(&topics)));
        }
        let watch = Watch {
            shared: shared.clone(),
            names: names.clone(),
            group: group.clone(),
            complaints: Complaints::default(),
        };
        let consumer = BaseConsumer::from_config_and_context(&config, watch);
        let consumer = consumer.map_err(|error| unavailable("make a consumer", &error))?;
        let there: Vec<String> = topics.iter().map(|topic| names.there(topic).into_owned()).collect();
        match partitions {
            None => {
                shared.intake().is_member();
                let there: Vec<&str> = there.iter().map(String::as_str).collect();
                consumer.subscribe(&there).map_err(|error| unavailable("subscribe", &error))?;
            }
            Some(partitions) => {
                shared.intake().assign(Vec::new()); // who names its partitions is told of none
                assign(&consumer, &there, &partitions, &options)?;
            }
        }
        let topics = there.into_iter().zip(topics).collect();
        Ok(Taker { consumer, shared, names, options, topics, told: Instant::now(), paused: false, nameless })
    }

    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            match orders.try_recv() {
                Ok(Order::Rewind(done)) => drop(done.send(self.rewind())),
                Ok(Order::Reaches(done)) => drop(done.send(self.reaches())),
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {}
            }
            if self.told.elapsed() >= TELL_EVERY {
                self.told = Instant::now();
                tell(&self.consumer, &self.shared, &self.names, CommitMode::Async);
            }
            self.make_room();
            match self.consumer.poll(WAIT) {
                None => {}
                Some(Ok(message)) => {
                    if let Some(delivered) = read(&message, &mut self.topics, &self.names) {
                        self.shared.intake().push(delivered);
                        self.shared.ready.notify_one();
                    }
                }
                Some(Err(error)) => self.note(&error),
            }
        }
        tell(&self.consumer, &self.shared, &self.names, CommitMode::Sync);
    }

    /// Asks the brokers for nothing more while enough is held, and stays in the group all the same. A partition that comes
    /// goes on as it was when it went, if it was ours before: paused, perhaps.
    fn make_room(&mut self) {
        let (held, regrouped) = {
            let intake = self.shared.intake();
            (intake.bytes(), intake.regrouped)
        };
        let wanted =
            if self.paused { held > self.options.prefetch_bytes / 2 } else { held > self.options.prefetch_bytes };
        if wanted == self.paused && !regrouped {
            return;
        }
        let Ok(assigned) = self.consumer.assignment() else { return };
        let done = if wanted { self.consumer.pause(&assigned) } else { self.consumer.resume(&assigned) };
        match done {
            Ok(()) => {
                self.paused = wanted;
                self.shared.intake().regrouped = false;
            }
            Err(error) => tracing::debug!(%error, "pause or resume"),
        }
    }

    fn rewind(&mut self) -> Result<(), Error> {
        let starts = self.shared.intake().rewind();
        if starts.is_empty() {
            return Ok(());
        }
        let list = list(&starts, &self.names);
        let sought = self.consumer.seek_partitions(list, self.options.answered_within);
        let sought = sought.map_err(|error| unavailable("go back to what is committed", &error))?;
        for element in sought.elements() {
            element.error().map_err(|error| unavailable("go back to what is committed", &error))?;
        }
        Ok(())
    }

    /// Asks the brokers: what the library knows of the ends is as old as its last fetch.
    fn reaches(&self) -> Result<Option<Vec<Reach>>, Error> {
        let Some(keys) = self.shared.intake().ours() else { return Ok(None) };
        if keys.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let limit = self.options.answered_within;
        let at = |offset: Offset| {
            let mut list = TopicPartitionList::with_capacity(keys.len());
            for (topic, partition) in &keys {
                let partition = i32::try_from(*partition).unwrap_or(-1);
                let added = list.add_partition_offset(&self.names.there(topic), partition, offset);
                added.map_err(|error| unavailable("name a partition", &error))?;
            }
            Ok::<_, Error>(list)
        };
        let asked = |list: Result<TopicPartitionList, KafkaError>| {
            let list = list.map_err(|error| unavailable("ask how far the partitions go", &error))?;
            self.offsets(&list)
        };
        let committed = asked(self.consumer.committed_offsets(at(Offset::Invalid)?, limit))?;
        let first = asked(self.consumer.offsets_for_times(at(Offset::Beginning)?, limit))?;
        let ends = asked(self.consumer.offsets_for_times(at(Offset::End)?, limit))?;
        let mut intake = self.shared.intake();
        for key in &keys {
            let of = |offsets: &HashMap<Key, Option<u64>>| offsets.get(key).copied().flatten().unwrap_or(0);
            intake.observe(key.clone(), of(&committed).max(of(&first)), of(&ends));
            intake.trim(key, of(&first));
        }
        let reach = |mark: Mark| {
            let end = ends.get(&(mark.topic.clone(), mark.partition)).copied().flatten()?;
            Some(Reach { topic: mark.topic, partition: mark.partition, mark: mark.next, end: end.max(mark.next) })
        };
        let marks: Vec<Mark> = intake.marks();
        Ok(marks.into_iter().map(reach).collect())
    }

    /// What was told of each partition; none where there is none.
    fn offsets(&self, list: &TopicPartitionList) -> Result<HashMap<Key, Option<u64>>, Error> {
        let mut offsets = HashMap::new();
        for element in list.elements() {
            element.error().map_err(|error| unavailable("ask how far the partitions go", &error))?;
            let (Some(topic), Ok(partition)) = (self.names.here(element.topic()), u32::try_from(element.partition()))
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

    /// Most errors the library mends by itself; what it cannot mend ends this consumer.
    fn note(&self, error: &KafkaError) {
        match error {
            KafkaError::MessageConsumptionFatal(code) => {
                let group = &self.consumer.context().group;
                if *code == RDKafkaErrorCode::FencedInstanceId {
                    // or the brokers think so: one that was killed has forgotten who came last under the name
                    tracing::warn!(group, "another member has this one's name: it joins again without a name");
                    self.nameless.store(true, Ordering::Relaxed);
                } else {
                    tracing::error!(%error, group, "this consumer is of no use any more");
                }
                self.shared.intake().dead = Some(Error::Unavailable(format!("consume: {code}")));
                self.shared.ready.notify_one();
            }
            error => tracing::debug!(target: "sagamore_kafka", %error, "consume"),
        }
    }
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        fault::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.tell(&self.group, &error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        for (topic, seen) in statistics.topics {
            let Some(topic) = self.names.here(&topic) else { continue };
            let topic: Arc<str> = topic.into();
            for (partition, seen) in seen.partitions {
                let (Ok(partition), Ok(high)) = (u32::try_from(partition), u64::try_from(seen.hi_offset)) else {
                    continue;
                };
                if seen.fetch_state == "active" {
                    let (committed, low) = (u64::try_from(seen.committed_offset), u64::try_from(seen.lo_offset));
                    // what the group has not read and is gone is not behind
                    let stands = committed.unwrap_or(0).max(low.unwrap_or(if committed.is_ok() { 0 } else { high }));
                    self.shared.intake().observe((topic.clone(), partition), stands, high);
                }
            }
        }
    }
}

impl Watch {
    fn keys(&self, partitions: &TopicPartitionList) -> Vec<Key> {
        let key = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            let topic = self.names.here(element.topic())?.into();
            Some((topic, u32::try_from(element.partition()).ok()?))
        };
        partitions.elements().iter().filter_map(key).collect()
    }
}

impl ConsumerContext for Watch {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Watch>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(assigned) => {
                tracing::debug!(group = self.group, ?assigned, "partitions came");
                self.shared.intake().assign(self.keys(assigned));
            }
            Rebalance::Revoke(revoked) => {
                tracing::debug!(group = self.group, ?revoked, "partitions go");
                if !consumer.assignment_lost() {
                    tell(consumer, &self.shared, &self.names, CommitMode::Sync);
                }
                let keys = self.keys(revoked);
                self.shared.intake().revoke(&keys);
                metrics::counter!("sagamore_kafka_partitions_revoked_total").increment(keys.len() as u64);
            }
            Rebalance::Error(error) => tracing::warn!(group = self.group, %error, "rebalance"),
        }
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(group = self.group, %error, "the brokers did not take the marks; they are told the next ones");
        }
    }
}

/// Another number for other topics. A member that came back under its old name, but to listen to something else, would be
/// given what it had.
fn listening(topics: &[Arc<str>]) -> u32 {
    let mut hasher = std::hash::DefaultHasher::new();
    topics.iter().for_each(|topic| hasher.write(topic.as_bytes()));
    hasher.finish() as u32
}

/// Takes these partitions from where the group stands in them.
fn assign(
    consumer: &BaseConsumer<Watch>,
    topics: &[String],
    partitions: &[u32],
    options: &Options,
) -> Result<(), Error> {
    let mut wanted = TopicPartitionList::new();
    for topic in topics {
        for partition in partitions {
            wanted.add_partition(topic, i32::try_from(*partition).unwrap_or(-1));
        }
    }
    let stands = consumer.committed_offsets(wanted, options.answered_within);
    let mut stands = stands.map_err(|error| unavailable("ask where the group stands", &error))?;
    let begin: Vec<(String, i32)> = stands
        .elements()
        .iter()
        .filter(|element| !matches!(element.offset(), Offset::Offset(_)))
        .map(|element| (element.topic().to_owned(), element.partition()))
        .collect();
    for (topic, partition) in begin {
        let set = stands.set_partition_offset(&topic, partition, Offset::Beginning);
        set.map_err(|error| unavailable("begin at the earliest", &error))?;
    }
    consumer.assign(&stands).map_err(|error| unavailable("take the partitions", &error))
}

/// Tells the brokers how far the group is.
fn tell(consumer: &BaseConsumer<Watch>, shared: &Shared, names: &Names, mode: CommitMode) {
    let unsent = shared.intake().take_unsent();
    if unsent.is_empty() {
        return;
    }
    if let Err(error) = consumer.commit(&list(&unsent, names), mode) {
        tracing::debug!(%error, "tell the brokers the marks");
        shared.intake().unsent_again(&unsent);
    }
}

fn list(offsets: &[(Key, u64)], names: &Names) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for ((topic, partition), offset) in offsets {
        let (partition, offset) = (i32::try_from(*partition), i64::try_from(*offset));
        if let (Ok(partition), Ok(offset)) = (partition, offset) {
            let added = list.add_partition_offset(&names.there(topic), partition, Offset::Offset(offset));
            debug_assert!(added.is_ok(), "an offset that came from the brokers");
        }
    }
    list
}

fn read(message: &BorrowedMessage<'_>, topics: &mut HashMap<String, Arc<str>>, names: &Names) -> Option<Delivered> {
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
        let owned = |header: rdkafka::message::Header<'_, &[u8]>| (header.key.to_owned().into(), bytes(header.value));
        headers.iter().map(owned).collect()
    });
    let (partition, offset) = (u32::try_from(message.partition()).ok()?, u64::try_from(message.offset()).ok()?);
    let record = Record {
        topic,
        partition: Some(partition),
        key: bytes(message.key()),
        headers: headers.unwrap_or_default(),
        body: bytes(message.payload()),
    };
    Some(Delivered { record, partition, offset, unreadable: None })
}
