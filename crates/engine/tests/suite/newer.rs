//! Rows that a newer program wrote, or that are damaged: each sets one saga or verb aside, visibly,
//! and all others continue.

use std::time::Duration;

use crate::common::{Rig, database, id, wish, written};
use sagamore_core::Timestamp;
use sagamore_core::saga::Status;
use sagamore_engine::{Error, Filter, Options, StartError, Unreadable, VerbError};

async fn execute(rig: &Rig, sql: &str) {
    let open = rig.database.begin().await.expect("begin");
    open.tx().batch(sql).await.expect("execute");
    open.commit().await.expect("commit");
}

async fn start(rig: &mut Rig, keys: &[&str]) {
    for key in keys {
        rig.start(wish(key, "a")).await.expect("accepted");
    }
    rig.commands().await;
}

async fn unreadable(rig: &Rig) -> Vec<Unreadable> {
    let only = Filter { unreadable: true, ..Filter::default() };
    rig.handle.list(&only).await.expect("list").unreadable
}

/// Damages one saga's row and repairs it. After a crash all sagas but the damaged one are taken
/// over.
async fn check(damage: &str, repair: &str) {
    let mut rig = Rig::new().await;
    start(&mut rig, &["1", "2", "3"]).await;
    execute(&rig, damage).await;
    rig.crash().await;
    rig.turn().await;
    let resent: Vec<String> =
        rig.commands().await.iter().map(|command| command.saga().key().to_owned()).collect();
    assert_eq!(resent, ["1", "3"], "{damage}");

    let all = rig.handle.list(&Filter::default()).await.expect("list");
    assert_eq!(all.sagas.len(), 2, "{damage}");
    assert_eq!(all.unreadable.len(), 1, "{damage}");
    let aside = unreadable(&rig).await;
    assert_eq!(aside.len(), 1, "{damage}: it is listed as set aside");
    assert_eq!(aside[0].id, "booklet:2");
    assert!(!aside[0].why.is_empty());
    let shown = rig.handle.show(&id("2")).await;
    assert!(matches!(shown, Err(Error::Unreadable(_))), "{damage}: {shown:?}");
    let refused = rig.start(wish("2", "a")).await.expect_err("the saga is unreadable");
    assert!(matches!(refused, StartError::Unavailable(_)), "{refused:?}");
    let handle = rig.handle.clone();
    let refused =
        rig.while_turning(handle.cancel(id("2"))).await.expect_err("the saga is unreadable");
    assert!(matches!(refused, VerbError::Unavailable(_)), "{refused:?}");

    execute(&rig, repair).await; // as for a newer program that can read it
    rig.crash().await;
    rig.turn().await;
    assert_eq!(rig.commands().await.len(), 3, "{repair}: the repaired saga continues");
    rig.turn().await;
    assert_eq!(unreadable(&rig).await, [], "{repair}");
    assert_eq!(rig.show("2").await.expect("stored").header.status, Status::Running);
}

#[tokio::test]
async fn a_saga_with_the_status_of_a_newer_program_is_set_aside_until_it_is_readable() {
    check(
        "UPDATE saga SET status = 'paused' WHERE id = 'booklet:2'",
        "UPDATE saga SET status = 'running' WHERE id = 'booklet:2'",
    )
    .await;
}

#[tokio::test]
async fn a_saga_with_a_journal_entry_of_a_newer_program_is_set_aside_until_it_is_readable() {
    let of_it = "WHERE seq = (SELECT seq FROM saga WHERE id = 'booklet:2') AND revision = 1";
    check(
        &format!("UPDATE journal SET entry = replace(entry, 'started', 'paused') {of_it}"),
        &format!("UPDATE journal SET entry = replace(entry, 'paused', 'started') {of_it}"),
    )
    .await;
}

#[tokio::test]
async fn a_saga_with_the_failed_step_of_a_newer_program_is_set_aside_until_it_is_readable() {
    check(
        "UPDATE saga SET failed_at = 'no name / at all' WHERE id = 'booklet:2'",
        "UPDATE saga SET failed_at = NULL WHERE id = 'booklet:2'",
    )
    .await;
}

#[tokio::test]
async fn a_saga_without_its_definition_is_set_aside_until_it_is_readable() {
    let definition = |from: &str, to: &str| {
        format!("UPDATE saga SET hash = replace(hash, '{from}', '{to}') WHERE id = 'booklet:2'")
    };
    let mut hash = String::new();
    {
        let mut rig = Rig::new().await;
        start(&mut rig, &["1"]).await;
        hash.push_str(&rig.show("1").await.expect("stored").header.hash);
    }
    check(&definition(&hash, "newer"), &definition("newer", &hash)).await;
}

