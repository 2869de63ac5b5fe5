//! Going back: cancel, giving up, the order of undos, and answers that come while it happens.

use crate::support::{Play, fault, name, no, ticket, trip, wide_trip};
use sagamore_core::saga::{Cause, Ignored, Input, Status, StepStatus, Verb};
use sagamore_core::{Allowed, Outcome, Refusal, Timestamp, message::code};

/// A plan whose flight and hotel are asked at most twice.
fn impatient() -> sagamore_core::definition::Draft {
    let mut draft = trip();
    draft.steps[0].patience.attempts_max = Some(2);
    draft.steps[1].patience.attempts_max = Some(2);
    draft
}

/// An unknown step may have happened: it is undone as well as those before it.
#[test]
fn a_step_given_up_is_compensated_like_a_done_one() {
    let mut play = Play::with_done(impatient(), &["flight"]);
    assert_eq!(play.tick(), ["hotel silent"]);
    assert_eq!(play.tick(), ["ask hotel"]);
    assert_eq!(play.tick(), ["hotel silent", "turnedBack", "undo hotel"]);
    assert_eq!(play.saga.cause, Some(Cause::GivenUp(name("hotel"))));
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
    assert_eq!(play.undone("flight"), ["flight undone", "compensated"]);
}

/// A fault promises nothing about an earlier attempt, which may still be on its way.
#[test]
fn a_step_given_up_after_a_fault_is_compensated_too() {
    let mut play = Play::of(impatient());
    play.start();
    assert_eq!(play.action("flight", fault()).unwrap(), ["flight faulted"]);
    assert_eq!(play.tick(), ["ask flight"]);
    assert_eq!(play.action("flight", fault()).unwrap(), ["flight faulted", "turnedBack", "undo flight"]);
    assert_eq!(play.saga.cause, Some(Cause::GivenUp(name("flight"))));
}

/// By default attempts are unlimited; the saga's deadline runs on meanwhile and starts compensation, before the pivot.
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
fn a_late_success_after_turning_back_is_recorded_and_undone_and_never_goes_forward() {
    let mut play = Play::with_done(trip(), &["flight"]);
    assert_eq!(play.cancel().unwrap(), ["turnedBack"], "the hotel's answer is waited for");
    assert_eq!(play.done("hotel"), ["hotel done", "undo hotel"]);
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
}

#[test]
fn a_success_that_comes_while_the_step_is_being_undone_is_only_kept() {
    let mut play = Play::with_done(impatient(), &["flight"]);
    (0..3).for_each(|_| drop(play.tick()));
    assert_eq!(play.state("hotel").status, StepStatus::Undoing);
    assert_eq!(play.done("hotel"), ["hotel done"]);
    assert_eq!(play.state("hotel").status, StepStatus::Undoing);
    assert!(play.state("hotel").output.is_some());
    assert_eq!(play.action("hotel", ticket("hotel")), Err(Ignored::Stale));
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
}

/// The barrier decides, by the undo's own reply: done, nothing to undo.
#[test]
fn a_late_failure_while_a_step_is_being_undone_leaves_the_decision_to_the_undo() {
    let mut play = Play::with_done(impatient(), &["flight"]);
    (0..3).for_each(|_| drop(play.tick()));
    let tombstone = Outcome::Refused(Refusal::new(code::ALREADY_COMPENSATED, "never ran"));
    assert_eq!(play.action("hotel", tombstone), Err(Ignored::Stale));
    assert_eq!(play.action("hotel", no()), Err(Ignored::Stale));
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
    assert_eq!(play.action("hotel", no()), Err(Ignored::Stale), "after its undo");
}

#[test]
fn cancel_undoes_unknown_steps_at_once() {
    let mut play = Play::with_done(wide_trip(), &["plan"]);
    play.tick(); // all three are silent
    assert_eq!(
        play.cancel().unwrap(),
        ["turnedBack", "flight silent", "hotel silent", "car silent", "undo flight", "undo hotel", "undo car"]
    );
}

/// It was silent for a while, and then said no: nothing happened.
#[test]
fn a_late_refusal_of_an_unknown_step_leaves_nothing_to_undo() {
    let mut play = Play::with_done(wide_trip(), &["plan"]);
    play.tick();
    assert_eq!(play.refused("hotel")[..2], ["hotel refused", "turnedBack"]);
    assert_eq!(play.state("hotel").status, StepStatus::Refused);
    assert!(!play.commands.iter().any(|command| command.id() == "trip:7/hotel/compensation/1"));
}

