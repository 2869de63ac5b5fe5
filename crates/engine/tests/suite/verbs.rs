//! Verbs that another orchestrator stored for the owner of a saga: each is executed once, with its
//! answer, or not at all.

use std::time::Duration;

use crate::common::faulty::faulty;
use crate::common::{Rig, no, wish, written};
use sagamore_core::Outcome;
use sagamore_core::saga::Status;
use sagamore_database::Database;
use sagamore_engine::Options;

/// Creates an orchestrator that owns the one partition under a lease.
async fn owner(database: Database) -> Rig {
    let lease = Some(Duration::from_secs(3));
    let mut rig =
        Rig::with(Options { lease, owner: "one".into(), ..Options::default() }, database).await;
    for _ in 0..10 {
        pass(&mut rig).await;
    }
    assert_eq!(rig.handle.partitions_owned(), 1);
    rig
}

/// Advances the clock by a second, and runs a turn that may fail.
async fn pass(rig: &mut Rig) {
    rig.passes(Duration::from_secs(1));
    let _ = rig.try_turn().await; // the next turn retries
}

/// Starts a saga whose compensation is refused.
async fn stuck(rig: &mut Rig, key: &str) {
    rig.start(wish(key, "a")).await.expect("accepted");
    for outcome in [written(1), no(), no()] {
        let command = rig.command().await;
        rig.reply(&command, outcome).await;
        rig.turn().await;
    }
    assert_eq!(rig.show(key).await.expect("stored").header.status, Status::Stuck);
}

/// Stores a retry as another orchestrator does.
async fn hand_retry(rig: &Rig, id: &str, saga: &str) {
    let verb = r#"{"rescue":{"step":"write","verb":"retry","reason":"ann: again"}}"#;
    let sql = "INSERT INTO handed (id, reply_partition, saga, verb, stored_at)
        VALUES ($1, 0, $2, $3, $4)";
    let open = rig.database.begin().await.expect("begin");
    open.tx().execute(sql, (id, saga, verb, rig.now.0)).await.expect("insert");
    open.commit().await.expect("commit");
}

async fn answer(rig: &Rig, id: &str) -> Option<String> {
    let rows =
        rig.database.query("SELECT answer FROM handed WHERE id = $1", (id,)).await.expect("read");
    rows.first().and_then(|row| row.get(0).ok())
}

#[tokio::test]
async fn a_handed_retry_whose_answer_cannot_be_written_raises_one_generation() {
    let (database, knobs) = faulty();
    let mut rig = owner(database).await;
    stuck(&mut rig, "1").await;
    hand_retry(&rig, "v", "booklet:1").await;
    *knobs.fails_once.lock().expect("no panic") = Some("UPDATE handed");
    let mut undone = Vec::new();
    for _ in 0..10 {
        pass(&mut rig).await;
        for command in rig.commands().await {
            rig.reply(&command, no()).await;
            undone.push(command.key.generation);
        }
    }
    assert_eq!(undone, [2], "one retry is one generation");
    assert!(answer(&rig, "v").await.expect("answered").contains("compensating"));
}

#[tokio::test]
async fn a_handed_verb_of_an_unknown_commit_is_executed_once() {
    let (database, knobs) = faulty();
    let mut rig = owner(database).await;
    stuck(&mut rig, "1").await;
    hand_retry(&rig, "v", "booklet:1").await;
    let mut undone = Vec::new();
    for number in 0..10 {
        if number == 0 {
            rig.passes(Duration::from_secs(1));
            knobs.commits_unknown.store(2, std::sync::atomic::Ordering::Relaxed);
        }
        pass(&mut rig).await;
        for command in rig.commands().await {
            rig.reply(&command, no()).await;
            undone.push(command.key.generation);
        }
    }
    undone.dedup(); // a command of an unknown commit may be sent twice
    assert_eq!(undone, [2], "one retry is one generation");
}

#[tokio::test]
async fn a_handed_verb_that_changes_nothing_is_answered_with_the_reason() {
    let mut rig = owner(crate::common::database()).await;
    rig.start(wish("1", "a")).await.expect("accepted");
    hand_retry(&rig, "no such step", "booklet:1").await;
    hand_retry(&rig, "no such saga", "booklet:2").await;
    for _ in 0..5 {
        pass(&mut rig).await;
    }
    assert!(answer(&rig, "no such step").await.expect("answered").contains("not-stuck"));
    assert!(answer(&rig, "no such saga").await.expect("answered").contains("notFound"));
}

#[tokio::test]
async fn many_handed_verbs_of_one_saga_are_one_transaction_and_each_has_its_answer() {
    let mut rig = owner(crate::common::database()).await;
    stuck(&mut rig, "1").await;
    for id in ["a", "b", "c"] {
        hand_retry(&rig, id, "booklet:1").await;
    }
    for _ in 0..5 {
        pass(&mut rig).await;
    }
    let erase = rig.command().await;
    assert_eq!(erase.key.generation, 2);
    rig.reply(&erase, Outcome::Done(sagamore_core::Body::empty())).await;
    pass(&mut rig).await;
    let mut answers = Vec::new();
    for id in ["a", "b", "c"] {
        answers.push(answer(&rig, id).await.expect("answered"));
    }
    assert_eq!(
        answers.iter().filter(|answer| answer.contains("compensating")).count(),
        1,
        "{answers:?}"
    );
    assert_eq!(
        answers.iter().filter(|answer| answer.contains("not-stuck")).count(),
        2,
        "{answers:?}"
    );
}
