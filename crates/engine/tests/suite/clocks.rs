//! Clocks that jump forward and back, with and without a restart in between. No saga hangs, and no
//! row is removed early.

use std::time::Duration;

use crate::common::faulty::faulty;
use crate::common::{Rig, booklet, id, nothing, wish, written};
use sagamore_core::message::{Outcome, Swept};
use sagamore_core::saga::Status;
use sagamore_core::{ReplyTo, Timestamp};
use sagamore_database::Database;
use sagamore_engine::{Options, Orchestrator, StartError};
use sagamore_transport::{Subscription, Transport, wire};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Longer than the longest pause and the timeout of a step, unless its definition overrides them.
const LONG_ENOUGH: Duration = Duration::from_secs(90);
/// Late enough for a clock to be set back without being negative.
const BEGUN: Timestamp = Timestamp(20_000 * 86_400_000);

fn broken() -> Outcome {
    Outcome::Fault("away".into())
}

async fn rig() -> Rig {
    let mut rig = Rig::new().await;
    rig.now = BEGUN;
    rig
}

/// Starts a saga whose first step meets a fault, so that it backs off.
async fn back_off(rig: &mut Rig, key: &str) {
    rig.start(wish(key, "a")).await.expect("accepted");
    let command = rig.command().await;
    rig.reply(&command, broken()).await;
    rig.turn().await;
    assert!(rig.commands().await.is_empty(), "the step backs off");
}

/// Completes a saga that backs off, within the longest pause.
async fn complete(rig: &mut Rig, key: &str) {
    rig.turn().await;
    rig.passes(LONG_ENOUGH);
    for outcome in [written(1), nothing()] {
        rig.turn().await;
        let command = rig.command().await;
        rig.reply(&command, outcome).await;
        rig.turn().await;
    }
    assert_eq!(rig.show(key).await.expect("stored").header.status, Status::Completed);
}

/// Advances the clock as for a running orchestrator, which turns at least once a minute.
async fn days_pass(rig: &mut Rig, days: u32) {
    for _ in 0..days * 24 {
        rig.passes(DAY / 24);
        rig.turn().await;
    }
}

#[tokio::test]
async fn a_pause_from_a_clock_that_was_ahead_ends_after_a_restart_with_the_right_one() {
    for ahead in [DAY, 60 * DAY] {
        let mut rig = rig().await;
        let right = rig.now;
        rig.passes(ahead);
        back_off(&mut rig, "1").await;
        rig.crash().await;
        rig.now = right.plus(MINUTE);
        complete(&mut rig, "1").await;
    }
}

#[tokio::test]
async fn a_pause_ends_when_the_clock_is_set_back_while_the_orchestrator_runs() {
    for back in [60 * MINUTE, 60 * DAY] {
        let mut rig = rig().await;
        back_off(&mut rig, "1").await;
        rig.now = rig.now.minus(back);
        complete(&mut rig, "1").await;
    }
}

#[tokio::test]
async fn an_evicted_saga_continues_after_the_clock_is_set_back() {
    let mut rig =
        Rig::with(Options { live_max: 0, ..Options::default() }, crate::common::database()).await;
    rig.now = BEGUN;
    back_off(&mut rig, "1").await;
    rig.now = rig.now.minus(DAY);
    complete(&mut rig, "1").await;
}

#[tokio::test]
async fn a_reply_is_awaited_at_most_two_timeouts_after_the_clock_is_set_back() {
    let mut rig = rig().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    rig.command().await; // no reply follows
    rig.now = rig.now.minus(DAY);
    rig.turn().await;
    for _ in 0..2 {
        rig.passes(LONG_ENOUGH);
        rig.turn().await; // first the reply is missed, then the command is resent
    }
    rig.command().await;
}

#[tokio::test]
async fn a_wait_since_a_future_time_is_shown_to_start_now() {
    let mut rig = rig().await;
    let right = rig.now;
    rig.passes(DAY);
    back_off(&mut rig, "1").await;
    rig.crash().await;
    rig.now = right;
    rig.turn().await;
    assert_eq!(rig.handle.oldest_outstanding(), Some(right));
}

/// Turns for half an hour, long enough for a sweep.
async fn two_turns(orchestrator: &mut Orchestrator, now: Timestamp) {
    let mut rng = fastrand::Rng::with_seed(7);
    orchestrator.turn(now, &mut rng).await.expect("turn");
    for minutes in 1..=30 {
        orchestrator.turn(now.plus(MINUTE * minutes), &mut rng).await.expect("turn");
    }
}

async fn ended(rig: &mut Rig, key: &str) {
    rig.start(wish(key, "a")).await.expect("accepted");
    for outcome in [written(1), nothing()] {
        let command = rig.command().await;
        rig.reply(&command, outcome).await;
        rig.turn().await;
    }
    assert!(rig.show(key).await.expect("stored").header.ended_at.is_some());
}

/// Acknowledges a horizon that covers everything, for every participant.
async fn acknowledge_all(rig: &Rig) {
    for participant in ["alpha", "beta"] {
        let swept = Swept {
            participant: participant.parse().expect("a name"),
            before: Timestamp(i64::MAX / 2),
        };
        let reply_to = ReplyTo { topic: "sagamore.replies".into(), partition: 0 };
        rig.log.publish(vec![wire::encode_swept(&swept, &reply_to)]).await.expect("publish");
    }
}

