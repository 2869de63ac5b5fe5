//! Forward execution: order, late, repeated and missing replies, and the point of no return.

use crate::support::{Play, definition, fault, name, no, step, ticket, trip, wide_trip};
use sagamore_core::definition::Kind;
use sagamore_core::saga::{Cause, IgnoreReason, Input, Status, StepStatus, Verb};
use sagamore_core::{Allowed, Body, Direction, Outcome, Timestamp};

#[test]
fn steps_are_sent_in_order_until_the_saga_completes() {
    let mut play = Play::of(trip());
    assert_eq!(play.start(), ["started", "send flight"]);
    assert_eq!(play.done("flight"), ["flight done", "send hotel"]);
    assert_eq!(play.done("hotel"), ["hotel done", "send pay"]);
    assert_eq!(play.done("pay"), ["pay done", "send letter"]);
    assert_eq!(play.done("letter"), ["letter done", "completed"]);
    play.stands(Status::Completed);
    assert_eq!(play.saga.revision, 5);
    assert_eq!(play.saga.next_due(), None);
}

/// Siblings that reply at once are decided one after another. The last one sends the join, once.
#[test]
fn parallel_steps_are_sent_together_and_the_join_once() {
    let mut play = Play::of(wide_trip());
    assert_eq!(play.start(), ["started", "send plan"]);
    assert_eq!(play.done("plan"), ["plan done", "send flight", "send hotel", "send car"]);
    assert_eq!(play.done("car"), ["car done"]);
    assert_eq!(play.done("flight"), ["flight done"]);
    assert_eq!(play.done("hotel"), ["hotel done", "send pay"]);
    assert_eq!(play.done("pay"), ["pay done", "send letter", "send points"]);
    assert_eq!(play.done("points"), ["points done"]);
    assert_eq!(play.done("letter"), ["letter done", "send survey"]);
}

#[test]
fn siblings_that_reply_at_once_lead_to_the_same_join_in_any_order() {
    for order in
        [["flight", "hotel", "car"], ["car", "hotel", "flight"], ["hotel", "car", "flight"]]
    {
        let mut play = Play::with_done(wide_trip(), &["plan"]);
        assert_eq!(play.done(order[0]).len(), 1);
        assert_eq!(play.done(order[1]).len(), 1);
        assert_eq!(play.done(order[2])[1..], ["send pay"]);
    }
}

#[test]
fn a_saga_is_started_once() {
    let mut play = Play::of(trip());
    play.start();
    assert_eq!(play.input(&Input::Start), Err(IgnoreReason::AlreadyStarted));
}

#[test]
fn a_repeated_reply_changes_nothing() {
    let mut play = Play::with_done(trip(), &["flight"]);
    assert_eq!(play.action("flight", ticket("flight")), Err(IgnoreReason::Stale));
    assert_eq!(play.action("flight", no()), Err(IgnoreReason::Stale));
    assert_eq!(play.state("flight").status, StepStatus::Done);
}

/// The deadline has passed, and a resend is due soon. The first attempt's reply still wins and ends
/// the pause.
#[test]
fn a_late_success_counts_while_the_saga_goes_forward() {
    let mut play = Play::of(trip());
    play.start();
    assert_eq!(play.tick(), ["flight silent"]);
    assert_eq!(play.state("flight").status, StepStatus::Unknown);
    assert_eq!(play.done("flight"), ["flight done", "send hotel"]);
    assert_eq!(play.state("flight").wait.due(), None);
}

#[test]
fn a_late_success_counts_while_the_resend_is_in_flight() {
    let mut play = Play::of(trip());
    play.start();
    play.tick();
    assert_eq!(play.tick(), ["send flight"]);
    assert_eq!(play.done("flight"), ["flight done", "send hotel"]);
    assert_eq!(
        play.action("flight", ticket("flight")),
        Err(IgnoreReason::Stale),
        "the second attempt's reply"
    );
}

