//! Commands that must not be sent twice, and queries of their outcome.

use std::time::Duration;

use sagamore_core::definition::{ParticipantContract, Repeat};
use sagamore_core::message::{Command, Horizon, Outcome, ReplyOutcome, Swept};
use sagamore_core::{Direction, Name, Timestamp};
use sagamore_database::Database;
use sagamore_gateway::Binding;
use sagamore_transport::wire::{decode_swept, encode_horizon};

use crate::harness::{DONE, HttpParticipant, Rig, action, answer, command, name};

const OUTCOME: &str = "sagamore-outcome";

type Headers = &'static [(&'static str, &'static str)];

fn never() -> ParticipantContract {
    let query: Name = name("card.status");
    ParticipantContract { repeat: Repeat::Never, query: Some(query), ..Default::default() }
}

fn query(saga: &str) -> Command {
    command(saga, Direction::Query)
}

async fn rig(participant: &HttpParticipant, database: Option<Database>) -> Rig {
    Rig::with(&participant.url(), never(), |binding| binding, database).await
}

/// Expects a reply without a repeat of the call.
#[track_caller]
fn check_sent_before(reply: &ReplyOutcome) {
    assert!(
        matches!(reply, ReplyOutcome::Unknown(why) if why.contains("sent before")),
        "{reply:?}"
    );
}

#[tokio::test]
async fn a_redelivered_command_is_not_sent_again() {
    let participant = HttpParticipant::answering(200, DONE, "{}").await;
    let mut rig = rig(&participant, Some(Database::memory())).await;
    rig.send(&[action("1")]).await;
    assert!(matches!(rig.outcome().await, Outcome::Done(_)));
    rig.send(&[action("1")]).await;
    check_sent_before(&rig.reply().await);
    rig.send(&[action("2")]).await;
    assert!(matches!(rig.outcome().await, Outcome::Done(_)));
    rig.until_committed().await;
    assert_eq!(participant.calls().len(), 2);
}

