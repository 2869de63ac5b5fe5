//! The portable subset of SQL: what every backend understands alike.
//!
//! The contract suite runs what is written here on every backend; what is not written here is not portable.
//!
//! # Types
//!
//! | SQL | [`Value`](crate::Value) | what SQLite does with it |
//! |---|---|---|
//! | `BIGINT` | `Int` | a 64-bit integer. `BIGINT PRIMARY KEY` is a column like any other, not the rowid |
//! | `TEXT` | `Text` | UTF-8. A NUL character is refused everywhere ([`Error::Constraint`](crate::Error::Constraint)) |
//! | `BYTEA` | `Bytes` | a blob, as it is |
//! | `BOOLEAN` | `Bool` | kept as 0 or 1 and read as `Int`; `row.get::<bool>` takes both. `TRUE` and `FALSE` work |
//! | `DOUBLE PRECISION` | `Double` | a double; NaN is refused everywhere |
//!
//! SQLite does not hold a column to its type: a text in a `BIGINT` column is stored, and found out when it is read
//! ([`Error::Column`](crate::Error::Column)). There are no dates: a moment is a `BIGINT` of milliseconds. JSON is `TEXT`.
//!
//! # Statements
//!
//! - One statement a call. Parameters are `$1`, `$2`, ... as PostgreSQL has them, in any order, each as often as wanted, and
//!   all of them given. On SQLite they are bound by name: by position `$2` would be the first if it stands first.
//!   A type is given with `CAST($1 AS BIGINT)`, never `$1::BIGINT`.
//! - `INSERT .. ON CONFLICT (..) DO NOTHING`, `DO UPDATE SET .. = excluded..`, with a conflict target. A row that was
//!   skipped is not counted as changed.
//! - `RETURNING` on INSERT, UPDATE and DELETE; the order of its rows is not promised.
//! - `CREATE TABLE`, `CREATE [UNIQUE] INDEX .. [WHERE ..]`, `PRIMARY KEY`, `UNIQUE`, `NOT NULL`, `DEFAULT`, `CHECK`, `REFERENCES`
//!   (checked at once; deferred constraints are not part of the subset).
//! - Joins, `WITH`, aggregates, `CASE`, `COALESCE`, `ORDER BY`, `LIMIT`. `NULLS FIRST` or `NULLS LAST` where it matters: the defaults
//!   differ. `LIKE` differs in case. Texts are compared byte by byte if the PostgreSQL database has the collation `C`.
//! - No BEGIN, COMMIT, ROLLBACK or SAVEPOINT: [`Database::begin`](crate::Database::begin) and [`Open`](crate::Open) do that, and a statement
//!   that tries is refused.
//!
//! # Transactions
//!
//! - SQLite has one writer: an open transaction has it, and others wait in line. On PostgreSQL they run side by side at READ
//!   COMMITTED, so a statement may find what another committed a moment ago.
//! - On SQLite a transaction that waited for the writer is joined to those before it, and reads what they have not committed
//!   yet. So its end, a rollback too, answers only when they are committed: answer nothing from what was read before that.
//! - A statement that fails aborts its transaction up to the innermost savepoint, on SQLite as on PostgreSQL: until
//!   `rollback_to` each statement fails with [`Error::Aborted`](crate::Error::Aborted), and so do `release` and `commit`.
//!
//! # The way out
//!
//! Where one text cannot serve both, ask: `match tx.dialect() { Dialect::Sqlite => .., Dialect::Postgres => .. }`; in a schema,
//! [`Migration::on_sqlite`](crate::Migration::on_sqlite).