#[tokio::test]
async fn a_clock_far_ahead_removes_no_sagas() {
    for ahead in [60 * DAY, 200 * DAY] {
        let mut rig = rig().await;
        days_pass(&mut rig, 70).await;
        ended(&mut rig, "1").await;
        acknowledge_all(&rig).await;
        let (mut other, _handle) = rig.another(Options::default()).await;
        two_turns(&mut other, rig.now.plus(ahead)).await;
        drop(other);
        rig.crash().await;
        rig.turn().await;
        let shown = rig.show("1").await.expect("its row remains");
        assert!(!shown.entries.is_empty(), "its journal remains, after {ahead:?}");
        let other_input = rig.start(wish("1", "b")).await;
        assert!(matches!(other_input, Err(StartError::OtherInput(_))), "{other_input:?}");
    }
}

#[tokio::test]
async fn a_clock_jump_expires_nothing() {
    let mut rig = rig().await;
    days_pass(&mut rig, 70).await;
    ended(&mut rig, "1").await;
    acknowledge_all(&rig).await;
    let right = rig.now;
    for jump in [right.plus(200 * DAY), right, right.minus(60 * DAY), right.plus(60 * DAY), right] {
        rig.now = jump;
        for _ in 0..5 {
            rig.turn().await;
            rig.passes(MINUTE);
        }
        assert!(!rig.show("1").await.expect("its row remains").entries.is_empty());
    }
}

#[tokio::test]
async fn a_saga_that_ended_while_the_clock_was_behind_has_its_whole_retention() {
    let mut rig = rig().await;
    days_pass(&mut rig, 70).await;
    let right = rig.now;
    rig.now = right.minus(60 * DAY);
    ended(&mut rig, "1").await;
    rig.crash().await;
    rig.now = right.plus(MINUTE);
    days_pass(&mut rig, 29).await;
    assert!(!rig.show("1").await.expect("its row remains").entries.is_empty());
}

#[tokio::test]
async fn the_journal_is_removed_after_the_retention_despite_a_wrong_clock_in_between() {
    let mut rig = rig().await;
    days_pass(&mut rig, 40).await;
    ended(&mut rig, "1").await;
    let right = rig.now;
    rig.passes(200 * DAY);
    rig.turn().await;
    rig.now = right;
    days_pass(&mut rig, 32).await;
    assert!(rig.show("1").await.expect("its row remains").entries.is_empty());
}

/// Otherwise its barrier rows would be removed, and a redelivered command would be executed again.
#[tokio::test]
async fn a_horizon_names_an_open_saga_that_started_while_the_clock_was_ahead() {
    let mut rig = rig().await;
    days_pass(&mut rig, 2).await;
    let right = rig.now;
    rig.passes(60 * DAY);
    rig.start(wish("open", "a")).await.expect("accepted");
    rig.crash().await;
    rig.now = right;
    days_pass(&mut rig, 40).await;
    let topics = vec![wire::HORIZON_TOPIC.into()];
    let subscription = Subscription { group: "reader".into(), topics, partitions: None };
    let told =
        rig.log.subscribe(subscription).await.expect("subscribe").poll(10_000).await.expect("poll");
    let last = wire::decode_horizon(&told.last().expect("a horizon").record)
        .expect("a readable horizon")
        .0;
    assert!(right < last.started_before && last.but == [id("open")], "{last:?}");
}

#[tokio::test]
async fn a_failed_correction_is_repeated() {
    let (database, knobs) = faulty();
    let mut rig = Rig::with(Options::default(), database).await;
    rig.now = BEGUN.plus(60 * DAY);
    rig.start(wish("open", "a")).await.expect("accepted");
    rig.crash().await;
    rig.now = BEGUN;
    *knobs.fails_once.lock().expect("no panic") = Some("UPDATE saga SET started_at");
    rig.try_turn().await.expect_err("the correction fails");
    rig.turn().await;
    let rows = rig.database.query("SELECT started_at FROM saga", ()).await.expect("read");
    assert_eq!(rows[0].get::<i64>(0).expect("a moment"), BEGUN.0);
}

/// SQLite has no second clock: a saga's deadline counts only the time in which an orchestrator ran.
#[tokio::test]
async fn downtime_and_clock_jumps_do_not_count_towards_a_sagas_deadline() {
    let mut draft: sagamore_core::definition::Draft = booklet(1).into();
    draft.deadline_ms = Some(600_000);
    let definitions = || vec![sagamore_core::Definition::try_from(draft.clone()).expect("sound")];
    let (mut rig, brokers) =
        Rig::behind_brokers(Options::default(), Database::memory(), definitions()).await;
    rig.now = BEGUN;
    rig.start(wish("1", "a")).await.expect("accepted");
    for ahead in [DAY, 60 * DAY] {
        rig.passes(ahead);
        (rig.orchestrator, rig.handle) = rig.another_of(brokers.clone(), definitions()).await;
        rig.turn().await;
        assert_eq!(
            rig.show("1").await.expect("stored").header.status,
            Status::Running,
            "{ahead:?} ahead"
        );
    }
    let began = rig.now;
    while rig.show("1").await.expect("stored").header.status == Status::Running {
        rig.passes(MINUTE);
        rig.turn().await;
        assert!(rig.now < began.plus(15 * MINUTE), "the saga ran for longer than its deadline");
    }
    assert!(rig.now >= began.plus(9 * MINUTE), "after {:?}", rig.now.since(began));
}
