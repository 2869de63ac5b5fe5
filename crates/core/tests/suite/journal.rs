//! The content of the journal: its size, the entries that it omits, and its times.

use crate::support::{Play, fault, journalled, trip, wide_trip};
use sagamore_core::saga::{IgnoreReason, Status, StepStatus};
use sagamore_core::{Direction, Saga, Timestamp};

#[test]
fn an_unanswered_command_writes_few_entries() {
    let mut play = Play::of(trip());
    play.start();
    for _ in 0..10_000 {
        assert_eq!(play.tick(), ["flight silent"]);
        assert_eq!(play.tick(), ["send flight"]);
    }
    assert_eq!(
        (play.state("flight").attempts, play.commands.len()),
        (10_001, 10_001),
        "every repeat is sent"
    );
    assert!(play.journal.len() < 40, "{} entries", play.journal.len());
    assert_eq!(play.saga.revision, play.journal.len() as u64);
    assert_eq!(play.done("flight"), ["flight done", "send hotel"]);
}

#[test]
fn endless_faults_and_undos_write_few_entries() {
    let mut draft = trip();
    draft.steps[0].patience.attempts_max = Some(2);
    let mut play = Play::with_done(draft, &["flight"]);
    for _ in 0..2_000 {
        play.action("hotel", fault()).unwrap();
        assert_eq!(play.tick(), ["send hotel"]);
    }
    play.refused("hotel");
    for _ in 0..2_000 {
        play.undo("flight", fault()).unwrap();
        assert_eq!(play.tick(), ["undo flight"]);
    }
    assert!(play.journal.len() < 70, "{} entries", play.journal.len());
    assert_eq!(play.undone("flight"), ["flight undone", "compensated"]);
}

/// The journal has the command, and every resend has the same id. A takeover resends it at once.
#[test]
fn after_a_crash_attempts_continue_from_the_last_one_in_the_journal() {
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
    assert_eq!(play.tick(), ["send flight"]);
    assert_eq!(play.commands.last().unwrap().id(), "trip:7/flight/action/1");
    assert_eq!(play.commands.last().unwrap().attempt, 17);
}

/// An unwritten repeat must not change the revision, because a crash would revert it.
#[test]
fn a_repeat_changes_neither_revision_nor_time_of_the_last_change() {
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
    assert_eq!(play.tick(), ["send flight"], "the sixteenth time");
    assert_eq!((play.saga.revision, play.saga.changed_at), (revision + 1, play.now));
}

/// The count of limited attempts must survive a crash.
#[test]
fn every_limited_attempt_is_written() {
    let mut draft = trip();
    draft.steps[0].patience.attempts_max = Some(20);
    let mut play = Play::of(draft);
    play.start();
    (1..20).for_each(|_| (0..2).for_each(|_| drop(play.tick())));
    assert_eq!(play.saga.revision, 39);
    assert_eq!(journalled(&play.folded()), journalled(&play.saga));
    assert_eq!(play.tick(), ["flight silent", "turnedBack", "undo flight"]);
}

/// A sibling's changes are written at once, but repeats at the same moment are omitted.
#[test]
fn repeats_are_omitted_from_entries_with_other_changes() {
    let mut play = Play::with_done(wide_trip(), &["plan", "hotel", "car"]);
    while play.state("flight").attempts < 20 {
        play.tick();
    }
    let revision = play.saga.revision;
    assert_eq!(play.cancel().unwrap(), ["turnedBack", "undo hotel", "undo car"]);
    assert_eq!(play.saga.revision, revision + 1);
    let flight = &play.folded().steps[1];
    assert_eq!(
        (flight.status, flight.wait.is_outstanding()),
        (StepStatus::Asked, true),
        "its reply is awaited"
    );
    let (flight, revision) = (play.state("flight").clone(), play.saga.revision);
    assert!(flight.attempts > 16 && play.folded().steps[1].attempts == 16);
    assert_eq!(play.tick()[0], "flight silent", "for the last time");
    assert_eq!(play.saga.revision, revision + 1);
}

#[test]
fn asked_since_is_the_time_of_the_first_attempt() {
    let mut play = Play::of(trip());
    let started = Some(play.now);
    play.start();
    assert_eq!(
        (play.state("flight").wait.asked_since(), play.saga.waiting_since()),
        (started, started)
    );
    for _ in 0..50 {
        play.tick();
        assert_eq!(
            play.state("flight").wait.asked_since(),
            started,
            "after a missed reply or a resend"
        );
    }
    play.action("flight", fault()).unwrap_or_default();
    assert_eq!(
        play.folded().waiting_since(),
        started,
        "a takeover waits again, and the start of the wait stays"
    );
    play.done("flight");
    assert_eq!(play.state("flight").wait.asked_since(), None);
    assert_eq!(
        (play.state("hotel").wait.asked_since(), play.saga.waiting_since()),
        (Some(play.now), Some(play.now))
    );
}

#[test]
fn waiting_since_is_the_oldest_unanswered_command() {
    let mut play = Play::with_done(wide_trip(), &["plan"]);
    let asked = Some(play.now);
    play.now = Timestamp(play.now.0 + 500);
    play.done("hotel");
    play.refused("car");
    let undo_asked = Some(play.now);
    assert_eq!(play.state("hotel").wait.asked_since(), undo_asked, "the undo is another command");
    assert_eq!(play.saga.waiting_since(), asked);
    play.done("flight");
    assert_eq!(play.saga.waiting_since(), undo_asked);
    play.undone("hotel");
    play.undone("flight");
    play.undone("plan");
    play.stands(Status::Compensated);
    assert_eq!(play.saga.waiting_since(), None);
    assert_eq!(play.cancel(), Err(IgnoreReason::Ended));
}

/// The due times were written by a clock that was a day ahead.
#[test]
fn an_implausible_pause_is_drawn_again_and_differs_between_sagas() {
    let mut moments = std::collections::BTreeSet::new();
    for key in 0..50 {
        let mut play = Play::of(trip());
        play.start();
        play.action("flight", fault()).unwrap();
        let mut saga = play.saga;
        saga.id = format!("trip:{key}").parse().unwrap();
        assert!(!saga.redraw(play.now), "the times are plausible for the clock that wrote them");
        let right = Timestamp(play.now.0 - 86_400_000);
        assert!(saga.redraw(right));
        let due = saga.steps[0].wait.due().unwrap();
        assert!(
            right < due && due <= Timestamp(right.0 + 800),
            "{due} is not a pause after {right}"
        );
        assert_eq!((saga.started_at, saga.waiting_since()), (right, Some(right)));
        assert_eq!(saga.open_fault(0).map(|fault| fault.since), Some(right));
        assert!(!saga.redraw(right), "only once");
        moments.insert(due);
    }
    assert!(moments.len() > 20, "{} moments for 50 sagas", moments.len());
}

/// The command may have been acknowledged a moment ago.
#[test]
fn a_timeout_is_not_shortened_when_a_clock_is_set_back() {
    let mut play = Play::of(trip());
    play.start();
    let saga = play.saga;
    let timeout = saga.definition.steps[0].patience.timeout();
    let right = Timestamp(play.now.0 - 86_400_000);
    let due = |correct: &dyn Fn(&mut Saga)| {
        let mut saga = saga.clone();
        correct(&mut saga);
        saga.steps[0].wait.due().unwrap()
    };
    let drawn = due(&|saga| assert!(saga.redraw(right)));
    assert!(right.plus(timeout) < drawn && drawn <= right.plus(timeout * 2), "{drawn}");
    assert_eq!(due(&|saga| saga.redraw_overdue(right)), right.plus(timeout));
}
