//! Participants that answer a GET of their URL are announced in their name.

use sagamore_core::announcement::{Announcement, HandledMessage, MessageKind};
use sagamore_core::definition::ParticipantContract;
use sagamore_gateway::{Binding, Secret, signature};
use sagamore_transport::wire::{PARTICIPANTS_TOPIC, decode_announcement};
use sagamore_transport::{Subscription, Transport};

use crate::harness::{HttpParticipant, Rig, name};

const CARDS: &str = r#"{
    "participant": "cards",
    "messages": [
        { "name": "card.charge", "kind": "action", "schema": "5f70bf18a0860070" },
        { "name": "card.refund", "kind": "compensation" }
    ]
}"#;

/// Waits for the next announcement.
async fn next(rig: &Rig) -> Announcement {
    rig.log.create_topic(PARTICIPANTS_TOPIC, 1).await.expect("created");
    let topics = vec![PARTICIPANTS_TOPIC.into()];
    let subscription = Subscription { group: "announced".into(), topics, partitions: None };
    let mut consumer = rig.log.subscribe(subscription).await.expect("subscribed");
    loop {
        consumer.ready().await;
        if let Some(taken) = consumer.poll(1).await.expect("polled").first() {
            return decode_announcement(&taken.record).expect("an announcement");
        }
    }
}

#[tokio::test]
async fn the_answer_to_a_get_is_published_as_the_participants_announcement() {
    let participant = HttpParticipant::announcing(200, CARDS).await;
    let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
    let secrets = vec![secret.clone()];
    let contract = ParticipantContract::default();
    let bound = |binding| Binding { secrets, ..binding };
    let mut rig = Rig::with(&participant.url(), contract, bound, None).await;
    let announcement = next(&rig).await;
    assert_eq!(announcement.participant, name("cards"));
    assert_eq!(announcement.process, "http");
    let charge = HandledMessage {
        name: name("card.charge"),
        kind: MessageKind::Action,
        schema: Some("5f70bf18a0860070".to_owned()),
    };
    assert_eq!(announcement.messages[0], charge);
    assert_eq!(announcement.messages[1].kind, MessageKind::Compensation);
    let query = participant.queries().remove(0);
    let (id, seconds) = (query.header("webhook-id"), query.header("webhook-timestamp"));
    let signed = signature::sign(&[secret], id, seconds.parse().expect("a number"), b"");
    assert_eq!(query.header("webhook-signature"), signed);
    assert!(participant.calls().is_empty());
    rig.stop().await;
}
