//! Lasting faults offer verbs to operators, oversized commands are set aside, and rejected commands
//! back off.

use crate::support::{Play, fault, name, ticket, trip, wide_trip};
use sagamore_core::decide::{Bound, decide_within};
use sagamore_core::saga::{IgnoreReason, Input, Status, StepStatus, Verb};
use sagamore_core::{Allowed, Command, Direction, Timestamp};

const EVERY_VERB: [Verb; 3] = [Verb::Retry, Verb::Skip, Verb::Resolve];

fn verbs(step: &str) -> Vec<Allowed> {
    EVERY_VERB.iter().map(|verb| Allowed::Rescue { step: name(step), verb: *verb }).collect()
}

fn allowed(play: &Play) -> Vec<Allowed> {
    play.saga
        .allowed_actions(play.now)
        .into_iter()
        .filter(|allowed| *allowed != Allowed::Cancel)
        .collect()
}

/// Feeds a step faults until they have lasted for half a minute.
fn faults(play: &mut Play, step: &str, direction: Direction) {
    let until = Timestamp(play.now.0 + 40_000);
    while play.now < until {
        if play.reply(step, direction, fault()).is_err() {
            play.tick();
        }
    }
}

#[test]
fn faults_are_shown_with_verbs_after_three_of_them_and_half_a_minute() {
    let mut play = Play::with_done(trip(), &["flight"]);
    play.action("hotel", fault()).unwrap();
    let first = play.now;
    play.tick();
    play.action("hotel", fault()).unwrap();
    play.now = Timestamp(first.0 + 60_000);
    assert_eq!(allowed(&play), [], "two faults may be chance");
    play.tick();
    play.action("hotel", fault()).unwrap();
    let open = play.saga.open_fault(1).unwrap();
    assert_eq!((open.text.as_ref(), open.count, open.since), ("the disk is full", 3, first));
    assert_eq!(allowed(&play), verbs("hotel"));
    play.now = Timestamp(first.0 + 29_999);
    assert_eq!(allowed(&play), [], "a short trouble needs no operator");
    assert_eq!(play.rescue("hotel", Verb::Skip), Err(IgnoreReason::NotStuck));
    play.now = Timestamp(first.0 + 30_000);
    assert_eq!(allowed(&play), verbs("hotel"));
    assert_eq!(play.saga.fault_shown_from(), Some(play.now));
    play.stands(Status::Running);
    play.done("hotel");
    assert_eq!((allowed(&play), play.saga.open_fault(1)), (vec![], None), "answered after all");
}

/// A participant may be gone permanently, so verbs must be offered in this case as well.
#[test]
fn a_missed_reply_is_a_fault_too() {
    let mut play = Play::with_done(trip(), &["flight", "hotel", "pay"]);
    (0..120).for_each(|_| drop(play.tick()));
    assert_eq!(play.saga.open_fault(3).unwrap().text, "no answer within 1s");
    assert_eq!(allowed(&play), verbs("letter"));
    assert_eq!(
        play.rescue("letter", Verb::Resolve).unwrap(),
        ["letter setAside", "resolve letter", "completed"]
    );
}

#[test]
fn open_faults_survive_a_crash() {
    let mut play = Play::with_done(trip(), &["flight"]);
    faults(&mut play, "hotel", Direction::Action);
    let (since, saga) = (play.saga.open_fault(1).unwrap().since, play.folded());
    assert_eq!(saga.open_fault(1).unwrap().since, since);
    assert_eq!(saga.allowed_actions(play.now), play.saga.allowed_actions(play.now));
}

/// The step is no longer resent: only the operator or a late reply decides it.
#[test]
fn a_verb_on_a_step_with_faults_sets_it_aside_first() {
    let mut play = Play::with_done(trip(), &["flight", "hotel"]);
    faults(&mut play, "pay", Direction::Action);
    let attempts = play.commands.len();
    assert_eq!(play.rescue("pay", Verb::Retry).unwrap(), ["pay setAside", "retry pay", "send pay"]);
    let command = play.commands.last().unwrap();
    assert_eq!(
        (command.id().as_str(), command.attempt),
        ("trip:7/pay/action/1", 1),
        "unknown is not refused"
    );
    assert_eq!(play.commands.len(), attempts + 1);
    assert_eq!(
        (allowed(&play), play.saga.open_fault(2)),
        (vec![], None),
        "its faults are counted again from zero"
    );
    assert_eq!(play.cancel(), Err(IgnoreReason::TooLate), "it may have happened");
    assert_eq!(play.done("pay"), ["pay done", "send letter"]);
}