/// After a lost reply, the command is resent with the same id, without a limit.
#[test]
fn a_step_without_a_reply_is_resent_with_the_same_id() {
    let mut play = Play::of(trip());
    play.start();
    for attempt in 2..50 {
        assert_eq!(play.tick(), ["flight silent"]);
        assert_eq!(play.tick(), ["send flight"]);
        let command = play.commands.last().unwrap();
        assert_eq!((command.id().as_str(), command.attempt), ("trip:7/flight/action/1", attempt));
    }
    play.stands(Status::Running);
    assert_eq!(play.done("flight"), ["flight done", "send hotel"]);
}

#[test]
fn replies_to_older_steps_other_sagas_and_unknown_steps_are_rejected() {
    let mut play = Play::with_done(trip(), &["flight", "hotel"]);
    assert_eq!(play.action("flight", ticket("flight")), Err(IgnoreReason::Stale));
    assert_eq!(play.action("letter", ticket("letter")), Err(IgnoreReason::Stale), "never sent");
    assert_eq!(
        play.undo("flight", Outcome::Done(Body::empty())),
        Err(IgnoreReason::Stale),
        "its undo was never sent"
    );
    assert_eq!(play.action("sauna", ticket("sauna")), Err(IgnoreReason::NoSuchStep));
    let mut other = Play::of(trip());
    other.start();
    let mut key = other.commands[0].key.clone();
    key.saga = "trip:8".parse().unwrap();
    let reply = sagamore_core::Reply { key, outcome: ticket("flight").into(), trace: None };
    assert_eq!(other.input(&Input::Reply(reply)), Err(IgnoreReason::Stale));
}

#[test]
fn a_reply_of_another_generation_is_rejected() {
    let mut play = Play::with_done(trip(), &["flight", "hotel", "pay"]);
    play.refused("letter");
    assert_eq!(
        play.rescue("letter", Verb::Retry).unwrap(),
        ["retry letter", "resumed", "send letter"]
    );
    assert_eq!(play.commands.last().unwrap().id(), "trip:7/letter/action/2");
    assert_eq!(play.reply_of("letter", Direction::Action, 1, no()), Err(IgnoreReason::Stale));
    assert_eq!(
        play.reply_of("letter", Direction::Action, 1, ticket("letter")),
        Err(IgnoreReason::Stale)
    );
    assert_eq!(
        play.reply_of("letter", Direction::Action, 3, ticket("letter")),
        Err(IgnoreReason::Stale)
    );
    assert_eq!(play.done("letter"), ["letter done", "completed"]);
}

#[test]
fn a_finished_saga_ignores_every_input() {
    let mut completed = Play::with_done(trip(), &["flight", "hotel", "pay", "letter"]);
    let mut compensated = Play::of(trip());
    compensated.start();
    compensated.refused("flight");
    for (play, status) in
        [(&mut completed, Status::Completed), (&mut compensated, Status::Compensated)]
    {
        play.stands(status);
        assert_eq!(play.action("letter", ticket("letter")), Err(IgnoreReason::Ended));
        assert_eq!(play.undo("flight", no()), Err(IgnoreReason::Ended));
        play.now = Timestamp(i64::MAX);
        assert_eq!(play.input(&Input::Tick), Err(IgnoreReason::Ended));
        assert_eq!(play.cancel(), Err(IgnoreReason::Ended));
        assert_eq!(play.rescue("letter", Verb::Skip), Err(IgnoreReason::Ended));
        assert_eq!(play.input(&Input::Start), Err(IgnoreReason::AlreadyStarted));
    }
}

/// A fault stores nothing. The command is resent after a pause that doubles up to a maximum.
#[test]
fn a_fault_is_resent_after_a_growing_pause_and_never_refused() {
    let mut play = Play::of(trip());
    play.start();
    for whole in [100, 200, 400, 800, 800, 800] {
        assert_eq!(play.action("flight", fault()).unwrap(), ["flight faulted"]);
        let step = play.state("flight");
        assert_eq!(
            (step.status, step.fault.as_deref()),
            (StepStatus::Asked, Some("the disk is full"))
        );
        let pause = step.wait.due().unwrap().since(play.now).as_millis();
        assert!((whole / 2..=whole).contains(&pause), "{pause} ms of {whole}");
        assert!(play.saga.outstanding().is_empty());
        assert_eq!(
            play.action("flight", fault()),
            Err(IgnoreReason::Stale),
            "the same fault twice"
        );
        assert_eq!(play.tick(), ["send flight"]);
    }
}

