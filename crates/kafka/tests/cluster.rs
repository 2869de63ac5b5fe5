//! Behaviour beyond the port on a real broker: changing groups, recreated topics, namespaces,
//! silence.

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::Namespace;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use sagamore_kafka::{Kafka, Options};
use sagamore_transport::{Consumer, Delivery, Error, Mark, Record, Subscription, Transport};

/// Timeout of a wait.
const PATIENCE: Duration = Duration::from_secs(60);

fn record(topic: &str, n: u32, partitions: u32) -> Record {
    let body = Bytes::from(n.to_string());
    Record {
        topic: topic.into(),
        partition: Some(n % partitions),
        key: body.clone(),
        headers: Vec::new(),
        body,
    }
}

async fn publish(kafka: &Kafka, topic: &str, numbers: std::ops::Range<u32>, partitions: u32) {
    let records = numbers.map(|n| record(topic, n, partitions)).collect();
    kafka.publish(records).await.expect("publish");
}

async fn subscribe(kafka: &Kafka, topic: &str, partitions: Option<Vec<u32>>) -> Box<dyn Consumer> {
    let subscription =
        Subscription { group: "readers".into(), topics: vec![topic.into()], partitions };
    kafka.subscribe(subscription).await.expect("subscribe")
}

fn marks(taken: &[Delivery]) -> Vec<Mark> {
    let mark = |one: &Delivery| Mark {
        topic: one.record.topic.clone(),
        partition: one.partition,
        next: one.offset + 1,
    };
    taken.iter().map(mark).collect()
}

fn number(delivery: &Delivery) -> u32 {
    std::str::from_utf8(&delivery.record.body).expect("text").parse().expect("a number")
}

/// Takes and commits on any consumer until all these numbers were received.
async fn take_all(consumers: &mut [&mut Box<dyn Consumer>], mut wanted: BTreeSet<u32>) {
    let until = Instant::now() + PATIENCE;
    while !wanted.is_empty() {
        assert!(Instant::now() < until, "never received: {wanted:?}");
        for consumer in consumers.iter_mut() {
            let taken = consumer.poll(1_000).await.expect("poll");
            taken.iter().for_each(|delivery| {
                wanted.remove(&number(delivery));
            });
            consumer.commit(marks(&taken)).await.expect("commit");
            // another consumer may have it
            let _ = tokio::time::timeout(Duration::from_millis(20), consumer.ready()).await;
        }
    }
}

