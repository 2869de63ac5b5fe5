//! Schema changes: named, run once and in order, only ever expanding.

use crate::database::{Database, Tx};
use crate::error::Error;
use crate::port::Dialect;

/// One step of a schema. Steps only expand (add a table, a nullable column, an index), so that an older program goes on.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    id: &'static str,
    portable: &'static str,
    sqlite: Option<&'static str>,
    needs: Option<u32>,
}

/// Which steps each owner has had, and the least program that each owner's schema works with.
const BOOKS: &str = "
    CREATE TABLE IF NOT EXISTS schema_migration (owner TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (owner, id));
    CREATE TABLE IF NOT EXISTS schema_program (owner TEXT PRIMARY KEY, needed BIGINT NOT NULL);
";

/// Who comes second waits for as long as the first one takes. A step itself may take long too, but not wait for locks: all
/// others would get in line behind it.
const ALONE: &str = "
    SET LOCAL statement_timeout = 0;
    SET LOCAL lock_timeout = 0;
    SELECT pg_advisory_xact_lock(520245001);
    SET LOCAL lock_timeout = '2s';
";

impl Migration {
    /// A step: its id, unique within its owner (`0001-barrier`), and portable statements, separated by semicolons.
    pub const fn new(id: &'static str, sql: &'static str) -> Migration {
        Migration { id, portable: sql, sqlite: None, needs: None }
    }

    /// Other statements for SQLite, where the portable ones do not do (`WITHOUT ROWID`).
    pub const fn on_sqlite(self, sql: &'static str) -> Migration {
        Migration { sqlite: Some(sql), ..self }
    }

    /// The least program version that works with the schema after this step. Without it, any does.
    pub const fn needs(self, program: u32) -> Migration {
        Migration { needs: Some(program), ..self }
    }

    fn sql(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite.unwrap_or(self.portable),
            Dialect::Postgres => self.portable,
        }
    }
}

impl Database {
    /// Brings the part of the schema that belongs to `owner` up to date, all or nothing, for a program of this version.
    ///
    /// Several programs may do so at once. Steps that only a newer program knows are no obstacle, unless the schema
    /// states that it needs that program: then it is [`Error::ProgramTooOld`], and nothing was changed.
    pub async fn migrate(&self, owner: &str, migrations: &[Migration], program: u32) -> Result<(), Error> {
        let open = self.begin().await?;
        let tx = open.tx();
        one_at_a_time(&tx).await?;
        tx.batch(BOOKS).await?;
        fits(program, needed(&tx, owner).await?)?;
        for migration in migrations {
            let note = "INSERT INTO schema_migration (owner, id) VALUES ($1, $2) ON CONFLICT (owner, id) DO NOTHING";
            if tx.execute(note, (owner, migration.id)).await? == 0 {
                continue;
            }
            fits(program, migration.needs.unwrap_or(0))?;
            tx.batch(migration.sql(tx.dialect())).await?;
            if let Some(needed) = migration.needs {
                state(&tx, owner, needed).await?;
            }
        }
        open.commit().await
    }
}

fn fits(have: u32, needed: u32) -> Result<(), Error> {
    if have < needed { Err(Error::ProgramTooOld { needed, have }) } else { Ok(()) }
}

/// On SQLite the open transaction is the only one; on PostgreSQL even the creation of tables could collide.
async fn one_at_a_time(tx: &Tx) -> Result<(), Error> {
    match tx.dialect() {
        Dialect::Sqlite => Ok(()),
        Dialect::Postgres => tx.batch(ALONE).await,
    }
}

async fn needed(tx: &Tx, owner: &str) -> Result<u32, Error> {
    let rows = tx.query("SELECT needed FROM schema_program WHERE owner = $1", (owner,)).await?;
    let needed = rows.first().map_or(Ok(0), |row| row.get::<i64>(0))?;
    u32::try_from(needed).map_err(|_| Error::Column { column: "schema_program.needed".into(), wanted: "u32" })
}

async fn state(tx: &Tx, owner: &str, needed: u32) -> Result<(), Error> {
    let sql = "INSERT INTO schema_program (owner, needed) VALUES ($1, $2)
        ON CONFLICT (owner) DO UPDATE SET needed = excluded.needed WHERE schema_program.needed < excluded.needed";
    tx.execute(sql, (owner, needed)).await?;
    Ok(())
}
