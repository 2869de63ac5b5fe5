//! The portable subset of SQL, which every backend interprets alike.
//!
//! The contract suite runs everything stated here on every backend. Other constructs are not
//! portable.
//!
//! # Types
//!
//! | SQL | [`Value`](crate::Value) | SQLite |
//! |---|---|---|
//! | `BIGINT` | `Int` | a 64-bit integer. `BIGINT PRIMARY KEY` is an ordinary column, not the rowid |
//! | `TEXT` | `Text` | UTF-8. A NUL character is rejected everywhere ([`Error::Constraint`](crate::Error::Constraint)) |
//! | `BYTEA` | `Bytes` | a blob, unchanged |
//! | `BOOLEAN` | `Bool` | stored as 0 or 1 and read as `Int`; `row.get::<bool>` accepts both. `TRUE` and `FALSE` work |
//! | `DOUBLE PRECISION` | `Double` | a double; NaN is rejected everywhere |
//!
//! SQLite does not enforce column types: a text in a `BIGINT` column is stored, and detected when
//! it is read ([`Error::Column`](crate::Error::Column)). There are no dates: a time is a `BIGINT`
//! of milliseconds. JSON is `TEXT`.
//!
//! # Statements
//!
//! - One statement per call. Parameters are `$1`, `$2`, ... as on PostgreSQL, in any order and
//!   number, and all must be given. SQLite binds them by name, because by position a leading `$2`
//!   would be the first. A type is stated with `CAST($1 AS BIGINT)`, never `$1::BIGINT`.
//! - `INSERT .. ON CONFLICT (..) DO NOTHING`, `DO UPDATE SET .. = excluded..`, with a conflict
//!   target. A skipped row does not count as changed.
//! - `RETURNING` on INSERT, UPDATE and DELETE. The order of its rows is unspecified.
//! - `CREATE TABLE`, `CREATE [UNIQUE] INDEX .. [WHERE ..]`, `PRIMARY KEY`, `UNIQUE`, `NOT NULL`,
//!   `DEFAULT`, `CHECK`, `REFERENCES` (checked at once; deferred constraints are not part of the
//!   subset).
//! - Joins, `WITH`, aggregates, `CASE`, `COALESCE`, `ORDER BY`, `LIMIT`. State `NULLS FIRST` or
//!   `NULLS LAST` where it matters, because the defaults differ. `LIKE` differs in case
//!   sensitivity. Texts are compared byte by byte if the PostgreSQL database has the collation `C`.
//! - A column of a result is read by its name: that of its table's column, or the one after `AS`.
//!   Every other expression needs one.
//! - Statements for many rows, and the parts that only PostgreSQL has, such as row locks: see
//!   [`statement`](crate::statement).
//! - No BEGIN, COMMIT, ROLLBACK or SAVEPOINT: such a statement is rejected. Use
//!   [`Database::begin`](crate::Database::begin) and [`Open`](crate::Open).
//!
//! # Transactions
//!
//! - SQLite has one writer: an open transaction holds it, and others wait in a queue. On PostgreSQL
//!   transactions run concurrently at READ COMMITTED, so each statement sees the commits before its
//!   start.
//! - On SQLite a transaction that waited for the writer is joined to the previous ones, and reads
//!   their uncommitted rows. Its end, even a rollback, therefore completes only after their commit.
//!   Do not answer from its reads before that.
//! - A failed statement aborts its transaction up to the innermost savepoint, on SQLite as on
//!   PostgreSQL. Until `rollback_to`, each statement fails with
//!   [`Error::Aborted`](crate::Error::Aborted), and so do `release` and `commit`.
//!
//! # Dialects
//!
//! If one text cannot serve both, use `match tx.dialect() { Dialect::Sqlite => ..,
//! Dialect::Postgres => .. }`, and in a schema
//! [`Migration::on_sqlite`](crate::Migration::on_sqlite).