#[test]
fn a_skipped_step_that_may_have_happened_is_undone_when_the_saga_turns_back() {
    for aside in [false, true] {
        let mut play = Play::with_done(trip(), &["flight"]);
        if aside {
            play.set_aside("hotel", Direction::Action).unwrap();
        } else {
            faults(&mut play, "hotel", Direction::Action);
        }
        play.rescue("hotel", Verb::Skip).unwrap();
        assert_eq!(
            (play.state("hotel").status, play.commands.last().unwrap().name.as_str()),
            (StepStatus::Skipped, "pay.do")
        );
        assert_eq!(play.refused("pay"), ["pay refused", "turnedBack", "undo hotel"]);
        assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
        assert_eq!(play.undone("flight"), ["flight undone", "compensated"]);
    }
}

#[test]
fn a_step_that_was_done_by_hand_while_it_was_unknown_is_undone_when_the_saga_turns_back() {
    let mut play = Play::with_done(trip(), &["flight"]);
    faults(&mut play, "hotel", Direction::Action);
    play.rescue("hotel", Verb::Resolve).unwrap();
    assert_eq!(play.refused("pay"), ["pay refused", "turnedBack", "undo hotel"]);
}

/// A refused step has not happened, and neither has one that was never sent.
#[test]
fn a_skipped_step_that_has_not_happened_is_not_undone() {
    let mut play = Play::with_done(trip(), &["flight", "hotel", "pay"]);
    play.refused("letter");
    play.rescue("letter", Verb::Skip).unwrap();
    assert!(!play.state("letter").may_have_happened);
}

#[test]
fn the_faults_of_an_undo_are_retried_and_shown_with_verbs() {
    for (verb, words) in [
        (Verb::Retry, vec!["hotel setAside", "retry hotel", "undo hotel"]),
        (Verb::Skip, vec!["hotel setAside", "skip hotel", "undo flight"]),
        (Verb::Resolve, vec!["hotel setAside", "resolve hotel", "undo flight"]),
    ] {
        let mut play = Play::with_done(trip(), &["flight", "hotel"]);
        play.refused("pay");
        faults(&mut play, "hotel", Direction::Compensation);
        play.stands(Status::Compensating);
        assert_eq!(allowed(&play), verbs("hotel"));
        assert_eq!(play.rescue("hotel", verb).unwrap(), words);
        assert_eq!(play.state("hotel").undo_generation, 1);
    }
}

/// The action is undone in any case.
#[test]
fn an_action_has_no_verbs_while_the_saga_compensates() {
    let mut play = Play::with_done(wide_trip(), &["plan"]);
    faults(&mut play, "hotel", Direction::Action);
    play.cancel().unwrap();
    assert_eq!(allowed(&play), []);
}

#[test]
fn a_rejected_command_backs_off_at_once_and_shows_the_reason() {
    let mut play = Play::of(trip());
    play.brokers_are_gone = true;
    play.start();
    let Command { key, attempt, .. } = play.commands[0].clone();
    let rejected = Input::Rejected { key, attempt, reason: "denied".into(), lasts: false };
    assert_eq!(play.input(&rejected).unwrap(), ["flight faulted"]);
    assert_eq!(play.saga.open_fault(0).unwrap().text, "denied");
    assert_eq!(play.input(&rejected), Err(IgnoreReason::Stale), "that attempt is over");
    assert_eq!(play.tick(), ["send flight"]);
}

