//! Compensation: cancellation, giving up, the order of undos, and replies during it.

use crate::support::{Play, fault, name, no, ticket, trip, wide_trip};
use sagamore_core::saga::{Cause, IgnoreReason, Input, Status, StepStatus, Verb};
use sagamore_core::{Allowed, Outcome, Refusal, Timestamp, message::code};

/// Returns a trip whose flight and hotel have at most two attempts.
fn impatient() -> sagamore_core::definition::Draft {
    let mut draft = trip();
    draft.steps[0].patience.attempts_max = Some(2);
    draft.steps[1].patience.attempts_max = Some(2);
    draft
}

/// An unknown step may have happened, so it is undone like those before it.
#[test]
fn a_step_given_up_is_compensated_like_a_done_one() {
    let mut play = Play::with_done(impatient(), &["flight"]);
    assert_eq!(play.tick(), ["hotel silent"]);
    assert_eq!(play.tick(), ["send hotel"]);
    assert_eq!(play.tick(), ["hotel silent", "turnedBack", "undo hotel"]);
    assert_eq!(play.saga.cause, Some(Cause::GivenUp(name("hotel"))));
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
    assert_eq!(play.undone("flight"), ["flight undone", "compensated"]);
}

/// A fault proves nothing about an earlier attempt, which may still be in flight.
#[test]
fn a_step_given_up_after_a_fault_is_compensated_too() {
    let mut play = Play::of(impatient());
    play.start();
    assert_eq!(play.action("flight", fault()).unwrap(), ["flight faulted"]);
    assert_eq!(play.tick(), ["send flight"]);
    assert_eq!(
        play.action("flight", fault()).unwrap(),
        ["flight faulted", "turnedBack", "undo flight"]
    );
    assert_eq!(play.saga.cause, Some(Cause::GivenUp(name("flight"))));
}

/// Attempts are unlimited by default, so the saga's deadline starts the compensation before the
/// pivot.
#[test]
fn the_sagas_deadline_turns_it_back_before_the_pivot() {
    let mut draft = trip();
    draft.deadline_ms = Some(10_000);
    let mut play = Play::of(draft);
    let started = play.now;
    play.start();
    let turned = loop {
        let words = play.tick();
        if play.saga.cause.is_some() {
            break words;
        }
    };
    assert_eq!(play.now, Timestamp(started.0 + 10_000));
    assert_eq!(play.saga.cause, Some(Cause::DeadlinePassed));
    assert_eq!(turned[0], "turnedBack");
    play.stands(Status::Compensating);
    assert_eq!(play.saga.deadline(), None);
}

#[test]
fn a_late_success_after_turning_back_is_recorded_and_undone() {
    let mut play = Play::with_done(trip(), &["flight"]);
    assert_eq!(play.cancel().unwrap(), ["turnedBack"], "the hotel's reply is awaited");
    assert_eq!(play.done("hotel"), ["hotel done", "undo hotel"]);
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
}

#[test]
fn a_success_during_the_undo_is_only_stored() {
    let mut play = Play::with_done(impatient(), &["flight"]);
    (0..3).for_each(|_| drop(play.tick()));
    assert_eq!(play.state("hotel").status, StepStatus::Undoing);
    assert_eq!(play.done("hotel"), ["hotel done"]);
    assert_eq!(play.state("hotel").status, StepStatus::Undoing);
    assert!(play.state("hotel").output.is_some());
    assert_eq!(play.action("hotel", ticket("hotel")), Err(IgnoreReason::Stale));
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
}

/// The barrier decides by the undo's own reply: done, with nothing to undo.
#[test]
fn a_late_failure_during_the_undo_is_ignored() {
    let mut play = Play::with_done(impatient(), &["flight"]);
    (0..3).for_each(|_| drop(play.tick()));
    let tombstone = Outcome::Refused(Refusal::new(code::ALREADY_COMPENSATED, "never ran"));
    assert_eq!(play.action("hotel", tombstone), Err(IgnoreReason::Stale));
    assert_eq!(play.action("hotel", no()), Err(IgnoreReason::Stale));
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
    assert_eq!(play.action("hotel", no()), Err(IgnoreReason::Stale), "after its undo");
}

