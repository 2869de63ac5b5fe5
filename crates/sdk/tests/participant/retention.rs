//! Barrier rows go when their saga ended long ago; who asked is told.

use std::time::Duration;

use sagamore_core::message::{Horizon, Swept};
use sagamore_core::{ReplyTo, Timestamp};
use sagamore_database::testing::{is_remote, whole_table_walks};
use sagamore_transport::wire::{decode_swept, encode_horizon};

use crate::toy::Mood;
use crate::world::{REPLIES, World, add, add_in, added, generation, now, subtract};

const SECOND: Duration = Duration::from_secs(1);
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// All sagas of the definition that started before this moment ended long ago, but these.
fn horizon(started_before: Timestamp, but: &[&str]) -> Horizon {
    let but = but.iter().map(|key| format!("toy:{key}").parse().expect("an id")).collect();
    let definitions = vec!["toy".parse().expect("a name")];
    Horizon { started_before, ended_before: now().minus(2 * MONTH), started_from: None, definitions, but }
}

async fn tell(world: &World, horizon: Horizon) {
    let reply_to = ReplyTo { topic: REPLIES.into(), partition: 0 };
    world.publish(vec![encode_horizon(&horizon, Some(&reply_to))]).await;
}

/// A moment after everything that was stored so far.
fn later() -> Timestamp {
    now().plus(SECOND)
}

async fn rows(world: &World) -> i64 {
    let rows = world.database.query("SELECT count(*) FROM barrier", ()).await.expect("read");
    rows[0].get(0).expect("a number")
}

/// What the service says it has forgotten, since the last look.
async fn swept(world: &mut World) -> Vec<Timestamp> {
    let records = world.reply_records().await;
    let swept = records.iter().filter_map(decode_swept);
    swept.map(|swept| swept.expect("it can be read")).map(|Swept { before, .. }| before).collect()
}

#[tokio::test]
async fn rows_go_when_they_are_older_than_the_horizon_and_their_saga_is_not_named() {
    let mut world = World::new().await;
    world.ask([add("a"), add("b"), subtract("c")]).await;
    assert_eq!(rows(&world).await, 4, "c has a tombstone as well");

    tell(&world, horizon(now(), &[])).await;
    world.turn().await;
    assert_eq!(rows(&world).await, 4, "their sagas may not have ended");
    assert_eq!(swept(&mut world).await, [now()]);

    let others = Horizon { definitions: vec!["other".parse().expect("a name")], ..horizon(later(), &[]) };
    tell(&world, others).await;
    world.turn().await;
    assert_eq!((rows(&world).await, swept(&mut world).await.len()), (4, 1), "they are of no saga that was meant");

    tell(&world, horizon(later(), &["x", "b", "a1"])).await;
    world.turn().await;
    assert_eq!(rows(&world).await, 1, "b is named");
    assert_eq!(swept(&mut world).await, [later()]);
    assert_eq!(world.ask([add("b")]).await, [added("b")], "what is left still answers");
    assert_eq!(world.tally("b").await, Some(5));
    if is_remote() {
        let (checked, walks) = whole_table_walks(&world.database, &["barrier"]).await.expect("the plans");
        assert!(checked > 5, "only {checked} statements were there");
        let ours = walks.iter().filter(|walk| walk.contains("stored_at") || walk.contains("UNNEST"));
        assert_eq!(ours.collect::<Vec<_>>(), [] as [&String; 0]);
    }
}

