//! The process may die between any two awaits, and what it talks to may fail: nothing is lost, nothing doubled.

use std::collections::BTreeMap;

use sagamore_core::Reply;
use sagamore_database::Error as DatabaseError;
use sagamore_database::testing::is_remote;
use sagamore_sdk::{Error, Migration, Options, Turned};

use crate::toy::Mood;
use crate::trouble::{Call, Trouble, When, advance};
use crate::world::*;

async fn failing_turn(world: &mut World) -> Error {
    world.participant.turn(now(), &mut fastrand::Rng::with_seed(1)).await.expect_err("something was made to fail")
}

/// All replies of one id are the same; gives how many ids there are.
fn distinct(replies: &[Reply]) -> usize {
    let mut seen = BTreeMap::new();
    for reply in replies {
        assert_eq!(*seen.entry(reply.id()).or_insert(reply), reply, "two answers to one question");
    }
    seen.len()
}

/// A turn that dies at its n-th stop, for every n; then another process, or the same one, begins again.
#[tokio::test]
async fn a_turn_may_die_at_any_await() {
    for again in ["another process", "the same process"] {
        let mut stops = 0;
        loop {
            let trouble = Trouble::default();
            let mut world = World::polled(&trouble, Options::default()).await;
            world.restart(); // so that coming up is part of the turn
            let refused = add_in("b", Mood::Refuses, Mood::Calm);
            let undone = add_in("c", Mood::WritesAndRefuses, Mood::Calm);
            world.send([add("a"), add("a"), subtract("a"), refused, undone, subtract("d")]).await;
            trouble.stops(true);
            let ended = advance(world.participant.turn(now(), &mut fastrand::Rng::with_seed(1)), stops);
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
async fn a_crash_before_the_commit_did_not_happen() {
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

/// What was committed is answered by whoever comes next, at once and from what is stored.
#[tokio::test]
async fn a_crash_between_commit_and_publish_is_made_good_by_the_next_turn() {
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

/// Then there are two replies, of one id: who asked knows the second for what it is.
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
async fn a_commit_that_nobody_knows_of_is_asked_again() {
    for when in [When::Before, When::After] {
        let trouble = Trouble::default();
        let mut world = World::behind(&trouble, Options::default()).await;
        world.send([add("10248")]).await;
        trouble.fail(Call::Commit, when, DatabaseError::CommitUnknown("connection reset".into()));
        failing_turn(&mut world).await;
        assert_eq!(world.replies().await.len(), 0, "what is not known to be committed is not told");
        world.settle().await;
        assert_eq!((world.tally("10248").await, world.replies().await.len()), (Some(5), 1));
    }
}

/// A database that is down is nobody's fault and nobody's refusal: the messages wait.
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

/// The first chunk is committed, the second is not: the mark stays before both.
#[tokio::test]
async fn only_what_is_done_and_answered_without_a_gap_is_acknowledged() {
    let trouble = Trouble::default();
    let mut world = World::behind(&trouble, Options { messages_max: 3, ..Options::default() }).await;
    world.send([add("a"), add("a"), add("b"), add("c")]).await;
    trouble.fail(Call::Commit, When::After, DatabaseError::Conflict("again".into())); // the first chunk, twice
    trouble.fail(Call::Acknowledge, When::Before, DatabaseError::Over);
    failing_turn(&mut world).await;
    assert_eq!((world.participant.lag(), world.tally("c").await), (Some(4), None));
    world.restart();
    assert_eq!((world.turn().await, world.participant.lag()), (Turned { taken: 3 }, Some(1)));
    assert_eq!((world.turn().await, world.participant.lag()), (Turned { taken: 1 }, Some(0)));
    assert_eq!((world.tally("a").await, world.tally("b").await, world.tally("c").await), (Some(5), Some(5), Some(5)));
    world.restart();
    assert_eq!(world.turn().await, Turned { taken: 0 });
}

/// The second process, be it a duplicate or a zombie, waits at the claim, and then finds the answer.
#[tokio::test]
async fn a_duplicate_that_comes_while_the_first_is_running_waits_and_gets_its_answer() {
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
            second.expect("the second"); // which has taken the place of the first
        }
        trouble.stops(false);
        world.restart();
        world.settle().await;
        assert_eq!((world.tally("10248").await, world.tally("10249").await), (Some(5), Some(0)));
        assert_eq!((world.calls.add(), world.calls.subtract()), (2, 1), "dropped by nobody, run once");
        assert_eq!(distinct(&world.replies().await), 3);
    }
}

/// Whoever comes later has the partitions, and the one before does not fight for them.
#[tokio::test]
async fn a_participant_that_lost_its_place_ends_and_leaves_it_to_the_other() {
    let mut world = World::new().await;
    let mut other = world.another();
    let mut rng = fastrand::Rng::with_seed(2);
    other.turn(now(), &mut rng).await.expect("it takes over");
    world.send([add("10248")]).await;
    for _ in 0..2 {
        let error = failing_turn(&mut world).await;
        assert!(matches!(&error, Error::Transport(sagamore_transport::Error::Fenced(_))), "{error}");
    }
    other.turn(now(), &mut rng).await.expect("it has kept its place");
    assert_eq!((world.tally("10248").await, world.replies().await.len()), (Some(5), 1));
    let first = std::mem::replace(&mut world.participant, other);
    let ended = first.run(std::future::pending()).await;
    assert!(matches!(ended, Err(Error::Transport(sagamore_transport::Error::Fenced(_)))), "{ended:?}");
}

/// To try again would go on for ever, and nobody would know why.
#[tokio::test]
async fn a_running_participant_ends_with_an_error_that_no_retry_mends() {
    let world = World::new().await;
    let newer = Migration::new("0002-newer", "CREATE TABLE newer (id BIGINT PRIMARY KEY)").needs(2);
    world.database.migrate("tally", &[newer], 2).await.expect("a newer program has been here");
    let ended = world.another().run(std::future::pending()).await;
    let too_old = DatabaseError::ProgramTooOld { needed: 2, have: 1 };
    assert!(matches!(&ended, Err(Error::Database(error)) if *error == too_old), "{ended:?}");
}

#[tokio::test]
async fn a_running_participant_answers_through_trouble_and_stops_when_it_is_told() {
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
        tokio::time::timeout(std::time::Duration::from_secs(10), answered).await.expect("an answer");
        assert_eq!(world.tally(key).await, Some(5));
    }
    stop.send(()).expect("it is running");
    running.await.expect("it has stopped").expect("because it was told to");
}

/// A process that is stopped inside a transaction: the server ends that transaction before its successor gives up, and what
/// the process then goes on with is refused. (On SQLite one process has the file: with it goes its transaction.)
#[tokio::test]
async fn who_is_paused_inside_a_transaction_holds_nobody_up_and_changes_nothing_afterwards() {
    if !is_remote() {
        return; // told where the database is made
    }
    let mut world = World::new().await;
    world.send([add_in("10248", Mood::WritesAndIsPaused, Mood::Calm)]).await;
    let (mut paused, calls) = (world.another(), world.calls.clone());
    let old = tokio::spawn(async move { paused.turn(now(), &mut fastrand::Rng::with_seed(1)).await });
    while !calls.is_paused() {
        tokio::task::yield_now().await;
    }
    world.restart();
    while world.calls.add() < 2 {
        // the row is locked, until the server has ended the transaction that holds it
        let _ = world.participant.turn(now(), &mut fastrand::Rng::with_seed(1)).await;
    }
    world.settle().await;
    assert!(!old.is_finished(), "the successor has not waited for it");
    assert_eq!(world.tally("10248").await, Some(5));
    world.calls.go_on();
    old.await.expect("it ends").expect_err("its transaction is gone");
    assert_eq!(world.tally("10248").await, Some(5));
    assert_eq!(distinct(&world.replies().await), 1);
}
