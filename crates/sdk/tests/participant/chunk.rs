//! A chunk is one transaction, with the same result as its commands one by one.

use std::time::Duration;

use proptest::prelude::*;
use sagamore_core::{Command, Outcome};
use sagamore_database::Error;
use sagamore_sdk::{Options, TurnReport};

use crate::toy::Mood;
use crate::trouble::{Call, Trouble, When};
use crate::world::*;

/// After an outage one poll may hold a charge, its repeat and its refund. The charge must not run
/// after its refund.
#[tokio::test]
async fn one_poll_with_a_command_its_repeat_and_its_undo_keeps_their_order() {
    let mut world = World::new().await;
    world
        .send([add("10248"), add("10248"), subtract("10248"), add("10248"), subtract("10248")])
        .await;
    assert_eq!(world.turn().await, TurnReport { taken: 5 });
    let outcomes: Vec<Outcome> =
        world.replies().await.into_iter().filter_map(|reply| reply.outcome.result()).collect();
    assert_eq!(
        outcomes,
        [added("10248"), added("10248"), subtracted(), added("10248"), subtracted()]
    );
    assert_eq!(world.tally("10248").await, Some(0));
    assert_eq!((world.calls.add(), world.calls.subtract()), (1, 1));
}

/// Many sagas access the same row in one chunk. Each handler starts after the previous one has
/// ended.
#[tokio::test]
async fn handlers_of_a_chunk_run_one_after_another() {
    let trouble = Trouble::default();
    let mut world = World::behind(&trouble, Options::default()).await;
    trouble.stops(true); // each await gives another handler a chance to run
    let body = add_in("10248", Mood::ReadsAndThenWrites, Mood::Calm).body;
    world.send((0..10).map(|saga| Command { body: body.clone(), ..add(&saga.to_string()) })).await;
    assert_eq!(world.turn().await, TurnReport { taken: 10 });
    trouble.stops(false);
    assert_eq!((world.tally("10248").await, world.calls.add()), (Some(50), 10));
    assert_eq!(world.calls.at_work_max(), 1);
}

/// A batch takes five round trips of any size: begin, claim, read, store, commit.
#[tokio::test]
async fn a_batch_of_any_size_costs_the_same_round_trips_and_one_commit() {
    let mut costs = Vec::new();
    for size in [1, 10, 500] {
        let trouble = Trouble::default();
        let mut world = World::behind(&trouble, Options::default()).await;
        world.send((0..size).map(|number| add(&number.to_string()))).await;
        let (trips, commits) = (trouble.round_trips(), world.database.stats().commits);
        assert_eq!(world.turn().await, TurnReport { taken: size });
        costs.push((trouble.round_trips() - trips, world.database.stats().commits - commits));
    }
    assert!(costs.iter().all(|cost| *cost == costs[0] && cost.0 <= 5 && cost.1 == 1), "{costs:?}");
}

#[tokio::test]
async fn a_refusal_without_writes_does_not_repeat_the_others() {
    let mut world = World::new().await;
    let outcomes = world.ask([add("a"), add_in("b", Mood::Refuses, Mood::Calm), add("c")]).await;
    assert_eq!(outcomes, [added("a"), not_today(), added("c")]);
    assert_eq!(world.calls.add(), 3, "no handler ran twice");
}

#[tokio::test]
async fn a_refusal_with_writes_is_rolled_back_alone() {
    let mut world = World::new().await;
    let outcomes =
        world.ask([add("a"), add_in("b", Mood::WritesAndRefuses, Mood::Calm), add("c")]).await;
    assert_eq!(outcomes, [added("a"), not_today(), added("c")]);
    assert_eq!(
        (world.tally("a").await, world.tally("b").await, world.tally("c").await),
        (Some(5), None, Some(5))
    );
    assert_eq!(world.ask([add("b")]).await, [not_today()], "the refusal is stored");
}

