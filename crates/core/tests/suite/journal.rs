//! What is written of a saga: how much, what need not be, and what it tells of the time.

use crate::support::{Play, fault, told, trip, wide_trip};
use sagamore_core::saga::{Ignored, Status, StepStatus};
use sagamore_core::{Direction, Saga, Timestamp};

#[test]
fn a_question_that_nobody_answers_writes_few_entries_however_often_it_is_asked() {
    let mut play = Play::of(trip());
    play.start();
    for _ in 0..10_000 {
        assert_eq!(play.tick(), ["flight silent"]);
        assert_eq!(play.tick(), ["ask flight"]);
    }
    assert_eq!((play.state("flight").attempts, play.commands.len()), (10_001, 10_001), "every repeat is sent");
    assert!(play.journal.len() < 40, "{} entries", play.journal.len());
    assert_eq!(play.saga.revision, play.journal.len() as u64);
    assert_eq!(play.done("flight"), ["flight done", "ask hotel"]);
}

#[test]
fn faults_and_undos_without_end_write_few_entries_too() {
    let mut draft = trip();
    draft.steps[0].patience.attempts_max = Some(2);
    let mut play = Play::with_done(draft, &["flight"]);
    for _ in 0..2_000 {
        play.action("hotel", fault()).unwrap();
        assert_eq!(play.tick(), ["ask hotel"]);
    }
    play.refused("hotel");
    for _ in 0..2_000 {
        play.undo("flight", fault()).unwrap();
        assert_eq!(play.tick(), ["undo flight"]);
    }
    assert!(play.journal.len() < 70, "{} entries", play.journal.len());
    assert_eq!(play.undone("flight"), ["flight undone", "compensated"]);
}

/// The question is in the journal, under the id that all its repeats have: whoever takes over asks it again at once.
#[test]
fn after_a_crash_the_attempts_go_on_from_the_last_one_that_was_written() {
    let mut play = Play::of(trip());
    play.start();
    while play.state("flight").attempts < 30 {
        play.tick();
    }
    play.tick();
    assert_eq!(play.state("flight").status, StepStatus::Unknown);
    let folded = play.folded();
    assert_eq!(folded.outstanding(), [(0, Direction::Action)]);
    assert_eq!(folded.steps[0].attempts, 16);
    assert_eq!(folded.next_due(), None, "no deadline runs before it is sent again");
    play.saga = folded;
    play.acknowledge();
    assert_eq!(play.tick(), ["flight silent"]);
    assert_eq!(play.tick(), ["ask flight"]);
    assert_eq!(play.commands.last().unwrap().id(), "trip:7/flight/action/1");
    assert_eq!(play.commands.last().unwrap().attempt, 17);
}

/// What is not written has no revision: nobody is told of a change that a crash would take back.
#[test]
fn a_repeat_leaves_the_revision_and_the_time_of_the_last_change_as_they_were() {
    let mut play = Play::of(trip());
    play.start();
    while play.state("flight").attempts < 8 {
        play.tick();
    }
    let (revision, changed_at) = (play.saga.revision, play.saga.changed_at);
    while play.state("flight").attempts < 15 {
        play.tick();
        assert_eq!((play.saga.revision, play.saga.changed_at), (revision, changed_at));
    }
    play.tick();
    assert_eq!(play.tick(), ["ask flight"], "the sixteenth time");
    assert_eq!((play.saga.revision, play.saga.changed_at), (revision + 1, play.now));
}

/// They are counted, and the count must survive a crash.
#[test]
fn every_attempt_is_written_where_attempts_are_limited() {
    let mut draft = trip();
    draft.steps[0].patience.attempts_max = Some(20);
    let mut play = Play::of(draft);
    play.start();
    (1..20).for_each(|_| (0..2).for_each(|_| drop(play.tick())));
    assert_eq!(play.saga.revision, 39);
    assert_eq!(told(&play.folded()), told(&play.saga));
    assert_eq!(play.tick(), ["flight silent", "turnedBack", "undo flight"]);
}