#[test]
fn cancel_undoes_unknown_steps_at_once() {
    let mut play = Play::with_done(wide_trip(), &["plan"]);
    play.tick(); // no reply from any of the three
    assert_eq!(
        play.cancel().unwrap(),
        [
            "turnedBack",
            "flight silent",
            "hotel silent",
            "car silent",
            "undo flight",
            "undo hotel",
            "undo car"
        ]
    );
}

/// After a missed reply, the late refusal shows that nothing happened.
#[test]
fn a_late_refusal_of_an_unknown_step_leaves_nothing_to_undo() {
    let mut play = Play::with_done(wide_trip(), &["plan"]);
    play.tick();
    assert_eq!(play.refused("hotel")[..2], ["hotel refused", "turnedBack"]);
    assert_eq!(play.state("hotel").status, StepStatus::Refused);
    assert!(!play.commands.iter().any(|command| command.id() == "trip:7/hotel/compensation/1"));
}

/// No sibling is sent or resent. Those in flight are awaited or time out, and are then undone.
#[test]
fn siblings_of_a_failed_branch_are_awaited_or_timed_out_and_undone() {
    let mut play = Play::with_done(wide_trip(), &["plan"]);
    assert_eq!(play.refused("flight"), ["flight refused", "turnedBack"]);
    assert_eq!(
        play.done("hotel"),
        ["hotel done", "undo hotel"],
        "an independent undo need not wait"
    );
    assert_eq!(play.undone("hotel"), ["hotel undone"], "the plan waits for the car");
    assert_eq!(play.tick(), ["car silent", "undo car"], "not resent, and it may have happened");
    assert_eq!(play.undone("car"), ["car undone", "undo plan"]);
    assert_eq!(play.undone("plan"), ["plan undone", "compensated"]);
}

#[test]
fn a_fault_of_a_sibling_while_going_back_counts_as_unknown() {
    let mut play = Play::with_done(wide_trip(), &["plan", "hotel", "car"]);
    play.cancel().unwrap();
    assert_eq!(play.state("flight").status, StepStatus::Asked);
    assert_eq!(play.action("flight", fault()).unwrap(), ["flight faulted", "undo flight"]);
}

#[test]
fn a_refusal_of_a_sibling_while_going_back_leaves_nothing_to_undo() {
    let mut play = Play::with_done(wide_trip(), &["plan"]);
    play.refused("flight");
    assert_eq!(play.refused("hotel"), ["hotel refused"]);
    assert_eq!(play.refused("car"), ["car refused", "undo plan"]);
    assert_eq!(play.saga.cause, Some(Cause::Refused(name("flight"))), "the first cause stays");
}

#[test]
fn finished_steps_are_undone_in_reverse_order_of_dependency() {
    let mut play = Play::with_done(wide_trip(), &["plan", "flight", "hotel", "car"]);
    assert_eq!(
        play.refused("pay"),
        ["pay refused", "turnedBack", "undo flight", "undo hotel", "undo car"]
    );
    assert_eq!(play.undone("car"), ["car undone"]);
    assert_eq!(play.undone("flight"), ["flight undone"]);
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo plan"]);
}

#[test]
fn an_undo_counts_its_attempts_from_zero() {
    let mut play = Play::with_done(impatient(), &["flight"]);
    (0..3).for_each(|_| drop(play.tick()));
    assert_eq!(play.state("hotel").attempts, 1);
    assert_eq!(play.commands.last().unwrap().attempt, 1);
    assert_eq!(play.state("hotel").fault, None);
}

/// The definition's limit of attempts applies only to the action.
#[test]
fn an_undo_is_resent_through_faults_and_missed_replies() {
    let mut play = Play::with_done(impatient(), &["flight"]);
    play.refused("hotel");
    for _ in 0..50 {
        assert_eq!(play.undo("flight", fault()).unwrap(), ["flight faulted"]);
        assert_eq!(play.state("flight").fault.as_deref(), Some("the disk is full"));
        assert_eq!(play.tick(), ["undo flight"]);
        assert_eq!(play.tick(), ["flight silent"]);
        assert_eq!(play.tick(), ["undo flight"]);
    }
    play.stands(Status::Compensating);
    assert_eq!(play.commands.last().unwrap().id(), "trip:7/flight/compensation/1");
    assert_eq!(play.undone("flight"), ["flight undone", "compensated"]);
}

