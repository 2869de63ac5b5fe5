//! A step takes effect at most once, for messages in any order and any number.

use sagamore_core::Command;
use sagamore_core::message::code::{ALREADY_COMPENSATED, SUPERSEDED};
use sagamore_sdk::{Body, Options};
use sagamore_transport::wire::encode_command;
use sagamore_transport::{Record, log};

use crate::toy::Mood;
use crate::trouble::Trouble;
use crate::world::*;

/// A repeated command has no second effect, and its stored reply is resent under the same id.
#[tokio::test]
async fn a_repeated_command_gets_the_stored_reply_and_has_no_second_effect() {
    let mut world = World::new().await;
    world.send([add("10248")]).await;
    world.settle().await;
    world.send([add("10248")]).await;
    world.settle().await;
    let replies = world.replies().await;
    assert_eq!(replies.len(), 2);
    assert_eq!(replies[0], replies[1]);
    assert_eq!(replies[0].id(), "toy:10248/add/action/1/reply");
    assert_eq!((world.tally("10248").await, world.calls.add()), (Some(5), 1));
}

/// The key is saga, step and direction. Message id and body are not part of it.
#[tokio::test]
async fn a_command_with_another_id_or_body_is_still_a_repeat() {
    let mut world = World::new().await;
    let first = world.ask([add("10248")]).await;
    let mut again = add_in("10248", Mood::Refuses, Mood::Calm);
    let trace = sagamore_core::TraceContext::of(
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        Some("a=1"),
    );
    (again.attempt, again.trace) = (2, trace.clone());
    let mut record = sagamore_transport::wire::encode_command(&again, sagamore_core::Timestamp(0));
    for (name, value) in &mut record.headers {
        if name == "ce_id" {
            *value = "some-other-id".into();
        }
    }
    world.publish(vec![record]).await;
    world.settle().await;
    let replies = world.replies().await;
    assert_eq!(replies[0].outcome.clone().result(), first.first().cloned());
    assert_eq!(replies[0].trace, trace);
    assert_eq!(world.calls.add(), 1);
}

#[tokio::test]
async fn a_refusal_is_stored_and_resent() {
    let mut world = World::new().await;
    let moody = add_in("10248", Mood::Refuses, Mood::Calm);
    assert_eq!(world.ask([moody]).await, [not_today()]);
    assert_eq!(world.ask([add("10248")]).await, [not_today()]);
    assert_eq!((world.tally("10248").await, world.calls.add()), (None, 1));
}

/// A compensation that arrives first leaves a tombstone, and its handler is not called.
#[tokio::test]
async fn undo_before_do_leaves_a_tombstone() {
    let mut world = World::new().await;
    assert_eq!(world.ask([subtract("10248")]).await, [nothing_to_undo()]);
    assert_eq!(world.ask([subtract("10248")]).await, [nothing_to_undo()]);
    assert_eq!((world.tally("10248").await, world.calls.subtract()), (None, 0));
}

/// An action that arrives after its compensation is refused without an effect.
#[tokio::test]
async fn an_action_that_arrives_after_its_compensation_never_runs() {
    let mut world = World::new().await;
    world.ask([subtract("10248")]).await;
    for _ in 0..2 {
        let outcomes = world.ask([add("10248"), generation(2, add("10248"))]).await;
        assert_eq!(outcomes.iter().map(code).collect::<Vec<_>>(), [ALREADY_COMPENSATED; 2]);
    }
    assert_eq!((world.tally("10248").await, world.calls.add()), (None, 0));
}

/// A lost refusal must not lead to a refund of money that was never taken.
#[tokio::test]
async fn a_refused_action_has_nothing_to_undo() {
    let mut world = World::new().await;
    world.ask([add_in("10248", Mood::Refuses, Mood::Calm)]).await;
    assert_eq!(world.ask([subtract("10248")]).await, [nothing_to_undo()]);
    assert_eq!((world.tally("10248").await, world.calls.subtract()), (None, 0));
    let late = world.ask([add("10248"), generation(2, add("10248"))]).await;
    assert_eq!(late[0], not_today());
    assert_eq!(code(&late[1]), ALREADY_COMPENSATED);
}

/// The undo reads its action's output from the barrier, not from the command.
#[tokio::test]
async fn an_undo_receives_its_actions_stored_output() {
    let mut world = World::new().await;
    world.ask([add("10248")]).await;
    assert_eq!(world.tally("10248").await, Some(5));
    for _ in 0..2 {
        assert_eq!(world.ask([subtract("10248")]).await, [subtracted()]);
        assert_eq!((world.tally("10248").await, world.calls.subtract()), (Some(0), 1));
    }
    assert_eq!(world.ask([add("10248")]).await, [added("10248")], "the action has happened");
    assert_eq!((world.tally("10248").await, world.calls.add()), (Some(0), 1));
}

