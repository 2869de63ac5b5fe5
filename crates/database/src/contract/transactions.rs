//! Promises of transactions: visibility, rollback, and independence from each other.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use futures_util::future::{join, join_all, join3};

use super::fresh::{Checked, Fresh, committed, number};
use crate::{Database, Error};

const TABLE: &str = "CREATE TABLE thing (id BIGINT PRIMARY KEY)";
const INSERT: &str = "INSERT INTO thing (id) VALUES ($1)";
const COUNT: &str = "SELECT COUNT(*) FROM thing";

/// A read that starts while a transaction is open sees none of its writes.
pub async fn reads_see_only_committed_rows(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    let open = db.begin().await?;
    open.tx().execute(INSERT, (1_i64,)).await?;
    assert_eq!(
        open.tx().query(COUNT, ()).await?[0].get(0),
        Ok(1_i64),
        "a transaction sees its own writes"
    );
    let (seen, rolled_back) = join(number(&db, COUNT), open.rollback()).await;
    rolled_back?;
    assert_eq!(seen?, 0);
    let open = db.begin().await?;
    open.tx().execute(INSERT, (1_i64,)).await?;
    open.commit().await?;
    assert_eq!(number(&db, COUNT).await?, 1);
    Ok(())
}

/// Writes outside of a transaction are rejected.
pub async fn reads_cannot_write(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    for sql in [
        "INSERT INTO thing (id) VALUES (1)",
        "DELETE FROM thing RETURNING id",
        "CREATE TABLE other (a TEXT)",
    ] {
        assert!(matches!(db.query(sql, ()).await, Err(Error::Statement(_))), "{sql}");
    }
    assert_eq!(number(&db, COUNT).await?, 0);
    Ok(())
}

/// Without a commit no write remains, after a rollback or a drop.
pub async fn a_dropped_transaction_is_rolled_back(fresh: Fresh<'_>) -> Checked {
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

/// A handle that outlives its transaction blocks no other transaction.
pub async fn a_dropped_transaction_is_rolled_back_despite_a_live_handle(
    fresh: Fresh<'_>,
) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    let open = db.begin().await?;
    let kept = open.tx();
    kept.execute(INSERT, (1_i64,)).await?;
    drop(open);
    assert!(matches!(kept.execute(INSERT, (2_i64,)).await, Err(Error::Over)));
    assert!(matches!(kept.query(COUNT, ()).await, Err(Error::Over)));
    insert(&db, 1).await?; // neither the row nor the writer is blocked by the live handle
    assert_eq!(ids(&db).await?, [1]);
    Ok(())
}

/// A handle is unusable after the commit or rollback of its transaction.
pub async fn a_handle_is_unusable_after_the_end(fresh: Fresh<'_>) -> Checked {
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
        assert!(matches!(
            tx.execute_each(INSERT, vec![vec![1_i64.into()]]).await,
            Err(Error::Over)
        ));
    }
    assert_eq!(number(&db, COUNT).await?, 0);
    Ok(())
}

/// Releases and rollbacks apply to the innermost savepoint. An open savepoint is committed with its
/// transaction.
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
    open.rollback_to().await?; // removes 3
    open.savepoint().await?;
    insert(4).await?;
    open.release().await?; // 4 belongs to the outer savepoint
    open.rollback_to().await?; // removes 2 and 4
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

