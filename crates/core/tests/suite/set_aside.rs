//! A step whose result cannot be stored is set aside for a person, and the rest of the saga
//! continues.

use crate::support::{Play, fault, name, no, ticket, trip, wide_trip};
use sagamore_core::saga::{Cause, IgnoreReason, Input, Status, StepStatus, Verb};
use sagamore_core::{Allowed, Body, Direction, Outcome, Timestamp};

const EVERY_VERB: [Verb; 3] = [Verb::Retry, Verb::Skip, Verb::Resolve];

/// Returns a forward saga: the hotel's reply could not be stored, before the pivot.
fn held_hotel() -> Play {
    let mut play = Play::with_done(trip(), &["flight"]);
    assert_eq!(play.set_aside("hotel", Direction::Action).unwrap(), ["hotel setAside", "stuck"]);
    play
}

/// Returns a compensating saga: the reply to the hotel's undo could not be stored.
fn held_undo() -> Play {
    let mut play = Play::with_done(trip(), &["flight", "hotel"]);
    play.refused("pay");
    assert_eq!(
        play.set_aside("hotel", Direction::Compensation).unwrap(),
        ["hotel setAside", "stuck"]
    );
    play
}

/// Returns the operator actions that are allowed for a step set aside before the pivot.
fn before_the_pivot(step: &str) -> Vec<Allowed> {
    let compensate = Allowed::Rescue { step: name(step), verb: Verb::Compensate };
    [vec![Allowed::Cancel], verbs(step), vec![compensate]].concat()
}

fn verbs(step: &str) -> Vec<Allowed> {
    EVERY_VERB.iter().map(|verb| Allowed::Rescue { step: name(step), verb: *verb }).collect()
}

#[test]
fn a_step_that_is_set_aside_is_neither_awaited_nor_resent() {
    let mut play = held_hotel();
    play.stands(Status::Stuck);
    let hotel = play.state("hotel");
    assert_eq!(
        (hotel.status, hotel.wait.is_held(), hotel.wait.due()),
        (StepStatus::Unknown, true, None)
    );
    assert_eq!(hotel.fault.as_deref(), Some("a NUL in a text"), "the reason is recorded");
    assert!(play.saga.outstanding().is_empty());
    assert_eq!((play.saga.next_due(), play.saga.waiting_since()), (None, None));
    assert_eq!(play.saga.stuck_steps(play.now).collect::<Vec<_>>(), [1]);
    play.now = Timestamp(i64::MAX);
    assert_eq!(play.input(&Input::Tick), Err(IgnoreReason::NothingDue));
    assert_eq!(play.action("hotel", fault()), Err(IgnoreReason::Stale), "a fault settles nothing");
}

/// The step was set aside by a clock that was a day ahead.
#[test]
fn a_step_that_was_set_aside_by_a_clock_ahead_has_its_verbs_at_once() {
    let mut play = held_hotel();
    play.now = Timestamp(play.now.0 - 86_400_000);
    assert_eq!(play.saga.allowed_actions(play.now), before_the_pivot("hotel"));
    assert_eq!(
        play.rescue("hotel", Verb::Resolve).unwrap(),
        ["resolve hotel", "resumed", "send pay"]
    );
}

#[test]
fn only_a_step_with_an_outstanding_command_can_be_set_aside() {
    let mut play = Play::with_done(trip(), &["flight"]);
    assert_eq!(play.set_aside("flight", Direction::Action), Err(IgnoreReason::Stale), "done");
    assert_eq!(play.set_aside("pay", Direction::Action), Err(IgnoreReason::Stale), "not sent yet");
    assert_eq!(
        play.set_aside("hotel", Direction::Compensation),
        Err(IgnoreReason::Stale),
        "not sent in this direction"
    );
    assert_eq!(play.set_aside("sauna", Direction::Action), Err(IgnoreReason::NoSuchStep));
    play.tick(); // during the pause its reply still counts
    play.set_aside("hotel", Direction::Action).unwrap();
    assert_eq!(
        play.set_aside("hotel", Direction::Action),
        Err(IgnoreReason::Stale),
        "already set aside"
    );
    play.rescue("hotel", Verb::Resolve).unwrap();
    play.done("pay");
    play.done("letter");
    assert_eq!(play.set_aside("letter", Direction::Action), Err(IgnoreReason::Ended));
}

#[test]
fn other_steps_finish_before_the_saga_is_stuck() {
    let mut play = Play::with_done(wide_trip(), &["plan"]);
    assert_eq!(play.set_aside("hotel", Direction::Action).unwrap(), ["hotel setAside"]);
    play.stands(Status::Running);
    let every_way_out = before_the_pivot("hotel");
    assert_eq!(
        play.saga.allowed_actions(play.now),
        every_way_out,
        "a person need not wait until it is stuck"
    );
    assert_eq!(play.done("car"), ["car done"]);
    assert_eq!(play.done("flight"), ["flight done", "stuck"]);
    assert_eq!(play.saga.allowed_actions(play.now), every_way_out);
}

