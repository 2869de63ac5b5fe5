//! Removal of ended sagas: first the participants' rows, and only then the orchestrator's.

use std::time::Duration;

use crate::common::{Rig, Wish, id, nothing, wish, written};
use sagamore_core::message::{Horizon, Swept};
use sagamore_core::{Definition, Message, ReplyTo, SagaId, Timestamp};
use sagamore_database::testing::needs_server;
use sagamore_engine::{Options, RegistrationMode};
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

/// Starts a saga and completes it.
async fn complete(rig: &mut Rig, key: &str) {
    rig.start(wish(key, "a")).await.expect("accepted");
    for outcome in [written(1), nothing()] {
        let command = rig.command().await;
        rig.reply(&command, outcome).await;
        rig.turn().await;
    }
    assert!(rig.show(key).await.expect("stored").header.ended_at.is_some());
}

/// Advances the clock to the next sweep, and turns until it is complete.
async fn sweep(rig: &mut Rig) {
    rig.turn().await;
    rig.passes(Duration::from_secs(601));
    for _ in 0..5 {
        rig.turn().await;
    }
}

async fn horizons(rig: &Rig) -> Vec<(Horizon, Option<ReplyTo>)> {
    let topics = vec![wire::HORIZON_TOPIC.into()];
    let subscription = Subscription { group: "reader".into(), topics, partitions: None };
    let mut consumer = rig.log.subscribe(subscription).await.expect("subscribe");
    let published = consumer.poll(1_000).await.expect("poll");
    published
        .iter()
        .map(|published| wire::decode_horizon(&published.record).expect("a horizon"))
        .collect()
}

async fn swept(rig: &mut Rig, participant: &str, before: Timestamp) {
    let swept = Swept { participant: participant.parse().expect("a name"), before };
    let reply_to = ReplyTo { topic: "sagamore.replies".into(), partition: 0 };
    rig.log.publish(vec![wire::encode_swept(&swept, &reply_to)]).await.expect("publish");
    rig.turn().await;
}

#[tokio::test]
async fn a_horizon_is_published_with_the_open_sagas_named() {
    let mut rig = rig().await;
    complete(&mut rig, "ended").await;
    rig.start(wish("open", "a")).await.expect("accepted");
    rig.passes(2 * DAY);
    sweep(&mut rig).await;
    let published = horizons(&rig).await;
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
    assert_eq!(published, [(horizon, Some(reply_to))]);

    rig.turn().await;
    assert_eq!(horizons(&rig).await.len(), 1, "one per ten minutes");
}

#[tokio::test]
async fn a_sagas_row_is_removed_only_after_every_participant_has_removed_its_rows() {
    let mut rig = rig().await;
    complete(&mut rig, "1").await;
    let ended = rig.now;
    sweep(&mut rig).await;
    let kept = rig.show("1").await.expect("its row remains");
    assert!(kept.entries.is_empty(), "its journal is removed");

    // until then a late message may have reached a participant whose clock was ahead
    let enough = ended.plus(RETENTION).plus(SKEW).plus(Duration::from_millis(1));
    swept(&mut rig, "alpha", enough).await;
    sweep(&mut rig).await;
    assert!(rig.show("1").await.is_some(), "beta may have rows of it");
    swept(&mut rig, "beta", enough.minus(Duration::from_millis(1))).await;
    sweep(&mut rig).await;
    assert!(rig.show("1").await.is_some(), "beta's clock may be ahead");
    swept(&mut rig, "beta", enough).await;
    swept(&mut rig, "beta", Timestamp(0)).await; // a redelivered acknowledgement lowers nothing
    sweep(&mut rig).await;
    assert!(rig.show("1").await.is_none());

    complete(&mut rig, "1").await; // the key starts another saga
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(to = "gamma")]
struct Fold {
    text: String,
}

/// Builds a definition whose only participant never reports that it has removed its rows.
fn of_a_silent_participant() -> Definition {
    let mut saga = Definition::named("leaflet").version(1);
    let wish = saga.input::<Wish>();
    saga.pivot("fold").sends(FoldFrom { text: wish.text });
    saga.build().expect("the plan is sound")
}

#[tokio::test]
async fn a_silent_participant_retains_only_the_rows_of_its_own_definitions() {
    for is_retired in [false, true] {
        let mut rig = rig().await;
        complete(&mut rig, "1").await;
        let leaflet = of_a_silent_participant();
        let name = leaflet.name.clone();
        rig.handle.register(vec![leaflet], RegistrationMode::Deploy).await.expect("registered");
        // a cancelled saga that never started has ended
        let (saga, handle) = (SagaId::new(&name, "1").expect("an id"), rig.handle.clone());
        rig.while_turning(handle.cancel(saga.clone())).await.expect("cancelled");
        if is_retired {
            rig.handle.retire(&name, 1).await.expect("retired");
        }
        sweep(&mut rig).await;
        let enough = rig.now;
        swept(&mut rig, "alpha", enough).await;
        swept(&mut rig, "beta", enough).await;
        sweep(&mut rig).await;
        assert!(rig.show("1").await.is_none(), "is retired: {is_retired}");
        let row = rig.handle.show(&saga).await.expect("shown").expect("its row remains");
        assert!(row.header.ended_at.is_some());
    }
}

#[tokio::test]
async fn a_locked_row_does_not_block_the_removal_of_others() {
    if !needs_server() {
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
async fn unfinished_sagas_are_never_removed() {
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
async fn an_unreadable_acknowledgement_is_a_dead_letter() {
    let mut rig = rig().await;
    let swept = Swept { participant: "alpha".parse().expect("a name"), before: Timestamp(1) };
    let reply_to = ReplyTo { topic: "sagamore.replies".into(), partition: 0 };
    let mut record = wire::encode_swept(&swept, &reply_to);
    record.body = "{".into();
    rig.log.publish(vec![record]).await.expect("publish");
    rig.turn().await;
    assert_eq!(rig.records("sagamore.replies-dlt").await, 1);
}
