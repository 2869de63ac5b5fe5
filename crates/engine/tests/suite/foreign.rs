//! Replies of foreign clients: `docs/wire.md`, field by field. A reply without a matching command
//! changes no saga.

use crate::common::{Rig, nothing, wish, written};
use sagamore_core::saga::StepStatus;
use sagamore_core::{Command, Name, Reply, Timestamp, TraceContext};
use sagamore_transport::{Record, Transport, wire};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn reply_to(command: &Command) -> Record {
    let reply = Reply { key: command.key.clone(), outcome: written(1).into(), trace: None };
    wire::encode_reply(&reply, &command.reply_to, &command.participant, Timestamp(0))
}

fn changed(command: &Command, change: impl FnOnce(&mut Reply, &mut Name)) -> Record {
    let mut reply = Reply { key: command.key.clone(), outcome: written(1).into(), trace: None };
    let mut source = command.participant.clone();
    change(&mut reply, &mut source);
    wire::encode_reply(&reply, &command.reply_to, &source, Timestamp(0))
}

/// Sends the first command of a saga, and publishes a forged reply to it. The step still waits, and
/// the reply is a dead letter.
async fn check(what: &str, forge: impl FnOnce(&Command) -> Record) {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    rig.log.publish(vec![forge(&write)]).await.expect("publish");
    rig.turn().await;
    let step = rig.show("1").await.expect("stored").saga.steps[0].clone();
    assert_eq!(
        (step.status, step.fault, step.wait.is_retry()),
        (StepStatus::Asked, None, false),
        "{what}"
    );
    assert_eq!(rig.records("sagamore.replies-dlt").await, 1, "{what}");
    rig.log.publish(vec![reply_to(&write)]).await.expect("publish");
    rig.turn().await;
    assert_eq!(
        rig.command().await.name.as_str(),
        "beta.print",
        "{what}: the matching reply counts"
    );
    assert_eq!(rig.records("sagamore.replies-dlt").await, 1, "{what}: no second dead letter");
}

#[tokio::test]
async fn an_unmatched_reply_is_a_dead_letter_and_changes_no_saga() {
    check("another service", |write| {
        changed(write, |_, source| *source = "beta".parse().expect("a name"))
    })
    .await;
    check("an unknown step", |write| {
        changed(write, |reply, _| reply.key.step = "fold".parse().expect("a name"))
    })
    .await;
    check("a later generation", |write| changed(write, |reply, _| reply.key.generation = 2)).await;
    for header in
        ["ce_id", "ce_type", "ce_source", "ce_subject", "ce_causationid", "ce_specversion"]
    {
        check(header, |write| {
            let mut record = reply_to(write);
            record.headers.retain(|(name, _)| name != header);
            record
        })
        .await;
    }
    check("a null key", |write| Record { key: "".into(), ..reply_to(write) }).await;
    check("two outcomes", |write| {
        let mut record = reply_to(write);
        record.headers.push(("ce_sagaoutcome".into(), "refused".into()));
        record
    })
    .await;
}

/// The saga's step has a fault with the reason.
#[tokio::test]
async fn a_reply_over_512_kib_is_a_dead_letter_and_a_fault_of_its_step() {
    for bytes in [600 * 1024, 1_000 * 1024] {
        let mut rig = Rig::new().await;
        rig.start(wish("1", "a")).await.expect("accepted");
        let write = rig.command().await;
        let body = format!("{{\"page\":1,\"text\":\"{}\"}}", "x".repeat(bytes));
        rig.log
            .publish(vec![Record { body: body.into(), ..reply_to(&write) }])
            .await
            .expect("publish");
        rig.turn().await;
        let detail = rig.show("1").await.expect("stored");
        let fault = detail.saga.steps[0].fault.clone().expect("a fault");
        assert!(fault.contains("at most 524288 are allowed"), "{fault}");
        assert_eq!(detail.saga.steps[0].output, None, "the output is not stored");
        assert_eq!(rig.records("sagamore.replies-dlt").await, 1);
    }
}

/// The trace runs from the request through commands and replies, and is stored, so that a takeover
/// resends it.
#[tokio::test]
async fn a_trace_continues_from_the_start_through_replies_to_commands_and_survives_a_crash() {
    let trace = TraceContext::of(PARENT, Some("rojo=1"));
    let mut rig = Rig::new().await;
    rig.start(sagamore_engine::Start { trace: trace.clone(), ..wish("1", "a") })
        .await
        .expect("accepted");
    let write = rig.command().await;
    assert_eq!(write.trace, trace);
    rig.crash().await;
    rig.turn().await;
    assert_eq!(rig.command().await.trace, trace, "a takeover resends the trace");
    let span = TraceContext::of(&PARENT.replace("00f067aa0ba902b7", "b7ad6b7169203331"), None);
    let reply = Reply { key: write.key.clone(), outcome: written(1).into(), trace: span.clone() };
    rig.send(&reply, &write).await;
    rig.turn().await;
    let print = rig.command().await;
    assert_eq!((print.name.as_str(), &print.trace), ("beta.print", &span));
    rig.crash().await;
    rig.turn().await;
    assert_eq!(rig.command().await.trace, span, "the reply's span");
    rig.reply(&print, nothing()).await;
    rig.turn().await;
    let detail = rig.show("1").await.expect("stored");
    assert_eq!(detail.saga.trace, span, "a reply without a trace changes nothing");
}
