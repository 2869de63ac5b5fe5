//! Failures shrink the work: a failed turn is retried with half as many messages, down to one.

use std::time::Duration;

use sagamore_core::{Command, Outcome};
use sagamore_database::testing::database_with;
use sagamore_database::{Error, Value, postgres};
use sagamore_sdk::{Error as TurnError, Options};
use sagamore_transport::log;

use crate::toy::{Mood, POISON};
use crate::trouble::Trouble;
use crate::world::*;

/// Maximum failed turns before a test gives up.
const FAILURES_MAX: usize = 40;

/// Creates a database whose time limit ends every statement with more than `bytes_max` bytes of
/// parameters.
fn slow(bytes_max: usize) -> Trouble {
    let trouble = Trouble::default();
    trouble.judge(move |_, sets| {
        match sets.iter().flatten().map(bytes).sum::<usize>() > bytes_max {
            true => {
                Err(Error::Conflict("canceling statement due to statement timeout [57014]".into()))
            }
            false => Ok(()),
        }
    });
    trouble
}

fn bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::Int(_) | Value::Double(_) | Value::Bool(_) => 8,
    }
}

/// Returns the number of messages of each turn until none is left; `None` for a failed turn.
async fn turns(world: &mut World) -> Vec<Option<usize>> {
    let (mut turns, mut rng) = (Vec::new(), fastrand::Rng::with_seed(1));
    loop {
        match world.participant.turn(now(), &mut rng).await {
            Ok(turned) if turned.taken == 0 => return turns,
            Ok(turned) => turns.push(Some(turned.taken)),
            Err(error) => {
                assert!(error.is_transient(), "a permanent error: {error}");
                turns.push(None);
                let failed = turns.iter().filter(|turn| turn.is_none()).count();
                assert!(
                    failed <= FAILURES_MAX,
                    "{error}: {} commands are left",
                    world.participant.lag().unwrap_or(0)
                );
            }
        }
    }
}

fn large(count: usize) -> impl Iterator<Item = Command> {
    (0..count).map(|number| add_in(&number.to_string(), Mood::GivesMuch, Mood::Calm))
}

async fn all_are_answered(world: &mut World, count: usize) {
    let mut done: Vec<String> = Vec::new();
    for reply in world.replies().await {
        let outcome = reply.outcome.result();
        assert!(matches!(outcome, Some(Outcome::Done(_))), "{:?}", reply.key);
        done.push(reply.key.saga.to_string());
    }
    done.sort_unstable();
    done.dedup();
    assert_eq!(done.len(), count);
}

/// The answers have 40 MB, and a statement of 8 MiB is too slow.
#[tokio::test]
async fn large_outputs_are_committed_in_chunks_that_are_bounded_in_bytes() {
    let mut world = World::behind(&slow(8 << 20), Options::default()).await;
    world.send(large(200)).await;
    let turns = turns(&mut world).await;
    assert!(turns.iter().all(Option::is_some), "{turns:?}");
    assert!(world.database.stats().commits > 5, "one chunk held them all");
    all_are_answered(&mut world, 200).await;
    assert_eq!(world.calls.add(), 200, "each handler is called once");
}

/// The server ends every statement after 200 ms. A statement that stores 100 MB takes longer.
#[tokio::test]
async fn large_outputs_are_committed_under_the_time_limit_of_a_server() {
    let limit = Duration::from_millis(200);
    let database =
        database_with(|options| postgres::Options { statement_timeout: limit, ..options });
    let (options, trouble) = (Options::default(), Trouble::default());
    let mut world = World::on(database, log::Options::default(), 1, &trouble, options).await;
    world.send(large(500)).await;
    turns(&mut world).await;
    all_are_answered(&mut world, 500).await;
}

#[tokio::test]
async fn a_failed_turn_is_retried_with_half_as_many_messages_and_doubles_after_success() {
    // three large answers exceed the limit
    let mut world =
        World::behind(&slow(500 << 10), Options { messages_max: 64, ..Options::default() }).await;
    world.send(large(64)).await;
    let taken = turns(&mut world).await;
    assert_eq!(
        taken[..5],
        [None, None, None, None, Some(4)],
        "64, 32, 16 and 8 are too many: {taken:?}"
    );
    all_are_answered(&mut world, 64).await;
    // small answers let each turn double
    world.send((0..200).map(|number| add(&format!("small-{number}")))).await;
    let taken = turns(&mut world).await;
    let doubled = taken.windows(2).all(|pair| pair[1] <= pair[0].map(|taken| taken * 2));
    assert!(taken.iter().all(Option::is_some) && doubled && taken.contains(&Some(64)), "{taken:?}");
}

/// The database rejects the result of one command with various errors.
#[tokio::test]
async fn a_command_that_fails_its_turn_ends_up_alone_and_is_a_fault() {
    let (timeout, connection) =
        ("canceling statement due to statement timeout", "the connection is gone");
    for error in [
        Error::Constraint("invalid byte sequence".into()),
        Error::Conflict(timeout.into()),
        Error::Unavailable(connection.into()),
    ] {
        let trouble = Trouble::default();
        let (told, is_poison) = (
            error.clone(),
            |value: &Value| matches!(value, Value::Text(text) if text.contains(POISON)),
        );
        trouble.judge(move |sql, sets| {
            match sql.contains("barrier") && sets.iter().flatten().any(is_poison) {
                true => Err(told.clone()),
                false => Ok(()),
            }
        });
        let mut world =
            World::behind(&trouble, Options { messages_max: 20, ..Options::default() }).await;
        let poison = add_in("13", Mood::GivesPoison, Mood::Calm);
        world.send((0..13).map(|number| add(&number.to_string()))).await;
        world.send([poison]).await;
        world.send((14..40).map(|number| add(&number.to_string()))).await;
        turns(&mut world).await;
        let mut faults = Vec::new();
        for reply in world.replies().await {
            match reply.outcome.result().expect("a result") {
                Outcome::Done(_) => {}
                Outcome::Fault(why) => faults.push((reply.key.saga.to_string(), why)),
                Outcome::Refused(refusal) => panic!("{refusal:?}"),
            }
        }
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].0, "toy:13");
        assert!(faults[0].1.contains(&error.to_string()), "{faults:?}");
        let state = world.state().await;
        assert_eq!(state.len(), 39 * 2, "every other command has its row and its tally: {state:?}");
        assert!(!state.iter().any(|row| row.contains("toy:13")), "{state:?}");
    }
}

/// The part that was committed and published before the failure is acknowledged and not
/// redelivered.
#[tokio::test]
async fn a_turn_that_fails_halfway_acknowledges_what_it_has_answered() {
    let trouble = Trouble::default();
    let mut world = World::behind(&trouble, Options::default()).await;
    world.send([add("a"), add("b"), subtract("a")]).await;
    // the undo is in the second chunk
    trouble.judge(|_, sets| match sets.iter().flatten().any(|value| *value == Value::Int(-5)) {
        true => Err(Error::Unavailable("the connection is gone".into())),
        false => Ok(()),
    });
    let error = world
        .participant
        .turn(now(), &mut fastrand::Rng::with_seed(1))
        .await
        .expect_err("the undo fails");
    assert!(matches!(error, TurnError::Database(_)), "{error}");
    assert_eq!((world.replies().await.len(), world.participant.lag()), (2, Some(1)));
    trouble.judge(|_, _| Ok(()));
    world.restart();
    assert_eq!(turns(&mut world).await, [Some(1)]);
    assert_eq!((world.replies().await.len(), world.tally("a").await), (1, Some(0)));
}
