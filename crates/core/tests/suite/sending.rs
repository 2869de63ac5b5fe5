//! A step is *sending* until the transport acknowledges its command: no deadline runs before.

use std::time::Duration;

use crate::support::{Play, fault, no, ticket, trip};
use sagamore_core::saga::{Ignored, Input, Status, StepStatus};
use sagamore_core::{Command, Direction, Timestamp};

/// A trip whose flight is given up after one silence, with nothing sent yet.
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

#[test]
fn no_deadline_runs_before_the_transport_has_acknowledged_the_command() {
    let mut play = unsent();
    assert_eq!((play.state("flight").sending, play.saga.next_due()), (true, None));
    play.now = play.now.plus(Duration::from_secs(3600));
    assert_eq!(play.input(&Input::Tick), Err(Ignored::NothingDue));
    let sent = play.commands[0].clone();
    assert!(acknowledge(&mut play, &sent));
    assert_eq!(play.saga.next_due(), Some(play.now.plus(Duration::from_secs(1))));
    assert_eq!(play.tick(), ["flight silent", "turnedBack", "undo flight"]);
}

#[test]
fn an_answer_that_comes_before_the_acknowledgement_wins() {
    for outcome in [ticket("flight"), no(), fault()] {
        let mut play = Play::of(trip());
        play.brokers_are_gone = true;
        play.start();
        play.action("flight", outcome).unwrap();
        let (sent, due) = (play.commands[0].clone(), play.state("flight").due);
        assert!(!acknowledge(&mut play, &sent), "its attempt is over");
        assert_eq!(play.state("flight").due, due);
    }
}

/// Acknowledged twice, or late: only the attempt that is being sent counts, in its direction and generation.
#[test]
fn the_acknowledgement_of_another_attempt_arms_nothing() {
    let mut play = Play::of(trip());
    play.start();
    let first = play.commands[0].clone();
    assert!(!acknowledge(&mut play, &first), "it is armed already");
    play.tick();
    play.brokers_are_gone = true;
    play.tick();
    assert_eq!((play.state("flight").attempts, play.state("flight").sending), (2, true));
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

/// The command may have been sent, so its answer is awaited.
#[test]
fn a_saga_that_turns_back_waits_for_what_is_being_sent() {
    let mut play = unsent();
    assert_eq!(play.cancel().unwrap(), ["turnedBack"]);
    play.stands(Status::Compensating);
    play.acknowledge_all();
    assert_eq!(play.tick(), ["flight silent", "undo flight"]);
}

/// A skipped command would use up an attempt of those that are limited.
#[test]
fn a_command_whose_attempts_are_limited_does_not_expire() {
    assert_eq!(unsent().commands[0].expires_at, None);
    let mut play = Play::of(trip());
    play.start();
    assert!(play.commands[0].expires_at.is_some());
}

/// What is not in memory is read from the journal; its timers go on as they were.
#[test]
fn a_saga_that_is_read_again_gets_its_timers_back() {
    let mut play = Play::of(trip());
    play.start();
    (0..60).for_each(|_| drop(play.tick()));
    let mut read = play.folded();
    read.set_timers(Some(&play.saga.timers()), play.now);
    assert_eq!((read.next_due(), read.steps[0].attempts), (play.saga.next_due(), play.state("flight").attempts));
    assert_eq!((read.steps[0].status, read.steps[0].sending), (play.state("flight").status, false));
}

/// The acknowledgement finds a saga that is not in memory, too.
#[test]
fn timers_take_the_acknowledgement_of_what_is_being_sent() {
    let play = unsent();
    let (mut timers, due) = (play.saga.timers(), Timestamp(play.now.0 + 7_000));
    assert!(!timers.acknowledge(0, 2, due) && !timers.acknowledge(1, 1, due), "another attempt, another step");
    assert!(timers.acknowledge(0, 1, due) && !timers.acknowledge(0, 1, due), "once");
    let mut read = play.folded();
    read.set_timers(Some(&timers), play.now);
    assert_eq!(read.next_due(), Some(due));
}

/// Late rather than never: a step that nothing is known of would wait without end.
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
