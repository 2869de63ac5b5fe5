//! Missing rights, and limits of single topics, on a real broker: their effect, and the work that
//! continues.

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::raw::{self, On, Operation};
use common::{Namespace, brokers};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use sagamore_database::testing::skipped;
use sagamore_transport::{Consumer, Error, Record, Resource, Subscription, Transport};

/// Timeout of a wait.
const PATIENCE: Duration = Duration::from_secs(30);

fn record(topic: &str, bytes: usize) -> Record {
    let (key, body) = (Bytes::from_static(b"k"), Bytes::from(vec![7; bytes]));
    Record { topic: topic.into(), partition: Some(0), key, headers: Vec::new(), body }
}

/// Denies an operation on the brokers. Reports a skipped test if they have no authorizer, and
/// returns false.
fn denied(on: On<'_>, operation: Operation) -> bool {
    let Some(brokers) = brokers() else { return false };
    let broker = brokers.split(',').next().expect("an address");
    match raw::deny(broker, on, operation) {
        raw::SECURITY_DISABLED => {
            skipped("the brokers have no authorizer");
            false
        }
        error => {
            assert_eq!(error, 0, "the ACL is created");
            let until = Instant::now() + PATIENCE;
            while !raw::is_denied(broker, on, operation) {
                assert!(
                    Instant::now() < until,
                    "the broker never reads the right from its controller"
                );
            }
            true
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_topic_does_not_block_its_batch() {
    let Some(namespace) = Namespace::new() else { return };
    let kafka = &namespace.kafka;
    for topic in ["open", "closed"] {
        kafka.create_topic(topic, 1).await.expect("create");
    }
    if !denied(On::Topic(&namespace.on_brokers("closed")), Operation::Write) {
        return;
    }
    let told = Error::denied_topic("WRITE", &namespace.on_brokers("closed")).to_string();
    for round in 0..3 {
        let batch = ["open", "closed", "open", "closed"].map(|topic| record(topic, 10)).to_vec();
        let outcomes = kafka.publish_each(batch).await;
        let outcomes: Vec<_> =
            outcomes.iter().map(|one| one.as_ref().map_err(ToString::to_string).copied()).collect();
        let closed = || Err(told.clone());
        assert_eq!(outcomes, [Ok(()), closed(), Ok(()), closed()], "round {round}");
    }
    let error = kafka
        .publish(vec![record("closed", 1), record("open", 1)])
        .await
        .expect_err("one is denied");
    assert!(error.is_rejection() && error.is_transient(), "{error}");
}

async fn subscribe(namespace: &Namespace, topics: &[&str]) -> Box<dyn Consumer> {
    let topics = topics.iter().map(|topic| (*topic).into()).collect();
    let subscription = Subscription { group: "readers".into(), topics, partitions: None };
    namespace.kafka.subscribe(subscription).await.expect("subscribe")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_group_is_an_error_of_its_consumer() {
    let Some(namespace) = Namespace::new() else { return };
    namespace.kafka.create_topic("open", 1).await.expect("create");
    let group = namespace.on_brokers("readers");
    if !denied(On::Group(&group), Operation::Read) {
        return;
    }
    let mut consumer = subscribe(&namespace, &["open"]).await;
    tokio::time::timeout(PATIENCE, consumer.ready()).await.expect("it does not wait indefinitely");
    let error = consumer.poll(1).await.expect_err("no record can arrive");
    let resource = Resource::Group(group);
    assert!(
        matches!(&error, Error::Denied { operation: "READ", resource: of } if *of == resource),
        "{error}"
    );
    assert_eq!(namespace.kafka.denials().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_with_denied_reads_is_reported_and_the_others_are_read() {
    let Some(namespace) = Namespace::new() else { return };
    let kafka = &namespace.kafka;
    for topic in ["open", "closed"] {
        kafka.create_topic(topic, 1).await.expect("create");
    }
    if !denied(On::Topic(&namespace.on_brokers("closed")), Operation::Read) {
        return;
    }
    let mut consumer = subscribe(&namespace, &["open", "closed"]).await;
    kafka.publish(vec![record("open", 3)]).await.expect("publish");
    tokio::time::timeout(PATIENCE, consumer.ready()).await.expect("a record arrives");
    assert_eq!(consumer.poll(10).await.expect("poll").len(), 1);
    let until = Instant::now() + PATIENCE;
    while kafka.denials().is_empty() {
        assert!(Instant::now() < until, "the missing right is never reported");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = kafka.denials()[0].to_string();
    assert!(told.contains("READ on topic") && told.contains("closed"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_large_records_of_a_batch_are_rejected() {
    let Some(namespace) = Namespace::new() else { return };
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers().expect("brokers"))
        .create()
        .expect("a client");
    let topic = namespace.on_brokers("narrow");
    let narrow =
        NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "2000");
    admin.create_topics([&narrow], &AdminOptions::new()).await.expect("create")[0]
        .as_ref()
        .expect("create");
    namespace.kafka.create_topic("narrow", 1).await.expect("it can be used");
    let sizes = [900, 900, 5_000, 900, 900];
    let outcomes =
        namespace.kafka.publish_each(sizes.map(|bytes| record("narrow", bytes)).to_vec()).await;
    let too_large = |outcome: &Result<(), Error>| matches!(outcome, Err(Error::TooLarge { .. }));
    assert_eq!(
        outcomes.iter().map(too_large).collect::<Vec<_>>(),
        [false, false, true, false, false],
        "{outcomes:?}"
    );
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 4, "{outcomes:?}");
}
