//! Dropped requests and lost connections.

use std::time::Duration;

use futures_util::FutureExt;
use sagamore_database::postgres::Options;
use sagamore_database::{Database, Error};

use crate::locks::until_waiting;
use crate::server::Server;

const INSERT: &str = "INSERT INTO thing (id) VALUES ($1)";

async fn with_table(options: Options) -> Database {
    let db = Database::postgres(options).unwrap();
    let open = db.begin().await.unwrap();
    open.tx().batch("CREATE TABLE thing (id BIGINT PRIMARY KEY)").await.unwrap();
    open.commit().await.unwrap();
    db
}

async fn ids(db: &Database) -> Vec<i64> {
    let rows = db.query("SELECT id FROM thing ORDER BY id", ()).await.unwrap();
    rows.iter().map(|row| row.get(0).unwrap()).collect()
}

/// Terminates the connection of this transaction on the server.
async fn kill(db: &Database, pid: i64) {
    db.query("SELECT pg_terminate_backend(CAST($1 AS INTEGER))", (pid,)).await.unwrap();
}

/// With a single connection, anything left open would affect the next user.
#[tokio::test]
async fn a_dropped_transaction_leaves_its_only_connection_clean() {
    let Some(server) = Server::there() else { return };
    let db = with_table(Options { connections_max: 1, ..server.options() }).await;
    for round in 0..10 {
        let open = db.begin().await.unwrap();
        open.savepoint().await.unwrap();
        open.tx().execute(INSERT, (round,)).await.unwrap();
        match round % 3 {
            0 => drop(open),
            1 => drop(open.rollback()),
            _ => {
                assert!(open.tx().execute(INSERT, (round,)).await.is_err());
                drop(open);
            }
        }
        assert!(ids(&db).await.is_empty());
    }
    let open = db.begin().await.unwrap();
    open.tx().execute(INSERT, (100_i64,)).await.unwrap();
    assert!(open.commit().now_or_never().is_none(), "sent, then dropped");
    assert_eq!(ids(&db).await, [100]);
}

/// A dropped statement is cancelled at once. Neither the lock that it waits for nor the locks of
/// its transaction are held until a timeout.
#[tokio::test]
async fn dropping_a_waiting_statement_releases_its_locks_at_once() {
    let Some(server) = Server::there() else { return };
    let patient = Duration::from_secs(600);
    let bounds = Options { lock_timeout: patient, statement_timeout: patient, ..server.options() };
    let options =
        Options { idle_in_transaction_timeout: patient, answer_within: patient, ..bounds };
    let db = with_table(options.clone()).await;
    let first = db.begin().await.unwrap();
    first.tx().execute(INSERT, (1_i64,)).await.unwrap();
    let second = tokio::spawn({
        let db = db.clone();
        async move {
            let open = db.begin().await?;
            open.tx().execute(INSERT, (2_i64,)).await?;
            open.tx().execute(INSERT, (1_i64,)).await
        }
    });
    until_waiting(&db, &options.application, 1).await;
    second.abort();
    first.tx().execute(INSERT, (2_i64,)).await.unwrap();
    first.commit().await.unwrap();
    assert_eq!(ids(&db).await, [1, 2]);
}

/// A dropped statement may have failed, and COMMIT then rolls back and reports success.
#[tokio::test]
async fn a_commit_after_a_dropped_failed_statement_fails() {
    let Some(server) = Server::there() else { return };
    let db = with_table(server.options()).await;
    let begin = async || {
        let open = db.begin().await.unwrap();
        open.tx().execute(INSERT, (1_i64,)).await.unwrap();
        open
    };
    let open = begin().await;
    let tx = open.tx();
    assert!(tx.execute(INSERT, (1_i64,)).now_or_never().is_none(), "sent, then dropped");
    assert!(open.commit().await.is_err());
    assert!(ids(&db).await.is_empty());

    let open = begin().await;
    assert!(open.tx().execute(INSERT, (2_i64,)).now_or_never().is_none());
    open.commit().await.unwrap();
    assert_eq!(ids(&db).await, [1, 2], "a dropped statement that succeeded is committed");
}

