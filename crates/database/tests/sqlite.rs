//! Behaviour of SQLite beyond the port: shared commits, readers that do not wait, one process at a
//! time.

use std::collections::HashSet;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::join_all;
use sagamore_database::{Database, Error};
use tempfile::TempDir;

const INSERT: &str = "INSERT INTO thing (id) VALUES ($1)";
const COUNT: &str = "SELECT COUNT(*) FROM thing";

async fn with_table(db: Database) -> Database {
    let open = db.begin().await.unwrap();
    open.tx().batch("CREATE TABLE thing (id BIGINT PRIMARY KEY)").await.unwrap();
    open.commit().await.unwrap();
    db
}

/// Creates a database on disk. The directory lives as long as the returned handle.
async fn on_disk() -> (TempDir, Database) {
    let directory = tempfile::tempdir().unwrap();
    let db = Database::sqlite(&directory.path().join("thing.db")).unwrap();
    (directory, with_table(db).await)
}

async fn count(db: &Database) -> i64 {
    db.query(COUNT, ()).await.unwrap()[0].get(0).unwrap()
}

async fn insert(db: &Database, id: i64) -> Result<(), Error> {
    let open = db.begin().await?;
    open.tx().execute(INSERT, (id,)).await?;
    open.commit().await
}

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;

/// Queues a task behind an open transaction.
fn in_line<'a>(task: impl Future<Output = Result<(), Error>> + 'a) -> Waiting<'a> {
    let mut task: Waiting<'a> = Box::pin(task);
    assert!(task.as_mut().now_or_never().is_none(), "another transaction has the turn");
    task
}

#[tokio::test]
async fn transactions_that_wait_share_a_commit_up_to_a_bound() {
    let (_directory, db) = on_disk().await;
    for db in [db, with_table(Database::memory()).await] {
        let before = db.stats();
        let open = db.begin().await.unwrap();
        open.tx().execute(INSERT, (0_i64,)).await.unwrap();
        let mut tasks: Vec<Waiting<'_>> = (1..200).map(|id| in_line(insert(&db, id))).collect();
        tasks.push(Box::pin(open.commit()));
        assert!(join_all(tasks).await.iter().all(Result::is_ok));
        assert_eq!(count(&db).await, 200);
        assert_eq!(db.stats().transactions - before.transactions, 200);
        assert_eq!(db.stats().commits - before.commits, 4, "64, 64, 64 and 8");
    }
}

#[tokio::test]
async fn a_group_continues_when_a_member_is_dropped() {
    let (_directory, db) = on_disk().await;
    for db in [db, with_table(Database::memory()).await] {
        let before = db.stats();
        let open = db.begin().await.unwrap();
        open.tx().execute(INSERT, (0_i64,)).await.unwrap();
        let dropped = in_line(async {
            let open = db.begin().await?;
            open.tx().execute(INSERT, (1_i64,)).await?;
            drop(open);
            Ok(())
        });
        let tasks: Vec<Waiting<'_>> = vec![
            Box::pin(open.commit()),
            in_line(insert(&db, 2)),
            dropped,
            in_line(insert(&db, 3)),
        ];
        assert!(join_all(tasks).await.iter().all(Result::is_ok));
        assert_eq!(count(&db).await, 3);
        assert_eq!(db.stats().commits - before.commits, 1);
        assert_eq!(db.stats().transactions - before.transactions, 3);
    }
}

#[tokio::test]
async fn a_failed_commit_fails_all_members_and_the_next_one_starts_clean() {
    let (_directory, db) = on_disk().await;
    for db in [db, with_table(Database::memory()).await] {
        let open = db.begin().await.unwrap();
        let child =
            "CREATE TABLE child (thing BIGINT REFERENCES thing (id) DEFERRABLE INITIALLY DEFERRED)";
        open.tx().batch(child).await.unwrap();
        open.commit().await.unwrap();
        let orphan = async || {
            let open = db.begin().await?;
            open.tx().execute("INSERT INTO child (thing) VALUES (77)", ()).await?;
            open.commit().await
        };
        assert!(matches!(orphan().await, Err(Error::Constraint(_))), "alone it is the cause");

        let before = db.stats();
        let open = db.begin().await.unwrap();
        open.tx().execute(INSERT, (1_i64,)).await.unwrap();
        let tasks: Vec<Waiting<'_>> =
            vec![in_line(orphan()), in_line(insert(&db, 2)), Box::pin(open.commit())];
        for outcome in join_all(tasks).await {
            assert!(matches!(outcome, Err(Error::Conflict(_))), "{outcome:?}");
        }
        assert_eq!(db.stats(), before);
        assert_eq!(count(&db).await, 0);
        insert(&db, 3).await.unwrap();
        assert_eq!(count(&db).await, 1);
    }
}