/// A rollback to a savepoint is the only portable way to continue after an error.
pub async fn a_savepoint_restores_the_state_before_an_error(fresh: Fresh<'_>) -> Checked {
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

/// After an ignored error, later statements, the release and the commit fail.
pub async fn a_failed_statement_aborts_up_to_the_last_savepoint(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    let open = db.begin().await?;
    let tx = open.tx();
    tx.execute(INSERT, (1_i64,)).await?;
    for ignored in [
        tx.execute(INSERT, (1_i64,)).await.map(drop),
        tx.query("SELECT nothing FROM thing", ()).await.map(drop),
    ] {
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
        let names_cause =
            matches!(&outcome, Err(Error::Aborted(why)) if matches!(**why, Error::Constraint(_)));
        assert!(names_cause, "it must name the first failure: {outcome:?}");
    }
    assert!(matches!(open.savepoint().await, Err(Error::Aborted(_))));
    assert!(matches!(open.commit().await, Err(Error::Constraint(_))), "the original error");
    assert_eq!(number(&db, COUNT).await?, 0);
    Ok(())
}

/// A chunk uses one savepoint after another. The one with the failure can only be rolled back, not
/// released.
pub async fn a_failed_statement_leaves_earlier_savepoints_intact(fresh: Fresh<'_>) -> Checked {
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

/// A transaction may read uncommitted rows of another one whose commit then fails. Its own commit
/// or rollback then fails as well. A transaction that cannot read such rows ends normally.
pub async fn a_transaction_that_read_a_failed_commit_fails(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    committed(
        &db,
        "CREATE TABLE part (thing BIGINT REFERENCES thing (id) DEFERRABLE INITIALLY DEFERRED)",
    )
    .await?;
    let written = async {
        let open = db.begin().await?;
        open.tx()
            .batch("INSERT INTO thing (id) VALUES (1); INSERT INTO part (thing) VALUES (77)")
            .await?;
        open.commit().await // thing 77 does not exist
    };
    let read = async |commits: bool| {
        let open = db.begin().await?;
        let seen: i64 = open.tx().query(COUNT, ()).await?[0].get(0)?;
        let ended = if commits { open.commit().await } else { open.rollback().await };
        Ok::<_, Error>((seen, ended))
    };
    let before = db.begin().await?; // with a single writer, all others wait for this one
    before.tx().execute(INSERT, (2_i64,)).await?;
    before.tx().execute("DELETE FROM thing", ()).await?;
    let readers = join(read(false), read(true));
    let (written, (one, other), committed) = join3(written, readers, before.commit()).await;
    assert!(written.is_err());
    for (seen, ended) in [one?, other?] {
        assert!(
            seen == 0 || matches!(&ended, Err(why) if why.is_transient()),
            "it read {seen} and ended with {ended:?}"
        );
        assert!(seen == 1 || committed.is_err() || ended.is_ok(), "{ended:?}");
    }
    assert_eq!(number(&db, COUNT).await?, 0);
    Ok(())
}

/// Of many concurrent transactions each is committed and counted.
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

/// Every third transaction fails, is rolled back or dropped, while its neighbours commit.
pub async fn a_rollback_does_not_affect_other_transactions(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    let one = async |id: i64| {
        let open = db.begin().await?;
        open.savepoint().await?;
        open.tx().execute(INSERT, (id,)).await?;
        match id % 9 {
            0 => open.tx().execute(INSERT, (id,)).await.map(drop), // a duplicate key
            3 => open.rollback().await,
            6 => {
                drop(open);
                Ok(())
            }
            _ => open.commit().await,
        }
    };
    let before = db.begin().await?; // with a single writer, all others wait for this one
    let (outcomes, rolled_back) = join(join_all((0..100).map(one)), before.rollback()).await;
    rolled_back?;
    for (id, outcome) in (0..100).zip(outcomes) {
        assert_eq!(outcome.is_err(), id % 9 == 0, "{id}: {outcome:?}");
    }
    assert_eq!(ids(&db).await?, (0..100).filter(|id| id % 3 != 0).collect::<Vec<_>>());
    Ok(())
}

/// Futures are dropped at any await. Transactions whose commit was answered are committed, and
/// later ones get their turn.
pub async fn futures_dropped_at_any_await_block_no_other(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    committed(&db, TABLE).await?;
    let mut random: u64 = 0x5eed;
    let mut answered = Vec::new();
    for round in 0..20 {
        let tasks = (0..20).map(|place| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // from few polls, for backends with long polls, to many, for a backend with a poll per
            // answer
            let (id, polls) = (round * 20 + place, (1 << ((random >> 33) % 9)) - 1);
            let db = &db;
            async move { (id, limited(insert(db, id), polls).await) }
        });
        let before = db.begin().await?; // with a single writer, all others wait for this one
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

/// Polls at most `polls` times, then drops the future.
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
