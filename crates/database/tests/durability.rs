//! Acknowledged rows survive a killed process. The operating system keeps running, so the sync
//! itself is not tested.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use futures_util::future::join_all;
use sagamore_database::{Database, Error, Migration};

const FILE: &str = "SAGAMORE_TEST_DATABASE";
const ROUNDS: usize = 8;
const AT_ONCE: i64 = 20;
const SCHEMA: Migration =
    Migration::new("0001-row", "CREATE TABLE entry (id BIGINT PRIMARY KEY, text TEXT NOT NULL)");

#[tokio::test]
async fn acknowledged_rows_survive_a_kill() {
    if let Ok(file) = std::env::var(FILE) {
        return write_until_killed(Path::new(&file)).await.unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("entry.db");
    let mut acknowledged: Vec<i64> = Vec::new();
    for round in 0..ROUNDS {
        acknowledged.extend(acknowledged_until_killed(&file, 30 + 137 * round));
        let db = Database::sqlite(&file).unwrap();
        let rows = db.query("SELECT id FROM entry", ()).await.unwrap();
        let stored: std::collections::HashSet<i64> =
            rows.iter().map(|row| row.get(0).unwrap()).collect();
        let lost: Vec<_> = acknowledged.iter().filter(|id| !stored.contains(id)).collect();
        assert!(lost.is_empty(), "lost in round {round}: {lost:?}");
        let sound: String =
            db.query("PRAGMA integrity_check", ()).await.unwrap()[0].get(0).unwrap();
        assert_eq!(sound, "ok");
    }
    assert!(acknowledged.len() > ROUNDS * 30);
}

/// Runs this test again as another process, and kills it after `limit` acknowledgements.
fn acknowledged_until_killed(file: &Path, limit: usize) -> Vec<i64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "acknowledged_rows_survive_a_kill", "--nocapture"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        acknowledged.extend(line.strip_prefix("stored ").and_then(|id| id.parse::<i64>().ok()));
        if acknowledged.len() == limit {
            child.kill().unwrap();
        } // read until the process closes its output
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= limit, "it ended early, after {}", acknowledged.len());
    acknowledged
}

async fn write_until_killed(file: &Path) -> Result<(), Error> {
    let db = Database::sqlite(file)?;
    db.migrate("test", &[SCHEMA], 1).await?;
    let first: i64 = db.query("SELECT COALESCE(MAX(id), 0) + 1 FROM entry", ()).await?[0].get(0)?;
    println!();
    for batch in 0.. {
        let ids = (0..AT_ONCE).map(|place| first + batch * AT_ONCE + place);
        for stored in join_all(ids.map(|id| write(&db, id))).await {
            stored?;
        }
    }
    Ok(())
}

async fn write(db: &Database, id: i64) -> Result<(), Error> {
    let open = db.begin().await?;
    open.tx()
        .execute("INSERT INTO entry (id, text) VALUES ($1, $2)", (id, "x".repeat(300)))
        .await?;
    open.commit().await?;
    let mut stdout = std::io::stdout().lock();
    let told = stdout.write_all(format!("stored {id}\n").as_bytes()).and_then(|()| stdout.flush());
    told.expect("the parent process reads, or this process ends");
    Ok(())
}
