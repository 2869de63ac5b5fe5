//! Promises of migrations.

use futures_util::future::join_all;

use super::fresh::{Checked, Fresh, committed, number};
use crate::port::Dialect;
use crate::{Error, Migration};

const FIRST: Migration = Migration::new(
    "0001-thing",
    "CREATE TABLE thing (a TEXT); INSERT INTO thing (a) VALUES ('x');",
);
const SECOND: Migration =
    Migration::new("0002-more", "ALTER TABLE thing ADD COLUMN b TEXT; UPDATE thing SET b = ';'");

/// Each migration runs once over all starts of the program, and separately per owner.
pub async fn migrations_run_once_and_in_order(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    db.migrate("shop", &[FIRST], 1).await?;
    db.migrate("shop", &[FIRST, SECOND], 1).await?;
    db.migrate("shop", &[FIRST, SECOND], 1).await?;
    assert_eq!(number(&db, "SELECT COUNT(*) FROM thing WHERE b = ';'").await?, 1);
    db.migrate(
        "other",
        &[Migration::new("0001-thing", "INSERT INTO thing (a) VALUES ('other')")],
        1,
    )
    .await?;
    assert_eq!(number(&db, "SELECT COUNT(*) FROM thing").await?, 2);
    Ok(())
}

/// Several programs start at the same time, and only one of them runs each migration.
pub async fn migrations_run_once_when_many_start(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    for outcome in join_all((0..10).map(|_| db.migrate("shop", &[FIRST, SECOND], 1))).await {
        outcome?;
    }
    assert_eq!(number(&db, "SELECT COUNT(*) FROM thing").await?, 1);
    Ok(())
}

/// Migrations are atomic: those before the failed one are reverted as well.
pub async fn a_migration_that_fails_changes_nothing(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    let wrong = Migration::new(
        "0002-wrong",
        "ALTER TABLE thing ADD COLUMN b TEXT; CREATE TABEL other (a TEXT)",
    );
    assert!(matches!(db.migrate("shop", &[FIRST, wrong], 1).await, Err(Error::Statement(_))));
    assert!(db.query("SELECT a FROM thing", ()).await.is_err());
    db.migrate("shop", &[FIRST, SECOND], 1).await?;
    assert_eq!(number(&db, "SELECT COUNT(*) FROM thing").await?, 1);
    Ok(())
}

/// An upgrade can be reverted unless one of its migrations requires a newer program.
pub async fn an_older_program_is_rejected_only_by_a_schema_that_requires_a_newer_one(
    fresh: Fresh<'_>,
) -> Checked {
    let db = fresh();
    let third = Migration::new("0003-cut", "CREATE TABLE third (a TEXT)").needs(3);
    db.migrate("shop", &[FIRST, SECOND], 2).await?;
    db.migrate("shop", &[FIRST], 1).await?; // the older program again
    let early = db.migrate("shop", &[FIRST, SECOND, third], 2).await;
    assert!(matches!(early, Err(Error::ProgramTooOld { needed: 3, have: 2 })), "{early:?}");
    committed(&db, "CREATE TABLE third (a TEXT); DROP TABLE third").await?;
    db.migrate("shop", &[FIRST, SECOND, third], 4).await?;
    db.migrate("shop", &[FIRST, SECOND, third], 3).await?;
    let old = db.migrate("shop", &[FIRST, SECOND], 2).await;
    assert!(matches!(old, Err(Error::ProgramTooOld { needed: 3, have: 2 })), "{old:?}");
    db.migrate("other", &[], 1).await
}

/// A dialect may need a different text than the portable one.
pub async fn a_dialect_gets_its_own_text(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    let split = Migration::new("0001-split", "CREATE TABLE portable (a TEXT)")
        .on_sqlite("CREATE TABLE own (a TEXT)");
    db.migrate("shop", &[split], 1).await?;
    let (there, not_there) = match db.dialect() {
        Dialect::Sqlite => ("SELECT a FROM own", "SELECT a FROM portable"),
        Dialect::Postgres => ("SELECT a FROM portable", "SELECT a FROM own"),
    };
    db.query(there, ()).await?;
    assert!(db.query(not_there, ()).await.is_err());
    Ok(())
}