#[test]
fn after_a_refused_undo_independent_undos_finish_before_the_saga_is_stuck() {
    let mut play = Play::with_done(wide_trip(), &["plan", "flight", "hotel", "car"]);
    play.refused("pay");
    assert_eq!(play.undo_refused("hotel"), ["hotel undoRefused"]);
    play.stands(Status::Compensating);
    assert_eq!(play.undone("car"), ["car undone"]);
    assert_eq!(
        play.undone("flight"),
        ["flight undone", "stuck"],
        "the hotel blocks the plan's undo"
    );
    assert_eq!(play.state("hotel").status, StepStatus::UndoFailed);
    assert_eq!(play.state("plan").status, StepStatus::Done);
    assert_eq!(play.cancel(), Err(IgnoreReason::AlreadyGoingBack));
}

#[test]
fn a_stuck_saga_still_accepts_replies() {
    let mut play = Play::with_done(impatient(), &["flight"]);
    (0..3).for_each(|_| drop(play.tick()));
    assert_eq!(play.undo_refused("hotel"), ["hotel undoRefused", "stuck"]);
    assert_eq!(play.done("hotel"), ["hotel done"], "the booking's output is stored");
    assert_eq!(play.state("hotel").status, StepStatus::UndoFailed);
    play.stands(Status::Stuck);
    assert_eq!(
        play.rescue("hotel", Verb::Retry).unwrap(),
        ["retry hotel", "resumed", "undo hotel"]
    );
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
}

/// Before the pivot, the running step is finished, then every step is undone.
#[test]
fn cancel_in_flight_finishes_the_running_step_and_compensates() {
    let mut play = Play::with_done(trip(), &["flight"]);
    assert!(play.saga.allowed_actions(play.now).contains(&Allowed::Cancel));
    assert_eq!(play.cancel().unwrap(), ["turnedBack"]);
    assert_eq!(play.saga.cause, Some(Cause::Cancelled));
    assert_eq!(
        play.cancel(),
        Err(IgnoreReason::AlreadyGoingBack),
        "a second cancellation changes nothing"
    );
    assert!(play.saga.allowed_actions(play.now).is_empty());
    assert_eq!(play.tick(), ["hotel silent", "undo hotel"], "given up: it may have happened");
    play.undone("hotel");
    assert_eq!(play.undone("flight"), ["flight undone", "compensated"]);
}

#[test]
fn cancel_during_a_pause_compensates_at_once() {
    let mut play = Play::of(trip());
    play.start();
    play.action("flight", fault()).unwrap();
    assert_eq!(play.cancel().unwrap(), ["turnedBack", "flight silent", "undo flight"]);
}

#[test]
fn cancel_is_too_late_once_the_pivot_is_sent() {
    let mut play = Play::with_done(trip(), &["flight", "hotel"]);
    assert_eq!(play.cancel(), Err(IgnoreReason::TooLate));
    assert!(play.saga.allowed_actions(play.now).is_empty());
    play.tick();
    assert_eq!(play.cancel(), Err(IgnoreReason::TooLate), "unknown, it may have happened");
    play.done("pay");
    assert_eq!(play.cancel(), Err(IgnoreReason::TooLate));
}

/// A cancellation races the last reply before the pivot. The first one to be decided wins.
#[test]
fn cancel_and_the_reply_before_the_pivot_are_settled_by_order() {
    let mut play = Play::with_done(trip(), &["flight"]);
    play.cancel().unwrap();
    assert_eq!(play.done("hotel"), ["hotel done", "undo hotel"]);
    let mut play = Play::with_done(trip(), &["flight"]);
    assert_eq!(play.done("hotel"), ["hotel done", "send pay"]);
    assert_eq!(play.cancel(), Err(IgnoreReason::TooLate));
}

#[test]
fn cancel_before_the_start_leaves_a_compensated_saga_without_commands() {
    let mut play = Play::of(trip());
    assert_eq!(play.cancel().unwrap(), ["turnedBack", "compensated"]);
    play.stands(Status::Compensated);
    assert!(play.commands.is_empty());
    assert!(play.saga.steps.iter().all(|step| step.status == StepStatus::Waiting));
    assert_eq!(play.input(&Input::Start), Err(IgnoreReason::AlreadyStarted));
}