/// A sibling's news are written at once, without the repeats that came at the same moment.
#[test]
fn repeats_are_left_out_of_entries_that_tell_something_new() {
    let mut play = Play::with_done(wide_trip(), &["plan", "hotel", "car"]);
    while play.state("flight").attempts < 20 {
        play.tick();
    }
    let revision = play.saga.revision;
    assert_eq!(play.cancel().unwrap(), ["turnedBack", "undo hotel", "undo car"]);
    assert_eq!(play.saga.revision, revision + 1);
    let flight = &play.folded().steps[1];
    assert_eq!((flight.status, flight.backing_off), (StepStatus::Asked, false), "its answer is waited for");
    let (flight, revision) = (play.state("flight").clone(), play.saga.revision);
    assert!(flight.attempts > 16 && play.folded().steps[1].attempts == 16);
    assert_eq!(play.tick()[0], "flight silent", "for the last time");
    assert_eq!(play.saga.revision, revision + 1);
}

#[test]
fn a_step_is_asked_since_it_was_asked_first() {
    let mut play = Play::of(trip());
    let started = Some(play.now);
    play.start();
    assert_eq!((play.state("flight").asked_since, play.saga.waiting_since()), (started, started));
    for _ in 0..50 {
        play.tick();
        assert_eq!(play.state("flight").asked_since, started, "silent or asked again");
    }
    play.action("flight", fault()).unwrap_or_default();
    assert_eq!(play.folded().waiting_since(), started, "a takeover waits anew, and remembers since when");
    play.done("flight");
    assert_eq!(play.state("flight").asked_since, None);
    assert_eq!((play.state("hotel").asked_since, play.saga.waiting_since()), (Some(play.now), Some(play.now)));
}

#[test]
fn a_saga_waits_since_its_oldest_unanswered_question() {
    let mut play = Play::with_done(wide_trip(), &["plan"]);
    let asked = Some(play.now);
    play.now = Timestamp(play.now.0 + 500);
    play.done("hotel");
    play.refused("car");
    let undo_asked = Some(play.now);
    assert_eq!(play.state("hotel").asked_since, undo_asked, "another direction, another question");
    assert_eq!(play.saga.waiting_since(), asked);
    play.done("flight");
    assert_eq!(play.saga.waiting_since(), undo_asked);
    play.undone("hotel");
    play.undone("flight");
    play.undone("plan");
    play.stands(Status::Compensated);
    assert_eq!(play.saga.waiting_since(), None);
    assert_eq!(play.cancel(), Err(Ignored::Ended));
}

/// A clock that was a day ahead wrote when each is to be tried again.
#[test]
fn a_pause_that_would_last_longer_than_any_is_drawn_again_and_for_each_saga_differently() {
    let mut moments = std::collections::BTreeSet::new();
    for key in 0..50 {
        let mut play = Play::of(trip());
        play.start();
        play.action("flight", fault()).unwrap();
        let mut saga = play.saga;
        saga.id = format!("trip:{key}").parse().unwrap();
        assert!(!saga.redraw(play.now), "by the clock that wrote it nothing is impossible");
        let right = Timestamp(play.now.0 - 86_400_000);
        assert!(saga.redraw(right));
        let due = saga.steps[0].due.unwrap();
        assert!(right < due && due <= Timestamp(right.0 + 800), "{due} is no pause after {right}");
        assert_eq!((saga.started_at, saga.waiting_since()), (right, Some(right)));
        assert_eq!(saga.open_fault(0).map(|fault| fault.since), Some(right));
        assert!(!saga.redraw(right), "once");
        moments.insert(due);
    }
    assert!(moments.len() > 20, "{} moments for 50 sagas", moments.len());
}

/// Its command may have been acknowledged a moment ago.
#[test]
fn a_timeout_after_a_clock_was_set_back_is_not_shorter_than_it_was() {
    let mut play = Play::of(trip());
    play.start();
    let saga = play.saga;
    let timeout = saga.definition.steps[0].patience.timeout();
    let right = Timestamp(play.now.0 - 86_400_000);
    let due = |correct: &dyn Fn(&mut Saga)| {
        let mut saga = saga.clone();
        correct(&mut saga);
        saga.steps[0].due.unwrap()
    };
    let drawn = due(&|saga| assert!(saga.redraw(right)));
    assert!(right.plus(timeout) < drawn && drawn <= right.plus(timeout * 2), "{drawn}");
    assert_eq!(due(&|saga| saga.redraw_overdue(right)), right.plus(timeout));
}