/// The participant says that nothing happened, so the orchestrator may resend the command.
#[tokio::test]
async fn a_command_without_an_effect_may_be_sent_again() {
    let participant = HttpParticipant::of(|number, _| async move {
        match number {
            1 => answer(200, &[(OUTCOME, "fault")], "database down"),
            2 => answer(503, &[(OUTCOME, "fault"), ("retry-after", "9")], ""),
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
async fn a_participant_that_was_away_is_called_later() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/sagas", listener.local_addr().expect("an address"));
    drop(listener);
    let database = Database::memory();
    let mut away = Rig::with(&url, never(), |binding| binding, Some(database.clone())).await;
    away.send(&[action("1")]).await;
    assert!(matches!(away.outcome().await, Outcome::Fault(_)));
    let participant = HttpParticipant::answering(200, DONE, "{}").await;
    let mut rig = rig(&participant, Some(database)).await;
    rig.send(&[action("1")]).await;
    assert!(matches!(rig.outcome().await, Outcome::Done(_)));
}

#[tokio::test]
async fn a_malformed_or_missing_outcome_is_not_resent() {
    let bare: [(u16, Headers, &str); 4] = [
        (200, DONE, "thanks"),
        (200, &[], "{}"),
        (503, &[], ""),
        (429, &[("retry-after", "1")], ""),
    ];
    for (status, headers, body) in bare {
        let participant = HttpParticipant::answering(status, headers, body).await;
        let mut rig = rig(&participant, Some(Database::memory())).await;
        rig.send(&[action("1"), action("1")]).await;
        let replies = rig.replies(2).await;
        assert!(matches!(replies[0].0.outcome, ReplyOutcome::Unknown(_)), "{replies:?}");
        check_sent_before(&replies[1].0.outcome);
        assert!(rig.is_silent().await);
        assert_eq!(participant.calls().len(), 1);
    }
}

#[tokio::test]
async fn a_gateway_without_a_database_does_not_send() {
    let participant = HttpParticipant::answering(200, DONE, "{}").await;
    for command in [action("1"), query("1")] {
        let mut rig = rig(&participant, None).await;
        rig.send(&[command]).await;
        let outcome = rig.outcome().await;
        assert!(
            matches!(&outcome, Outcome::Fault(why) if why.contains("no database")),
            "{outcome:?}"
        );
    }
    assert_eq!(participant.calls().len(), 0);
}

/// The first call's response is lost. The query gets through, and states the outcome.
#[tokio::test]
async fn a_query_of_a_sent_action_is_sent() {
    let participant = HttpParticipant::of(|_, call| async move {
        match call.header("ce-sagakind") {
            "query" => answer(200, DONE, "{\"id\":7}"),
            _ => answer(502, &[], ""),
        }
    })
    .await;
    let mut rig = rig(&participant, Some(Database::memory())).await;
    rig.send(&[action("1"), query("1")]).await;
    let replies = rig.replies(2).await;
    assert!(matches!(replies[0].0.outcome, ReplyOutcome::Unknown(_)), "{replies:?}");
    assert!(matches!(&replies[1].0.outcome, ReplyOutcome::Final(Outcome::Done(_))), "{replies:?}");
    assert_eq!(replies[1].0.key.direction, Direction::Query);
    let call = participant.calls().remove(1);
    assert_eq!(call.header("ce-type"), "card.status");
    assert_eq!(call.header("idempotency-key"), "trip:1/pay/query/1");
}

/// A redelivered action must not run after its query was answered with *absent*.
#[tokio::test]
async fn an_absent_action_is_never_sent() {
    let participant = HttpParticipant::answering(200, &[(OUTCOME, "absent")], "").await;
    let mut rig = rig(&participant, Some(Database::memory())).await;
    rig.send(&[query("1"), action("1")]).await;
    let replies = rig.replies(2).await;
    assert_eq!(replies[0].0.outcome, ReplyOutcome::Absent);
    check_sent_before(&replies[1].0.outcome);
    assert!(rig.is_silent().await);
    assert_eq!(participant.calls().len(), 1);
}

/// The participant may read the request after the connection broke.
#[tokio::test]
async fn absent_is_pending_while_the_call_may_be_open() {
    let participant = HttpParticipant::of(|_, call| async move {
        match call.header("ce-sagakind") {
            "query" => answer(200, &[(OUTCOME, "absent")], ""),
            _ => answer(502, &[], ""),
        }
    })
    .await;
    let database = Database::memory();
    let mut rig = rig(&participant, Some(database.clone())).await;
    rig.send(&[action("1"), query("1")]).await;
    let replies = rig.replies(2).await;
    let ReplyOutcome::Pending(rest) = replies[1].0.outcome else { panic!("{replies:?}") };
    assert!(rest <= 2 * Binding::TIMEOUT, "{rest:?}");
    // the rest of the time passes
    let open = database.begin().await.expect("open");
    let passed = "UPDATE gateway_sent SET open_until = open_until - $1";
    let rest = i64::try_from(rest.as_millis()).expect("a short time");
    assert_eq!(open.tx().execute(passed, (rest,)).await.expect("updated"), 1);
    open.commit().await.expect("committed");
    rig.send(&[query("1")]).await;
    assert_eq!(rig.reply().await, ReplyOutcome::Absent);
}

#[tokio::test]
async fn a_lost_query_is_a_fault() {
    let participant = HttpParticipant::of(|_, _| std::future::pending()).await;
    let bound = |binding| Binding { timeout: Duration::from_millis(50), ..binding };
    let mut rig = Rig::with(&participant.url(), never(), bound, Some(Database::memory())).await;
    rig.send(&[query("1")]).await;
    assert!(matches!(rig.outcome().await, Outcome::Fault(_)));
}

/// The business key may then start another saga, whose commands are sent.
#[tokio::test]
async fn a_horizon_is_acknowledged_after_the_removal_of_sent_commands() {
    let participant = HttpParticipant::answering(200, DONE, "{}").await;
    let database = Database::memory();
    let mut rig = rig(&participant, Some(database.clone())).await;
    rig.send(&[action("1"), action("2")]).await;
    rig.replies(2).await;
    let open = database.begin().await.expect("begin");
    open.tx().execute("UPDATE gateway_sent SET sent_at = 0", ()).await.expect("old");
    open.commit().await.expect("commit");

    let command = action("1");
    let horizon = Horizon {
        started_before: Timestamp(1),
        ended_before: Timestamp(2),
        started_from: None,
        definitions: vec![name("trip")],
        but: vec![action("2").key.saga],
    };
    rig.publish(vec![encode_horizon(&horizon, Some(&command.reply_to))]).await;
    let swept = decode_swept(&rig.record().await).expect("an acknowledgement");
    let expected = Swept { participant: name("cards"), before: Timestamp(1) };
    assert_eq!(swept.expect("readable"), expected);
    let left = database.query("SELECT saga FROM gateway_sent", ()).await.expect("rows");
    let left: Vec<String> = left.iter().map(|row| row.get(0).expect("a saga")).collect();
    assert_eq!(left, ["trip:2"]);
    rig.send(&[command]).await;
    assert!(matches!(rig.outcome().await, Outcome::Done(_)), "another saga of this key");
}
