//! Promises about migrations.

use futures_util::future::join_all;

use super::{Checked, Fresh, committed, number};
use crate::port::Dialect;
use crate::{Error, Migration};

const FIRST: Migration =
    Migration::new("0001-thing", "CREATE TABLE thing (a TEXT); INSERT INTO thing (a) VALUES ('x');");
const SECOND: Migration = Migration::new("0002-more", "ALTER TABLE thing ADD COLUMN b TEXT; UPDATE thing SET b = ';'");

/// Each one once, however often the program starts, and for each owner by itself.
pub async fn migrations_run_once_and_in_order(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    db.migrate("shop", &[FIRST], 1).await?;
    db.migrate("shop", &[FIRST, SECOND], 1).await?;
    db.migrate("shop", &[FIRST, SECOND], 1).await?;
    assert_eq!(number(&db, "SELECT COUNT(*) FROM thing WHERE b = ';'").await?, 1);
    db.migrate("other", &[Migration::new("0001-thing", "INSERT INTO thing (a) VALUES ('other')")], 1).await?;
    assert_eq!(number(&db, "SELECT COUNT(*) FROM thing").await?, 2);
    Ok(())
}

/// Several programs start at the same moment.
pub async fn migrations_run_once_when_many_start(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    for outcome in join_all((0..10).map(|_| db.migrate("shop", &[FIRST, SECOND], 1))).await {
        outcome?;
    }
    assert_eq!(number(&db, "SELECT COUNT(*) FROM thing").await?, 1);
    Ok(())
}

/// All or nothing: the ones before the wrong one are not there either.
pub async fn a_migration_that_fails_changes_nothing(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    let wrong = Migration::new("0002-wrong", "ALTER TABLE thing ADD COLUMN b TEXT; CREATE TABEL other (a TEXT)");
    assert!(matches!(db.migrate("shop", &[FIRST, wrong], 1).await, Err(Error::Statement(_))));
    assert!(db.query("SELECT a FROM thing", ()).await.is_err());
    db.migrate("shop", &[FIRST, SECOND], 1).await?;
    assert_eq!(number(&db, "SELECT COUNT(*) FROM thing").await?, 1);
    Ok(())
}

/// An upgrade can be taken back as long as no step of it states that the old program cannot work with it.
pub async fn an_older_program_is_refused_only_when_the_schema_says_so(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    let third = Migration::new("0003-cut", "CREATE TABLE third (a TEXT)").needs(3);
    db.migrate("shop", &[FIRST, SECOND], 2).await?;
    db.migrate("shop", &[FIRST], 1).await?; // the old one is back
    let early = db.migrate("shop", &[FIRST, SECOND, third], 2).await;
    assert!(matches!(early, Err(Error::ProgramTooOld { needed: 3, have: 2 })), "{early:?}");
    committed(&db, "CREATE TABLE third (a TEXT); DROP TABLE third").await?;
    db.migrate("shop", &[FIRST, SECOND, third], 4).await?;
    db.migrate("shop", &[FIRST, SECOND, third], 3).await?;
    let old = db.migrate("shop", &[FIRST, SECOND], 2).await;
    assert!(matches!(old, Err(Error::ProgramTooOld { needed: 3, have: 2 })), "{old:?}");
    db.migrate("other", &[], 1).await
}

/// Where the portable text does not do.
pub async fn a_dialect_gets_its_own_text(fresh: Fresh<'_>) -> Checked {
    let db = fresh();
    let split = Migration::new("0001-split", "CREATE TABLE portable (a TEXT)").on_sqlite("CREATE TABLE own (a TEXT)");
    db.migrate("shop", &[split], 1).await?;
    let (there, not_there) = match db.dialect() {
        Dialect::Sqlite => ("SELECT a FROM own", "SELECT a FROM portable"),
        Dialect::Postgres => ("SELECT a FROM portable", "SELECT a FROM own"),
    };
    db.query(there, ()).await?;
    assert!(db.query(not_there, ()).await.is_err());
    Ok(())
}
