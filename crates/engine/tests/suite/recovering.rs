//! Crashes, takeovers, stale writers, and replies that are repeated, late or unmatched.

use std::time::Duration;

use crate::common::{Rig, booklet, id, no, nothing, wish, written};
use sagamore_core::saga::{Status, StepStatus};
use sagamore_core::{Outcome, Reply};
use sagamore_engine::{Error, Options, Orchestrator};
use std::sync::Arc;

#[tokio::test]
async fn a_takeover_sends_committed_unsent_commands_at_once() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    rig.reply(&write, written(1)).await;
    rig.turn().await;
    rig.commands().await; // discarded, as if a crash had lost the print command
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
async fn a_takeover_restarts_the_deadlines() {
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
async fn a_missed_reply_makes_the_outcome_unknown_and_the_command_is_resent() {
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
    assert!(rig.commands().await.is_empty(), "a timer fires only once");
}

#[tokio::test]
async fn a_former_owner_cannot_change_sagas_after_a_takeover() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    // a group of its own, so that only the database can reject its replies
    let options = Options { group: "another".into(), ..Options::default() };
    let (mut successor, _handle) = rig.another(options).await;
    successor.turn(rig.now, &mut rig.rng).await.expect("takes over");
    rig.passes(Duration::from_secs(31)); // the former owner considers the reply overdue
    let stale = rig.try_turn().await.expect_err("the former owner is rejected");
    assert!(matches!(stale, Error::OwnershipLost { .. }), "{stale:?}");
    assert_eq!(rig.show("1").await.expect("stored").header.revision, 1);
    rig.reply(&write, written(1)).await;
    successor.turn(rig.now, &mut rig.rng).await.expect("continues");
    assert_eq!(rig.show("1").await.expect("stored").header.revision, 2);
}

#[tokio::test]
async fn a_repeated_or_late_reply_changes_nothing() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    rig.reply(&write, written(1)).await;
    rig.reply(&write, written(2)).await;
    rig.turn().await;
    let print = rig.command().await;
    assert_eq!(print.body.as_str(), r#"{"page":1}"#, "the first reply counts");
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
    rig.reply(&print, nothing()).await; // a reply to a command of this very turn
    rig.turn().await;
    let detail = rig.show("1").await.expect("stored");
    assert_eq!((detail.header.revision, detail.entries.len()), (3, 3));
    assert!(rig.commands().await.is_empty(), "an answered command is not sent");
}

#[tokio::test]
async fn a_reply_to_a_missing_saga_is_retried_then_a_dead_letter_and_survives_a_crash() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    let mut key = write.key.clone();
    key.saga = id("missing");
    rig.send(&Reply { key, outcome: nothing().into(), trace: None }, &write).await;
    rig.turn().await;
    rig.passes(Duration::from_millis(300));
    rig.turn().await;
    assert_eq!(rig.records("sagamore.replies-dlt").await, 0, "not yet");
    rig.crash().await; // its offset was not committed: it is redelivered
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
        "the resend of the takeover, and the next step of the other saga"
    );
}

#[tokio::test]
async fn a_reply_without_readable_headers_is_a_dead_letter_and_the_next_one_counts() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    let reply = Reply { key: write.key.clone(), outcome: written(1).into(), trace: None };
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
async fn a_changed_definition_with_the_same_version_is_rejected() {
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
async fn a_saga_continues_by_its_version_even_in_a_program_with_only_another_one() {
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
        rig.show("0").await.expect("the saga can be shown").header.status,
        Status::Compensated,
        "ended long before"
    );
    rig.start(wish("2", "a")).await.expect("accepted");
    assert_eq!(rig.command().await.version, 2, "new sagas run by the new version");
}

#[tokio::test]
async fn evicted_sagas_are_read_again_for_their_next_input() {
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
async fn a_faulted_command_is_resent_after_a_pause_and_never_counts_as_refused() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    rig.reply(&write, Outcome::Fault("disk on fire".into())).await;
    rig.turn().await;
    assert!(rig.commands().await.is_empty(), "no resend before the pause ends");
    rig.passes(Duration::from_secs(1));
    rig.turn().await;
    assert_eq!(rig.command().await.id(), write.id());
    let step = &rig.show("1").await.expect("stored").saga.steps[0];
    assert_eq!(step.fault.as_deref(), Some("disk on fire"));
}

#[tokio::test]
async fn expired_journals_are_removed_and_business_keys_stay_reserved() {
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
        rig.passes(Duration::from_secs(24 * 3600)); // a single jump would expire nothing
        rig.turn().await;
    }
    let rows = |table: &'static str| {
        let database = rig.database.clone();
        async move {
            let sql = format!("SELECT 1 FROM {table}");
            database.query(&sql, ()).await.expect("query").len()
        }
    };
    assert_eq!((rows("saga").await, rows("idempotency").await), (2, 0));
    let old = rig.show("1").await.expect("its row remains");
    assert_eq!(
        (old.header.status, old.saga.status, old.entries.len()),
        (Status::Completed, Status::Completed, 0)
    );
    assert!(
        !rig.show("2").await.expect("not ended").entries.is_empty(),
        "an unfinished saga retains its journal"
    );
    rig.commands().await;
    let again = rig.start(wish("1", "something else")).await.expect("the key is reserved");
    assert_eq!((again.existed, again.status), (true, Status::Completed));
    assert!(
        rig.commands().await.iter().all(|command| command.saga().key() == "2"),
        "no saga starts a second time"
    );
}

#[tokio::test]
async fn the_longest_wait_is_reported_across_resends() {
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
        "the first step waits since the start"
    );
    let write = rig.commands().await.remove(0);
    rig.reply(&write, written(1)).await;
    rig.turn().await;
    assert_eq!(
        rig.handle.oldest_outstanding(),
        Some(rig.now),
        "the second step waits since this turn"
    );
    let print = rig.command().await;
    rig.reply(&print, nothing()).await;
    rig.turn().await;
    assert_eq!(rig.handle.oldest_outstanding(), None);
}

#[tokio::test]
async fn a_reply_with_an_unreadable_body_is_a_dead_letter_and_a_fault_of_its_step() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    let reply = Reply { key: write.key.clone(), outcome: written(1).into(), trace: None };
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