#[test]
fn a_late_reply_that_can_be_stored_is_accepted() {
    let mut play = held_hotel();
    assert_eq!(play.done("hotel"), ["resumed", "hotel done", "send pay"]);
    let mut play = held_hotel();
    assert_eq!(play.refused("hotel"), ["resumed", "hotel refused", "turnedBack", "undo flight"]);
    let mut play = held_undo();
    assert_eq!(play.undone("hotel"), ["resumed", "hotel undone", "undo flight"]);
    let mut play = held_undo();
    assert_eq!(play.undo_refused("hotel"), ["resumed", "hotel undoRefused", "stuck"]);
    let mut play = held_undo();
    assert_eq!(
        play.action("hotel", ticket("hotel")),
        Err(IgnoreReason::Stale),
        "the action was answered before"
    );
}

/// The command has the same id, so the participant resends its stored reply.
#[test]
fn a_retry_resends_with_the_same_id_and_attempts_from_zero() {
    let mut play = Play::with_done(trip(), &["flight"]);
    (0..5).for_each(|_| drop(play.tick()));
    play.set_aside("hotel", Direction::Action).unwrap();
    assert_eq!(
        play.rescue("hotel", Verb::Retry).unwrap(),
        ["retry hotel", "resumed", "send hotel"]
    );
    let command = play.commands.last().unwrap();
    assert_eq!((command.id().as_str(), command.attempt), ("trip:7/hotel/action/1", 1));
    assert_eq!(play.done("hotel"), ["hotel done", "send pay"]);

    let mut play = held_undo();
    assert_eq!(
        play.rescue("hotel", Verb::Retry).unwrap(),
        ["retry hotel", "resumed", "undo hotel"]
    );
    let command = play.commands.last().unwrap();
    assert_eq!((command.id().as_str(), command.attempt), ("trip:7/hotel/compensation/1", 1));
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
}

#[test]
fn a_step_that_is_set_aside_is_skipped_or_done_by_hand() {
    for (verb, status) in [(Verb::Skip, StepStatus::Skipped), (Verb::Resolve, StepStatus::Done)] {
        let mut play = held_hotel();
        assert_eq!(play.rescue("hotel", verb).unwrap()[1..], ["resumed", "send pay"]);
        assert_eq!(
            (play.state("hotel").status, play.state("hotel").wait.is_held()),
            (status, false)
        );
    }
    for (verb, status) in [(Verb::Skip, StepStatus::Skipped), (Verb::Resolve, StepStatus::Undone)] {
        let mut play = held_undo();
        assert_eq!(play.rescue("hotel", verb).unwrap()[1..], ["resumed", "undo flight"]);
        assert_eq!(
            (play.state("hotel").status, play.state("hotel").wait.is_held()),
            (status, false)
        );
        assert_eq!(play.undone("flight"), ["flight undone", "compensated"]);
    }
}

/// The step may have happened, so it is undone like a done one.
#[test]
fn cancel_compensates_what_was_set_aside_before_the_pivot() {
    let mut play = held_hotel();
    assert_eq!(play.cancel().unwrap(), ["resumed", "turnedBack", "hotel silent", "undo hotel"]);
    assert_eq!(play.saga.cause, Some(Cause::Cancelled));
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
    assert_eq!(play.undone("flight"), ["flight undone", "compensated"]);
}

#[test]
fn cancel_is_too_late_when_the_pivot_is_set_aside() {
    let mut play = Play::with_done(trip(), &["flight", "hotel"]);
    assert_eq!(play.set_aside("pay", Direction::Action).unwrap(), ["pay setAside", "stuck"]);
    assert_eq!(play.cancel(), Err(IgnoreReason::TooLate));
    assert_eq!(play.saga.allowed_actions(play.now), verbs("pay"));
    assert_eq!(play.done("pay"), ["resumed", "pay done", "send letter"]);
}

/// The undo settles the step, so no person is needed.
#[test]
fn an_action_set_aside_during_compensation_is_unknown_and_undone() {
    let mut play = Play::with_done(trip(), &["flight"]);
    play.cancel().unwrap();
    assert_eq!(
        play.set_aside("hotel", Direction::Action).unwrap(),
        ["hotel setAside", "hotel silent", "undo hotel"]
    );
    assert!(!play.state("hotel").wait.is_held());
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
}

#[test]
fn the_actions_output_is_stored_while_its_undo_is_set_aside() {
    let mut play = Play::with_done(trip(), &["flight"]);
    play.cancel().unwrap();
    play.tick();
    play.set_aside("hotel", Direction::Compensation).unwrap();
    assert_eq!(play.done("hotel"), ["hotel done"]);
    assert!(play.state("hotel").wait.is_held(), "its undo is not settled by that");
    play.stands(Status::Stuck);
    assert_eq!(
        play.undo("hotel", Outcome::Done(Body::empty())).unwrap()[..2],
        ["resumed", "hotel undone"]
    );
}

#[test]
fn a_sibling_that_is_refused_undoes_what_was_set_aside() {
    let mut play = Play::with_done(wide_trip(), &["plan", "car"]);
    play.set_aside("hotel", Direction::Action).unwrap();
    assert_eq!(
        play.action("flight", no()).unwrap(),
        ["flight refused", "turnedBack", "hotel silent", "undo hotel", "undo car"]
    );
}
