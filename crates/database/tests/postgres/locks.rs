//! Lock waits on PostgreSQL and their limits.

use std::time::Duration;

use sagamore_database::postgres::Options;
use sagamore_database::{Database, Error};

use crate::server::Server;

const TABLE: &str = "CREATE TABLE barrier (key TEXT PRIMARY KEY, status TEXT NOT NULL)";
const CLAIM: &str = "INSERT INTO barrier (key, status) VALUES ($1, 'claimed')
    ON CONFLICT (key) DO UPDATE SET status = barrier.status";
const STATUS: &str = "SELECT status FROM barrier WHERE key = $1";

async fn with_table(options: Options) -> Database {
    let db = Database::postgres(options).unwrap();
    let open = db.begin().await.unwrap();
    open.tx().batch(TABLE).await.unwrap();
    open.commit().await.unwrap();
    db
}

/// Waits until `count` connections of this database wait for a lock.
pub async fn until_waiting(db: &Database, application: &str, count: i64) {
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = $1 AND \
                   wait_event_type = 'Lock'";
    while db.query(waiting, (application,)).await.unwrap()[0].get::<i64>(0).unwrap() < count {}
}

/// The second of two claims of one key waits for the first to end, and then reads its committed row
/// in a new statement. This also holds for new rows, and after a rollback of the first claim.
#[tokio::test]
async fn two_claims_of_one_key_are_serialized() {
    let Some(server) = Server::there() else { return };
    let options = server.options();
    let db = with_table(options.clone()).await;
    for (key, commits, expected) in
        [("a", true, "done"), ("a", true, "done"), ("b", false, "claimed")]
    {
        let first = db.begin().await.unwrap();
        first.tx().execute(CLAIM, (key,)).await.unwrap();
        let second = tokio::spawn({
            let db = db.clone();
            async move {
                let open = db.begin().await?;
                open.tx().execute(CLAIM, (key,)).await?;
                let status = open.tx().query(STATUS, (key,)).await?[0].get::<String>(0)?;
                open.commit().await?;
                Ok::<_, Error>(status)
            }
        });
        until_waiting(&db, &options.application, 1).await;
        assert!(!second.is_finished());
        first
            .tx()
            .execute("UPDATE barrier SET status = 'done' WHERE key = $1", (key,))
            .await
            .unwrap();
        if commits {
            first.commit().await.unwrap();
        } else {
            first.rollback().await.unwrap();
        }
        assert_eq!(second.await.unwrap(), Ok(expected.to_owned()), "{key}");
    }
}

#[tokio::test]
async fn a_lock_timeout_is_a_conflict() {
    let Some(server) = Server::there() else { return };
    let db =
        with_table(Options { lock_timeout: Duration::from_millis(50), ..server.options() }).await;
    let first = db.begin().await.unwrap();
    first.tx().execute(CLAIM, ("a",)).await.unwrap();
    let second = db.begin().await.unwrap();
    let why = second.tx().execute(CLAIM, ("a",)).await.unwrap_err();
    assert!(matches!(why, Error::Conflict(_)), "{why:?}");
    first.commit().await.unwrap();
}

#[tokio::test]
async fn one_of_two_deadlocked_transactions_gets_a_conflict() {
    let Some(server) = Server::there() else { return };
    let patient = Duration::from_secs(60);
    let options = Options { lock_timeout: patient, statement_timeout: patient, ..server.options() };
    let db = with_table(options.clone()).await;
    let (first, second) = (db.begin().await.unwrap(), db.begin().await.unwrap());
    first.tx().execute(CLAIM, ("a",)).await.unwrap();
    second.tx().execute(CLAIM, ("b",)).await.unwrap();
    let (one, two) = (first.tx(), second.tx());
    let crossed = futures_util::future::join(
        async {
            let outcome = one.execute(CLAIM, ("b",)).await;
            if outcome.is_ok() {
                first.commit().await
            } else {
                first.rollback().await.and(outcome.map(drop))
            }
        },
        async {
            let outcome = two.execute(CLAIM, ("a",)).await;
            if outcome.is_ok() {
                second.commit().await
            } else {
                second.rollback().await.and(outcome.map(drop))
            }
        },
    );
    let mut outcomes: [Result<(), Error>; 2] = crossed.await.into();
    outcomes.sort_by_key(Result::is_err);
    assert!(matches!(outcomes, [Ok(()), Err(Error::Conflict(_))]), "{outcomes:?}");
}

/// A process that pauses inside a transaction blocks its successor for at most the limit. When the
/// process resumes, its transaction has ended.
#[tokio::test]
async fn a_paused_transaction_is_ended_for_its_successor() {
    let Some(server) = Server::there() else { return };
    let options =
        Options { idle_in_transaction_timeout: Duration::from_millis(100), ..server.options() };
    let db = with_table(options).await;
    let paused = db.begin().await.unwrap();
    paused.tx().execute(CLAIM, ("a",)).await.unwrap();
    let successor = db.begin().await.unwrap();
    successor.tx().execute(CLAIM, ("a",)).await.unwrap();
    successor.commit().await.unwrap();
    let late = paused.tx().execute("UPDATE barrier SET status = 'stale'", ()).await;
    assert!(matches!(late, Err(Error::Unavailable(_))), "{late:?}");
    assert!(paused.commit().await.is_err());
    assert_eq!(db.query(STATUS, ("a",)).await.unwrap()[0].get(0), Ok("claimed".to_owned()));
}
