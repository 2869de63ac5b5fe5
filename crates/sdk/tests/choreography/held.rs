//! Rejected events, unreadable rows, and marking published records at a stop: none of them blocks
//! other work.

use std::collections::BTreeSet;
use std::time::Duration;

use sagamore_database::Database;
use sagamore_transport::wire::encode_event;

use crate::toy::{Mood, Toy, made};
use crate::{names, told};

const MINUTE: Duration = Duration::from_secs(61);

async fn execute(database: &Database, sql: &str) {
    let open = database.begin().await.expect("begin");
    open.tx().batch(sql).await.expect("execute");
    open.commit().await.expect("commit");
}

/// The topic becomes writable later.
#[tokio::test]
async fn a_rejected_event_is_sent_once_its_topic_accepts_it() {
    let mut toy = Toy::new().await;
    toy.transport.knows_no_topic("print.done", true);
    toy.begin("1", Mood::Calm).await;
    toy.begin("2", Mood::WritesAndRefuses).await;
    toy.settle().await;
    assert_eq!(toy.dead_letters("draft.made").await, 0, "the draft's event itself was handled");
    let events = toy.events().await;
    assert_eq!(
        names(&events),
        ["draft.made", "draft.made", "print.failed", "draft.dropped"],
        "{:?}",
        told(&events)
    );
    let faults = toy.faults("1").await;
    assert!(
        faults.iter().any(|(step, why)| step == "print" && why.contains("print.done")),
        "{faults:?}"
    );

    toy.passes(MINUTE);
    toy.settle().await;
    assert_eq!(toy.events().await.len(), 0, "it backs off");
    toy.transport.knows_no_topic("print.done", false);
    toy.passes(MINUTE);
    toy.settle().await;
    let told: BTreeSet<String> =
        toy.events().await.iter().map(|event| event.name.to_string()).collect();
    assert_eq!(told, BTreeSet::from(["print.done".to_owned(), "shelf.filled".to_owned()]));
    assert_eq!((toy.prints().await, toy.waiting().await), (1, 0), "printed once");
}

/// A process that lost its partition may hold a copy of the cause. If it dies before it publishes,
/// that copy is not delivered again, because the cause's offset was committed long ago.
#[tokio::test]
async fn the_cause_of_an_unsent_event_outlives_a_repeat_that_is_not_published() {
    let mut toy = Toy::new().await;
    toy.transport.knows_no_topic("print.done", true);
    toy.begin("1", Mood::Calm).await;
    toy.settle().await;
    let waiting = toy.waiting().await;
    assert_eq!(waiting, 2, "the printer's cause, and the shelf's first input");
    let writer = "writer".parse().expect("a name");
    toy.publish(vec![encode_event(&made("1", Mood::Calm), &writer)]).await;
    toy.transport.falls_silent(true);
    toy.try_turns().await;
    assert_eq!(toy.waiting().await, waiting, "the cause left before its event was published");
    toy.transport.falls_silent(false);
    toy.transport.knows_no_topic("print.done", false);
    toy.passes(MINUTE);
    toy.settle().await;
    assert_eq!((toy.prints().await, toy.waiting().await), (1, 0), "printed once");
}

/// The process dies after the commit of the refusal and before the dead letter is published.
#[tokio::test]
async fn an_undecodable_event_becomes_a_dead_letter_after_a_crash() {
    let mut toy = Toy::new().await;
    let writer = "writer".parse().expect("a name");
    let mut record = encode_event(&made("1", Mood::Calm), &writer);
    record.body = br#"{"key":"1","mood":"Unheard"}"#.as_slice().into();
    toy.publish(vec![record]).await;
    toy.transport.falls_silent(true);
    toy.try_turns().await;
    assert_eq!(toy.dead_letters("draft.made").await, 0, "nothing is published");
    toy.transport.falls_silent(false);
    toy.restart();
    toy.settle().await;
    let reasons = toy.reasons("draft.made").await;
    assert!(reasons.iter().any(|reason| reason.contains("Unheard")), "{reasons:?}");
}

#[tokio::test]
async fn an_unreadable_unsent_event_does_not_block_others() {
    let mut toy = Toy::new().await;
    toy.begin("1", Mood::Calm).await;
    toy.begin("2", Mood::Calm).await;
    execute(&toy.database(0), "UPDATE emitted SET event = 'No name!' WHERE saga = 'book:1'").await;
    toy.settle().await;
    assert_eq!(toy.prints().await, 1, "the other chain continues");
    execute(&toy.database(0), "UPDATE emitted SET event = 'draft.made' WHERE saga = 'book:1'")
        .await;
    toy.passes(MINUTE);
    toy.settle().await;
    assert_eq!(toy.prints().await, 2, "it was not lost");
}

#[tokio::test]
async fn an_unreadable_inbox_event_does_not_block_others() {
    let mut toy = Toy::new().await;
    toy.begin("1", Mood::FailsTwice).await;
    toy.settle().await;
    assert_eq!(toy.prints().await, 0);
    let damaged =
        "INSERT INTO inbox (saga, step, direction, event, telling_step, telling_direction, \
         version, causation, hop,
            told_at, body, traceparent, due_at, since, why)
        SELECT 'book:0', step, direction, event, telling_step, 'sideways', version, causation, hop,
            told_at, body, traceparent, due_at - 1, since, why FROM inbox";
    execute(&toy.database(1), damaged).await;
    for _ in 0..5 {
        toy.passes(Duration::from_secs(5));
        toy.settle().await;
    }
    assert_eq!(toy.prints().await, 1, "the other chain continues");
    let faults = toy.faults("0").await;
    assert!(faults.iter().any(|(_, why)| why.contains("cannot read")), "{faults:?}");
}

/// A repeat must return the stored event, so its cause waits until a program can read it.
#[tokio::test]
async fn an_unreadable_stored_event_blocks_only_its_own_chain() {
    let mut toy = Toy::new().await;
    toy.begin("1", Mood::Calm).await;
    toy.settle().await;
    let first = toy.events().await;
    execute(&toy.database(1), "UPDATE emitted SET event = 'No name!' WHERE saga = 'book:1'").await;
    let again = first.iter().filter(|event| event.hop == 0);
    toy.publish(
        again
            .map(|event| sagamore_transport::wire::encode_event(event, &"writer".parse().unwrap()))
            .collect(),
    )
    .await;
    toy.begin("2", Mood::Calm).await;
    toy.settle().await;
    assert_eq!(toy.prints().await, 2, "the other chain continues");
    assert!(!toy.faults("1").await.is_empty());
    execute(&toy.database(1), "UPDATE emitted SET event = 'print.done' WHERE saga = 'book:1'")
        .await;
    toy.events().await;
    toy.passes(MINUTE);
    toy.settle().await;
    assert_eq!(names(&toy.events().await), ["print.done", "shelf.filled"], "the same events again");
    assert_eq!(toy.waiting().await, 0);
}

#[tokio::test]
async fn a_stop_marks_published_rows_once_they_are_synced() {
    let mut toy = Toy::new().await;
    toy.transport.is_unsynced(true);
    toy.begin("1", Mood::Calm).await;
    toy.settle().await;
    assert_eq!(toy.rows("emitted WHERE sent = FALSE").await, 1, "its sync has not ended");
    toy.stop().await;
    assert_eq!(toy.rows("emitted WHERE sent = FALSE").await, 0);
}