/// No sibling is launched or asked again; those in flight are waited for, or timed out; then all are undone.
#[test]
fn when_a_parallel_branch_fails_its_siblings_are_waited_for_or_timed_out_and_undone() {
    let mut play = Play::with_done(wide_trip(), &["plan"]);
    assert_eq!(play.refused("flight"), ["flight refused", "turnedBack"]);
    assert_eq!(play.done("hotel"), ["hotel done", "undo hotel"], "an independent undo need not wait");
    assert_eq!(play.undone("hotel"), ["hotel undone"], "the plan waits for the car");
    assert_eq!(play.tick(), ["car silent", "undo car"], "not asked again: it may have happened");
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
    assert_eq!(play.refused("pay"), ["pay refused", "turnedBack", "undo flight", "undo hotel", "undo car"]);
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

/// Past every limit that the definition sets for the action.
#[test]
fn an_undo_is_asked_for_ever_through_faults_and_silence() {
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
fn a_refused_undo_lets_the_independent_ones_go_on_and_then_the_saga_is_stuck() {
    let mut play = Play::with_done(wide_trip(), &["plan", "flight", "hotel", "car"]);
    play.refused("pay");
    assert_eq!(play.undo_refused("hotel"), ["hotel undoRefused"]);
    play.stands(Status::Compensating);
    assert_eq!(play.undone("car"), ["car undone"]);
    assert_eq!(play.undone("flight"), ["flight undone", "stuck"], "the plan is held up by the hotel");
    assert_eq!(play.state("hotel").status, StepStatus::UndoFailed);
    assert_eq!(play.state("plan").status, StepStatus::Done);
    assert_eq!(play.cancel(), Err(Ignored::AlreadyGoingBack));
}

#[test]
fn a_stuck_saga_still_takes_replies() {
    let mut play = Play::with_done(impatient(), &["flight"]);
    (0..3).for_each(|_| drop(play.tick()));
    assert_eq!(play.undo_refused("hotel"), ["hotel undoRefused", "stuck"]);
    assert_eq!(play.done("hotel"), ["hotel done"], "what was booked is known at last");
    assert_eq!(play.state("hotel").status, StepStatus::UndoFailed);
    play.stands(Status::Stuck);
    assert_eq!(play.rescue("hotel", Verb::Retry).unwrap(), ["retry hotel", "resumed", "undo hotel"]);
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
}

/// Until the pivot is asked: the running step is finished, then all is undone.
#[test]
fn cancel_in_flight_finishes_the_running_step_and_compensates() {
    let mut play = Play::with_done(trip(), &["flight"]);
    assert!(play.saga.allowed_actions(play.now).contains(&Allowed::Cancel));
    assert_eq!(play.cancel().unwrap(), ["turnedBack"]);
    assert_eq!(play.saga.cause, Some(Cause::Cancelled));
    assert_eq!(play.cancel(), Err(Ignored::AlreadyGoingBack), "twice is as good as once");
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
fn cancel_is_too_late_once_the_pivot_is_asked() {
    let mut play = Play::with_done(trip(), &["flight", "hotel"]);
    assert_eq!(play.cancel(), Err(Ignored::TooLate));
    assert!(play.saga.allowed_actions(play.now).is_empty());
    play.tick();
    assert_eq!(play.cancel(), Err(Ignored::TooLate), "unknown, it may have happened");
    play.done("pay");
    assert_eq!(play.cancel(), Err(Ignored::TooLate));
}

/// Cancel and the last answer before the pivot at once: whichever is decided first settles it.
#[test]
fn cancel_and_the_reply_that_leads_to_the_pivot_are_settled_by_order() {
    let mut play = Play::with_done(trip(), &["flight"]);
    play.cancel().unwrap();
    assert_eq!(play.done("hotel"), ["hotel done", "undo hotel"]);
    let mut play = Play::with_done(trip(), &["flight"]);
    assert_eq!(play.done("hotel"), ["hotel done", "ask pay"]);
    assert_eq!(play.cancel(), Err(Ignored::TooLate));
}

#[test]
fn cancel_before_the_start_leaves_a_compensated_saga_with_no_step_asked() {
    let mut play = Play::of(trip());
    assert_eq!(play.cancel().unwrap(), ["turnedBack", "compensated"]);
    play.stands(Status::Compensated);
    assert!(play.commands.is_empty());
    assert!(play.saga.steps.iter().all(|step| step.status == StepStatus::Waiting));
    assert_eq!(play.input(&Input::Start), Err(Ignored::AlreadyStarted));
}
