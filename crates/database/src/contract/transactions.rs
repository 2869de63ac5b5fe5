//! Promises about transactions: what is seen, what is undone, and that nobody holds up anybody.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use futures_util::future::{join, join_all, join3};

use super::{Checked, Fresh, committed, number};
use crate::{Database, Error};

const TABLE: &str = "CREATE TABLE thing (id BIGINT PRIMARY KEY)";
const INSERT: &str = "INSERT INTO thing (id) VALUES ($1)";
const COUNT: &str = "SELECT COUNT(*) FROM thing";

/// A read that begins while a transaction is open sees nothing of it, whether it waits for the end or not.
pub async fn reading_sees_only_what_is_committed(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    let open = db.begin().await?;
    open.tx().execute(INSERT, (1_i64,)).await?;
    assert_eq!(open.tx().query(COUNT, ()).await?[0].get(0), Ok(1_i64), "its own work it does see");
    let (seen, rolled_back) = join(number(&db, COUNT), open.rollback()).await;
    rolled_back?;
    assert_eq!(seen?, 0);
    let open = db.begin().await?;
    open.tx().execute(INSERT, (1_i64,)).await?;
    open.commit().await?;
    assert_eq!(number(&db, COUNT).await?, 1);
    Ok(())
}

/// Outside of a transaction nothing is written.
pub async fn reading_does_not_write(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    for sql in ["INSERT INTO thing (id) VALUES (1)", "DELETE FROM thing RETURNING id", "CREATE TABLE other (a TEXT)"] {
        assert!(matches!(db.query(sql, ()).await, Err(Error::Statement(_))), "{sql}");
    }
    assert_eq!(number(&db, COUNT).await?, 0);
    Ok(())
}

/// Without a commit nothing stays, whether the transaction is rolled back or just dropped.
pub async fn what_is_dropped_is_rolled_back(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    let open = db.begin().await?;
    open.tx().execute(INSERT, (1_i64,)).await?;
    drop(open);
    let open = db.begin().await?;
    assert_eq!(open.tx().query(COUNT, ()).await?[0].get(0), Ok(0_i64));
    open.savepoint().await?;
    open.tx().execute(INSERT, (2_i64,)).await?;
    drop(open);
    let open = db.begin().await?;
    open.tx().execute(INSERT, (3_i64,)).await?;
    open.rollback().await?;
    assert_eq!(number(&db, COUNT).await?, 0);
    Ok(())
}

/// A handler may keep its handle, or give it to somebody else: that holds nobody up.
pub async fn what_is_dropped_is_rolled_back_though_a_handle_is_kept(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    let open = db.begin().await?;
    let kept = open.tx();
    kept.execute(INSERT, (1_i64,)).await?;
    drop(open);
    assert!(matches!(kept.execute(INSERT, (2_i64,)).await, Err(Error::Over)));
    assert!(matches!(kept.query(COUNT, ()).await, Err(Error::Over)));
    insert(&db, 1).await?; // nobody holds the row, nor the one writer
    assert_eq!(ids(&db).await?, [1]);
    Ok(())
}

/// Who kept a handle cannot work on what is committed or rolled back.
pub async fn a_kept_handle_is_over_after_the_end(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    for commit in [true, false] {
        let open = db.begin().await?;
        let tx = open.tx();
        if commit {
            open.commit().await?
        } else {
            open.rollback().await?
        }
        assert!(matches!(tx.execute(INSERT, (1_i64,)).await, Err(Error::Over)));
        assert!(matches!(tx.query(COUNT, ()).await, Err(Error::Over)));
        assert!(matches!(tx.execute_each(INSERT, vec![vec![1_i64.into()]]).await, Err(Error::Over)));
    }
    assert_eq!(number(&db, COUNT).await?, 0);
    Ok(())
}

/// The innermost one is released or undone; one that is still open at the commit is committed.
pub async fn savepoints_nest(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    let open = db.begin().await?;
    let insert = async |id: i64| open.tx().execute(INSERT, (id,)).await.map(drop);
    insert(1).await?;
    open.savepoint().await?;
    insert(2).await?;
    open.savepoint().await?;
    insert(3).await?;
    open.rollback_to().await?; // 3 is gone
    open.savepoint().await?;
    insert(4).await?;
    open.release().await?; // 4 belongs to the outer savepoint
    open.rollback_to().await?; // 2 and 4 are gone
    open.savepoint().await?;
    insert(5).await?;
    open.release().await?;
    open.savepoint().await?;
    insert(6).await?;
    open.commit().await?;
    assert_eq!(ids(&db).await?, [1, 5, 6]);

    let open = db.begin().await?;
    assert!(matches!(open.rollback_to().await, Err(Error::Statement(_))), "no savepoint is open");
    Ok(())
}

