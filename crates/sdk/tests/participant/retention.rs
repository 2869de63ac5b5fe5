//! Barrier rows go when their saga has ended and they are old; who asked is told.

use std::time::Duration;

use sagamore_core::message::{Horizon, Swept};
use sagamore_core::{ReplyTo, Timestamp};
use sagamore_database::testing::{is_remote, whole_table_walks};
use sagamore_sdk::Options;
use sagamore_transport::wire::{decode_swept, encode_horizon};

use crate::world::{REPLIES, World, add, added, now, subtract};

const RETENTION: Duration = Duration::from_secs(60);

async fn world() -> World {
    World::with(Options { barrier_retention: RETENTION, ..Options::default() }).await
}

/// A moment at which what was stored so far is older than the retention by a second.
fn later() -> Timestamp {
    now().plus(RETENTION).plus(Duration::from_secs(1))
}

async fn tell(world: &World, before: Timestamp, open: &[&str]) {
    let open = open.iter().map(|key| format!("toy:{key}").parse().expect("an id")).collect();
    let reply_to = ReplyTo { topic: REPLIES.into(), partition: 0 };
    world
        .publish(vec![encode_horizon(
            &Horizon { before, definitions: vec!["toy".parse().expect("a name")], open },
            &reply_to,
        )])
        .await;
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
async fn rows_go_when_they_are_old_and_their_saga_has_ended() {
    let mut world = world().await;
    world.ask([add("a"), add("b"), subtract("c")]).await;
    assert_eq!(rows(&world).await, 4, "c has a tombstone as well");

    tell(&world, later(), &[]).await;
    let young = later().minus(Duration::from_secs(2));
    world.turn_at(young).await;
    assert_eq!(rows(&world).await, 4, "all of them are young");
    assert_eq!(swept(&mut world).await, [young.minus(RETENTION)]);

    tell(&world, now(), &[]).await;
    world.turn_at(later()).await;
    assert_eq!(rows(&world).await, 4, "their sagas may not have ended");
    assert_eq!(swept(&mut world).await, [now()]);

    let others = Horizon { before: later(), definitions: vec!["other".parse().expect("a name")], open: Vec::new() };
    let reply_to = ReplyTo { topic: REPLIES.into(), partition: 0 };
    world.publish(vec![encode_horizon(&others, &reply_to)]).await;
    world.turn_at(later()).await;
    assert_eq!((rows(&world).await, swept(&mut world).await.len()), (4, 1), "they are of no saga that was meant");

    tell(&world, later(), &["b"]).await;
    world.turn_at(later()).await;
    assert_eq!(rows(&world).await, 1, "b has not ended");
    assert_eq!(swept(&mut world).await, [later().minus(RETENTION)]);
    assert_eq!(world.ask([add("b")]).await, [added("b")], "what is left still answers");
    assert_eq!(world.tally("b").await, Some(5));
    if is_remote() {
        let (checked, walks) = whole_table_walks(&world.database, &["barrier"]).await.expect("the plans");
        let of_the_barrier = walks.iter().filter(|walk| walk.contains("stored_at")); // and none of this test's
        assert!(checked > 2, "only {checked} statements were there");
        assert_eq!(of_the_barrier.collect::<Vec<_>>(), [] as [&String; 0]);
    }
}

#[tokio::test]
async fn many_rows_go_a_page_a_turn_and_messages_come_in_between() {
    let mut world = world().await;
    world.ask((0..1_100).map(|key| add(&key.to_string()))).await;
    tell(&world, later(), &[]).await;
    world.turn_at(later()).await;
    assert!((1..1_100).contains(&rows(&world).await), "some have gone, and some are left");
    assert_eq!(swept(&mut world).await, []);

    world.send([add("new")]).await;
    assert_eq!(world.turn_at(later()).await.taken, 1);
    assert_eq!(world.tally("new").await, Some(5));
    world.turn_at(later()).await;
    world.turn_at(later()).await;
    assert_eq!(rows(&world).await, 1, "the new one");
    assert_eq!(swept(&mut world).await, [later().minus(RETENTION)], "told once, when nothing is left");
}

/// What a crash cuts short the next horizon brings to its end.
#[tokio::test]
async fn a_sweep_that_a_crash_has_cut_short_is_done_by_the_next() {
    let mut world = world().await;
    world.ask((0..600).map(|key| add(&key.to_string()))).await;
    tell(&world, later(), &[]).await;
    world.turn_at(later()).await;
    world.restart();
    world.turn_at(later()).await;
    assert!(rows(&world).await > 0, "nobody knows of it any more");
    tell(&world, later(), &[]).await;
    world.turn_at(later()).await;
    assert_eq!(rows(&world).await, 0);
}

#[tokio::test]
async fn a_horizon_that_cannot_be_read_changes_nothing() {
    let mut world = world().await;
    world.ask([add("a")]).await;
    let reply_to = ReplyTo { topic: REPLIES.into(), partition: 0 };
    let mut record = encode_horizon(&Horizon { before: later(), definitions: Vec::new(), open: Vec::new() }, &reply_to);
    record.body = "{".into();
    world.publish(vec![record]).await;
    world.turn_at(later()).await;
    assert_eq!(rows(&world).await, 1);
    assert_eq!(world.ask([add("b")]).await, [added("b")]);
}