/// An operator's retry long after the first attempt: its row is young, and the first one is not. If that one went alone,
/// the step would be taken for new.
#[tokio::test]
async fn rows_of_one_step_go_together() {
    let mut world = World::new().await;
    world.ask([add_in("again", Mood::Refuses, Mood::Calm), add("undone")]).await;
    world.send([generation(2, add("again")), subtract("undone")]).await;
    world.turn_at(now().plus(MONTH)).await;
    assert_eq!(world.replies().await.len(), 2);
    let before = rows(&world).await;

    tell(&world, horizon(later(), &[])).await;
    world.turn_at(now().plus(MONTH)).await;
    assert_eq!((rows(&world).await, swept(&mut world).await.len()), (before, 1), "each has a young row");
    world.send([add("undone"), add("again"), generation(2, add("again"))]).await;
    world.turn_at(now().plus(MONTH)).await;
    assert_eq!(world.tally("undone").await, Some(0), "it stays undone");
    assert_eq!(world.tally("again").await, Some(5), "it was done once");

    tell(&world, horizon(later().plus(MONTH), &[])).await;
    world.turn_at(now().plus(MONTH)).await;
    assert_eq!(rows(&world).await, 0);
}

#[tokio::test]
async fn a_horizon_that_was_told_with_a_shorter_retention_removes_nothing() {
    let mut world = World::new().await;
    world.ask([add("a")]).await;
    tell(&world, Horizon { ended_before: now(), ..horizon(later(), &[]) }).await;
    world.turn().await;
    assert_eq!((rows(&world).await, swept(&mut world).await.len()), (1, 0));
}

/// The saga began not long ago, whatever its row says.
#[tokio::test]
async fn a_row_stamped_by_a_clock_that_was_behind_is_not_taken_for_an_old_one() {
    let mut world = World::new().await;
    world.turn().await;
    world.send([add("a")]).await;
    world.turn_at(now().minus(2 * MONTH)).await; // and then the clock is put right
    world.turn().await;
    assert_eq!(rows(&world).await, 1);
    tell(&world, horizon(now().minus(MONTH), &[])).await;
    world.turn().await;
    assert_eq!(rows(&world).await, 1, "its saga may not have ended");
    assert!(swept(&mut world).await[0] < now().minus(2 * MONTH), "and the orchestrator hears so");
}

/// Rows of other definitions lie between, and are passed by.
#[tokio::test]
async fn many_rows_go_a_page_a_turn_and_messages_come_in_between() {
    let mut world = World::new().await;
    for batch in 0..4 {
        world.send((0..400).map(|key| add(&format!("{batch}-{key}")))).await;
        world.turn_at(now().plus(Duration::from_millis(batch))).await;
    }
    world.replies().await;
    tell(&world, horizon(later(), &[])).await;
    world.turn().await;
    assert!((1..1_600).contains(&rows(&world).await), "some have gone, and some are left");
    assert_eq!(swept(&mut world).await, []);

    world.send([add("new")]).await;
    assert_eq!(world.turn_at(later()).await.taken, 1);
    assert_eq!(world.tally("new").await, Some(5));
    for _ in 0..4 {
        world.turn().await;
    }
    assert_eq!(rows(&world).await, 1, "the new one");
    assert_eq!(swept(&mut world).await, [later()], "told once, when nothing is left");
}

/// What a crash cuts short the next horizon brings to its end.
#[tokio::test]
async fn a_sweep_that_a_crash_has_cut_short_is_done_by_the_next() {
    let mut world = World::new().await;
    for batch in 0..2 {
        world.send((0..600).map(|key| add(&format!("{batch}-{key}")))).await;
        world.turn_at(now().plus(Duration::from_millis(batch))).await;
    }
    tell(&world, horizon(later(), &[])).await;
    world.turn().await;
    world.restart();
    world.turn().await;
    assert!(rows(&world).await > 0, "nobody knows of it any more");
    tell(&world, horizon(later(), &[])).await;
    for _ in 0..3 {
        world.turn().await;
    }
    assert_eq!(rows(&world).await, 0);
}

#[tokio::test]
async fn a_horizon_that_cannot_be_read_changes_nothing() {
    let mut world = World::new().await;
    world.ask([add("a")]).await;
    let reply_to = ReplyTo { topic: REPLIES.into(), partition: 0 };
    let mut record = encode_horizon(&horizon(later(), &[]), Some(&reply_to));
    record.body = "{".into();
    world.publish(vec![record]).await;
    world.turn().await;
    assert_eq!(rows(&world).await, 1);
    assert_eq!(world.ask([add("b")]).await, [added("b")]);
}
