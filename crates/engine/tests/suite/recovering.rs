//! Crashes, takeovers, stale writers, replies that come too often, too late or to nobody.

use std::time::Duration;

use crate::common::{Rig, booklet, id, no, nothing, wish, written};
use sagamore_core::saga::{Status, StepStatus};
use sagamore_core::{Outcome, Reply};
use sagamore_engine::{Error, Options, Orchestrator};
use std::sync::Arc;

#[tokio::test]
async fn what_was_committed_and_not_sent_is_sent_by_whoever_takes_over_at_once() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    rig.reply(&write, written(1)).await;
    rig.turn().await;
    rig.commands().await; // as if the print command had been lost with the crash
    rig.crash().await;
    rig.turn().await;
    let print = rig.command().await;
    assert_eq!(
        (print.id().as_str(), print.attempt),
        ("booklet:1/print/action/1", 1),
        "no attempt is counted"
    );
    rig.reply(&print, nothing()).await;
    rig.turn().await;
    assert_eq!(rig.show("1").await.expect("stored").header.status, Status::Completed);
}

#[tokio::test]
async fn a_takeover_starts_the_deadlines_anew() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    rig.command().await;
    rig.passes(Duration::from_secs(29));
    rig.crash().await;
    rig.turn().await;
    rig.command().await;
    rig.passes(Duration::from_secs(29));
    rig.turn().await;
    assert_eq!(rig.show("1").await.expect("stored").saga.steps[0].status, StepStatus::Asked);
}

#[tokio::test]
async fn a_silence_makes_the_outcome_unknown_and_the_same_command_is_asked_again() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let first = rig.command().await;
    rig.passes(Duration::from_secs(31));
    rig.turn().await;
    assert_eq!(rig.show("1").await.expect("stored").saga.steps[0].status, StepStatus::Unknown);
    rig.passes(Duration::from_secs(31));
    rig.turn().await;
    let second = rig.command().await;
    assert_eq!((second.id(), second.attempt), (first.id(), 2));
    rig.turn().await;
    assert!(rig.commands().await.is_empty(), "a moment that has passed does nothing a second time");
}

#[tokio::test]
async fn an_orchestrator_whose_sagas_were_taken_over_changes_nothing_any_more() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    // replies of its own, so that only the database can tell them apart
    let options = Options { group: "another".into(), ..Options::default() };
    let (mut successor, _handle) = rig.another(options).await;
    successor.turn(rig.now, &mut rig.rng).await.expect("takes over");
    rig.passes(Duration::from_secs(31)); // the old one believes that the answer is overdue
    let zombie = rig.try_turn().await.expect_err("the zombie is refused");
    assert!(matches!(zombie, Error::OwnershipLost { .. }), "{zombie:?}");
    assert_eq!(rig.show("1").await.expect("stored").header.revision, 1);
    rig.reply(&write, written(1)).await;
    successor.turn(rig.now, &mut rig.rng).await.expect("goes on");
    assert_eq!(rig.show("1").await.expect("stored").header.revision, 2);
}

#[tokio::test]
async fn a_reply_that_comes_twice_or_after_the_end_changes_nothing() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    rig.reply(&write, written(1)).await;
    rig.reply(&write, written(2)).await;
    rig.turn().await;
    let print = rig.command().await;
    assert_eq!(print.body.as_str(), r#"{"page":1}"#, "the first answer counts");
    rig.reply(&print, nothing()).await;
    rig.reply(&print, nothing()).await;
    rig.turn().await;
    rig.reply(&write, written(3)).await;
    rig.turn().await;
    let detail = rig.show("1").await.expect("stored");
    assert_eq!((detail.header.status, detail.header.revision), (Status::Completed, 3));
}

#[tokio::test]
async fn many_inputs_of_one_saga_in_one_turn_are_one_row_update_with_an_entry_each() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    rig.reply(&write, written(1)).await;
    let mut print = write.clone();
    print.key.step = booklet(1).steps[1].name.clone();
    print.participant = booklet(1).steps[1].action.participant.clone();
    rig.reply(&print, nothing()).await; // an answer to what is asked in this very turn
    rig.turn().await;
    let detail = rig.show("1").await.expect("stored");
    assert_eq!((detail.header.revision, detail.entries.len()), (3, 3));
    assert!(rig.commands().await.is_empty(), "what is answered already is not asked");
}