#[test]
fn a_permanently_rejected_command_is_set_aside() {
    let mut play = Play::of(trip());
    play.brokers_are_gone = true;
    play.start();
    let Command { key, attempt, .. } = play.commands[0].clone();
    let rejected = Input::Rejected { key, attempt, reason: "too large".into(), lasts: true };
    assert_eq!(play.input(&rejected).unwrap(), ["flight setAside", "stuck"]);
    let compensate = Allowed::Rescue { step: name("flight"), verb: Verb::Compensate };
    assert_eq!(allowed(&play), [verbs("flight"), vec![compensate]].concat());
    let mut play = Play::of(trip());
    play.start();
    play.action("flight", ticket("flight")).unwrap();
    assert_eq!(play.input(&rejected), Err(IgnoreReason::Stale), "a reply wins");
}

/// Decides like `Play::input`, with one message that is too large.
fn too_large(play: &mut Play, message: &str, input: &Input) -> Vec<String> {
    let rejects =
        |command: &Command| (command.name.as_str() == message).then(|| "too large".to_owned());
    let bound = Bound { always: 0, rejects: &rejects };
    let decision = decide_within(play.saga.clone(), input, play.now, &mut play.rng, bound).unwrap();
    let words = decision.changes.iter().map(crate::support::words).collect();
    let (saga, entry) = decision.into_parts();
    (play.saga, _) = (saga, play.journal.extend(entry));
    words
}

fn reply(play: &Play, step: &str, direction: Direction, outcome: sagamore_core::Outcome) -> Input {
    let key = sagamore_core::StepKey {
        saga: play.saga.id.clone(),
        step: name(step),
        direction,
        generation: 1,
    };
    Input::Reply(sagamore_core::Reply { key, outcome: outcome.into(), trace: None })
}

/// The action has not happened, so even an oversized pivot allows a cancellation.
#[test]
fn an_action_that_is_too_large_is_never_sent() {
    let mut play = Play::with_done(trip(), &["flight"]);
    let done = reply(&play, "hotel", Direction::Action, ticket("hotel"));
    assert_eq!(too_large(&mut play, "pay.do", &done), ["hotel done", "pay setAside", "stuck"]);
    assert_eq!(
        (play.state("pay").status, play.state("pay").wait.is_held()),
        (StepStatus::Waiting, true)
    );
    assert_eq!(play.folded(), play.saga);
    assert_eq!(play.saga.open_fault(2).unwrap().text, "too large");
    assert_eq!(allowed(&play), verbs("pay"));
    let rescue = |verb| Input::Rescue(sagamore_core::saga::Rescue::new(name("pay"), verb, "ada"));
    assert_eq!(
        too_large(&mut play, "pay.do", &rescue(Verb::Retry)),
        ["retry pay", "resumed", "pay setAside", "stuck"]
    );
    assert_eq!(play.cancel().unwrap(), ["resumed", "turnedBack", "undo hotel"]);
    assert_eq!(allowed(&play), []);
    assert_eq!(
        (play.undone("hotel")[1].as_str(), play.undone("flight")[1].as_str()),
        ("undo flight", "compensated")
    );
}

#[test]
fn other_steps_continue_beside_an_oversized_command() {
    let mut play = Play::of(wide_trip());
    play.start();
    let done = reply(&play, "plan", Direction::Action, ticket("plan"));
    assert_eq!(
        too_large(&mut play, "hotel.do", &done),
        ["plan done", "send flight", "hotel setAside", "send car"]
    );
    play.stands(Status::Running);
    play.acknowledge();
    play.done("flight");
    assert_eq!(play.done("car"), ["car done", "stuck"]);
    assert_eq!(
        play.rescue("hotel", Verb::Retry).unwrap(),
        ["retry hotel", "resumed", "send hotel"]
    );
}

#[test]
fn an_undo_that_is_too_large_is_set_aside() {
    let mut play = Play::with_done(trip(), &["flight", "hotel"]);
    let no = reply(&play, "pay", Direction::Action, crate::support::no());
    assert_eq!(
        too_large(&mut play, "hotel.undo", &no),
        ["pay refused", "turnedBack", "hotel setAside", "stuck"]
    );
    assert_eq!(
        (play.state("hotel").status, play.state("hotel").wait.is_held()),
        (StepStatus::Undoing, true)
    );
    assert_eq!(play.folded(), play.saga);
    assert_eq!(allowed(&play), verbs("hotel"));
    assert_eq!(
        play.rescue("hotel", Verb::Retry).unwrap(),
        ["retry hotel", "resumed", "undo hotel"]
    );
}
