//! The removal of barrier rows of sagas that ended long ago, and its report.

use std::time::Duration;

use sagamore_core::message::{Horizon, Swept};
use sagamore_core::{ReplyTo, Timestamp};
use sagamore_database::testing::{NO_SERVER, is_remote, skipped, whole_table_walks};
use sagamore_transport::wire::{decode_swept, encode_horizon};

use crate::toy::Mood;
use crate::world::{REPLIES, World, add, add_in, added, generation, now, subtract};

const SECOND: Duration = Duration::from_secs(1);
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// Returns a horizon: all sagas of the definition that started before this time ended long ago,
/// except `but`.
fn horizon(started_before: Timestamp, but: &[&str]) -> Horizon {
    let but = but.iter().map(|key| format!("toy:{key}").parse().expect("an id")).collect();
    let definitions = vec!["toy".parse().expect("a name")];
    Horizon {
        started_before,
        ended_before: now().minus(2 * MONTH),
        started_from: None,
        definitions,
        but,
    }
}

async fn send_horizon(world: &World, horizon: Horizon) {
    let reply_to = ReplyTo { topic: REPLIES.into(), partition: 0 };
    world.publish(vec![encode_horizon(&horizon, Some(&reply_to))]).await;
}

/// Returns a time after all stored rows.
fn later() -> Timestamp {
    now().plus(SECOND)
}

async fn rows(world: &World) -> i64 {
    let rows = world.database.query("SELECT count(*) FROM barrier", ()).await.expect("read");
    rows[0].get(0).expect("a number")
}

/// Returns the sweep reports since the last call.
async fn swept(world: &mut World) -> Vec<Timestamp> {
    let records = world.reply_records().await;
    let swept = records.iter().filter_map(decode_swept);
    swept.map(|swept| swept.expect("it can be read")).map(|Swept { before, .. }| before).collect()
}

#[tokio::test]
async fn rows_older_than_the_horizon_are_removed_unless_their_saga_is_named() {
    let mut world = World::new().await;
    world.ask([add("a"), add("b"), subtract("c")]).await;
    assert_eq!(rows(&world).await, 4, "c has a tombstone as well");

    send_horizon(&world, horizon(now(), &[])).await;
    world.turn().await;
    assert_eq!(rows(&world).await, 4, "their sagas may not have ended");
    assert_eq!(swept(&mut world).await, [now()]);

    let others =
        Horizon { definitions: vec!["other".parse().expect("a name")], ..horizon(later(), &[]) };
    send_horizon(&world, others).await;
    world.turn().await;
    assert_eq!(
        (rows(&world).await, swept(&mut world).await.len()),
        (4, 1),
        "their sagas are not covered"
    );

    send_horizon(&world, horizon(later(), &["x", "b", "a1"])).await;
    world.turn().await;
    assert_eq!(rows(&world).await, 1, "b is named");
    assert_eq!(swept(&mut world).await, [later()]);
    assert_eq!(world.ask([add("b")]).await, [added("b")], "the remaining row still answers");
    assert_eq!(world.tally("b").await, Some(5));
    if is_remote() {
        let (checked, walks) =
            whole_table_walks(&world.database, &["barrier"]).await.expect("the plans");
        assert!(checked > 5, "only {checked} statements were there");
        let ours =
            walks.iter().filter(|walk| walk.contains("stored_at") || walk.contains("UNNEST"));
        assert_eq!(ours.collect::<Vec<_>>(), [] as [&String; 0]);
    } else {
        skipped(&format!("the plans of its statements: {NO_SERVER}"));
    }
}

/// An operator's late retry makes a young row beside an old one. If the old row were removed alone,
/// the step would look new.
#[tokio::test]
async fn rows_of_one_step_are_removed_together() {
    let mut world = World::new().await;
    world.ask([add_in("again", Mood::Refuses, Mood::Calm), add("undone")]).await;
    world.send([generation(2, add("again")), subtract("undone")]).await;
    world.turn_at(now().plus(MONTH)).await;
    assert_eq!(world.replies().await.len(), 2);
    let before = rows(&world).await;

    send_horizon(&world, horizon(later(), &[])).await;
    world.turn_at(now().plus(MONTH)).await;
    assert_eq!(
        (rows(&world).await, swept(&mut world).await.len()),
        (before, 1),
        "each has a young row"
    );
    world.send([add("undone"), add("again"), generation(2, add("again"))]).await;
    world.turn_at(now().plus(MONTH)).await;
    assert_eq!(world.tally("undone").await, Some(0), "it stays undone");
    assert_eq!(world.tally("again").await, Some(5), "it took effect once");

    send_horizon(&world, horizon(later().plus(MONTH), &[])).await;
    world.turn_at(now().plus(MONTH)).await;
    assert_eq!(rows(&world).await, 0);
}

#[tokio::test]
async fn a_horizon_with_a_shorter_retention_removes_nothing() {
    let mut world = World::new().await;
    world.ask([add("a")]).await;
    send_horizon(&world, Horizon { ended_before: now(), ..horizon(later(), &[]) }).await;
    world.turn().await;
    assert_eq!((rows(&world).await, swept(&mut world).await.len()), (1, 0));
}

/// The saga started recently, although its row has an old stamp.
#[tokio::test]
async fn a_row_stamped_by_a_clock_that_was_behind_is_not_removed() {
    let mut world = World::new().await;
    world.turn().await;
    world.send([add("a")]).await;
    world.turn_at(now().minus(2 * MONTH)).await; // later the clock is corrected
    world.turn().await;
    assert_eq!(rows(&world).await, 1);
    send_horizon(&world, horizon(now().minus(MONTH), &[])).await;
    world.turn().await;
    assert_eq!(rows(&world).await, 1, "its saga may not have ended");
    assert!(
        swept(&mut world).await[0] < now().minus(2 * MONTH),
        "the report states the earlier time"
    );
}

/// Rows of other definitions lie in between and are skipped.
#[tokio::test]
async fn rows_are_removed_one_page_a_turn_between_messages() {
    let mut world = World::new().await;
    for batch in 0..4 {
        world.send((0..400).map(|key| add(&format!("{batch}-{key}")))).await;
        world.turn_at(now().plus(Duration::from_millis(batch))).await;
    }
    world.replies().await;
    send_horizon(&world, horizon(later(), &[])).await;
    world.turn().await;
    assert!((1..1_600).contains(&rows(&world).await), "some rows are removed, and some remain");
    assert_eq!(swept(&mut world).await, []);

    world.send([add("new")]).await;
    assert_eq!(world.turn_at(later()).await.taken, 1);
    assert_eq!(world.tally("new").await, Some(5));
    for _ in 0..4 {
        world.turn().await;
    }
    assert_eq!(rows(&world).await, 1, "the new one");
    assert_eq!(swept(&mut world).await, [later()], "one report at the end");
}

/// The next horizon completes a removal that a crash interrupted.
#[tokio::test]
async fn the_next_horizon_completes_an_interrupted_sweep() {
    let mut world = World::new().await;
    for batch in 0..2 {
        world.send((0..600).map(|key| add(&format!("{batch}-{key}")))).await;
        world.turn_at(now().plus(Duration::from_millis(batch))).await;
    }
    send_horizon(&world, horizon(later(), &[])).await;
    world.turn().await;
    world.restart();
    world.turn().await;
    assert!(rows(&world).await > 0, "the interrupted sweep is lost");
    send_horizon(&world, horizon(later(), &[])).await;
    for _ in 0..3 {
        world.turn().await;
    }
    assert_eq!(rows(&world).await, 0);
}

#[tokio::test]
async fn an_unreadable_horizon_changes_nothing() {
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