/// Takes until each consumer has partitions.
async fn until_shared(consumers: &mut [&mut Box<dyn Consumer>]) {
    let until = Instant::now() + PATIENCE;
    while consumers.iter().any(|consumer| consumer.marks().is_empty()) {
        assert!(Instant::now() < until, "a consumer has no partitions");
        for consumer in consumers.iter_mut() {
            consumer.poll(1_000).await.expect("poll");
        }
        // an assignment without records wakes no one
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_continue_with_a_recreated_topic() {
    for partitions in [None, Some(vec![0, 1])] {
        let Some(namespace) = Namespace::new() else { return };
        let kafka = &namespace.kafka;
        kafka.create_topic("wiped", 2).await.expect("create");
        let mut consumer = subscribe(kafka, "wiped", partitions).await;
        publish(kafka, "wiped", 0..20, 2).await;
        take_all(&mut [&mut consumer], (0..20).collect()).await;
        kafka.delete_topics(&["wiped"]).await.expect("delete");
        let until = Instant::now() + PATIENCE;
        // brokers may accept records for a moment after the response to a deletion
        let gone = loop {
            match kafka.publish(vec![record("wiped", 99, 2)]).await {
                Ok(()) if Instant::now() < until => {}
                published => break published,
            }
        };
        assert!(matches!(gone, Err(Error::UnknownTopic(_))), "{gone:?}");
        kafka.create_topic("wiped", 2).await.expect("create again");
        publish(kafka, "wiped", 100..104, 2).await;
        take_all(&mut [&mut consumer], (100..104).collect()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changing_group_loses_nothing_and_marks_of_lost_partitions_are_ignored() {
    let Some(namespace) = Namespace::new() else { return };
    let kafka = &namespace.kafka;
    kafka.create_topic("shared", 4).await.expect("create");
    let mut one = subscribe(kafka, "shared", None).await;
    publish(kafka, "shared", 0..40, 4).await;
    let mut all: Vec<Delivery> = Vec::new();
    let until = Instant::now() + PATIENCE;
    while all.len() < 40 {
        assert!(Instant::now() < until, "{} of 40 received", all.len());
        one.ready().await;
        all.extend(one.poll(1_000).await.expect("poll"));
    }
    let mut two = subscribe(kafka, "shared", None).await;
    // two partitions move with all their uncommitted records
    let mut others = BTreeSet::new();
    while others.len() < 2 {
        assert!(Instant::now() < until, "only {others:?} moved");
        two.ready().await;
        others
            .extend(two.poll(1_000).await.expect("poll").iter().map(|delivery| delivery.partition));
    }
    one.commit(marks(&all)).await.expect("marks of moved partitions are ignored");
    publish(kafka, "shared", 100..140, 4).await;
    take_all(&mut [&mut one, &mut two], (100..140).collect()).await;
    drop(two);
    publish(kafka, "shared", 200..240, 4).await;
    take_all(&mut [&mut one], (200..240).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_name_is_taken_continues_without_it() {
    let Some(options) = common::options() else { return };
    let named = Options { instance: Some("twice".into()), ..options };
    let other = Kafka::connect(named.clone()).expect("the options are right");
    let namespace = Namespace::with(named);
    let one = namespace.kafka.clone();
    one.create_topic("shared", 2).await.expect("create");
    let mut first = subscribe(&one, "shared", None).await;
    publish(&one, "shared", 0..4, 2).await;
    take_all(&mut [&mut first], (0..4).collect()).await;
    let mut second = subscribe(&other, "shared", None).await;
    let taken_away = loop {
        // a consumer that has ended is ready
        tokio::time::timeout(PATIENCE, first.ready()).await.expect("the first consumer fails");
        if let Err(error) = first.poll(1).await {
            break error;
        }
    };
    assert!(taken_away.is_transient(), "{taken_away}");
    drop(first);
    let mut first = subscribe(&one, "shared", None).await;
    // both consume side by side: neither takes the name from the other again
    publish(&one, "shared", 4..8, 2).await;
    take_all(&mut [&mut first, &mut second], (4..8).collect()).await;
    until_shared(&mut [&mut first, &mut second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_separate_topics_and_groups() {
    let (Some(one), Some(other)) = (Namespace::new(), Namespace::new()) else { return };
    for (namespace, numbers) in [(&one, 0..5), (&other, 5..10)] {
        namespace.kafka.create_topic("same", 1).await.expect("create");
        publish(&namespace.kafka, "same", numbers, 1).await;
    }
    let topics = one.kafka.topics().await.expect("the topics");
    assert_eq!(
        topics.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect::<Vec<_>>(),
        [("same", 1)]
    );
    let mut consumer = subscribe(&other.kafka, "same", None).await;
    let mut taken = Vec::new();
    while taken.len() < 5 {
        consumer.ready().await;
        taken.extend(consumer.poll(100).await.expect("poll").iter().map(number));
    }
    assert_eq!(taken, [5, 6, 7, 8, 9]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unavailable_brokers_are_reported_within_the_time_limit() {
    let bound = Duration::from_secs(1);
    let nowhere =
        Options { answered_within: bound, delivered_within: bound, ..Options::new("127.0.0.1:1") };
    let kafka = Kafka::connect(nowhere).expect("the options are right");
    let begun = Instant::now();
    let silent = kafka.publish(vec![record("any", 1, 1)]).await;
    assert!(matches!(silent, Err(Error::Unavailable(_))), "{silent:?}");
    assert!(begun.elapsed() < bound * 5, "it took {:?}", begun.elapsed());
}

/// Returns a namespace whose consumers buffer at most 64 kB.
fn holding_little() -> Option<Namespace> {
    let options = Options { prefetch_bytes: 64 << 10, ..common::options()? };
    Some(Namespace::with(options))
}

/// Returns a record of 20 kB.
fn large(n: u32, partitions: u32) -> Record {
    Record { body: Bytes::from(vec![7; 20_000]), ..record("large", n, partitions) }
}

/// Waits long enough to buffer all records, if fetching were not paused.
async fn could_hold_all(consumer: &mut Box<dyn Consumer>) {
    tokio::time::timeout(PATIENCE, consumer.ready()).await.expect("the first record arrives");
    // only time shows that no further record arrives
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// A pause is the state of a partition, which it keeps when it moves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_records_arrive_when_their_partition_returns() {
    let Some(namespace) = holding_little() else { return };
    let kafka = &namespace.kafka;
    kafka.create_topic("large", 4).await.expect("create");
    let mut one = subscribe(kafka, "large", None).await;
    until_shared(&mut [&mut one]).await;
    kafka.publish((0..80).map(|n| large(n, 4)).collect()).await.expect("publish");
    could_hold_all(&mut one).await;
    let mut other = subscribe(kafka, "large", None).await;
    // all partitions have uncommitted records
    tokio::time::timeout(PATIENCE, other.ready()).await.expect("the other gets partitions");
    // it takes its buffer and has room again, while half of the partitions are elsewhere
    while let Ok(()) = tokio::time::timeout(Duration::from_secs(1), one.ready()).await {
        let taken = one.poll(1_000).await.expect("poll");
        one.commit(marks(&taken)).await.expect("commit");
    }
    drop(other);
    let mut wanted: BTreeSet<(u32, u64)> = (0..4).map(|partition| (partition, 20)).collect();
    publish(kafka, "large", 80..84, 4).await;
    while !wanted.is_empty() {
        tokio::time::timeout(PATIENCE, one.ready())
            .await
            .unwrap_or_else(|_| panic!("never received: {wanted:?}"));
        for delivery in one.poll(1_000).await.expect("poll") {
            wanted.remove(&(delivery.partition, delivery.offset));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unpolled_records_are_not_buffered_without_limit_and_arrive() {
    let Some(namespace) = holding_little() else { return };
    let kafka = &namespace.kafka;
    kafka.create_topic("large", 1).await.expect("create");
    for batch in 0..10 {
        kafka.publish((0..10).map(|n| large(batch * 10 + n, 1)).collect()).await.expect("publish");
    }
    let mut consumer = subscribe(kafka, "large", None).await;
    could_hold_all(&mut consumer).await;
    let first = consumer.poll(1_000).await.expect("poll");
    assert!(
        first.len() < 50,
        "{} records of 20 kB were buffered, with a limit of 64 kB",
        first.len()
    );
    let mut offsets: Vec<u64> = first.iter().map(|delivery| delivery.offset).collect();
    while offsets.len() < 100 {
        tokio::time::timeout(PATIENCE, consumer.ready()).await.expect("further records arrive");
        offsets
            .extend(consumer.poll(3).await.expect("poll").iter().map(|delivery| delivery.offset));
    }
    assert_eq!(offsets, (0..100).collect::<Vec<u64>>(), "each once, in order");
}

/// Other programs choose the codec of their records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_in_every_codec_are_read() {
    let Some(namespace) = Namespace::new() else { return };
    let brokers = common::brokers().expect("brokers");
    namespace.kafka.create_topic("compressed", 1).await.expect("create");
    let topic = namespace.on_brokers("compressed");
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &brokers).set("compression.codec", codec);
        let producer: FutureProducer =
            config.create().unwrap_or_else(|error| panic!("{codec}: {error}"));
        let body = codec.repeat(200); // short records are sent uncompressed
        let record = FutureRecord::<[u8], str>::to(&topic).payload(&body);
        producer
            .send(record, PATIENCE)
            .await
            .unwrap_or_else(|(error, _)| panic!("{codec}: {error}"));
    }
    let mut consumer = subscribe(&namespace.kafka, "compressed", None).await;
    let mut bodies = Vec::new();
    while bodies.len() < 4 {
        tokio::time::timeout(PATIENCE, consumer.ready())
            .await
            .unwrap_or_else(|_| panic!("only {bodies:?} received"));
        bodies
            .extend(consumer.poll(10).await.expect("poll").into_iter().map(|one| one.record.body));
    }
    assert_eq!(bodies, ["gzip", "snappy", "lz4", "zstd"].map(|codec| codec.repeat(200)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_groups_progress_is_visible_from_outside() {
    let Some(namespace) = Namespace::new() else { return };
    let kafka = &namespace.kafka;
    kafka.create_topic("read", 1).await.expect("create");
    publish(kafka, "read", 0..5, 1).await;
    let topics = ["read", "missing"].map(str::to_owned);
    let before = kafka.group("readers", &topics).await.expect("the group");
    assert_eq!((before.members, before.reaches[0].mark, before.reaches[0].end), (0, 0, 5));
    let mut consumer = subscribe(kafka, "read", None).await;
    take_all(&mut [&mut consumer], (0..5).collect()).await;
    publish(kafka, "read", 5..7, 1).await;
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "the brokers never report its progress");
        let group = kafka.group("readers", &topics).await.expect("the group");
        assert_eq!((group.members, group.reaches.len(), group.reaches[0].end), (1, 1, 7));
        if group.reaches[0].mark >= 5 {
            return;
        }
    }
}
