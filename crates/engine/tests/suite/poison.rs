//! A database that rejects data, is unavailable, or loses the outcome of a commit. One message is
//! isolated, all others proceed, and callers are answered.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::faulty::faulty;
use crate::common::{Rig, id, nothing, wish, written};
use sagamore_core::id::Name;
use sagamore_core::saga::{Rescue, Status, Verb};
use sagamore_core::{Body, Outcome};
use sagamore_engine::{Options, StartError, VerbError};

async fn rig() -> Rig {
    Rig::with(Options::default(), faulty().0).await
}

fn poison() -> Outcome {
    Outcome::Done(Body::parse(r#"{"page":1,"x":"poison"}"#).expect("JSON"))
}

#[tokio::test]
async fn an_unstorable_reply_is_a_dead_letter_and_the_rest_of_the_batch_continues() {
    let mut rig = rig().await;
    for key in ["1", "2", "3", "4", "5"] {
        rig.start(wish(key, "a")).await.expect("accepted");
    }
    let commands = rig.commands().await;
    for command in &commands {
        rig.reply(command, if command.saga().key() == "3" { poison() } else { written(1) }).await;
    }
    rig.turn().await;
    assert_eq!(rig.commands().await.len(), 4, "the other four get their next command");
    assert_eq!(rig.records("sagamore.replies-dlt").await, 1);
    assert_eq!(
        rig.show("3").await.expect("stored").header.status,
        Status::Stuck,
        "the saga shows as stuck"
    );

    rig.passes(Duration::from_secs(31));
    rig.turn().await;
    rig.reply(&commands[2], poison()).await;
    rig.turn().await;
    rig.crash().await;
    rig.turn().await;
    assert_eq!(
        rig.show("3").await.expect("stored").header.status,
        Status::Stuck,
        "no resend before a decision"
    );
    rig.commands().await;
    let (handle, step) = (rig.handle.clone(), Name::new("write").expect("a name"));
    let rescue = Rescue::new(step, Verb::Retry, "ann: fixed");
    rig.while_turning(handle.rescue(id("3"), rescue)).await.expect("accepted");
    let write = rig.command().await;
    assert_eq!(write.id(), commands[2].id());
    rig.reply(&write, written(1)).await;
    rig.turn().await;
    assert_eq!(rig.command().await.name.as_str(), "beta.print");
}

#[tokio::test]
async fn an_unstorable_start_is_rejected_and_the_rest_of_the_batch_continues() {
    let mut rig = rig().await;
    let handle = rig.handle.clone();
    let starts = async {
        tokio::join!(
            handle.start(wish("1", "a")),
            handle.start(wish("2", "poison")),
            handle.start(wish("3", "a"))
        )
    };
    let (one, two, three) = rig.while_turning(starts).await;
    assert!(one.is_ok() && three.is_ok());
    assert!(matches!(two, Err(StartError::BadInput { .. })), "{two:?}");
    assert!(rig.show("2").await.is_none());
}

#[tokio::test]
async fn after_an_unknown_commit_sagas_are_read_again_and_their_commands_sent_at_once() {
    let (database, knobs) = faulty();
    let mut rig = Rig::with(Options::default(), database).await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    rig.reply(&write, written(1)).await;
    knobs.commits_unknown.store(1, Ordering::Relaxed);
    rig.try_turn().await.expect_err("the outcome of the commit is unknown");
    assert!(rig.commands().await.is_empty(), "nothing is sent before the commit is certain");
    rig.turn().await;
    let print = rig.command().await;
    assert_eq!(print.name.as_str(), "beta.print");

    let handle = rig.handle.clone();
    let waits = tokio::spawn(async move { handle.wait(id("1"), Duration::from_secs(60)).await });
    tokio::task::yield_now().await;
    rig.turn().await;
    rig.reply(&print, nothing()).await;
    knobs.commits_unknown.store(1, Ordering::Relaxed);
    rig.try_turn().await.expect_err("the outcome of the commit is unknown");
    rig.turn().await;
    let summary = waits.await.expect("no panic").expect("an outcome").expect("at rest");
    assert_eq!((summary.status, summary.revision), (Status::Completed, 3));
}

#[tokio::test]
async fn a_start_is_rejected_at_once_and_not_stored_while_the_database_is_unavailable() {
    let (database, knobs) = faulty();
    let rig = Rig::with(Options::default(), database).await;
    let (handle, orchestrator) = (rig.handle, rig.orchestrator);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(orchestrator.run(async move { drop(stopped.await) }));
    handle.start(wish("1", "a")).await.expect("accepted");
    knobs.down.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let refused = handle.start(wish("2", "a")).await.expect_err("the database is unavailable");
        assert!(matches!(refused, StartError::Unavailable(_)), "{refused:?}");
        let refused = handle.cancel(id("1")).await.expect_err("the database is unavailable");
        assert!(matches!(refused, VerbError::Unavailable(_)), "{refused:?}");
    }
    knobs.down.store(false, Ordering::Relaxed);
    let started = loop {
        match handle.start(wish("2", "a")).await {
            Ok(started) => break started,
            // the pause after the last failure
            Err(StartError::Unavailable(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(!started.existed, "the rejected starts stored nothing");
    stop.send(()).expect("the orchestrator runs");
    running.await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn an_unreadable_saga_is_left_alone_and_the_others_continue() {
    let mut rig = Rig::new().await;
    for key in ["1", "2"] {
        rig.start(wish(key, "a")).await.expect("accepted");
    }
    let commands = rig.commands().await;
    let open = rig.database.begin().await.expect("begin");
    open.tx()
        .execute("UPDATE journal SET entry = 'damaged' WHERE seq = 1", ())
        .await
        .expect("damage");
    open.commit().await.expect("commit");
    rig.crash().await;
    rig.turn().await;
    assert_eq!(rig.command().await.saga().key(), "2", "the other saga is taken over");
    let refused = rig.start(wish("1", "a")).await.expect_err("the saga is unreadable");
    assert!(matches!(refused, StartError::Unavailable(_)), "{refused:?}");
    for command in &commands {
        rig.reply(command, written(1)).await;
    }
    rig.turn().await;
    assert_eq!(rig.command().await.name.as_str(), "beta.print");
    assert_eq!(rig.records("sagamore.replies-dlt").await, 1, "its reply is a dead letter");
}