#[test]
fn the_pauses_of_two_sagas_differ() {
    let pause = |seed| {
        let mut play = Play::of(trip());
        play.rng = fastrand::Rng::with_seed(seed);
        play.start();
        play.action("flight", fault()).unwrap();
        play.state("flight").wait.due()
    };
    assert!((0..20).map(pause).collect::<std::collections::BTreeSet<_>>().len() > 5);
}

/// A refusal is final: it is not retried, and the compensation starts at once.
#[test]
fn a_refusal_before_the_pivot_starts_compensation_and_no_retry() {
    let mut play = Play::with_done(trip(), &["flight"]);
    assert_eq!(play.refused("hotel"), ["hotel refused", "turnedBack", "undo flight"]);
    assert_eq!(play.saga.cause, Some(Cause::Refused(name("hotel"))));
    assert_eq!(play.state("hotel").refusal.as_ref().unwrap().code, "no");
    assert_eq!(play.undone("flight"), ["flight undone", "compensated"]);
}

#[test]
fn a_refused_pivot_undoes_everything_before_it() {
    let mut play = Play::with_done(trip(), &["flight", "hotel"]);
    assert_eq!(play.refused("pay"), ["pay refused", "turnedBack", "undo hotel"]);
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
    assert_eq!(play.undone("flight"), ["flight undone", "compensated"]);
}

/// From the pivot on, faults and missed replies are retried without a limit of time.
#[test]
fn from_the_pivot_on_a_saga_goes_forward_only() {
    let mut draft = trip();
    draft.deadline_ms = Some(60_000);
    let mut play = Play::with_done(draft, &["flight", "hotel"]);
    for _ in 0..100 {
        assert_eq!(play.tick(), ["pay silent"]);
        assert_eq!(play.tick(), ["send pay"]);
    }
    assert!(play.now.since(play.saga.started_at).as_millis() > 60_000);
    assert_eq!(play.cancel(), Err(IgnoreReason::TooLate));
    assert_eq!(play.done("pay"), ["pay done", "send letter"]);
    for _ in 0..100 {
        assert_eq!(play.tick(), ["letter silent"]);
        assert_eq!(play.tick(), ["send letter"]);
    }
    assert_eq!(play.cancel(), Err(IgnoreReason::TooLate));
    assert_eq!(play.done("letter"), ["letter done", "completed"]);
}

#[test]
fn a_refusal_after_the_pivot_makes_the_saga_stuck_once_it_is_at_rest() {
    let mut play = Play::with_done(wide_trip(), &["plan", "flight", "hotel", "car", "pay"]);
    assert_eq!(play.refused("letter"), ["letter refused"]);
    play.stands(Status::Running);
    assert_eq!(play.done("points"), ["points done", "stuck"]);
    play.stands(Status::Stuck);
    assert_eq!(play.saga.cause, None, "nothing is undone");
    assert_eq!(play.cancel(), Err(IgnoreReason::TooLate));
}

/// The output is accepted, because a resend would return the same stored reply. Only steps that
/// need the missing field cannot run.
#[test]
fn an_output_without_a_promised_field_is_accepted_and_reported() {
    let mut play = Play::of(trip());
    play.start();
    assert_eq!(
        play.action("flight", Outcome::Done(Body::empty())).unwrap(),
        ["flight done", "send hotel"]
    );
    let told = play.state("flight").fault.as_deref();
    assert_eq!(told, Some("the output of 'flight' lacks the field 'ticket' that it yields"));
}

