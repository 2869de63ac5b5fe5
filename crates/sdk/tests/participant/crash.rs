//! The process may die at any await, and database and transport may fail: no message is lost, no
//! effect repeated.

use std::collections::BTreeMap;

use sagamore_core::Reply;
use sagamore_database::Error as DatabaseError;
use sagamore_database::testing::needs_server;
use sagamore_sdk::{Error, Migration, Options, TurnReport};

use crate::toy::Mood;
use crate::trouble::{Call, Trouble, When, advance};
use crate::world::*;

async fn failing_turn(world: &mut World) -> Error {
    world
        .participant
        .turn(now(), &mut fastrand::Rng::with_seed(1))
        .await
        .expect_err("a call was made to fail")
}

/// Asserts that replies of the same id are equal, and returns the number of ids.
fn distinct(replies: &[Reply]) -> usize {
    let mut seen = BTreeMap::new();
    for reply in replies {
        assert_eq!(*seen.entry(reply.id()).or_insert(reply), reply, "two answers to one command");
    }
    seen.len()
}

/// A turn dies at its n-th await, for every n. Then another process, or the same one, starts again.
#[tokio::test]
async fn a_turn_may_die_at_any_await() {
    for again in ["another process", "the same process"] {
        let mut stops = 0;
        loop {
            let trouble = Trouble::default();
            let mut world = World::polled(&trouble, Options::default()).await;
            world.restart(); // the start-up is part of the turn
            let refused = add_in("b", Mood::Refuses, Mood::Calm);
            let undone = add_in("c", Mood::WritesAndRefuses, Mood::Calm);
            world.send([add("a"), add("a"), subtract("a"), refused, undone, subtract("d")]).await;
            trouble.stops(true);
            let ended =
                advance(world.participant.turn(now(), &mut fastrand::Rng::with_seed(1)), stops);
            trouble.stops(false);
            if again == "another process" {
                world.restart();
            }
            world.settle().await;
            let tallies = (world.tally("a").await, world.tally("b").await, world.tally("c").await);
            assert_eq!(tallies, (Some(0), None, None), "dropped at {stops}");
            assert_eq!(distinct(&world.replies().await), 5, "dropped at {stops}");
            assert_eq!(world.participant.lag(), Some(0));
            if ended.is_some() {
                break;
            }
            stops += 1;
        }
        assert!(stops > 40, "only {stops} places to die at");
    }
}

#[tokio::test]
async fn a_crash_before_the_commit_leaves_no_effect() {
    let trouble = Trouble::default();
    let mut world = World::behind(&trouble, Options::default()).await;
    world.send([add("10248")]).await;
    trouble.fail(Call::Commit, When::Before, DatabaseError::Unavailable("gone".into()));
    let error = failing_turn(&mut world).await;
    assert!(error.is_transient() && !world.participant.pause().is_zero());
    assert_eq!((world.tally("10248").await, world.replies().await.len()), (None, 0));
    world.restart();
    world.settle().await;
    assert_eq!((world.tally("10248").await, world.replies().await.len()), (Some(5), 1));
    assert!(world.participant.pause().is_zero());
}

/// A committed command is answered from its stored reply by the next turn of any process.
#[tokio::test]
async fn after_a_crash_between_commit_and_publish_the_next_turn_replies() {
    let trouble = Trouble::default();
    let mut world = World::behind(&trouble, Options::default()).await;
    world.send([add("10248"), add_in("10249", Mood::Refuses, Mood::Calm)]).await;
    trouble.fail(Call::Publish, When::Before, DatabaseError::Over);
    failing_turn(&mut world).await;
    assert_eq!((world.tally("10248").await, world.replies().await.len()), (Some(5), 0));
    world.restart();
    world.settle().await;
    assert_eq!((world.replies().await.len(), world.calls.add()), (2, 2));
}