#[tokio::test]
async fn a_repaired_saga_continues_after_an_operators_reread() {
    let mut rig = Rig::new().await;
    start(&mut rig, &["1", "2"]).await;
    execute(&rig, "UPDATE saga SET status = 'paused' WHERE id = 'booklet:2'").await;
    rig.crash().await;
    rig.turn().await;
    assert_eq!(rig.commands().await.len(), 1);
    let handle = rig.handle.clone();
    let refused =
        rig.while_turning(handle.reread(id("2"))).await.expect_err("the saga is still damaged");
    assert!(refused.to_string().contains("paused"), "{refused}");

    execute(&rig, "UPDATE saga SET status = 'running' WHERE id = 'booklet:2'").await;
    assert_eq!(rig.while_turning(handle.reread(id("2"))).await.expect("repaired"), Status::Running);
    let resent = rig.commands().await;
    assert_eq!(resent.iter().map(|command| command.saga().key()).collect::<Vec<_>>(), ["2"]);
    assert_eq!(unreadable(&rig).await, []);
    let whole =
        rig.while_turning(handle.reread(id("1"))).await.expect("a reread of a readable saga");
    assert_eq!(whole, Status::Running);
    assert_eq!(rig.commands().await.len(), 0);
}

#[tokio::test]
async fn an_input_for_a_damaged_row_does_not_fail_the_turn() {
    let mut rig = Rig::with(Options { live_max: 1, ..Options::default() }, database()).await;
    rig.start(wish("1", "a")).await.expect("accepted");
    rig.start(wish("2", "a")).await.expect("accepted");
    let commands = rig.commands().await;
    execute(&rig, "UPDATE saga SET status = 'paused' WHERE id = 'booklet:1'").await;
    execute(&rig, "UPDATE saga SET status = 'paused' WHERE id = 'booklet:2'").await;
    for command in &commands {
        rig.reply(command, written(1)).await;
    }
    rig.turn().await;
    rig.passes(Duration::from_secs(31));
    rig.turn().await;
    assert!(!unreadable(&rig).await.is_empty(), "the evicted saga is set aside");
    assert_eq!(rig.turn().await.inputs, 0, "an unreadable saga is not due in every turn");
    rig.start(wish("3", "a")).await.expect("other sagas continue");
}

/// Stores a verb as the orchestrator of a newer program does during a rolling upgrade.
async fn hand(rig: &Rig, id: &str, saga: &str, verb: &str, stored_at: Timestamp) {
    let sql = "INSERT INTO handed (id, reply_partition, saga, verb, stored_at)
        VALUES ($1, 0, $2, $3, $4)";
    let open = rig.database.begin().await.expect("begin");
    open.tx().execute(sql, (id, saga, verb, stored_at.0)).await.expect("insert");
    open.commit().await.expect("commit");
}

async fn answer(rig: &Rig, id: &str) -> Option<String> {
    let rows =
        rig.database.query("SELECT answer FROM handed WHERE id = $1", (id,)).await.expect("read");
    rows.first().and_then(|row| row.get(0).ok())
}

#[tokio::test]
async fn a_handed_verb_of_a_newer_program_is_answered_as_unknown_and_the_next_one_is_executed() {
    let lease = Some(Duration::from_secs(3));
    let mut rig =
        Rig::with(Options { lease, owner: "one".into(), ..Options::default() }, database()).await;
    for _ in 0..8 {
        rig.turn().await;
        rig.passes(Duration::from_secs(1));
    }
    assert_eq!(rig.handle.partitions_owned(), 1);
    start(&mut rig, &["1"]).await;
    hand(&rig, "a", "booklet:1", r#"{"pause":{"until":"tomorrow"}}"#, rig.now).await;
    hand(&rig, "b", "no saga", r#""cancel""#, rig.now).await;
    hand(&rig, "c", "booklet:1", r#""cancel""#, rig.now.plus(Duration::from_millis(1))).await;
    for _ in 0..4 {
        rig.passes(Duration::from_secs(1));
        rig.turn().await;
    }
    for unknown in ["a", "b"] {
        let answer = answer(&rig, unknown).await.expect("answered");
        assert!(answer.contains("unavailable"), "{answer}");
    }
    assert!(answer(&rig, "c").await.expect("answered").contains("compensating"));
    assert_eq!(rig.show("1").await.expect("stored").header.status, Status::Compensating);
}
