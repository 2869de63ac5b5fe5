//! Unreadable records block no others. A mock cluster stores them, because real brokers validate
//! records.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::raw;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sagamore_kafka::{Kafka, Options};
use sagamore_transport::{Consumer, Delivery, Mark, Record, Subscription, Transport};

/// Timeout of a wait.
const PATIENCE: Duration = Duration::from_secs(30);
const TOPIC: &str = "payment.commands";
const UNKNOWN_CODEC: i16 = 7;
const ZSTD: i16 = 4;

struct Rig {
    cluster: MockCluster<'static, DefaultProducerContext>,
    kafka: Kafka,
}

impl Rig {
    fn new() -> Rig {
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic(TOPIC, 2, 1).expect("a topic");
        let options = Options {
            stalled_after: Duration::from_secs(2),
            ..Options::new(cluster.bootstrap_servers())
        };
        let kafka = Kafka::connect(options).expect("the options are right");
        Rig { cluster, kafka }
    }

    async fn publish(&self, partition: u32, bodies: &[&str]) {
        let record = |body: &&str| Record {
            topic: TOPIC.into(),
            partition: Some(partition),
            key: Bytes::from_static(b"k"),
            headers: Vec::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        self.kafka.publish(bodies.iter().map(record).collect()).await.expect("publish");
    }

    fn store(&self, partition: i32, batch: &[u8]) {
        let brokers = self.cluster.bootstrap_servers();
        assert_eq!(
            raw::produce(&brokers, TOPIC, partition, batch),
            0,
            "a mock cluster stores anything"
        );
    }

    /// Waits until the group's committed offset is `mark`.
    async fn is_acknowledged(&self, partition: i32, mark: i64) {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "payment");
        let group: BaseConsumer = config.create().expect("a client");
        let known = async {
            loop {
                let mut place = TopicPartitionList::new();
                place.add_partition(TOPIC, partition);
                let known = group
                    .committed_offsets(place, Duration::from_secs(5))
                    .expect("the group's offset");
                if known.elements()[0].offset() == Offset::Offset(mark) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, known).await.expect("it is acknowledged");
    }

    async fn subscribe(&self, partitions: Option<Vec<u32>>) -> Box<dyn Consumer> {
        let subscription =
            Subscription { group: "payment".into(), topics: vec![TOPIC.into()], partitions };
        self.kafka.subscribe(subscription).await.expect("subscribe")
    }
}

/// Takes this many records and commits them.
async fn take(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    let all = async {
        while taken.len() < count {
            consumer.ready().await;
            let some = consumer.poll(count - taken.len()).await.expect("poll");
            consumer.commit(Mark::behind(&some)).await.expect("commit");
            taken.extend(some);
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, all).await;
    assert!(in_time.is_ok(), "expected {count} records, received: {:?}", shown(&taken));
    taken
}

/// Returns partition and offset of each record, with its body or a dash.
fn shown(taken: &[Delivery]) -> Vec<String> {
    let one = |delivery: &Delivery| {
        let Delivery { record, partition, offset, unreadable } = delivery;
        let body = unreadable
            .as_ref()
            .map_or_else(|| String::from_utf8_lossy(&record.body), |_| "-".into());
        format!("{partition}@{offset}:{body}")
    };
    taken.iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_records_are_set_aside_one_by_one_and_the_others_arrive() {
    for partitions in [None, Some(vec![0, 1])] {
        let rig = Rig::new();
        rig.publish(0, &["a", "b"]).await;
        rig.store(0, &raw::batch(b"as it likes", UNKNOWN_CODEC, 3));
        rig.publish(0, &["c"]).await;
        rig.store(0, &raw::batch(b"(no frame)", ZSTD, 1));
        rig.store(0, &raw::torn(raw::batch(b"what was written", 0, 1)));
        rig.publish(0, &["d"]).await;
        let mut consumer = rig.subscribe(partitions).await;
        let taken = take(&mut consumer, 9).await;
        assert_eq!(
            shown(&taken),
            ["0@0:a", "0@1:b", "0@2:-", "0@3:-", "0@4:-", "0@5:c", "0@6:-", "0@7:-", "0@8:d"]
        );
        let stand_in = &taken[2];
        assert!(
            stand_in.record.body.is_empty() && stand_in.record.headers.is_empty(),
            "{stand_in:?}"
        );
        assert!(
            stand_in.unreadable.as_ref().is_some_and(|why| why.contains("cannot read it")),
            "{stand_in:?}"
        );
        rig.publish(0, &["e"]).await;
        assert_eq!(shown(&take(&mut consumer, 1).await), ["0@9:e"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_record_at_the_end_is_acknowledged_and_not_redelivered() {
    let rig = Rig::new();
    rig.publish(0, &["a"]).await;
    rig.store(0, &raw::batch(b"as it likes", UNKNOWN_CODEC, 1));
    rig.publish(1, &["x", "y"]).await;
    let mut consumer = rig.subscribe(Some(vec![0, 1])).await;
    let mut taken = shown(&take(&mut consumer, 4).await);
    taken.sort_unstable();
    assert_eq!(taken, ["0@0:a", "0@1:-", "1@0:x", "1@1:y"]);
    drop(consumer);
    rig.is_acknowledged(0, 2).await;
    rig.publish(0, &["b"]).await;
    let mut consumer = rig.subscribe(Some(vec![0, 1])).await;
    assert_eq!(shown(&take(&mut consumer, 1).await), ["0@2:b"]);
}

/// After a crash, the first fetched record is the unreadable one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_before_an_unreadable_record_skips_it() {
    for partitions in [None, Some(vec![0, 1])] {
        let rig = Rig::new();
        rig.publish(0, &["a"]).await;
        rig.store(0, &raw::batch(b"as it likes", UNKNOWN_CODEC, 1));
        let mut consumer = rig.subscribe(partitions.clone()).await;
        assert_eq!(shown(&take(&mut consumer, 1).await), ["0@0:a"]);
        drop(consumer);
        rig.is_acknowledged(0, 1).await;
        rig.publish(0, &["b"]).await;
        let mut consumer = rig.subscribe(partitions).await;
        assert_eq!(shown(&take(&mut consumer, 2).await), ["0@1:-", "0@2:b"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unacknowledged_unreadable_record_is_redelivered() {
    let rig = Rig::new();
    rig.store(0, &raw::batch(b"as it likes", UNKNOWN_CODEC, 2));
    rig.publish(0, &["a"]).await;
    let mut consumer = rig.subscribe(Some(vec![0])).await;
    let first = tokio::time::timeout(PATIENCE, async {
        let mut taken = Vec::new();
        while taken.len() < 3 {
            consumer.ready().await;
            taken.extend(consumer.poll(10).await.expect("poll"));
        }
        taken
    });
    assert_eq!(shown(&first.await.expect("all three arrive")), ["0@0:-", "0@1:-", "0@2:a"]);
    consumer.rewind().await.expect("rewind");
    assert_eq!(shown(&take(&mut consumer, 3).await), ["0@0:-", "0@1:-", "0@2:a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_polled_partition_without_progress_is_reported_until_it_advances() {
    let rig = Rig::new();
    rig.publish(1, &["a", "b"]).await;
    let mut consumer = rig.subscribe(None).await;
    let mut taken = Vec::new();
    let named = async {
        while rig.kafka.stalls().is_empty() {
            taken.extend(consumer.poll(10).await.expect("poll")); // and nothing is acknowledged
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, named).await.expect("it is reported");
    let told = rig.kafka.stalls()[0].to_string();
    assert!(told.starts_with("payment.commands[1] has not advanced for"), "{told}");
    assert!(told.ends_with("group payment is at 0 of 2"), "{told}");
    consumer.commit(Mark::behind(&taken)).await.expect("commit");
    let goes_on = async {
        while !rig.kafka.stalls().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, goes_on).await.expect("it is no longer reported");
}
