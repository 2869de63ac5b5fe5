//! The observer's records that the transport rejects: each is set aside, and the observer
//! continues.

use sagamore_transport::Error as TransportError;
use sagamore_transport::wire::HORIZON_TOPIC;

use super::brokers::Brokers;
use super::*;

const OVERDUE: &str = "visit.overdue";

/// Creates an observer that publishes overdue events, through brokers that reject the topics that a
/// test names.
async fn publishing() -> (Rig, Arc<Brokers>) {
    let mut rig = Rig::new().await;
    let brokers = Brokers::on(&rig.log);
    let options = ObserverOptions { tells_overdue: true, ..ObserverOptions::default() };
    let opened =
        Observer::open(options, rig.database.clone(), brokers.clone(), vec![visit()]).await;
    (rig.observer, rig.chains) = opened.expect("open");
    rig.passes(Duration::from_secs(11)).await;
    (rig, brokers)
}

async fn overdue_events(rig: &Rig) -> Vec<String> {
    let subscription =
        Subscription { group: "reader".into(), topics: vec![OVERDUE.into()], partitions: None };
    let mut consumer = rig.log.subscribe(subscription).await.expect("subscribe");
    let delivered = consumer.poll(100).await.expect("poll");
    delivered
        .iter()
        .map(|delivered| {
            decode_event(&delivered.record).expect("an event").chain().key().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn a_rejected_overdue_event_is_published_later_with_its_reason_stored() {
    let too_large = TransportError::TooLarge { topic: OVERDUE.into(), bytes: 2, bytes_max: 1 };
    for error in [
        TransportError::no_topic(OVERDUE),
        too_large,
        TransportError::denied_topic("WRITE", OVERDUE),
    ] {
        let (mut rig, brokers) = publishing().await;
        brokers.reject(OVERDUE, error.clone());
        rig.publish(&[stories("1").0[0].clone()]).await;
        for _ in 0..3 {
            rig.passes(DEADLINE).await; // no turn fails
        }
        let (status, why) = rig.status("1").await;
        assert_eq!(status, ChainStatus::Stuck, "{error}");
        assert!(why.is_some_and(|why| why.contains("cannot be sent")), "{error}");
        rig.publish(&stories("2").0).await;
        assert_eq!(rig.status("2").await, (ChainStatus::Completed, None), "other chains continue");

        brokers.accept(OVERDUE);
        for _ in 0..3 {
            rig.passes(Duration::from_secs(61)).await;
        }
        assert_eq!(overdue_events(&rig).await, ["1"], "{error}");
    }
}

#[tokio::test]
async fn a_rejected_horizon_does_not_stop_the_observer() {
    let (mut rig, brokers) = publishing().await;
    brokers.reject(HORIZON_TOPIC, TransportError::no_topic(HORIZON_TOPIC));
    rig.publish(&stories("1").0).await;
    for _ in 0..2 {
        rig.passes(Duration::from_secs(601)).await;
    }
    assert_eq!(rig.status("1").await, (ChainStatus::Completed, None));
}
