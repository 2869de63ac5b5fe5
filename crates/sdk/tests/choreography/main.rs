//! Services that react to each other's events, driven turn by turn on databases and a log in
//! memory.

extern crate sagamore_sdk as sagamore; // for the derives

mod held;
mod removal;
mod said;
mod starting;
mod toy;
mod unreliable;

use std::collections::BTreeSet;
use std::time::Duration;

use sagamore_core::message::{Event, Horizon};
use sagamore_core::{Body, Direction, Timestamp};
use sagamore_database::testing::needs_server;
use sagamore_sdk::facts::remembered;
use sagamore_sdk::{Options, StartOutcome};
use sagamore_transport::Record;
use sagamore_transport::wire::{decode_event, encode_event, encode_horizon};

use toy::{Mood, Toy};

/// Returns name, id, causation and hop of each event.
fn told(events: &[Event]) -> Vec<(String, Option<String>, u32)> {
    events.iter().map(|event| (event.id(), event.causation.clone(), event.hop)).collect()
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

/// Returns a horizon that allows the removal of all rows from `started_from` on.
fn horizon(toy: &Toy, started_from: Option<Timestamp>) -> Horizon {
    Horizon {
        started_before: toy.now().plus(Duration::from_secs(1)),
        ended_before: toy.now().minus(Duration::from_secs(60 * 24 * 3600)),
        started_from,
        definitions: vec!["book".parse().expect("a name")],
        but: Vec::new(),
    }
}

#[tokio::test]
async fn each_event_of_a_chain_names_its_cause_and_hop() {
    let mut toy = Toy::new().await;
    assert_eq!(toy.begin("1", Mood::Calm).await, StartOutcome::New);
    toy.settle().await;
    let (made, printed) = ("book:1/draft/action/1/draft.made", "book:1/print/action/1/print.done");
    let wanted = [
        (made.to_owned(), None, 0),
        (printed.to_owned(), Some(made.to_owned()), 1),
        ("book:1/shelve/action/1/shelf.filled".to_owned(), Some(printed.to_owned()), 2),
    ];
    assert_eq!(told(&toy.events().await), wanted);
    assert_eq!((toy.drafts().await, toy.prints().await), (1, 1));
}

#[tokio::test]
async fn a_refusal_is_emitted_with_its_reason_and_done_steps_are_undone() {
    let mut toy = Toy::new().await;
    toy.begin("1", Mood::WritesAndRefuses).await;
    toy.settle().await;
    let events = toy.events().await;
    assert_eq!(names(&events), ["draft.made", "print.failed", "draft.dropped"]);
    assert_eq!(
        events[1].body.as_str(),
        r#"{"code":"no-ink","key":"1","reason":"there is no ink"}"#
    );
    assert_eq!((events[2].body.as_str(), events[2].hop), (r#"{"key":"1"}"#, 2));
    assert_eq!((toy.drafts().await, toy.prints().await), (0, 0));
}

#[tokio::test]
async fn a_repeated_event_has_one_effect_and_emits_the_same_event() {
    let mut toy = Toy::new().await;
    toy.begin("1", Mood::Calm).await;
    toy.begin("2", Mood::WritesAndRefuses).await;
    toy.settle().await;
    let (once, calls) = (toy.events().await, toy.calls());
    toy.publish(
        once.iter().map(|event| encode_event(event, &"anybody".parse().unwrap())).collect(),
    )
    .await;
    toy.settle().await;
    let again = toy.events().await;
    for event in &again {
        assert!(once.contains(event), "{event:?} is new");
    }
    // the test publishes each event once, and its emitter sends all but the first again
    for event in &once {
        let count = again.iter().filter(|told| told == &event).count();
        let expected = if event.causation.is_none() { 1 } else { 2 };
        assert!(count >= expected, "{} was emitted {count} times", event.id());
    }
    assert_eq!((toy.drafts().await, toy.prints().await, toy.calls()), (1, 1, calls));
}

#[tokio::test]
async fn an_undo_that_arrives_first_emits_its_event_and_prevents_its_reaction() {
    let mut toy = Toy::new().await;
    let failed = toy::failed("1");
    toy.publish(vec![encode_event(&failed, &"printer".parse().unwrap())]).await;
    toy.settle().await;
    let events = toy.events().await;
    assert_eq!(names(&events), ["print.failed", "draft.dropped"]);
    assert_eq!(events[1].key.direction, Direction::Compensation);
    assert_eq!(toy.begin("1", Mood::Calm).await, StartOutcome::Never);
    toy.settle().await;
    assert_eq!((names(&toy.events().await), toy.drafts().await), (vec![], 0));
}

#[tokio::test]
async fn a_chain_starts_once_and_survives_a_crash_before_its_first_event_is_sent() {
    let mut toy = Toy::new().await;
    assert_eq!(toy.begin("1", Mood::Calm).await, StartOutcome::New);
    assert_eq!(toy.begin("1", Mood::Calm).await, StartOutcome::Before);
    toy.restart();
    toy.settle().await;
    assert_eq!(names(&toy.events().await), ["draft.made", "print.done", "shelf.filled"]);
    assert_eq!(toy.drafts().await, 1);
}

#[tokio::test]
async fn an_event_waits_for_the_other_one_of_a_pair_in_either_order() {
    for first in [0, 1] {
        let mut toy = Toy::new().await;
        let mut pair = [toy::made("1", Mood::Calm), toy::printed("1")];
        pair.rotate_left(first);
        let [one, other] = pair.map(|event| encode_event(&event, &"anybody".parse().unwrap()));
        toy.only_shelf(true);
        toy.publish(vec![one.clone(), one]).await;
        toy.settle().await;
        assert!(!names(&toy.events().await).contains(&"shelf.filled"), "the pair is incomplete");
        toy.publish(vec![other]).await;
        toy.settle().await;
        let events = toy.events().await;
        assert_eq!(names(&events).last(), Some(&"shelf.filled"));
        assert_eq!(events.last().unwrap().hop, 2, "one more than the highest awaited hop");
        assert_eq!(toy.waiting().await, 0);
    }
}

#[tokio::test]
async fn an_event_that_waits_in_vain_becomes_a_dead_letter() {
    let early_max = Duration::from_secs(15);
    let mut toy = Toy::with(Options { early_max, ..Options::default() }).await;
    toy.only_shelf(true);
    toy.publish(vec![encode_event(&toy::printed("1"), &"printer".parse().unwrap())]).await;
    toy.settle().await;
    assert_eq!((toy.waiting().await, toy.dead_letters("print.done").await), (1, 0));
    toy.passes(early_max + Duration::from_secs(1));
    toy.settle().await;
    assert_eq!((toy.waiting().await, toy.dead_letters("print.done").await), (0, 1));
}

/// Lets an event wait at the shelf, whose program then lacks the reaction, `times` times 70 s.
async fn wait_for_a_missing_reaction(toy: &mut Toy, times: usize) {
    toy.only_shelf(true);
    toy.publish(vec![encode_event(&toy::printed("1"), &"printer".parse().unwrap())]).await;
    toy.settle().await;
    toy.shelf_only_lists();
    for _ in 0..times {
        toy.passes(Duration::from_secs(70));
        toy.settle().await;
    }
}

/// Another version of the program may have the reaction, during an upgrade or after its rollback.
#[tokio::test]
async fn an_event_waits_for_a_program_that_has_its_reaction() {
    let mut toy = Toy::new().await;
    wait_for_a_missing_reaction(&mut toy, 3).await;
    assert_eq!((toy.waiting().await, toy.dead_letters("print.done").await), (1, 0));
    assert_eq!(
        toy.faults("1").await,
        [("shelve".to_owned(), "this program has no such reaction to it".to_owned())]
    );
    let listed = toy.events_that(|record| decode_event(record).ok()).await;
    assert_eq!(names(&listed), ["print.done"], "no other reaction runs again");
    toy.restart();
    toy.publish(vec![encode_event(&toy::made("1", Mood::Calm), &"writer".parse().unwrap())]).await;
    toy.settle().await;
    assert_eq!(toy.waiting().await, 0);
    assert_eq!(toy.rows("emitted").await, 1, "the shelf is filled");
}

/// No program has had the reaction for the longest permitted wait.
#[tokio::test]
async fn an_event_without_a_reaction_becomes_a_dead_letter_once() {
    let early_max = Duration::from_secs(300);
    let mut toy = Toy::with(Options { early_max, ..Options::default() }).await;
    wait_for_a_missing_reaction(&mut toy, 8).await;
    assert_eq!((toy.waiting().await, toy.dead_letters("print.done").await), (0, 1));
}

/// The clock is set back while events wait.
#[tokio::test]
async fn a_clock_that_is_set_back_by_minutes_delays_no_event() {
    // a small setback is within the permitted difference of clocks, whose pauses are respected
    for (seconds, done_soon) in [(600, true), (30, false)] {
        let mut toy = Toy::new().await;
        toy.begin("1", Mood::FailsTwice).await;
        toy.settle().await;
        assert_eq!(
            toy.waiting().await,
            2,
            "the printer's event after its fault, and the shelf's draft"
        );
        let set_back = Duration::from_secs(seconds);
        toy.clock_is_set_back(set_back);
        toy.restart(); // the process does not know of the setback
        for _ in 0..10 {
            toy.settle().await;
            toy.passes(Duration::from_secs(1));
        }
        assert_eq!(toy.prints().await == 1, done_soon, "after {seconds} s");
        toy.passes(set_back);
        for _ in 0..10 {
            toy.settle().await;
            toy.passes(Duration::from_secs(1));
        }
        assert_eq!(
            (toy.waiting().await, toy.prints().await),
            (0, 1),
            "in the end, after {seconds} s"
        );
    }
}

/// The event may wait already, arrive later or arrive twice. A done reaction is not affected.
#[tokio::test]
async fn an_event_that_waits_for_another_one_is_dropped_when_its_chain_ends() {
    let mut toy = Toy::new().await;
    let from_printer = |event: &Event| encode_event(event, &"printer".parse().unwrap());
    for key in ["early", "late"] {
        toy.begin(key, Mood::WritesAndRefuses).await;
        if key == "late" {
            toy.only_shelf(true);
            toy.publish(vec![from_printer(&toy::failed(key))]).await;
            toy.settle().await;
            toy.only_shelf(false);
        }
        toy.settle().await;
        toy.publish(vec![
            from_printer(&toy::made(key, Mood::Calm)),
            from_printer(&toy::failed(key)),
        ])
        .await;
        toy.settle().await;
        assert_eq!(toy.waiting().await, 0, "{key}");
    }
    assert!(!names(&toy.events().await).contains(&"shelf.filled"));

    toy.begin("done", Mood::Calm).await;
    toy.settle().await;
    let once = toy.events().await.len();
    toy.only_shelf(true);
    toy.publish(vec![from_printer(&toy::failed("done"))]).await;
    toy.settle().await;
    assert_eq!(
        (once, names(&toy.events().await)),
        (3, vec!["print.failed"]),
        "no event is emitted again"
    );
}

/// No orchestrator resends an event, so it is stored and retried. Later events do not wait for it.
#[tokio::test]
async fn a_fault_is_retried_and_blocks_no_other_event() {
    let mut toy = Toy::new().await;
    toy.begin("1", Mood::FailsTwice).await;
    toy.begin("2", Mood::Calm).await;
    toy.settle().await;
    assert_eq!(
        (toy.prints().await, toy.waiting().await),
        (1, 2),
        "the printer's event, and the shelf's draft"
    );
    assert_eq!(toy.faults("1").await, [("print".to_owned(), "paper jam".to_owned())]);
    toy.restart();
    for _ in 0..3 {
        toy.passes(Duration::from_secs(1));
        toy.settle().await;
    }
    assert_eq!((toy.prints().await, toy.waiting().await), (2, 0));
    assert_eq!(toy.faults("1").await, []);
    let events = toy.events().await;
    let filled = events.iter().filter(|event| event.name.as_str() == "shelf.filled");
    assert_eq!(filled.map(Event::id).collect::<BTreeSet<_>>().len(), 2);
}

#[tokio::test]
async fn a_partition_without_a_leader_keeps_no_other_chain_from_being_sent_once() {
    let mut toy = Toy::new().await;
    toy.transport.has_no_leader_for(Some("1"));
    toy.begin("1", Mood::Calm).await;
    toy.begin("2", Mood::Calm).await;
    toy.settle().await;
    for _ in 0..30 {
        toy.passes(Duration::from_secs(1));
        toy.settle().await;
    }
    let sent = toy.events().await;
    assert_eq!(
        names(&sent),
        ["draft.made", "print.done", "shelf.filled"],
        "one chain, and each event once"
    );
    toy.transport.has_no_leader_for(None);
    toy.passes(Duration::from_secs(11));
    toy.settle().await;
    assert_eq!(toy.prints().await, 2);
}

/// An event from the inbox has no other source, so it stays there until its result is published.
#[tokio::test]
async fn a_result_of_an_inbox_event_survives_a_crash_before_its_publish() {
    let early_max = Duration::from_secs(15);
    let mut toy = Toy::with(Options { early_max, ..Options::default() }).await;
    let silent_for_a_turn = async |toy: &mut Toy| {
        toy.transport.falls_silent(true);
        toy.try_turns().await;
        toy.transport.falls_silent(false);
        toy.restart();
        toy.passes(Duration::from_secs(61)); // the longest pause
        toy.settle().await;
    };
    toy.begin("1", Mood::FailsTwice).await;
    toy.settle().await;
    assert_eq!(toy.prints().await, 0, "a fault");
    toy.passes(Duration::from_secs(1));
    silent_for_a_turn(&mut toy).await;
    let events = toy.events().await;
    let told: BTreeSet<&str> = names(&events).into_iter().collect();
    assert_eq!(told, BTreeSet::from(["draft.made", "print.done", "shelf.filled"]));
    assert_eq!((toy.prints().await, toy.waiting().await), (1, 0));

    toy.publish(vec![encode_event(&toy::printed("2"), &"printer".parse().unwrap())]).await;
    toy.settle().await;
    toy.passes(early_max + Duration::from_secs(1));
    silent_for_a_turn(&mut toy).await;
    assert_eq!((toy.waiting().await, toy.dead_letters("print.done").await), (0, 1));
}

/// The database has the row and the mark, but the log has lost the event. No other process would
/// send it.
#[tokio::test]
async fn a_power_cut_before_the_log_is_synced_loses_no_chain() {
    let mut toy = Toy::new().await;
    toy.sync();
    toy.transport.is_unsynced(true);
    assert_eq!(toy.begin("1", Mood::Calm).await, StartOutcome::New);
    toy.settle().await;
    assert_eq!(
        names(&toy.events().await),
        ["draft.made", "print.done", "shelf.filled"],
        "no service waits for the sync"
    );
    toy.power_cut().await;
    toy.passes(Duration::from_secs(11)); // the lease ends, on a shared database
    toy.settle().await;
    let told = toy.events().await;
    let told: BTreeSet<&str> = names(&told).into_iter().collect();
    assert_eq!(told, BTreeSet::from(["draft.made", "print.done", "shelf.filled"]));
    assert_eq!((toy.drafts().await, toy.prints().await), (1, 1), "as before");
    assert_eq!(
        toy.rows("emitted WHERE sent = FALSE").await,
        0,
        "the event is synced and not sent again"
    );
}

/// No offset covers an inbox event: after its removal only the lost log knew of it.
#[tokio::test]
async fn a_power_cut_before_the_log_is_synced_loses_nothing_of_the_inbox() {
    let mut toy = Toy::new().await;
    toy.begin("1", Mood::FailsTwice).await;
    toy.settle().await;
    assert_eq!(
        (toy.prints().await, toy.waiting().await),
        (0, 2),
        "the printer's event after its fault, and the shelf's draft"
    );
    toy.sync();
    toy.transport.is_unsynced(true);
    toy.passes(Duration::from_secs(1));
    toy.settle().await;
    assert_eq!(toy.prints().await, 1);
    let calls = toy.calls();
    toy.passes(Duration::from_secs(2));
    toy.settle().await;
    let told = toy.events().await;
    assert_eq!(
        told.iter().filter(|event| event.name.as_str() == "print.done").count(),
        1,
        "not on each check"
    );
    toy.power_cut().await;
    toy.passes(Duration::from_secs(61)); // the longest pause
    toy.settle().await;
    let told = toy.events().await;
    assert!(
        names(&told).contains(&"print.done") && names(&told).contains(&"shelf.filled"),
        "{told:?}"
    );
    assert_eq!((toy.prints().await, toy.waiting().await, toy.calls()), (1, 0, calls));
}

/// The relay's transaction is joined to the one that makes the draft, and reads its uncommitted
/// row.
#[tokio::test]
async fn the_event_of_a_failed_transaction_is_never_sent() {
    let mut toy = Toy::in_memory().await;
    toy.lose_a_draft("1").await;
    toy.settle().await;
    assert_eq!(
        (names(&toy.events().await), toy.drafts().await, toy.prints().await),
        (vec![], 0, 0)
    );
    assert_eq!(toy.begin("1", Mood::Calm).await, StartOutcome::New);
    toy.settle().await;
    assert_eq!(names(&toy.events().await), ["draft.made", "print.done", "shelf.filled"]);
}

/// A delivery may take longer than a transaction may be idle, and must not hold the database's
/// writer.
#[tokio::test]
async fn no_transaction_is_open_while_events_are_sent() {
    let mut toy = Toy::in_memory().await;
    toy.transport.publishes_outside_of(&toy.database_of_the_writer());
    toy.begin("1", Mood::Calm).await;
    toy.settle().await;
    assert_eq!(names(&toy.events().await), ["draft.made", "print.done", "shelf.filled"]);
}

/// After a turn that is dropped at any await, or a failed transport, unsent events are sent soon.
#[tokio::test]
async fn leased_unsent_events_are_sent_again_under_the_same_id() {
    let mut toy = Toy::new().await;
    toy.begin("1", Mood::Calm).await;
    toy.transport.falls_silent(true);
    toy.try_turns().await;
    toy.transport.falls_silent(false);
    toy.settle().await;
    assert_eq!(names(&toy.events().await), [] as [&str; 0], "not at once");
    toy.passes(Duration::from_secs(1));
    toy.settle().await;
    assert_eq!(names(&toy.events().await), ["draft.made", "print.done", "shelf.filled"]);
    toy.transport.is_unsynced(true);
    toy.begin("2", Mood::Calm).await;
    toy.settle().await;
    toy.restart();
    toy.transport.is_unsynced(false);
    toy.passes(Duration::from_secs(11));
    toy.settle().await;
    let made: Vec<String> =
        toy.events().await.iter().filter(|event| event.hop == 0).map(Event::id).collect();
    assert_eq!(made, ["book:2/draft/action/1/draft.made"; 2]);
    assert_eq!((toy.drafts().await, toy.prints().await), (2, 2));
}

#[tokio::test]
async fn an_unreadable_record_is_a_dead_letter_and_a_wrong_body_fails_its_chain() {
    let mut toy = Toy::new().await;
    let source = "writer".parse().unwrap();
    let garbled = Record { body: "{".into(), ..encode_event(&toy::made("1", Mood::Calm), &source) };
    let other =
        Event { body: Body::parse(r#"{"key":"2"}"#).unwrap(), ..toy::made("2", Mood::Calm) };
    let list = Event { body: Body::parse("[7]").unwrap(), ..toy::made("3", Mood::Calm) };
    let wrong = [other, list].iter().map(|event| encode_event(event, &source)).collect::<Vec<_>>();
    toy.publish([vec![garbled], wrong].concat()).await;
    toy.settle().await;
    let events = toy.events_that(|record| decode_event(record).ok()).await;
    let failed: Vec<_> =
        events.iter().filter(|event| event.name.as_str() == "print.failed").collect();
    let chains: Vec<_> = failed.iter().map(|event| event.chain().as_str().to_owned()).collect();
    assert_eq!(chains, ["book:2", "book:3"]);
    let is_undecodable = |event: &&&Event| event.body.as_str().contains("undecodable");
    assert_eq!(failed.iter().filter(is_undecodable).count(), 2, "{failed:?}");
    assert!(toy.dead_letters("draft.made").await >= 2, "a dead letter per consuming service");
    assert_eq!(toy.prints().await, 0);
}

/// A missing topic blocks only the chains that need it.
#[tokio::test]
async fn an_event_that_cannot_be_sent_blocks_no_other_and_is_retried() {
    let mut toy = Toy::new().await;
    toy.transport.knows_no_topic("draft.made", true);
    toy.begin("1", Mood::Calm).await;
    toy.settle().await;
    assert_eq!(toy.prints().await, 0);
    toy.transport.knows_no_topic("draft.made", false);
    toy.begin("2", Mood::Calm).await;
    toy.settle().await;
    assert_eq!(toy.prints().await, 1, "the rejected event is not retried yet");
    toy.passes(Duration::from_secs(61));
    toy.settle().await;
    assert_eq!(toy.prints().await, 2);
}

/// The statement plans must also hold if they were made for empty tables.
#[tokio::test]
async fn no_statement_about_events_scans_a_whole_table() {
    if !needs_server() {
        return;
    }
    let mut toy = Toy::new().await;
    for (key, mood) in [("1", Mood::Calm), ("2", Mood::WritesAndRefuses), ("3", Mood::Calm)] {
        toy.begin(key, mood).await;
        toy.settle().await;
    }
    let horizon = horizon(&toy, None);
    toy.publish(vec![encode_horizon(&horizon, None)]).await;
    toy.settle().await;
    toy.settle().await;
    let (checked, walks) = toy.whole_table_walks(&["emitted", "inbox", "barrier"]).await;
    assert!(checked > 6, "only {checked} statements were there");
    let ours: Vec<&String> = walks.iter().filter(|walk| !walk.contains("count(*)")).collect();
    assert_eq!(ours, [] as [&String; 0]);
}
