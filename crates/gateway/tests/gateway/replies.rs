//! Replies after the response, by the token of the request.

use std::sync::Arc;

use sagamore_core::Body;
use sagamore_core::definition::ParticipantContract;
use sagamore_core::message::{Outcome, ReplyOutcome};
use sagamore_gateway::{BadToken, LateReplies, Options, ReplyError, ReplyKeys, Secret};
use sagamore_transport::Log;

use crate::harness::{HttpParticipant, Rig, action};

const PENDING: &[(&str, &str)] = &[("sagamore-outcome", "pending")];

fn keys(letter: &str) -> ReplyKeys {
    let secret = Secret::parse(&format!("whsec_{}", letter.repeat(32))).expect("a secret");
    ReplyKeys::of(vec![secret]).expect("a key")
}

fn door(log: &Log) -> LateReplies {
    LateReplies::of(keys("A"), Arc::new(log.clone()))
}

/// Runs a gateway whose participant answers *pending*. Returns the tokens of two commands.
async fn pending() -> (Rig, HttpParticipant, [String; 2]) {
    let participant = HttpParticipant::answering(202, PENDING, "").await;
    let options = Options { reply_keys: Some(keys("A")), ..Options::default() };
    let mut rig = Rig::running(&participant.url(), ParticipantContract::default(), options).await;
    let mut tokens = Vec::new();
    for saga in ["1", "2"] {
        rig.send(&[action(saga)]).await;
        assert!(matches!(rig.reply().await, ReplyOutcome::Pending(_)));
        let call = participant.calls().pop().expect("a call");
        tokens.push(call.header("sagamore-reply-token").to_owned());
    }
    (rig, participant, tokens.try_into().expect("two tokens"))
}

#[tokio::test]
async fn a_pending_command_is_completed_by_its_token() {
    let (mut rig, _participant, [first, second]) = pending().await;
    let door = door(&rig.log);
    let permit = door.publish(&second, "done", b"{\"id\":7}", None).await.expect("published");
    assert_eq!(permit.key, action("2").key);
    let (reply, record) = rig.replies(1).await.remove(0);
    assert_eq!(reply.key, action("2").key);
    assert_eq!(reply.outcome, Outcome::Done(Body::parse("{\"id\":7}").expect("JSON")).into());
    assert_eq!((&*record.topic, record.partition), ("sagamore.replies", Some(1)));
    let body = b"{\"code\":\"no-money\"}";
    door.publish(&first, "refused", body, None).await.expect("published");
    let (reply, _) = rig.replies(1).await.remove(0);
    assert_eq!(reply.key, action("1").key);
    assert!(matches!(reply.outcome, ReplyOutcome::Final(Outcome::Refused(_))), "{reply:?}");
}

#[tokio::test]
async fn a_bad_token_or_outcome_publishes_nothing() {
    let (mut rig, _participant, [first, second]) = pending().await;
    let door = door(&rig.log);
    let (text, _) = first.split_once('.').expect("two parts");
    let (_, signature) = second.split_once('.').expect("two parts");
    let forged = format!("{text}.{signature}");
    let error = door.publish(&forged, "done", b"{}", None).await.expect_err("forged");
    assert!(matches!(error, ReplyError::Token(BadToken::Forged)), "{error}");
    let other = LateReplies::of(keys("B"), Arc::new(rig.log.clone()));
    let error = other.publish(&first, "done", b"{}", None).await.expect_err("another key");
    assert!(matches!(error, ReplyError::Token(BadToken::OtherKey)), "{error}");
    for (name, body) in [("pending", "{}"), ("done", "thanks"), ("refused", "{}"), ("", "{}")] {
        let error = door.publish(&first, name, body.as_bytes(), None).await.expect_err(name);
        assert!(matches!(error, ReplyError::Outcome(_)), "{error}");
    }
    assert!(rig.is_silent().await);
}

#[tokio::test]
async fn a_request_without_keys_has_no_token() {
    let participant = HttpParticipant::answering(202, PENDING, "").await;
    let mut rig = Rig::new(&participant.url(), ParticipantContract::default()).await;
    rig.send(&[action("1")]).await;
    rig.reply().await;
    assert_eq!(participant.calls()[0].header("sagamore-reply-token"), "");
}
