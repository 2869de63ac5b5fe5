//! Schema changes: named, run once and in order, and always backward compatible.

use crate::database::{Database, Tx};
use crate::error::Error;
use crate::port::Dialect;

/// One change of a schema. It only expands (adds a table, a nullable column, an index), so that an
/// older program continues.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    id: &'static str,
    portable: &'static str,
    sqlite: Option<&'static str>,
    needs: Option<u32>,
}

/// The tables with each owner's completed migrations and with the minimum program version of its
/// schema.
const BOOKS: &str = "
    CREATE TABLE IF NOT EXISTS schema_migration (owner TEXT NOT NULL, id TEXT NOT NULL, PRIMARY \
    KEY (owner, id));
    CREATE TABLE IF NOT EXISTS schema_program (owner TEXT PRIMARY KEY, needed BIGINT NOT NULL);
";

/// Serializes migrations: a second program waits until the first one has finished. A migration may
/// run long, but must not wait for locks, because other transactions would queue behind it.
const ALONE: &str = "
    SET LOCAL statement_timeout = 0;
    SET LOCAL lock_timeout = 0;
    SELECT pg_advisory_xact_lock(520245001);
    SET LOCAL lock_timeout = '2s';
";

impl Migration {
    /// Creates a migration with an id that is unique within its owner (`0001-barrier`) and portable
    /// statements, separated by semicolons.
    pub const fn new(id: &'static str, sql: &'static str) -> Migration {
        Migration { id, portable: sql, sqlite: None, needs: None }
    }

    /// Sets other statements for SQLite, where the portable ones do not fit, such as `WITHOUT
    /// ROWID`.
    pub const fn on_sqlite(self, sql: &'static str) -> Migration {
        Migration { sqlite: Some(sql), ..self }
    }

    /// Sets the minimum program version that works with the schema after this migration. By default
    /// any version works.
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
    /// Runs the outstanding migrations of `owner` in one transaction, for a program of this
    /// version. Several programs may call it concurrently.
    ///
    /// # Errors
    /// [`Error::ProgramTooOld`], without any change, if the schema requires a newer program.
    /// Unknown newer migrations alone are not an error.
    pub async fn migrate(
        &self,
        owner: &str,
        migrations: &[Migration],
        program: u32,
    ) -> Result<(), Error> {
        let open = self.begin().await?;
        let tx = open.tx();
        one_at_a_time(&tx).await?;
        tx.batch(BOOKS).await?;
        fits(program, needed(&tx, owner).await?)?;
        for migration in migrations {
            let note = "INSERT INTO schema_migration (owner, id) VALUES ($1, $2) ON CONFLICT \
                        (owner, id) DO NOTHING";
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

/// Serializes migrations. On SQLite the open transaction is the only one. On PostgreSQL even
/// concurrent creations of a table can collide.
async fn one_at_a_time(tx: &Tx) -> Result<(), Error> {
    match tx.dialect() {
        Dialect::Sqlite => Ok(()),
        Dialect::Postgres => tx.batch(ALONE).await,
    }
}

async fn needed(tx: &Tx, owner: &str) -> Result<u32, Error> {
    let rows = tx.query("SELECT needed FROM schema_program WHERE owner = $1", (owner,)).await?;
    let needed = rows.first().map_or(Ok(0), |row| row.get::<i64>(0))?;
    u32::try_from(needed)
        .map_err(|_| Error::Column { column: "schema_program.needed".into(), wanted: "u32" })
}

async fn state(tx: &Tx, owner: &str, needed: u32) -> Result<(), Error> {
    let sql = "INSERT INTO schema_program (owner, needed) VALUES ($1, $2)
        ON CONFLICT (owner) DO UPDATE SET needed = excluded.needed WHERE schema_program.needed < \
        excluded.needed";
    tx.execute(sql, (owner, needed)).await?;
    Ok(())
}
