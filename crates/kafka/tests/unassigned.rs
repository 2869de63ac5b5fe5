//! A consumer without assigned partitions joins its group again.

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::Namespace;
use common::group::{IdleLeader, REBALANCE_IN_PROGRESS};
use sagamore_transport::{Record, Subscription, Transport};

const PATIENCE: Duration = Duration::from_secs(60);
const BEAT: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_a_group_that_assigns_nothing_joins_again_and_reads() {
    let Some(namespace) = Namespace::new() else { return };
    let brokers = common::brokers().expect("there is a namespace on them");
    let (group, topic) = (namespace.on_brokers("readers"), namespace.on_brokers("orders"));
    namespace.kafka.create_topic("orders", 2).await.expect("create");
    let record = |partition: u32| {
        let (key, body) = (Bytes::from_static(b"k"), Bytes::from_static(b"a"));
        Record {
            topic: "orders".into(),
            partition: Some(partition),
            key,
            headers: Vec::new(),
            body,
        }
    };
    namespace.kafka.publish(vec![record(0), record(1)]).await.expect("publish");

    let leader = std::thread::spawn(move || {
        let mut leader = IdleLeader::join(&brokers, &group, &topic);
        let until = Instant::now() + PATIENCE;
        let beats = |leader: &IdleLeader| {
            while leader.heartbeat() != REBALANCE_IN_PROGRESS {
                assert!(Instant::now() < until, "no member joins, or joins again");
                std::thread::sleep(BEAT);
            }
        };
        beats(&leader);
        let members = leader.rejoin();
        beats(&leader);
        leader.leave();
        members
    });
    let subscription =
        Subscription { group: "readers".into(), topics: vec!["orders".into()], partitions: None };
    let mut consumer = namespace.kafka.subscribe(subscription).await.expect("subscribe");
    let mut taken = 0;
    let arrives = tokio::time::timeout(PATIENCE, async {
        while taken < 2 {
            consumer.ready().await;
            taken += consumer.poll(2).await.expect("poll").len();
        }
    });
    arrives.await.expect("the records arrive");
    assert_eq!(leader.join().expect("the leader sees the member join twice"), 2);
}
