//! Commands that must not be sent twice.

use sagamore_core::definition::{ParticipantContract, Repeat};
use sagamore_core::message::{Outcome, ReplyOutcome};
use sagamore_database::Database;

use crate::harness::{DONE, HttpParticipant, Rig, action, answer};

fn never() -> ParticipantContract {
    ParticipantContract { repeat: Repeat::Never, ..ParticipantContract::default() }
}

async fn rig(participant: &HttpParticipant, database: Option<Database>) -> Rig {
    Rig::with(&participant.url(), never(), |binding| binding, database).await
}

#[tokio::test]
async fn a_redelivered_command_is_not_sent_again() {
    let participant = HttpParticipant::answering(200, DONE, "{}").await;
    let mut rig = rig(&participant, Some(Database::memory())).await;
    rig.send(&[action("1"), action("1"), action("2")]).await;
    let replies = rig.replies(2).await;
    assert!(
        replies
            .iter()
            .all(|(reply, _)| matches!(reply.outcome, ReplyOutcome::Final(Outcome::Done(_))))
    );
    rig.until_committed().await;
    assert_eq!(participant.calls().len(), 2);
}

/// The participant says that nothing happened, so the orchestrator may resend the command.
#[tokio::test]
async fn a_command_without_an_effect_may_be_sent_again() {
    let participant = HttpParticipant::of(|number, _| async move {
        match number {
            1 => answer(200, &[("sagamore-outcome", "fault")], "database down"),
            2 => answer(503, &[], ""),
            _ => answer(200, DONE, "{}"),
        }
    })
    .await;
    let mut rig = rig(&participant, Some(Database::memory())).await;
    rig.send(&[action("1"), action("1"), action("1")]).await;
    let outcomes = rig.replies(3).await;
    let outcomes: Vec<Outcome> =
        outcomes.iter().filter_map(|(reply, _)| reply.outcome.clone().result()).collect();
    assert!(
        matches!(outcomes[..], [Outcome::Fault(_), Outcome::Fault(_), Outcome::Done(_)]),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_malformed_or_missing_outcome_is_not_resent() {
    for (headers, body) in [(DONE, "thanks"), (&[][..], "{}")] {
        let participant = HttpParticipant::answering(200, headers, body).await;
        let mut rig = rig(&participant, Some(Database::memory())).await;
        rig.send(&[action("1"), action("1")]).await;
        while participant.calls().is_empty() {
            tokio::task::yield_now().await;
        }
        rig.until_committed().await;
        assert_eq!(participant.calls().len(), 1);
    }
}

#[tokio::test]
async fn a_gateway_without_a_database_does_not_send() {
    let participant = HttpParticipant::answering(200, DONE, "{}").await;
    let mut rig = rig(&participant, None).await;
    rig.send(&[action("1")]).await;
    let outcome = rig.outcome().await;
    assert!(matches!(&outcome, Outcome::Fault(why) if why.contains("no database")), "{outcome:?}");
    assert_eq!(participant.calls().len(), 0);
}