#[tokio::test]
async fn an_undo_may_have_fields_of_its_own() {
    let mut world = World::new().await;
    world.ask([add("10248")]).await;
    let mut part = subtract("10248");
    part.name = "tally.subtract-part".parse().expect("a name");
    part.body = Body::parse(r#"{"part":2}"#).expect("JSON");
    assert_eq!(world.ask([part]).await, [subtracted()]);
    assert_eq!(world.tally("10248").await, Some(3));
}

#[tokio::test]
async fn steps_of_one_saga_and_sagas_of_one_step_are_independent() {
    let mut world = World::new().await;
    world.ask([add("10248"), step("more", add("10248")), add("10249")]).await;
    assert_eq!((world.tally("10248").await, world.tally("10249").await), (Some(10), Some(5)));
    assert_eq!(world.ask([step("most", subtract("10248"))]).await, [nothing_to_undo()]);
    assert_eq!(world.tally("10248").await, Some(10));
}

/// An operator's retry of a stored refusal is a new generation, which may take effect.
#[tokio::test]
async fn a_refusal_retried_in_a_new_generation_runs_again() {
    let mut world = World::new().await;
    world.ask([add_in("10248", Mood::Refuses, Mood::Calm)]).await;
    assert_eq!(world.ask([generation(2, add("10248"))]).await, [added("10248")]);
    // once a generation is done, its reply answers all of them
    let all = [add("10248"), generation(2, add("10248")), generation(3, add("10248"))];
    assert_eq!(world.ask(all).await, [added("10248"), added("10248"), added("10248")]);
    assert_eq!((world.tally("10248").await, world.calls.add()), (Some(5), 2));
    assert_eq!(world.ask([subtract("10248")]).await, [subtracted()]);
    assert_eq!(world.tally("10248").await, Some(0));
}

#[tokio::test]
async fn an_older_generation_is_refused() {
    let mut world = World::new().await;
    assert_eq!(
        world.ask([generation(3, add_in("10248", Mood::Refuses, Mood::Calm))]).await,
        [not_today()]
    );
    for _ in 0..2 {
        let outcomes = world.ask([generation(2, add("10248")), add("10248")]).await;
        assert_eq!(outcomes.iter().map(code).collect::<Vec<_>>(), [SUPERSEDED; 2]);
    }
    assert_eq!((world.tally("10248").await, world.calls.add()), (None, 1));
    assert_eq!(world.ask([generation(4, add("10248"))]).await, [added("10248")]);
    assert_eq!(world.tally("10248").await, Some(5));
}

#[tokio::test]
async fn a_refused_undo_retried_in_a_new_generation_undoes_once() {
    let mut world = World::new().await;
    let stubborn = add_in("10248", Mood::Calm, Mood::WritesAndRefuses);
    assert_eq!(world.ask([stubborn]).await, [added_in("10248", Mood::WritesAndRefuses)]);
    assert_eq!(world.ask([subtract("10248"), subtract("10248")]).await, [not_today(), not_today()]);
    // makes the handler succeed: the stored output is repaired, as by an operator
    let open = world.database.begin().await.expect("begin");
    let sql = "UPDATE barrier SET answer = $1 WHERE direction = 'action'";
    open.tx().execute(sql, (r#"{"name":"10248","by":5,"undo":"Calm"}"#,)).await.expect("repair");
    open.commit().await.expect("commit");
    assert_eq!(world.ask([subtract("10248")]).await, [not_today()], "stored");
    assert_eq!(world.ask([generation(2, subtract("10248"))]).await, [subtracted()]);
    assert_eq!(
        world.ask([subtract("10248"), generation(3, subtract("10248"))]).await,
        [subtracted(), subtracted()]
    );
    assert_eq!(world.tally("10248").await, Some(0));
}

/// The copies come from a producer with other keys, or from a dead letter that was redriven
/// elsewhere.
#[tokio::test]
async fn a_command_in_two_partitions_has_one_effect() {
    let mut world =
        World::upon(log::Options::default(), 2, &Trouble::default(), Options::default()).await;
    let by = |partition, command: &Command| Record {
        partition: Some(partition),
        ..encode_command(command, sagamore_core::Timestamp(0))
    };
    world.publish(vec![by(0, &add("10248")), by(1, &add("10248"))]).await;
    world.settle().await;
    assert_eq!((world.tally("10248").await, world.calls.add()), (Some(5), 1));
    assert_eq!(
        world.replies().await.iter().filter(|reply| reply.outcome == added("10248").into()).count(),
        2
    );

    // out of order as well: in either order nothing remains of the step
    world.publish(vec![by(0, &subtract("10249")), by(1, &add("10249"))]).await;
    world.settle().await;
    assert_eq!(world.tally("10249").await.unwrap_or_default(), 0);
}