/// The caller did not observe the failure. The savepoint still exists, so a rollback to it
/// succeeds.
#[tokio::test]
async fn a_savepoint_with_a_dropped_failed_statement_is_not_released() {
    let Some(server) = Server::there() else { return };
    let db = with_table(server.options()).await;
    let open = db.begin().await.unwrap();
    open.tx().execute(INSERT, (1_i64,)).await.unwrap();
    open.savepoint().await.unwrap();
    assert!(open.tx().execute(INSERT, (1_i64,)).now_or_never().is_none(), "sent, then dropped");
    let why = open.release().await.unwrap_err();
    assert!(why.to_string().contains("aborted"), "{why}");
    open.rollback_to().await.unwrap();
    open.savepoint().await.unwrap();
    assert!(open.tx().execute(INSERT, (2_i64,)).now_or_never().is_none(), "this one does not fail");
    open.release().await.unwrap();
    open.commit().await.unwrap();
    assert_eq!(ids(&db).await, [1, 2]);
}

#[tokio::test]
async fn a_connection_that_is_lost_during_the_commit_leaves_it_unknown() {
    let Some(server) = Server::there() else { return };
    let options = server.options();
    let db = with_table(options.clone()).await;
    let gate = i64::from(std::process::id());
    let schema = format!(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock({gate}); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON thing DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION wait()"
    );
    let open = db.begin().await.unwrap();
    open.tx().batch(&schema).await.unwrap();
    open.commit().await.unwrap();

    let keeper = db.begin().await.unwrap();
    keeper.tx().query("SELECT pg_advisory_xact_lock($1)", (gate,)).await.unwrap();
    let open = db.begin().await.unwrap();
    open.tx().execute(INSERT, (1_i64,)).await.unwrap();
    let pid: i64 = open.tx().query("SELECT pg_backend_pid()", ()).await.unwrap()[0].get(0).unwrap();
    let committing = tokio::spawn(open.commit());
    until_waiting(&db, &options.application, 1).await;
    kill(&db, pid).await;
    let outcome = committing.await.unwrap();
    assert!(matches!(outcome, Err(Error::CommitUnknown(_))), "{outcome:?}");
    keeper.rollback().await.unwrap();
    assert_eq!(ids(&db).await, [] as [i64; 0], "in this test it did not happen");
}

#[tokio::test]
async fn a_connection_that_is_lost_before_the_commit_is_replaced() {
    let Some(server) = Server::there() else { return };
    let db = with_table(Options { connections_max: 2, ..server.options() }).await;
    for _ in 0..3 {
        let open = db.begin().await.unwrap();
        open.tx().execute(INSERT, (1_i64,)).await.unwrap();
        let pid: i64 =
            open.tx().query("SELECT pg_backend_pid()", ()).await.unwrap()[0].get(0).unwrap();
        kill(&db, pid).await;
        let lost = open.tx().execute(INSERT, (2_i64,)).await;
        assert!(matches!(lost, Err(Error::Unavailable(_))), "{lost:?}");
        let commit = open.commit().await;
        assert!(
            matches!(commit, Err(Error::Unavailable(_))),
            "known not to have happened: {commit:?}"
        );
    }
    assert!(ids(&db).await.is_empty());
}

#[tokio::test]
async fn an_exhausted_pool_is_reported() {
    let Some(server) = Server::there() else { return };
    let short = Duration::from_millis(50);
    let db =
        with_table(Options { connections_max: 1, free_within: short, ..server.options() }).await;
    let open = db.begin().await.unwrap();
    let why = db.query("SELECT 1", ()).await.unwrap_err();
    assert!(
        matches!(&why, Error::Unavailable(told) if told.contains("all 1 connections are in use")),
        "{why}"
    );
    assert!(db.apart().query("SELECT 1", ()).await.is_ok(), "it has its own connections");
    open.rollback().await.unwrap();
    assert!(db.query("SELECT 1", ()).await.is_ok());
}

/// Requires no server, because the port is unused.
#[tokio::test]
async fn an_unreachable_server_is_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let db = Database::postgres(Options::new(format!("postgres://me:secret@127.0.0.1:{port}/x")))
        .unwrap();
    let why = db.begin().await.err().unwrap();
    assert!(matches!(why, Error::Unavailable(_)) && why.is_transient(), "{why:?}");
    assert!(!why.to_string().contains("secret"), "{why}");
}