#[tokio::test]
async fn a_reply_to_no_saga_is_tried_again_and_then_a_dead_letter_and_a_crash_in_between_loses_it_not()
 {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    let mut key = write.key.clone();
    key.saga = id("nobody");
    rig.send(&Reply { key, outcome: nothing(), trace: None }, &write).await;
    rig.turn().await;
    rig.passes(Duration::from_millis(300));
    rig.turn().await;
    assert_eq!(rig.records("sagamore.replies-dlt").await, 0, "not yet");
    rig.crash().await; // its offset was not committed: it is delivered again
    for _ in 0..20 {
        rig.passes(Duration::from_millis(300));
        rig.turn().await;
    }
    assert_eq!(rig.records("sagamore.replies-dlt").await, 1);
    rig.reply(&write, written(1)).await;
    rig.turn().await;
    assert_eq!(
        rig.commands().await.len(),
        2,
        "resent by the takeover, and the next step: nobody is held up"
    );
}

#[tokio::test]
async fn a_reply_without_readable_headers_is_a_dead_letter_and_the_next_one_is_taken() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    let reply = Reply { key: write.key.clone(), outcome: written(1), trace: None };
    let mut broken = sagamore_transport::wire::encode_reply(
        &reply,
        &write.reply_to,
        &write.participant,
        sagamore_core::Timestamp(0),
    );
    broken.headers.clear();
    sagamore_transport::Transport::publish(&rig.log, vec![broken]).await.expect("publish");
    rig.reply(&write, written(1)).await;
    rig.turn().await;
    assert_eq!(rig.records("sagamore.replies-dlt").await, 1);
    assert_eq!(rig.command().await.name.as_str(), "beta.print");
}

#[tokio::test]
async fn a_version_that_was_changed_without_a_new_number_is_refused() {
    let rig = Rig::new().await;
    let mut draft: sagamore_core::definition::Draft = booklet(1).into();
    draft.deadline_ms = Some(3_600_000);
    let changed = sagamore_core::Definition::try_from(draft).expect("sound");
    let opened = Orchestrator::open(
        Options::default(),
        rig.database.clone(),
        Arc::new(rig.log.clone()),
        vec![changed],
    )
    .await;
    assert!(matches!(opened.err(), Some(Error::DefinitionChanged { version: 1, .. })));
}

#[tokio::test]
async fn a_saga_goes_on_by_the_version_it_began_with_also_in_a_program_that_has_only_another_one() {
    let mut rig = Rig::new().await;
    rig.start(wish("0", "a")).await.expect("accepted");
    let write = rig.command().await;
    rig.reply(&write, no()).await;
    rig.turn().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    let (orchestrator, handle) = Orchestrator::open(
        Options::default(),
        rig.database.clone(),
        Arc::new(rig.log.clone()),
        vec![booklet(2)],
    )
    .await
    .expect("open");
    (rig.orchestrator, rig.handle) = (orchestrator, handle);
    rig.reply(&write, written(1)).await;
    rig.turn().await;
    let commands = rig.commands().await;
    let print = commands
        .iter()
        .find(|command| command.name.as_str() == "beta.print")
        .expect("the next step");
    assert_eq!(print.version, 1);
    assert_eq!(
        rig.show("0").await.expect("it can be shown").header.status,
        Status::Compensated,
        "ended long before"
    );
    rig.start(wish("2", "a")).await.expect("accepted");
    assert_eq!(rig.command().await.version, 2, "new sagas run by the new version");
}

#[tokio::test]
async fn sagas_that_do_not_fit_into_memory_are_read_again_when_something_comes() {
    let mut rig =
        Rig::with(Options { live_max: 1, ..Options::default() }, crate::common::database()).await;
    for key in ["1", "2", "3"] {
        rig.start(wish(key, "a")).await.expect("accepted");
    }
    for round in 0..2 {
        for command in rig.commands().await {
            rig.reply(&command, if round == 0 { written(1) } else { nothing() }).await;
        }
        rig.turn().await;
    }
    for key in ["1", "2", "3"] {
        assert_eq!(rig.show(key).await.expect("stored").header.status, Status::Completed);
    }
}