/// The two replies have the same id, so the orchestrator recognizes the repeat.
#[tokio::test]
async fn a_crash_between_publish_and_acknowledgement_repeats_the_reply_under_its_id() {
    for (call, when) in [(Call::Publish, When::After), (Call::Acknowledge, When::Before)] {
        let trouble = Trouble::default();
        let mut world = World::behind(&trouble, Options::default()).await;
        world.send([add("10248")]).await;
        trouble.fail(call, when, DatabaseError::Over);
        failing_turn(&mut world).await;
        world.settle().await;
        let replies = world.replies().await;
        assert_eq!((replies.len(), distinct(&replies)), (2, 1));
        assert_eq!((world.tally("10248").await, world.calls.add()), (Some(5), 1));
    }
}

#[tokio::test]
async fn a_command_whose_commit_is_unknown_is_retried() {
    for when in [When::Before, When::After] {
        let trouble = Trouble::default();
        let mut world = World::behind(&trouble, Options::default()).await;
        world.send([add("10248")]).await;
        trouble.fail(Call::Commit, when, DatabaseError::CommitUnknown("connection reset".into()));
        failing_turn(&mut world).await;
        assert_eq!(world.replies().await.len(), 0, "an unknown commit is not answered");
        world.settle().await;
        assert_eq!((world.tally("10248").await, world.replies().await.len()), (Some(5), 1));
    }
}

/// An unavailable database causes neither a fault nor a refusal: the messages wait.
#[tokio::test]
async fn while_the_database_is_down_nothing_is_answered_and_nothing_acknowledged() {
    for call in [Call::Begin, Call::Execute] {
        let trouble = Trouble::default();
        let mut world = World::behind(&trouble, Options::default()).await;
        world.send([add("10248")]).await;
        for _ in 0..3 {
            trouble.fail(call, When::Before, DatabaseError::Unavailable("gone".into()));
            failing_turn(&mut world).await;
        }
        assert_eq!((world.replies().await.len(), world.participant.lag()), (0, Some(1)));
        world.settle().await;
        assert_eq!((world.tally("10248").await, world.replies().await.len()), (Some(5), 1));
    }
}

/// The first chunk is committed and the second is not: the offset stays before both.
#[tokio::test]
async fn only_contiguous_answered_messages_are_acknowledged() {
    let trouble = Trouble::default();
    let mut world =
        World::behind(&trouble, Options { messages_max: 3, ..Options::default() }).await;
    world.send([add("a"), add("a"), add("b"), add("c")]).await;
    // the first chunk, twice
    trouble.fail(Call::Commit, When::After, DatabaseError::Conflict("again".into()));
    trouble.fail(Call::Acknowledge, When::Before, DatabaseError::Over);
    failing_turn(&mut world).await;
    assert_eq!((world.participant.lag(), world.tally("c").await), (Some(4), None));
    world.restart();
    assert_eq!((world.turn().await, world.participant.lag()), (TurnReport { taken: 3 }, Some(1)));
    assert_eq!((world.turn().await, world.participant.lag()), (TurnReport { taken: 1 }, Some(0)));
    assert_eq!(
        (world.tally("a").await, world.tally("b").await, world.tally("c").await),
        (Some(5), Some(5), Some(5))
    );
    world.restart();
    assert_eq!(world.turn().await, TurnReport { taken: 0 });
}

/// The second process, a duplicate or a zombie, waits at the claim and then finds the answer.
#[tokio::test]
async fn a_concurrent_duplicate_waits_and_gets_the_stored_answer() {
    for stops in 1.. {
        let trouble = Trouble::default();
        let mut world = World::polled(&trouble, Options::default()).await;
        let mut other = world.another();
        let (mut rng, mut other_rng) = (fastrand::Rng::with_seed(1), fastrand::Rng::with_seed(2));
        world.send([add("10248"), add("10249"), subtract("10249")]).await;
        trouble.stops(true);
        {
            let mut first = Box::pin(world.participant.turn(now(), &mut rng));
            if advance(first.as_mut(), stops).is_some() {
                assert!(stops > 20, "only {stops} places to meet at");
                break;
            }
            let (_, second) = tokio::join!(first, other.turn(now(), &mut other_rng));
            second.expect("the second"); // it owns the partitions now
        }
        trouble.stops(false);
        world.restart();
        world.settle().await;
        assert_eq!((world.tally("10248").await, world.tally("10249").await), (Some(5), Some(0)));
        assert_eq!(
            (world.calls.add(), world.calls.subtract()),
            (2, 1),
            "no command is dropped, each runs once"
        );
        assert_eq!(distinct(&world.replies().await), 3);
    }
}