/// The one portable way to go on after an error.
pub async fn after_an_error_a_savepoint_brings_back_what_was(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    let open = db.begin().await?;
    open.tx().execute(INSERT, (1_i64,)).await?;
    open.savepoint().await?;
    open.tx().execute(INSERT, (2_i64,)).await?;
    assert!(matches!(open.tx().execute(INSERT, (1_i64,)).await, Err(Error::Constraint(_))));
    open.rollback_to().await?;
    open.tx().execute(INSERT, (3_i64,)).await?;
    open.commit().await?;
    assert_eq!(ids(&db).await?, [1, 3]);
    Ok(())
}

/// A caller that ignores a failed statement gets no further: later statements, the release and the commit fail.
pub async fn a_failed_statement_aborts_what_was_done_since_the_last_savepoint(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    let open = db.begin().await?;
    let tx = open.tx();
    tx.execute(INSERT, (1_i64,)).await?;
    for ignored in
        [tx.execute(INSERT, (1_i64,)).await.map(drop), tx.query("SELECT nothing FROM thing", ()).await.map(drop)]
    {
        assert!(ignored.is_err());
    }
    let outcomes = [
        tx.execute(INSERT, (2_i64,)).await.map(drop),
        tx.query(COUNT, ()).await.map(drop),
        tx.execute_each(INSERT, vec![vec![3_i64.into()]]).await.map(drop),
        tx.query_each(COUNT, vec![vec![]]).await.map(drop),
        tx.batch("INSERT INTO thing (id) VALUES (4)").await,
    ];
    for outcome in outcomes {
        let is_told = matches!(&outcome, Err(Error::Aborted(why)) if matches!(**why, Error::Constraint(_)));
        assert!(is_told, "it is told by the first failure: {outcome:?}");
    }
    assert!(matches!(open.savepoint().await, Err(Error::Aborted(_))));
    assert!(matches!(open.commit().await, Err(Error::Constraint(_))), "the reason, not that there was one");
    assert_eq!(number(&db, COUNT).await?, 0);
    Ok(())
}

/// One savepoint after the other, as a chunk has them: the one with the failure cannot be released, only undone.
pub async fn a_failed_statement_leaves_what_was_done_before_its_savepoint(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    let failures = ["INSERT INTO thing (id) VALUES (1)", "SELECT nothing FROM thing", "COMMIT"];
    let open = db.begin().await?;
    open.tx().execute(INSERT, (1_i64,)).await?;
    for (id, failure) in (2_i64..).zip(failures) {
        open.savepoint().await?;
        open.tx().execute(INSERT, (id,)).await?;
        let why = open.tx().execute(failure, ()).await.expect_err(failure);
        assert_eq!(open.tx().aborted(), Some(why.clone()));
        assert_eq!(open.release().await, Err(why), "{failure}");
        open.rollback_to().await?;
        assert_eq!(open.tx().aborted(), None);
        open.savepoint().await?;
        open.tx().execute(INSERT, (id + 10,)).await?;
        open.release().await?;
    }
    open.commit().await?;
    assert_eq!(ids(&db).await?, [1, 12, 13, 14]);
    Ok(())
}

/// Where a transaction reads what another one has not committed yet, and that commit fails, its own end fails: a rollback as
/// well as a commit, and also when it wrote nothing. Where it cannot read that, it ends well.
pub async fn whoever_read_what_was_never_committed_does_not_end_well(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    committed(&db, "CREATE TABLE part (thing BIGINT REFERENCES thing (id) DEFERRABLE INITIALLY DEFERRED)").await?;
    let written = async {
        let open = db.begin().await?;
        open.tx().batch("INSERT INTO thing (id) VALUES (1); INSERT INTO part (thing) VALUES (77)").await?;
        open.commit().await // there is no thing 77
    };
    let read = async |commits: bool| {
        let open = db.begin().await?;
        let seen: i64 = open.tx().query(COUNT, ()).await?[0].get(0)?;
        let ended = if commits { open.commit().await } else { open.rollback().await };
        Ok::<_, Error>((seen, ended))
    };
    let before = db.begin().await?; // where there is one writer, all get in line behind this
    before.tx().execute(INSERT, (2_i64,)).await?;
    before.tx().execute("DELETE FROM thing", ()).await?;
    let readers = join(read(false), read(true));
    let (written, (one, other), committed) = join3(written, readers, before.commit()).await;
    assert!(written.is_err());
    for (seen, ended) in [one?, other?] {
        assert!(seen == 0 || matches!(&ended, Err(why) if why.is_transient()), "it saw {seen}, and ended {ended:?}");
        assert!(seen == 1 || committed.is_err() || ended.is_ok(), "{ended:?}");
    }
    assert_eq!(number(&db, COUNT).await?, 0);
    Ok(())
}