/// Returns flight -> hotel -> pay -> letter, where the hotel's action or undo needs the flight's
/// ticket.
fn hotel_of_flight(command: &str) -> sagamore_core::definition::Draft {
    let mut draft = serde_json::to_value(trip()).unwrap();
    draft["steps"][1][command]["fields"]["flight"] = "flight.ticket".into();
    serde_json::from_value(draft).unwrap()
}

/// The same holds for a step whose undo lacks an input.
#[test]
fn a_step_whose_input_is_missing_waits_for_a_person() {
    for command in ["action", "compensation"] {
        let stuck = || {
            let mut play = Play::of(hotel_of_flight(command));
            play.start();
            assert_eq!(
                play.action("flight", Outcome::Done(Body::empty())).unwrap(),
                ["flight done", "stuck"]
            );
            play
        };
        let hotel = |verb| Allowed::Rescue { step: name("hotel"), verb };
        let offered = [Allowed::Cancel, hotel(Verb::Skip), hotel(Verb::Resolve)];
        assert_eq!(stuck().saga.allowed_actions(Timestamp(0)), offered);
        assert_eq!(stuck().saga.stuck_steps(Timestamp(0)).collect::<Vec<_>>(), [1]);
        assert_eq!(stuck().rescue("hotel", Verb::Retry), Err(IgnoreReason::NotStuck));
        assert_eq!(
            stuck().rescue("hotel", Verb::Skip).unwrap(),
            ["skip hotel", "resumed", "send pay"]
        );
        assert_eq!(
            stuck().rescue("hotel", Verb::Resolve).unwrap(),
            ["resolve hotel", "resumed", "send pay"]
        );
        assert_eq!(stuck().cancel().unwrap(), ["resumed", "turnedBack", "undo flight"]);
    }
}

#[test]
fn without_a_pivot_the_end_is_the_point_of_no_return() {
    let mut play = Play::of(definition(vec![step("flight", Kind::Compensatable, &[])]));
    play.start();
    assert_eq!(play.cancel().unwrap(), ["turnedBack"]);
    let mut play = Play::of(definition(vec![step("flight", Kind::Compensatable, &[])]));
    play.start();
    assert_eq!(play.done("flight"), ["flight done", "completed"]);
    assert_eq!(play.cancel(), Err(IgnoreReason::Ended));
}

/// A tick that is early, repeated or late changes nothing, because due times are part of the saga.
#[test]
fn a_stale_timer_changes_nothing() {
    let mut play = Play::of(trip());
    play.start();
    let due = play.saga.next_due().unwrap();
    play.now = Timestamp(due.0 - 1);
    assert_eq!(play.input(&Input::Tick), Err(IgnoreReason::NothingDue));
    play.now = due;
    assert_eq!(play.input(&Input::Tick).unwrap(), ["flight silent"]);
    assert_eq!(play.input(&Input::Tick), Err(IgnoreReason::NothingDue), "the same timer again");
    play.done("flight");
    assert_eq!(
        play.input(&Input::Tick),
        Err(IgnoreReason::NothingDue),
        "the timer of an answered step"
    );
}

/// A deadline is not restored: the command is resent, and its acknowledgement starts the deadline.
#[test]
fn due_times_are_restored_from_the_journal() {
    let mut play = Play::of(trip());
    play.start();
    play.action("flight", fault()).unwrap();
    let due = play.saga.next_due();
    play.saga = play.folded();
    assert_eq!(play.saga.next_due(), due, "a pause goes on");
    assert_eq!(play.tick(), ["send flight"]);
    play.saga = play.folded();
    assert_eq!(
        (play.saga.next_due(), play.saga.outstanding()),
        (None, vec![(0, Direction::Action)])
    );
    play.acknowledge();
    assert_eq!(play.tick(), ["flight silent"]);
}

#[test]
fn inputs_before_the_start_are_ignored() {
    let mut play = Play::of(trip());
    assert_eq!(play.action("flight", ticket("flight")), Err(IgnoreReason::Stale));
    assert_eq!(play.input(&Input::Tick), Err(IgnoreReason::NothingDue));
    assert_eq!(play.rescue("flight", Verb::Skip), Err(IgnoreReason::NotStuck));
}
