//! What has ended goes after a time: first what participants remember, and only then what the orchestrator does.

use std::time::Duration;

use crate::common::{Rig, id, nothing, wish, written};
use sagamore_core::message::{Horizon, Swept};
use sagamore_core::{ReplyTo, Timestamp};
use sagamore_database::testing::is_remote;
use sagamore_engine::Options;
use sagamore_transport::{Subscription, Transport, wire};

const SKEW: Duration = Duration::from_secs(10);
const RETENTION: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn rig() -> Rig {
    let options = Options {
        retention: RETENTION,
        barrier_retention: RETENTION,
        skew_max: SKEW,
        ..Options::default()
    };
    Rig::with(options, crate::common::database()).await
}

/// Starts a saga and sees it to its end.
async fn complete(rig: &mut Rig, key: &str) {
    rig.start(wish(key, "a")).await.expect("accepted");
    for outcome in [written(1), nothing()] {
        let command = rig.command().await;
        rig.reply(&command, outcome).await;
        rig.turn().await;
    }
    assert!(rig.show(key).await.expect("stored").header.ended_at.is_some());
}

/// Lets enough time pass for the next sweep, and turns until it has done all.
async fn sweep(rig: &mut Rig) {
    rig.turn().await;
    rig.passes(Duration::from_secs(601));
    for _ in 0..5 {
        rig.turn().await;
    }
}

async fn horizons(rig: &Rig) -> Vec<(Horizon, Option<ReplyTo>)> {
    let topics = vec![wire::HORIZON_TOPIC.into()];
    let subscription = Subscription { group: "listens".into(), topics, partitions: None };
    let mut consumer = rig.log.subscribe(subscription).await.expect("subscribe");
    let told = consumer.poll(1_000).await.expect("poll");
    told.iter().map(|told| wire::decode_horizon(&told.record).expect("a horizon")).collect()
}

async fn swept(rig: &mut Rig, participant: &str, before: Timestamp) {
    let swept = Swept { participant: participant.parse().expect("a name"), before };
    let reply_to = ReplyTo { topic: "sagamore.replies".into(), partition: 0 };
    rig.log.publish(vec![wire::encode_swept(&swept, &reply_to)]).await.expect("publish");
    rig.turn().await;
}

#[tokio::test]
async fn participants_are_told_what_they_may_forget() {
    let mut rig = rig().await;
    complete(&mut rig, "ended").await;
    rig.start(wish("open", "a")).await.expect("accepted");
    rig.passes(2 * DAY);
    sweep(&mut rig).await;
    let told = horizons(&rig).await;
    let reply_to = ReplyTo { topic: "sagamore.replies".into(), partition: 0 };
    let ended_before = rig.now.minus(RETENTION);
    let (started_before, definitions) =
        (ended_before.minus(DAY).minus(SKEW), vec!["booklet".parse().unwrap()]);
    let horizon = Horizon {
        started_before,
        ended_before,
        started_from: None,
        definitions,
        but: vec![id("open")],
    };
    assert_eq!(told, [(horizon, Some(reply_to))]);

    rig.turn().await;
    assert_eq!(horizons(&rig).await.len(), 1, "once in ten minutes");
}

#[tokio::test]
async fn a_saga_is_forgotten_when_no_participant_remembers_it_and_not_before() {
    let mut rig = rig().await;
    complete(&mut rig, "1").await;
    let ended = rig.now;
    sweep(&mut rig).await;
    let kept = rig.show("1").await.expect("its row stays");
    assert!(kept.entries.is_empty(), "its journal does not");

    // so long after its end something may have come, to a participant whose clock was ahead
    let enough = ended.plus(RETENTION).plus(SKEW).plus(Duration::from_millis(1));
    swept(&mut rig, "alpha", enough).await;
    sweep(&mut rig).await;
    assert!(rig.show("1").await.is_some(), "beta may remember it");
    swept(&mut rig, "beta", enough.minus(Duration::from_millis(1))).await;
    sweep(&mut rig).await;
    assert!(rig.show("1").await.is_some(), "beta's clock may be ahead");
    swept(&mut rig, "beta", enough).await;
    swept(&mut rig, "beta", Timestamp(0)).await; // an old answer that comes again lowers nothing
    sweep(&mut rig).await;
    assert!(rig.show("1").await.is_none());

    complete(&mut rig, "1").await; // the key begins a saga of its own
}

#[tokio::test]
async fn a_row_that_another_session_holds_keeps_no_other_row() {
    if !is_remote() {
        return;
    }
    let mut rig = rig().await;
    complete(&mut rig, "1").await;
    complete(&mut rig, "2").await;
    let open = rig.database.begin().await.expect("begin");
    let held =
        open.tx().query("SELECT seq FROM saga WHERE id = $1 FOR UPDATE", (id("1").as_str(),)).await;
    assert_eq!(held.expect("locked").len(), 1);
    sweep(&mut rig).await;
    let enough = rig.now;
    swept(&mut rig, "alpha", enough).await;
    swept(&mut rig, "beta", enough).await;
    sweep(&mut rig).await;
    assert!(rig.show("2").await.is_none());
    assert!(rig.show("1").await.is_some());
    open.rollback().await.expect("released");
    sweep(&mut rig).await;
    assert!(rig.show("1").await.is_none());
}

#[tokio::test]
async fn what_has_not_ended_is_never_forgotten() {
    let mut rig = rig().await;
    rig.start(wish("open", "a")).await.expect("accepted");
    for _ in 0..3 {
        sweep(&mut rig).await;
        let now = rig.now;
        swept(&mut rig, "alpha", now).await;
        swept(&mut rig, "beta", now).await;
    }
    assert!(!rig.show("open").await.expect("stored").entries.is_empty());
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_becomes_a_dead_letter() {
    let mut rig = rig().await;
    let swept = Swept { participant: "alpha".parse().expect("a name"), before: Timestamp(1) };
    let reply_to = ReplyTo { topic: "sagamore.replies".into(), partition: 0 };
    let mut record = wire::encode_swept(&swept, &reply_to);
    record.body = "{".into();
    rig.log.publish(vec![record]).await.expect("publish");
    rig.turn().await;
    assert_eq!(rig.records("sagamore.replies-dlt").await, 1);
}