/// Asserts that one fault affects no other command, leaves no row, and may succeed on a resend.
async fn check_fault(options: Options, mood: Mood, text: &str) {
    check_fault_in(World::with(options).await, mood, text).await;
}

async fn check_fault_in(mut world: World, mood: Mood, text: &str) {
    let outcomes = world.ask([add("a"), add_in("b", mood, Mood::Calm), add("c")]).await;
    assert_eq!((&outcomes[0], &outcomes[2]), (&added("a"), &added("c")));
    assert!(fault(&outcomes[1]).contains(text), "{outcomes:?}");
    assert_eq!(
        (world.tally("a").await, world.tally("b").await, world.tally("c").await),
        (Some(5), None, Some(5))
    );
    assert!(
        !world.state().await.iter().any(|row| row.contains("toy:b")),
        "{:?}",
        world.state().await
    );
    assert_eq!(world.ask([add("b")]).await, [added("b")]);
    assert_eq!(world.tally("b").await, Some(5));
}

/// A fault is answered as a fault, never as a refusal.
#[tokio::test]
async fn a_fault_is_of_one_command_and_leaves_nothing() {
    check_fault(Options::default(), Mood::WritesAndFails, "out of order").await;
}

#[tokio::test]
async fn a_panic_is_a_fault_of_one_command() {
    check_fault(Options::default(), Mood::WritesAndPanics, "dropped the ledger").await;
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_a_fault_of_one_command() {
    let handler_limit = Some(Duration::from_millis(5));
    check_fault(
        Options { handler_limit, ..Options::default() },
        Mood::WritesAndHangs,
        "took longer than 5ms",
    )
    .await;
}

/// On PostgreSQL a failed statement aborts the transaction up to the savepoint. SQLite must behave
/// alike.
#[tokio::test]
async fn a_handler_that_ignores_a_failed_statement_is_a_fault_of_one_command() {
    check_fault(
        Options::default(),
        Mood::IgnoresAFailedStatement,
        "ignored the error of a statement",
    )
    .await;
    let mut world = World::new().await;
    world.interleave();
    check_fault_in(world, Mood::IgnoresAFailedStatement, "ignored the error of a statement").await;
}

#[tokio::test]
async fn a_refusal_because_of_a_failed_statement_is_undone_alone() {
    let mut world = World::new().await;
    let asked = [add("a"), add_in("b", Mood::RefusesForAFailedStatement, Mood::Calm), add("c")];
    assert_eq!(world.ask(asked).await, [added("a"), not_today(), added("c")]);
    assert_eq!(
        (world.tally("a").await, world.tally("b").await, world.tally("c").await),
        (Some(5), None, Some(5))
    );
}

/// A turn ends even if many handlers never do.
#[tokio::test]
async fn many_handlers_that_take_too_long_do_not_add_up() {
    let handler_limit = Some(Duration::from_millis(5));
    let mut world = World::with(Options { handler_limit, ..Options::default() }).await;
    let hanging =
        (0..50).map(|number| add_in(&number.to_string(), Mood::WritesAndHangs, Mood::Calm));
    let outcomes = world.ask(hanging.chain([add("10248")])).await;
    assert_eq!(
        outcomes.iter().map(fault).filter(|text| text.contains("took longer than")).count(),
        4
    );
    assert_eq!(world.calls.add(), 5);
    assert_eq!(world.ask([add("10248")]).await, [added("10248")]);
}

#[tokio::test]
async fn a_reply_that_is_too_large_is_a_fault_of_one_command() {
    check_fault(Options::default(), Mood::GivesTooMuch, "bytes").await;
}

/// A later step would receive the text, and its database could not store it.
#[tokio::test]
async fn an_output_with_a_nul_is_a_fault_of_one_command() {
    check_fault(Options::default(), Mood::GivesANul, "U+0000").await;
}

#[tokio::test]
async fn an_undo_that_fails_is_resent() {
    let mut world = World::new().await;
    world.ask([add_in("10248", Mood::Calm, Mood::WritesAndFails)]).await;
    for _ in 0..2 {
        assert_eq!(fault(&world.ask([subtract("10248")]).await[0]), "out of order");
        assert_eq!(world.tally("10248").await, Some(5));
    }
}

/// After a deadlock or a serialization failure the chunk runs again within the turn.
#[tokio::test]
async fn a_conflict_is_retried_within_the_turn() {
    for call in [Call::Begin, Call::Execute, Call::Commit] {
        let trouble = Trouble::default();
        let mut world = World::behind(&trouble, Options::default()).await;
        for _ in 0..2 {
            trouble.fail(call, When::Before, Error::Conflict("deadlock".into()));
        }
        assert_eq!(world.ask([add("a"), add("b")]).await, [added("a"), added("b")]);
        assert_eq!(
            (world.tally("a").await, world.tally("b").await),
            (Some(5), Some(5)),
            "{call:?}"
        );
    }
}

#[tokio::test]
async fn a_command_with_persistent_deadlocks_is_a_fault_and_the_others_succeed() {
    let trouble = Trouble::default();
    let mut world = World::behind(&trouble, Options::default()).await;
    for _ in 0..world.options.attempts_max {
        trouble.fail(Call::Execute, When::Before, Error::Conflict("deadlock".into()));
    }
    let outcomes = world.ask([add("a"), add("b")]).await;
    assert!(fault(&outcomes[0]).contains("deadlock"));
    assert_eq!(outcomes[1], added("b"));
    assert_eq!(world.ask([add("a")]).await, [added("a")]);
}

/// Generates any command of two sagas with two steps.
fn anything() -> impl Strategy<Value = Delivery> {
    let mood = || {
        prop_oneof![
            4 => Just(Mood::Calm),
            1 => Just(Mood::Refuses),
            1 => Just(Mood::WritesAndRefuses),
            1 => Just(Mood::WritesAndFails),
        ]
    };
    let kind = prop_oneof![
        4 => (mood(), mood()).prop_map(|(mood, undo)| add_in("x", mood, undo)),
        3 => Just(subtract("x")),
    ];
    let place = (
        prop_oneof!["a", "b"],
        prop_oneof!["one", "two"],
        prop_oneof![5 => Just(1_u32), 1 => 2..4_u32],
    );
    (kind, place, prop::bool::weighted(0.1)).prop_map(
        |(mut command, (key, name, number), garbled)| {
            command.key.saga = format!("toy:{key}").parse().expect("a saga");
            Delivery { command: generation(number, step(&name, command)), garbled }
        },
    )
}

#[derive(Clone, Debug)]
struct Delivery {
    command: Command,
    garbled: bool,
}

async fn carried_out(
    deliveries: &[Delivery],
    messages_max: usize,
) -> (Vec<Outcome>, usize, Vec<String>) {
    let mut world = World::with(Options { messages_max, ..Options::default() }).await;
    let record = |delivery: &Delivery| match delivery.garbled {
        true => garbled(&delivery.command),
        false => {
            sagamore_transport::wire::encode_command(&delivery.command, sagamore_core::Timestamp(0))
        }
    };
    world.publish(deliveries.iter().map(record).collect()).await;
    world.settle().await;
    let mut replies = world.replies().await;
    // each step's replies stay in order
    replies.sort_by_key(|reply| (reply.key.saga.clone(), reply.key.step.clone()));
    let replies = replies.into_iter().filter_map(|reply| reply.outcome.result()).collect();
    (replies, world.dead_letters().await.len(), world.state().await)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        if sagamore_database::testing::is_remote() { 8 } else { 100 }
    ))]

    /// Compares the replies of each step in order, dead letters, barrier and tallies, literally.
    #[test]
    fn every_chunk_equals_its_commands_one_by_one(
        asked in prop::collection::vec(anything(), 1..16)
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        let (chunks, singles) = runtime.block_on(async {
            (carried_out(&asked, 1_000).await, carried_out(&asked, 1).await)
        });
        prop_assert_eq!(chunks, singles);
    }
}
