//! Starts: stored before they are answered, one saga for one business key.

use std::time::Duration;

use crate::common::{Rig, id, no, nothing, wish, written};
use sagamore_core::Body;
use sagamore_core::saga::{IgnoreReason, Status};
use sagamore_engine::{Options, Start, StartError, VerbError};

#[tokio::test]
async fn a_saga_goes_from_step_to_step_and_completes() {
    let mut rig = Rig::new().await;
    let started = rig.start(wish("1", "hello")).await.expect("accepted");
    assert!(!started.existed);
    let write = rig.command().await;
    assert_eq!((write.name.as_str(), write.body.as_str()), ("alpha.write", r#"{"text":"hello"}"#));
    rig.reply(&write, written(5)).await;
    rig.turn().await;
    let print = rig.command().await;
    assert_eq!((print.name.as_str(), print.body.as_str()), ("beta.print", r#"{"page":5}"#));
    rig.reply(&print, nothing()).await;
    rig.turn().await;
    let detail = rig.show("1").await.expect("stored");
    assert_eq!((detail.header.status, detail.entries.len()), (Status::Completed, 3));
    assert_eq!(rig.handle.in_flight(), 0);
}

#[tokio::test]
async fn a_refusal_undoes_earlier_steps_and_the_waiter_gets_the_outcome() {
    let mut rig = Rig::new().await;
    let handle = rig.handle.clone();
    let waits = tokio::spawn(async move {
        handle.start_and_wait(wish("1", "x"), Duration::from_secs(60)).await
    });
    tokio::task::yield_now().await;
    rig.turn().await;
    let write = rig.command().await;
    rig.reply(&write, written(5)).await;
    rig.turn().await;
    let print = rig.command().await;
    rig.reply(&print, no()).await;
    rig.turn().await;
    let erase = rig.command().await;
    assert_eq!(erase.name.as_str(), "alpha.erase");
    rig.reply(&erase, nothing()).await;
    rig.turn().await;
    let (_, summary) = waits.await.expect("no panic").expect("accepted");
    assert_eq!(summary.expect("at rest").status, Status::Compensated);
    let header = rig.show("1").await.expect("stored").header;
    assert_eq!(header.failed_at.expect("a step").as_str(), "print");
}

#[tokio::test]
async fn a_second_start_returns_the_existing_saga_and_another_input_is_rejected() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let again = rig.start(wish("1", "a")).await.expect("the same input");
    assert!(again.existed);
    let other = rig.start(wish("1", "b")).await.expect_err("another input");
    assert!(matches!(other, StartError::OtherInput(saga) if saga == id("1")));
    assert_eq!(rig.commands().await.len(), 1, "no command is sent twice");
}

#[tokio::test]
async fn repeated_starts_in_one_turn_or_after_a_crash_are_one_saga() {
    let mut rig = Rig::new().await;
    let (one, two) = (rig.handle.clone(), rig.handle.clone());
    let both = async { tokio::join!(one.start(wish("1", "a")), two.start(wish("1", "a"))) };
    let (one, two) = rig.while_turning(both).await;
    assert_eq!((one.expect("accepted").existed, two.expect("accepted").existed), (false, true));
    rig.crash().await;
    assert!(rig.start(wish("1", "a")).await.expect("accepted").existed);
    let ids: Vec<String> = rig.commands().await.iter().map(|command| command.id()).collect();
    assert_eq!(
        ids,
        ["booklet:1/write/action/1", "booklet:1/write/action/1"],
        "resent with the same id"
    );
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_one_request() {
    let mut rig = Rig::new().await;
    let with_key = |key: &str, text: &str| {
        let mut start = wish(key, text);
        start.idempotency_key = Some("k".into());
        start
    };
    rig.start(with_key("1", "a")).await.expect("accepted");
    assert!(rig.start(with_key("1", "a")).await.expect("the same request").existed);
    let other = rig.start(with_key("2", "a")).await;
    assert!(matches!(other, Err(StartError::OtherRequest)), "{other:?}");
    rig.crash().await;
    let other = rig.start(with_key("1", "b")).await;
    assert!(matches!(other, Err(StartError::OtherRequest)), "the key survives a crash: {other:?}");
    assert!(rig.show("2").await.is_none(), "the rejected request stored nothing");
}

#[tokio::test]
async fn a_cancel_before_the_start_stores_a_saga_that_sends_no_command() {
    let mut rig = Rig::new().await;
    let handle = rig.handle.clone();
    let status = rig.while_turning(handle.cancel(id("1"))).await.expect("cancelled");
    assert_eq!(status, Status::Compensated);
    let started = rig.start(wish("1", "a")).await.expect("the start returns it");
    assert_eq!((started.existed, started.status), (true, Status::Compensated));
    assert!(rig.commands().await.is_empty());
}

#[tokio::test]
async fn a_cancel_is_accepted_before_the_pivot_is_sent_and_may_be_repeated() {
    let mut rig = Rig::new().await;
    let handle = rig.handle.clone();
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    assert_eq!(
        rig.while_turning(handle.cancel(id("1"))).await.expect("taken"),
        Status::Compensating
    );
    assert_eq!(
        rig.while_turning(handle.cancel(id("1"))).await.expect("again"),
        Status::Compensating
    );
    rig.reply(&write, written(1)).await;
    rig.turn().await;
    let erase = rig.command().await;
    rig.reply(&erase, nothing()).await;
    rig.turn().await;
    let ended = rig
        .while_turning(handle.cancel(id("1")))
        .await
        .expect_err("the saga is already compensated");
    assert!(matches!(ended, VerbError::Ignored(IgnoreReason::Ended)), "{ended:?}");

    rig.start(wish("2", "a")).await.expect("accepted");
    let write = rig.command().await;
    rig.reply(&write, written(1)).await;
    rig.turn().await;
    let late = rig.while_turning(handle.cancel(id("2"))).await.expect_err("the pivot was sent");
    assert!(matches!(late, VerbError::Ignored(_)), "{late:?}");
}

#[tokio::test]
async fn starts_beyond_the_limit_are_rejected_as_busy_and_not_stored() {
    let options = Options { in_flight_max: 1, ..Options::default() };
    let mut rig = Rig::with(options, crate::common::database()).await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let busy = rig.handle.start(wish("2", "a")).await.expect_err("too many");
    assert!(matches!(busy, StartError::Busy { retry_after_s: 1.. }), "{busy:?}");
    rig.turn().await;
    assert!(rig.show("2").await.is_none());
}

#[tokio::test]
async fn an_input_that_is_too_large_or_lacks_a_field_is_rejected_with_the_reason() {
    let mut rig =
        Rig::with(Options { input_bytes_max: 64, ..Options::default() }, crate::common::database())
            .await;
    let large = rig.handle.start(wish("1", &"x".repeat(100))).await.expect_err("too large");
    assert!(matches!(large, StartError::TooLarge { bytes_max: 64, .. }), "{large:?}");
    let mut lacking = wish("1", "a");
    lacking.input = sagamore_core::Body::empty();
    let lacking = rig.handle.start(lacking).await.expect_err("a field is missing");
    assert!(lacking.to_string().contains("text"), "{lacking}");
    rig.turn().await;
    assert!(rig.show("1").await.is_none());
}

#[tokio::test]
async fn inputs_with_different_meanings_are_different_starts() {
    let mut rig = Rig::new().await;
    let deep = |core: &str| format!("{}{core}{}", "[".repeat(128), "]".repeat(128));
    let pairs = [
        (r#"{"text":"a","x":"\ud83d"}"#.to_owned(), r#"{"text":"b","x":"\ud83d"}"#.to_owned()),
        (r#"{"text":"a","x":1e999}"#.into(), r#"{"text":"b","x":1e999}"#.into()),
        (
            format!(r#"{{"text":"a","x":{}}}"#, deep("")),
            format!(r#"{{"text":"b","x":{}}}"#, deep("")),
        ),
        (
            r#"{"text":"a","x":18446744073709551617}"#.into(),
            r#"{"text":"a","x":18446744073709551618}"#.into(),
        ),
        (r#"{"text":"a","x":0.1}"#.into(), r#"{"text":"a","x":0.10000000000000000001}"#.into()),
    ];
    for (number, (one, other)) in pairs.into_iter().enumerate() {
        let start = |input: &str| Start {
            input: Body::parse(input).expect("JSON"),
            ..wish(&number.to_string(), "")
        };
        rig.start(start(&one)).await.expect("accepted");
        assert!(rig.start(start(&one)).await.expect("the same input").existed, "{one}");
        let refused = rig.start(start(&other)).await;
        assert!(matches!(refused, Err(StartError::OtherInput(_))), "{other}: {refused:?}");
    }
}

#[tokio::test]
async fn one_input_in_two_spellings_is_one_start() {
    let mut rig = Rig::new().await;
    let start = |input: &str| Start { input: Body::parse(input).expect("JSON"), ..wish("1", "") };
    rig.start(start(r#"{"text":"a","x":{"n":1,"m":1e999}}"#)).await.expect("accepted");
    let again =
        rig.start(start("{\"x\": {\"m\": 10e998, \"n\": 1.0},\n\"text\": \"\\u0061\"}")).await;
    assert!(again.expect("the same input").existed);
}
