//! A step is *sending* until the transport acknowledges its command. No deadline runs before that.

use std::time::Duration;

use crate::support::{Play, fault, no, ticket, trip};
use sagamore_core::saga::{IgnoreReason, Input, Status, StepState, StepStatus, Wait};
use sagamore_core::{Command, Direction, Timestamp};

/// Returns a trip whose flight is given up after one missed reply, with no command acknowledged
/// yet.
fn unsent() -> Play {
    let mut draft = trip();
    draft.steps[0].patience.attempts_max = Some(1);
    let mut play = Play::of(draft);
    play.brokers_are_gone = true;
    play.start();
    play
}

fn acknowledge(play: &mut Play, command: &Command) -> bool {
    play.saga.acknowledge(&command.key, command.attempt, play.now)
}

fn is_sending(step: &StepState) -> bool {
    matches!(step.wait, Wait::Sending { .. })
}

#[test]
fn no_deadline_runs_before_the_transport_has_acknowledged_the_command() {
    let mut play = unsent();
    assert_eq!((is_sending(play.state("flight")), play.saga.next_due()), (true, None));
    play.now = play.now.plus(Duration::from_secs(3600));
    assert_eq!(play.input(&Input::Tick), Err(IgnoreReason::NothingDue));
    let sent = play.commands[0].clone();
    assert!(acknowledge(&mut play, &sent));
    assert_eq!(play.saga.next_due(), Some(play.now.plus(Duration::from_secs(1))));
    assert_eq!(play.tick(), ["flight silent", "turnedBack", "undo flight"]);
}

#[test]
fn a_reply_before_the_acknowledgement_wins() {
    for outcome in [ticket("flight"), no(), fault()] {
        let mut play = Play::of(trip());
        play.brokers_are_gone = true;
        play.start();
        play.action("flight", outcome).unwrap();
        let (sent, due) = (play.commands[0].clone(), play.state("flight").wait.due());
        assert!(!acknowledge(&mut play, &sent), "its attempt is over");
        assert_eq!(play.state("flight").wait.due(), due);
    }
}

/// Only the attempt in flight counts, in its direction and generation. Repeated and late
/// acknowledgements do not.
#[test]
fn the_acknowledgement_of_another_attempt_arms_nothing() {
    let mut play = Play::of(trip());
    play.start();
    let first = play.commands[0].clone();
    assert!(!acknowledge(&mut play, &first), "its deadline already runs");
    play.tick();
    play.brokers_are_gone = true;
    play.tick();
    assert_eq!((play.state("flight").attempts, is_sending(play.state("flight"))), (2, true));
    assert!(!acknowledge(&mut play, &first));
    let mut other = play.commands[1].clone();
    other.key.direction = Direction::Compensation;
    assert!(!acknowledge(&mut play, &other));
    let mut other = play.commands[1].clone();
    other.key.generation = 2;
    assert!(!acknowledge(&mut play, &other));
    let second = play.commands[1].clone();
    assert!(acknowledge(&mut play, &second));
}

/// The command may have been sent, so its reply is awaited.
#[test]
fn a_saga_that_turns_back_waits_for_commands_in_flight() {
    let mut play = unsent();
    assert_eq!(play.cancel().unwrap(), ["turnedBack"]);
    play.stands(Status::Compensating);
    play.acknowledge_all();
    assert_eq!(play.tick(), ["flight silent", "undo flight"]);
}

/// A skipped command would use up one of the limited attempts.
#[test]
fn a_command_whose_attempts_are_limited_does_not_expire() {
    assert_eq!(unsent().commands[0].expires_at, None);
    let mut play = Play::of(trip());
    play.start();
    assert!(play.commands[0].expires_at.is_some());
}

/// A saga that is not in memory is reloaded from the journal. Its timers continue unchanged.
#[test]
fn a_reloaded_saga_gets_its_timers_back() {
    let mut play = Play::of(trip());
    play.start();
    (0..60).for_each(|_| drop(play.tick()));
    let mut read = play.folded();
    read.set_timers(Some(&play.saga.timers()), play.now);
    assert_eq!(
        (read.next_due(), read.steps[0].attempts),
        (play.saga.next_due(), play.state("flight").attempts)
    );
    assert_eq!(
        (read.steps[0].status, is_sending(&read.steps[0])),
        (play.state("flight").status, false)
    );
}

/// An acknowledgement also applies to a saga that is not in memory.
#[test]
fn timers_accept_the_acknowledgement_of_a_command_in_flight() {
    let play = unsent();
    let (mut timers, due) = (play.saga.timers(), Timestamp(play.now.0 + 7_000));
    assert!(
        !timers.acknowledge(0, 2, due) && !timers.acknowledge(1, 1, due),
        "another attempt, another step"
    );
    assert!(timers.acknowledge(0, 1, due) && !timers.acknowledge(0, 1, due), "once");
    let mut read = play.folded();
    read.set_timers(Some(&timers), play.now);
    assert_eq!(read.next_due(), Some(due));
}

/// A step without a timer would otherwise wait indefinitely.
#[test]
fn without_timers_of_its_revision_a_saga_waits_from_now() {
    let mut play = unsent();
    let old = play.saga.timers();
    play.cancel().unwrap();
    for timers in [None, Some(&old)] {
        let mut read = play.folded();
        let now = play.now.plus(Duration::from_secs(60));
        read.set_timers(timers, now);
        assert_eq!(
            (read.steps[0].status, read.next_due()),
            (StepStatus::Asked, Some(now.plus(Duration::from_secs(1))))
        );
    }
}