/// The reads of a joined transaction are not committed before the outer commit, so its end must
/// wait.
#[tokio::test]
async fn commits_and_rollbacks_of_joined_transactions_wait_for_the_outer_commit() {
    let db = with_table(Database::memory()).await;
    let before = db.stats();
    let first = db.begin().await.unwrap();
    first.tx().execute(INSERT, (1_i64,)).await.unwrap();
    let read = async |commits: bool| {
        let open = db.begin().await?;
        assert_eq!(open.tx().query(COUNT, ()).await?[0].get(0), Ok(1_i64));
        if commits { open.commit().await } else { open.rollback().await }
    };
    let mut ends = [in_line(read(false)), in_line(read(true))];
    let last = db.begin();
    let mut last = Box::pin(last);
    assert!(last.as_mut().now_or_never().is_none());
    let mut committed = Box::pin(first.commit());
    assert!(committed.as_mut().now_or_never().is_none(), "other transactions are joined to it");
    for end in &mut ends {
        assert!(end.as_mut().now_or_never().is_none(), "its reads are not committed");
    }
    let last = last.now_or_never().expect("its turn").unwrap();
    for end in &mut ends {
        assert!(end.as_mut().now_or_never().is_none(), "its reads are still not committed");
    }
    drop(last);
    assert_eq!(committed.await, Ok(()));
    for end in ends {
        assert_eq!(end.await, Ok(()));
    }
    assert_eq!(
        db.stats().transactions - before.transactions,
        2,
        "a rollback does not count as committed"
    );
}

