//! Requests and outcomes.

use std::time::Duration;

use sagamore_core::definition::{ParticipantContract, Repeat};
use sagamore_core::message::{Outcome, Refusal, ReplyOutcome};
use sagamore_core::{Body, Command, Timestamp};
use sagamore_gateway::{Secret, signature};
use sagamore_transport::wire::encode_command;

use crate::harness::{DONE, HttpParticipant, Rig, TRACE, action, answer, name};

fn by_key() -> ParticipantContract {
    let refusals = [(402, name("no-money"))].into();
    ParticipantContract { repeat: Repeat::ByKey, refusals, ..ParticipantContract::default() }
}

async fn outcome_of(
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> Outcome {
    let participant = HttpParticipant::answering(status, headers, body).await;
    let mut rig = Rig::new(&participant.url(), by_key()).await;
    rig.send(&[action("1")]).await;
    let outcome = rig.outcome().await;
    assert!(rig.is_silent().await);
    assert_eq!(participant.calls().len(), 1);
    outcome
}

/// Expects the reply *unknown*, with its reason.
async fn check_unknown(status: u16, headers: &'static [(&'static str, &'static str)]) {
    let participant = HttpParticipant::answering(status, headers, "{}").await;
    let mut rig = Rig::new(&participant.url(), by_key()).await;
    rig.send(&[action("1")]).await;
    let reply = rig.reply().await;
    let expected = format!("answered {status}");
    assert!(matches!(&reply, ReplyOutcome::Unknown(why) if why.contains(&expected)), "{reply:?}");
    assert!(rig.is_silent().await, "HTTP status {status}");
    assert_eq!(participant.calls().len(), 1, "HTTP status {status}");
}

#[tokio::test]
async fn a_command_is_a_cloudevent_and_the_reply_has_its_trace() {
    let participant = HttpParticipant::answering(200, DONE, "{\"id\":7}").await;
    let mut rig = Rig::new(&participant.url(), ParticipantContract::default()).await;
    rig.send(&[action("Größe 1")]).await;
    let (reply, record) = rig.replies(1).await.remove(0);
    assert_eq!(reply.outcome, Outcome::Done(Body::parse("{\"id\":7}").expect("JSON")).into());
    assert_eq!(reply.trace.as_ref().map(|trace| trace.traceparent()), Some(TRACE));
    assert_eq!(record.header("ce_subject").expect("a subject"), "Größe 1");
    let call = participant.calls().remove(0);
    assert_eq!((call.method.as_str(), &call.body[..]), ("POST", &b"{\"cents\":44000}"[..]));
    let id = "trip:Gr%C3%B6%C3%9Fe%201/pay/action/1";
    for (name, expected) in [
        ("ce-specversion", "1.0"),
        ("ce-id", id),
        ("idempotency-key", id),
        ("ce-source", "/sagamore"),
        ("ce-type", "card.charge"),
        ("ce-time", "1970-01-01T00:00:00.000Z"),
        ("ce-subject", "Gr%C3%B6%C3%9Fe%201"),
        ("ce-correlationid", "trip:Gr%C3%B6%C3%9Fe%201"),
        ("ce-sagastep", "pay"),
        ("ce-sagakind", "action"),
        ("ce-sagageneration", "1"),
        ("ce-sagadefinition", "trip"),
        ("ce-sagaversion", "3"),
        ("ce-sagaattempt", "1"),
        ("traceparent", TRACE),
        ("tracestate", "vendor=1"),
        ("content-type", "application/json"),
        ("webhook-signature", ""),
    ] {
        assert_eq!(call.header(name), expected, "{name}");
    }
}

#[tokio::test]
async fn each_stated_outcome_is_replied() {
    let done = outcome_of(201, DONE, "{\"id\":7}").await;
    assert_eq!(done, Outcome::Done(Body::parse("{\"id\":7}").expect("JSON")));
    let refused = outcome_of(
        409,
        &[("sagamore-outcome", "refused")],
        "{\"code\":\"no-seat\",\"message\":\"sold out\"}",
    );
    assert_eq!(refused.await, Outcome::Refused(Refusal::new("no-seat", "sold out")));
    let fault = outcome_of(500, &[("sagamore-outcome", "fault")], "database down");
    assert_eq!(fault.await, Outcome::Fault("database down".into()));
    let malformed = outcome_of(200, DONE, "thanks").await;
    assert!(
        matches!(&malformed, Outcome::Fault(why) if why.contains("not a JSON object")),
        "{malformed:?}"
    );
}

#[tokio::test]
async fn a_listed_status_is_a_refusal() {
    let refused = outcome_of(402, &[], "{\"message\":\"too little\"}").await;
    assert_eq!(refused, Outcome::Refused(Refusal::new("no-money", "too little")));
}

#[tokio::test]
async fn a_pending_command_has_its_delay() {
    const PENDING: &[(&str, &str)] = &[("sagamore-outcome", "pending"), ("retry-after", "7")];
    for (status, headers) in [(202, PENDING), (503, &[("retry-after", "7")])] {
        let participant = HttpParticipant::answering(status, headers, "").await;
        let mut rig = Rig::new(&participant.url(), by_key()).await;
        rig.send(&[action("1")]).await;
        assert_eq!(rig.reply().await, ReplyOutcome::Pending(Duration::from_secs(7)));
        assert!(rig.is_silent().await);
    }
}

#[tokio::test]
async fn a_command_of_an_unknown_version_is_not_sent() {
    let participant = HttpParticipant::answering(200, DONE, "{}").await;
    let mut rig = Rig::new(&participant.url(), by_key()).await;
    rig.send(&[Command { version: 4, ..action("1") }]).await;
    let fault = rig.outcome().await;
    assert!(matches!(&fault, Outcome::Fault(why) if why.contains("trip@4")), "{fault:?}");
    assert!(rig.is_silent().await);
    assert!(participant.calls().is_empty());
}

#[tokio::test]
async fn a_bare_status_is_unknown() {
    for status in [200, 404, 409, 429, 500, 503] {
        check_unknown(status, &[]).await;
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = HttpParticipant::answering(200, DONE, "{}").await;
    let url: &'static str = other.url().leak();
    for status in [301, 302, 307, 308] {
        let location: &'static [_] = vec![("location", url)].leak();
        check_unknown(status, location).await;
    }
    assert!(other.calls().is_empty(), "the redirect was followed");
}

#[tokio::test]
async fn a_participant_that_is_away_is_a_fault() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let mut rig = Rig::new(&format!("http://{address}/sagas"), by_key()).await;
    rig.send(&[action("1")]).await;
    let fault = rig.outcome().await;
    assert!(matches!(&fault, Outcome::Fault(why) if why.contains("cannot connect")), "{fault:?}");
    assert!(rig.is_silent().await);
}

#[tokio::test]
async fn a_response_that_is_late_or_breaks_off_is_unknown() {
    let late = HttpParticipant::of(|_, _| std::future::pending()).await;
    let limit =
        |binding| sagamore_gateway::Binding { timeout: Duration::from_millis(50), ..binding };
    let mut rig = Rig::with(&late.url(), by_key(), limit, None).await;
    rig.send(&[action("1")]).await;
    let reply = rig.reply().await;
    assert!(matches!(&reply, ReplyOutcome::Unknown(why) if why.contains("50ms")), "{reply:?}");
    assert!(rig.is_silent().await);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/sagas", listener.local_addr().expect("an address"));
    let mut rig = Rig::new(&url, by_key()).await;
    rig.send(&[action("1")]).await;
    let mut head = [0; 64];
    while !head.starts_with(b"POST ") {
        let (mut connection, _) = listener.accept().await.expect("a connection");
        tokio::io::AsyncReadExt::read_exact(&mut connection, &mut head).await.expect("a request");
    }
    let reply = rig.reply().await;
    assert!(matches!(&reply, ReplyOutcome::Unknown(why) if why.contains("broke")), "{reply:?}");
    assert!(rig.is_silent().await);
}

#[tokio::test]
async fn requests_are_signed_with_each_key() {
    let participant = HttpParticipant::answering(200, DONE, "{}").await;
    let secrets =
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]
            .map(|text| Secret::parse(text).expect("a secret"));
    let keys = secrets.to_vec();
    let signed = |binding| sagamore_gateway::Binding { secrets: keys, ..binding };
    let mut rig = Rig::with(&participant.url(), ParticipantContract::default(), signed, None).await;
    rig.send(&[action("1")]).await;
    rig.outcome().await;
    let call = participant.calls().remove(0);
    assert_eq!(call.header("webhook-id"), "trip:1/pay/action/1");
    let seconds: i64 = call.header("webhook-timestamp").parse().expect("seconds");
    assert!(seconds > 1_700_000_000, "{seconds}");
    let expected = signature::sign(&secrets, "trip:1/pay/action/1", seconds, &call.body);
    assert_eq!(call.header("webhook-signature"), expected);
    assert_eq!(expected.split(' ').count(), 2);
}

