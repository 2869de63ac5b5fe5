//! A consumer from which the client library fetches nothing is reopened. A mock cluster rejects its
//! fetches.

use std::time::Duration;

use bytes::Bytes;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use sagamore_kafka::{Kafka, Options};
use sagamore_transport::{Record, Subscription, Transport};

const PATIENCE: Duration = Duration::from_secs(60);
const TOPIC: &str = "payment.commands";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_with_a_rejected_leader_epoch_is_read_by_a_new_consumer() {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic(TOPIC, 1, 1).expect("a topic");
    let kafka =
        Kafka::connect(Options::new(cluster.bootstrap_servers())).expect("the options are right");
    let record = Record {
        topic: TOPIC.into(),
        partition: Some(0),
        key: Bytes::from_static(b"k"),
        headers: Vec::new(),
        body: Bytes::from_static(b"a"),
    };
    kafka.publish(vec![record]).await.expect("publish");
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH; 10_000];
    cluster.request_errors(RDKafkaApiKey::Fetch, &refused);

    let subscription =
        Subscription { group: "payment".into(), topics: vec![TOPIC.into()], partitions: None };
    let mut consumer = kafka.subscribe(subscription.clone()).await.expect("subscribe");
    let ended = tokio::time::timeout(PATIENCE, async {
        loop {
            consumer.ready().await;
            match consumer.poll(1).await {
                Ok(taken) => assert!(taken.is_empty(), "nothing can be fetched"),
                Err(error) => break error,
            }
        }
    });
    let why = ended.await.expect("the consumer waits indefinitely");
    assert!(why.is_transient() && why.to_string().contains("fetches nothing"), "{why}");

    cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    drop(consumer);
    let mut consumer = kafka.subscribe(subscription).await.expect("subscribe");
    tokio::time::timeout(PATIENCE, consumer.ready()).await.expect("the record arrives");
    assert_eq!(consumer.poll(1).await.expect("poll").len(), 1);
}