#[tokio::test]
async fn a_full_disk_fails_all_members_of_the_group() {
    let (_directory, db) = on_disk().await;
    for db in [db, with_table(Database::memory()).await] {
        let open = db.begin().await.unwrap();
        open.tx().execute(INSERT, (0_i64,)).await.unwrap();
        open.tx().query("PRAGMA max_page_count = 40", ()).await.unwrap();
        let glutton = async {
            let open = db.begin().await?;
            for id in 1.. {
                if let Err(why) = open.tx().execute(INSERT, (id,)).await {
                    assert!(matches!(why, Error::Unavailable(_)), "{why:?}");
                    break;
                }
            }
            let after = open.tx().execute(INSERT, (-1_i64,)).await;
            let is_told = matches!(&after, Err(why) if matches!(why.root(), Error::Unavailable(_)));
            assert!(is_told, "it must not commit separately: {after:?}");
            open.commit().await
        };
        let tasks: Vec<Waiting<'_>> =
            vec![in_line(glutton), in_line(insert(&db, 2)), Box::pin(open.commit())];
        let outcomes = join_all(tasks).await;
        assert!(matches!(outcomes[0], Err(Error::Unavailable(_))), "{outcomes:?}");
        assert_eq!(outcomes[1], Ok(()), "the next one starts clean");
        assert!(matches!(outcomes[2], Err(Error::Unavailable(_))), "{outcomes:?}");
        let stored = db.query("SELECT id FROM thing", ()).await.unwrap();
        assert_eq!(stored.iter().map(|row| row.get(0).unwrap()).collect::<Vec<i64>>(), [2]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answered_commits_survive_aborted_tasks_on_many_threads() {
    let (directory, db) = on_disk().await;
    let answered = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..400_i64)
        .map(|task| {
            let (db, answered) = (db.clone(), Arc::clone(&answered));
            tokio::spawn(async move {
                for id in task * 5..task * 5 + 5 {
                    if insert(&db, id).await.is_ok() {
                        answered.lock().unwrap().push(id);
                    }
                }
            })
        })
        .collect();
    for (place, task) in tasks.iter().enumerate().filter(|(place, _)| place % 3 == 0) {
        insert(&db, 10_000 + i64::try_from(place).unwrap()).await.unwrap();
        task.abort();
    }
    let ended = join_all(tasks).await;
    assert!(
        ended
            .iter()
            .all(|ended| ended.as_ref().is_ok()
                || ended.as_ref().is_err_and(|why| why.is_cancelled()))
    );
    drop(db);
    let db = Database::sqlite(&directory.path().join("thing.db")).unwrap();
    let rows = db.query("SELECT id FROM thing", ()).await.unwrap();
    let stored: HashSet<i64> = rows.iter().map(|row| row.get(0).unwrap()).collect();
    let answered = answered.lock().unwrap();
    assert!(answered.len() > 266 * 5 && answered.iter().all(|id| stored.contains(id)));
    assert!(stored.iter().filter(|id| **id >= 10_000).count() == 134);
}

#[tokio::test]
async fn a_commit_completes_after_its_future_is_dropped() {
    let (directory, db) = on_disk().await;
    for id in 0..20 {
        let mut task = Box::pin(insert(&db, id));
        let _ = task.as_mut().now_or_never(); // in progress, then dropped
        drop(task);
        let open = db.begin().await.unwrap();
        assert_eq!(open.tx().query(COUNT, ()).await.unwrap()[0].get(0), Ok(id + 1));
    }
    let mut last = Box::pin(insert(&db, 20));
    let _ = last.as_mut().now_or_never();
    drop(last);
    drop(db);
    let db = Database::sqlite(&directory.path().join("thing.db")).unwrap();
    assert_eq!(count(&db).await, 21);
}

#[tokio::test]
async fn on_disk_readers_never_wait_for_the_writer() {
    let (_directory, db) = on_disk().await;
    let open = db.begin().await.unwrap();
    open.tx().execute(INSERT, (1_i64,)).await.unwrap();
    assert_eq!(count(&db).now_or_never(), Some(0));
    open.commit().await.unwrap();
    assert_eq!(count(&db).now_or_never(), Some(1));
}

#[tokio::test]
async fn in_memory_everything_happens_inside_of_polls() {
    let db = Database::memory();
    with_table(db.clone()).now_or_never().unwrap();
    insert(&db, 1).now_or_never().unwrap().unwrap();
    let other = db.clone();
    drop(db);
    assert_eq!(count(&other).now_or_never(), Some(1), "the data lives as long as any handle");
    assert_ne!(Database::memory().query(COUNT, ()).now_or_never().unwrap().ok(), Some(vec![]));
}

#[tokio::test]
async fn turns_are_granted_in_order_of_arrival() {
    let db = with_table(Database::memory()).await;
    let order = std::cell::RefCell::new(Vec::new());
    let open = db.begin().await.unwrap();
    let mut tasks: Vec<Waiting<'_>> = (0..50)
        .map(|place| {
            let (db, order) = (&db, &order);
            in_line(async move {
                let open = db.begin().await?;
                order.borrow_mut().push(place);
                open.commit().await
            })
        })
        .collect();
    tasks.reverse();
    tasks.push(Box::pin(open.rollback()));
    assert!(join_all(tasks).await.iter().all(Result::is_ok));
    assert_eq!(order.into_inner(), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_database_is_open_in_one_place_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/and/newer/thing.db");
    let db = with_table(Database::sqlite(&path).unwrap()).await;
    let why = Database::sqlite(&path).err().unwrap();
    assert!(matches!(why, Error::InUse(_)), "{why:?}");
    assert!(
        why.to_string().contains("thing.db") && why.to_string().contains("stop that one"),
        "{why}"
    );
    insert(&db, 1).await.unwrap();
    let open = db.begin().await.unwrap();
    drop(db);
    assert!(Database::sqlite(&path).is_err(), "a transaction is still open");
    open.commit().await.unwrap();
    assert_eq!(count(&Database::sqlite(&path).unwrap()).await, 1);
}

#[test]
fn an_impossible_path_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "no directory").unwrap();
    let check = |path: &Path| {
        let why = Database::sqlite(path).err().unwrap();
        assert!(matches!(why, Error::Unavailable(_)), "{why:?}");
    };
    check(&file.join("thing.db"));
    check(&file); // this file is not a database
}
