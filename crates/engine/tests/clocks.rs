//! Clocks that jump: the time that a turn is given goes forward and back, with and without a restart in between. No saga is
//! held up by it.

mod common;

use std::time::Duration;

use common::{Rig, nothing, wish, written};
use sagamore_core::Timestamp;
use sagamore_core::message::Outcome;
use sagamore_core::saga::Status;
use sagamore_engine::Options;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The longest pause and the timeout of a step, unless its definition says otherwise, are shorter.
const LONG_ENOUGH: Duration = Duration::from_secs(90);
/// Enough for a clock to be set back without being negative.
const BEGUN: Timestamp = Timestamp(20_000 * 86_400_000);

fn broken() -> Outcome {
    Outcome::Fault("away".into())
}

async fn rig() -> Rig {
    let mut rig = Rig::new().await;
    rig.now = BEGUN;
    rig
}

/// Starts a saga whose first step meets a fault, and so is in a pause.
async fn back_off(rig: &mut Rig, key: &str) {
    rig.start(wish(key, "a")).await.expect("accepted");
    let command = rig.command().await;
    rig.reply(&command, broken()).await;
    rig.turn().await;
    assert!(rig.commands().await.is_empty(), "it is in a pause");
}

/// Sees a saga to its end from a pause, within the longest one.
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

#[tokio::test]
async fn a_pause_that_began_under_a_clock_a_day_ahead_ends_after_a_restart_with_the_right_one() {
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
async fn a_saga_that_is_not_in_memory_is_not_held_up_by_a_clock_that_is_set_back() {
    let mut rig = Rig::with(Options { live_max: 0, ..Options::default() }, common::database()).await;
    rig.now = BEGUN;
    back_off(&mut rig, "1").await;
    rig.now = rig.now.minus(DAY);
    complete(&mut rig, "1").await;
}

#[tokio::test]
async fn an_answer_is_awaited_no_longer_than_the_timeout_when_the_clock_is_set_back() {
    let mut rig = rig().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    rig.command().await; // and no answer
    rig.now = rig.now.minus(DAY);
    rig.turn().await;
    for _ in 0..2 {
        rig.passes(LONG_ENOUGH);
        rig.turn().await; // it is silent, and then asked again
    }
    rig.command().await;
}

#[tokio::test]
async fn what_waits_since_a_moment_in_the_future_is_shown_to_wait_since_now() {
    let mut rig = rig().await;
    let right = rig.now;
    rig.passes(DAY);
    back_off(&mut rig, "1").await;
    rig.crash().await;
    rig.now = right;
    rig.turn().await;
    assert_eq!(rig.handle.oldest_outstanding(), Some(right));
}