/// The later consumer has the partitions, and the earlier one does not reclaim them.
#[tokio::test]
async fn a_fenced_participant_ends_with_an_error() {
    let mut world = World::new().await;
    let mut other = world.another();
    let mut rng = fastrand::Rng::with_seed(2);
    other.turn(now(), &mut rng).await.expect("it takes over");
    world.send([add("10248")]).await;
    for _ in 0..2 {
        let error = failing_turn(&mut world).await;
        assert!(
            matches!(&error, Error::Transport(sagamore_transport::Error::Fenced(_))),
            "{error}"
        );
    }
    other.turn(now(), &mut rng).await.expect("it still owns the partitions");
    assert_eq!((world.tally("10248").await, world.replies().await.len()), (Some(5), 1));
    let first = std::mem::replace(&mut world.participant, other);
    let ended = first.run(std::future::pending()).await;
    assert!(
        matches!(ended, Err(Error::Transport(sagamore_transport::Error::Fenced(_)))),
        "{ended:?}"
    );
}

/// Endless retries would hide the error.
#[tokio::test]
async fn a_running_participant_ends_with_a_permanent_error() {
    let world = World::new().await;
    let newer = Migration::new("0002-newer", "CREATE TABLE newer (id BIGINT PRIMARY KEY)").needs(2);
    world.database.migrate("tally", &[newer], 2).await.expect("a newer program has been here");
    let ended = world.another().run(std::future::pending()).await;
    let too_old = DatabaseError::ProgramTooOld { needed: 2, have: 1 };
    assert!(matches!(&ended, Err(Error::Database(error)) if *error == too_old), "{ended:?}");
}

#[tokio::test]
async fn a_running_participant_survives_failures_and_stops_on_request() {
    let trouble = Trouble::default();
    let world = World::behind(&trouble, Options::default()).await;
    let mut replies = watch(&world.log, REPLIES).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(world.another().run(async { stopped.await.unwrap_or_default() }));
    for (key, call) in [("a", Call::Begin), ("b", Call::Publish), ("c", Call::Acknowledge)] {
        trouble.fail(call, When::Before, DatabaseError::Unavailable("gone".into()));
        world.send([add(key)]).await;
        let answered = async {
            while replies.poll(10).await.expect("poll").is_empty() {
                replies.ready().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), answered)
            .await
            .expect("an answer");
        assert_eq!(world.tally(key).await, Some(5));
    }
    stop.send(()).expect("it is running");
    running.await.expect("it has stopped").expect("it stopped on request");
}

/// A process is paused inside a transaction. The server ends that transaction before its successor
/// gives up, and rejects the process's later statements.
///
/// On SQLite a single process has the file, so its transaction ends with it.
#[tokio::test]
async fn a_process_paused_in_a_transaction_does_not_block_its_successor() {
    if !needs_server() {
        return;
    }
    let mut world = World::new().await;
    world.send([add_in("10248", Mood::WritesAndIsPaused, Mood::Calm)]).await;
    let (mut paused, calls) = (world.another(), world.calls.clone());
    let old =
        tokio::spawn(async move { paused.turn(now(), &mut fastrand::Rng::with_seed(1)).await });
    while !calls.is_paused() {
        tokio::task::yield_now().await;
    }
    world.restart();
    while world.calls.add() < 2 {
        // the row stays locked until the server ends the transaction that holds it
        let _ = world.participant.turn(now(), &mut fastrand::Rng::with_seed(1)).await;
    }
    world.settle().await;
    assert!(!old.is_finished(), "the successor did not wait for it");
    assert_eq!(world.tally("10248").await, Some(5));
    world.calls.go_on();
    old.await.expect("it ends").expect_err("its transaction was ended");
    assert_eq!(world.tally("10248").await, Some(5));
    assert_eq!(distinct(&world.replies().await), 1);
}