/// However many begin at once: each commits, and each is counted.
pub async fn two_hundred_at_once_are_all_committed(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    let before = db.stats();
    for outcome in join_all((0..200).map(|id| insert(&db, id))).await {
        outcome?;
    }
    assert_eq!(ids(&db).await?, (0..200).collect::<Vec<_>>());
    let stats = db.stats();
    assert_eq!(stats.transactions - before.transactions, 200);
    assert!(stats.commits <= stats.transactions);
    Ok(())
}

/// Every third one fails, is rolled back or dropped, while its neighbours commit.
pub async fn one_that_is_rolled_back_takes_no_other_along(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    let one = async |id: i64| {
        let open = db.begin().await?;
        open.savepoint().await?;
        open.tx().execute(INSERT, (id,)).await?;
        match id % 9 {
            0 => open.tx().execute(INSERT, (id,)).await.map(drop), // twice the same key
            3 => open.rollback().await,
            6 => {
                drop(open);
                Ok(())
            }
            _ => open.commit().await,
        }
    };
    let before = db.begin().await?; // where there is one writer, all get in line behind this
    let (outcomes, rolled_back) = join(join_all((0..100).map(one)), before.rollback()).await;
    rolled_back?;
    for (id, outcome) in (0..100).zip(outcomes) {
        assert_eq!(outcome.is_err(), id % 9 == 0, "{id}: {outcome:?}");
    }
    assert_eq!(ids(&db).await?, (0..100).filter(|id| id % 3 != 0).collect::<Vec<_>>());
    Ok(())
}

/// Futures are dropped at any await. Who was answered is committed, and whoever comes later gets a turn.
pub async fn what_is_dropped_at_any_await_holds_nobody_up(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    let mut random: u64 = 0x5eed;
    let mut answered = Vec::new();
    for round in 0..20 {
        let tasks = (0..20).map(|place| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // few, as where a poll does much, up to many, as where each answer comes over a wire
            let (id, polls) = (round * 20 + place, (1 << ((random >> 33) % 9)) - 1);
            let db = &db;
            async move { (id, limited(insert(db, id), polls).await) }
        });
        let before = db.begin().await?; // where there is one writer, all get in line behind this
        before.tx().execute(INSERT, (2_000 + round,)).await?;
        let (outcomes, committed) = join(join_all(tasks), before.commit()).await;
        committed?;
        for (id, outcome) in outcomes {
            match outcome {
                Some(Ok(())) => answered.push(id),
                Some(Err(why)) => return Err(why),
                None => {}
            }
        }
        insert(&db, 1_000 + round).await?;
    }
    let stored = ids(&db).await?;
    assert!(!answered.is_empty());
    assert!(answered.iter().all(|id| stored.contains(id)), "{answered:?} of {stored:?}");
    assert_eq!(stored.iter().filter(|id| **id >= 1_000).count(), 40);
    Ok(())
}

async fn insert(db: &Database, id: i64) -> Checked {
    let open = db.begin().await?;
    open.tx().execute(INSERT, (id,)).await?;
    open.commit().await
}

async fn ids(db: &Database) -> Result<Vec<i64>, Error> {
    db.query("SELECT id FROM thing ORDER BY id", ()).await?.iter().map(|row| row.get(0)).collect()
}

/// Polls so many times, and drops what is not finished by then.
async fn limited<T>(future: impl Future<Output = T>, mut polls: u64) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match polls.checked_sub(1) {
        None => Poll::Ready(None),
        Some(left) => {
            polls = left;
            match future.as_mut().poll(context) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        }
    })
    .await
}