#[tokio::test]
async fn an_unreadable_command_is_a_dead_letter_and_does_not_block() {
    let participant = HttpParticipant::answering(200, DONE, "{}").await;
    let mut rig = Rig::new(&participant.url(), ParticipantContract::default()).await;
    let mut addressless = encode_command(&action("1"), Timestamp(0));
    addressless.headers.retain(|(name, _)| name != "ce_sagareplytopic");
    let mut bodyless = encode_command(&action("2"), Timestamp(0));
    bodyless.body = "no JSON".into();
    rig.publish(vec![addressless, bodyless, encode_command(&action("3"), Timestamp(0))]).await;
    let mut replies = rig.replies(2).await;
    replies.sort_by_key(|(reply, _)| reply.key.saga.to_string());
    let outcomes: Vec<Option<Outcome>> =
        replies.iter().map(|(reply, _)| reply.outcome.clone().result()).collect();
    assert!(matches!(&outcomes[0], Some(Outcome::Fault(why)) if why.contains("cannot read")));
    assert!(matches!(outcomes[1], Some(Outcome::Done(_))));
    assert!(rig.is_silent().await);
    let mut reasons = rig.dead_letters().await;
    reasons.sort();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("ce_sagareplytopic")), "{reasons:?}");
    assert_eq!(participant.calls().len(), 1);
}

#[tokio::test]
async fn an_undeliverable_reply_is_a_dead_letter() {
    let participant = HttpParticipant::answering(200, DONE, "{}").await;
    let mut rig = Rig::new(&participant.url(), ParticipantContract::default()).await;
    let mut lost = action("1");
    lost.reply_to.topic = "nowhere".into();
    rig.send(&[lost, action("2")]).await;
    rig.outcome().await;
    assert!(rig.is_silent().await);
    let reasons = rig.dead_letters().await;
    assert!(
        matches!(&reasons[..], [reason] if reason.contains("its reply cannot be delivered")),
        "{reasons:?}"
    );
}

#[tokio::test]
async fn an_expired_action_is_not_sent() {
    let participant = HttpParticipant::of(|_, _| async { answer(200, DONE, "{}") }).await;
    let mut rig = Rig::new(&participant.url(), ParticipantContract::default()).await;
    let mut expired = action("1");
    expired.expires_at = Some(Timestamp(1));
    rig.send(&[expired, action("2")]).await;
    rig.outcome().await;
    assert!(rig.is_silent().await);
    assert_eq!(participant.calls().len(), 1);
}