#[tokio::test]
async fn a_fault_is_asked_again_after_a_pause_and_never_becomes_a_refusal() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    rig.reply(&write, Outcome::Fault("disk on fire".into())).await;
    rig.turn().await;
    assert!(rig.commands().await.is_empty(), "not at once");
    rig.passes(Duration::from_secs(1));
    rig.turn().await;
    assert_eq!(rig.command().await.id(), write.id());
    let step = &rig.show("1").await.expect("stored").saga.steps[0];
    assert_eq!(step.fault.as_deref(), Some("disk on fire"));
}

#[tokio::test]
async fn the_journals_of_sagas_that_ended_long_ago_go_and_their_business_keys_stay_taken() {
    let mut rig = Rig::new().await;
    let mut start = wish("1", "a");
    start.idempotency_key = Some("k".into());
    rig.start(start).await.expect("accepted");
    let write = rig.command().await;
    rig.reply(&write, written(1)).await;
    rig.turn().await;
    let print = rig.command().await;
    rig.reply(&print, nothing()).await;
    rig.turn().await;
    rig.start(wish("2", "a")).await.expect("accepted");
    for _ in 0..93 {
        rig.passes(Duration::from_secs(24 * 3600)); // what jumps makes nothing old
        rig.turn().await;
    }
    let rows = |table: &'static str| {
        let database = rig.database.clone();
        async move { database.query(&format!("SELECT 1 FROM {table}"), ()).await.expect("query").len() }
    };
    assert_eq!((rows("saga").await, rows("idempotency").await), (2, 0));
    let old = rig.show("1").await.expect("its row stays");
    assert_eq!(
        (old.header.status, old.saga.status, old.entries.len()),
        (Status::Completed, Status::Completed, 0)
    );
    assert!(
        !rig.show("2").await.expect("not ended").entries.is_empty(),
        "what has not ended keeps its journal"
    );
    rig.commands().await;
    let again = rig.start(wish("1", "something else")).await.expect("the key is taken");
    assert_eq!((again.existed, again.status), (true, Status::Completed));
    assert!(
        rig.commands().await.iter().all(|command| command.saga().key() == "2"),
        "nothing begins a second time"
    );
}

#[tokio::test]
async fn what_waits_longest_is_told_however_often_it_is_asked_again() {
    let mut rig = Rig::new().await;
    assert_eq!(rig.handle.oldest_outstanding(), None);
    let begun = rig.now;
    rig.start(wish("1", "a")).await.expect("accepted");
    for _ in 0..10 {
        rig.passes(Duration::from_secs(31));
        rig.turn().await;
    }
    assert_eq!(
        rig.handle.oldest_outstanding(),
        Some(begun),
        "the first step has had no answer since"
    );
    let write = rig.commands().await.remove(0);
    rig.reply(&write, written(1)).await;
    rig.turn().await;
    assert_eq!(rig.handle.oldest_outstanding(), Some(rig.now), "the second step waits since now");
    let print = rig.command().await;
    rig.reply(&print, nothing()).await;
    rig.turn().await;
    assert_eq!(rig.handle.oldest_outstanding(), None);
}

#[tokio::test]
async fn a_reply_whose_body_cannot_be_read_is_a_dead_letter_and_a_fault_of_its_step() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    let reply = Reply { key: write.key.clone(), outcome: written(1), trace: None };
    let mut broken = sagamore_transport::wire::encode_reply(
        &reply,
        &write.reply_to,
        &write.participant,
        sagamore_core::Timestamp(0),
    );
    broken.body = "no JSON".into();
    sagamore_transport::Transport::publish(&rig.log, vec![broken]).await.expect("publish");
    rig.turn().await;
    assert_eq!(rig.records("sagamore.replies-dlt").await, 1);
    let fault = rig.show("1").await.expect("stored").saga.steps[0].fault.clone().expect("a fault");
    assert!(fault.contains("cannot be read"), "{fault}");
}
