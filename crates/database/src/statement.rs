//! Statements for many rows, written once for both dialects.
//!
//! Such a statement reads its rows from the relation `given`. The columns of `given` are the
//! fields of a struct:
//!
//! ```
//! use sagamore_database::{Statement, given_row};
//!
//! given_row! {
//!     /// A payment into an account.
//!     struct Deposit<'a> {
//!         account: &'a str,
//!         cents: i64,
//!     }
//! }
//!
//! static DEPOSIT: Statement<Deposit<'_>> = Statement::new(
//!     "UPDATE account SET cents = account.cents + given.cents FROM given
//!      WHERE account.id = given.account",
//! );
//! ```
//! On PostgreSQL, `given` is `UNNEST(CAST($1 AS TEXT[]), CAST($2 AS BIGINT[]))`, and the statement
//! runs once for all rows. On SQLite it disappears: `given.account` is `$1`, and the statement runs
//! once per row. Both equal hand-written statements, so both have the same query plans. See ADR
//! 0018.
//!
//! # The relation
//!
//! `given` stands first in `FROM given`, `FROM given, other` or `USING given`. Its columns are
//! always written as `given.column`, and the statement reads each of them.
//!
//! # The differences
//!
//! Text in braces is for PostgreSQL only: `SELECT .. {FOR UPDATE SKIP LOCKED}`. On SQLite, which
//! has one writer, row locks are unnecessary. [`Dialect::text`] does the same for statements
//! without rows.

use std::marker::PhantomData;
use std::sync::OnceLock;

use crate::database::Tx;
use crate::error::Error;
use crate::port::{BoxFuture, Dialect};
use crate::postgres::array;
use crate::value::{Row, Value};

/// A statement for rows of one type.
pub struct Statement<R> {
    source: Source,
    /// The text of each [`Form`], made on first use.
    texts: [OnceLock<String>; 3],
    row: PhantomData<fn() -> R>,
}

/// A column of `given`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The column's name.
    pub name: &'static str,
    /// The column's SQL type.
    pub sql: &'static str,
}

/// A row of the relation `given`. The macro [`given_row!`](crate::given_row) implements it.
pub trait GivenRow: Sized {
    /// The columns, in the order of the values.
    const COLUMNS: &'static [Column];

    /// Appends the values.
    fn append_to(self, values: &mut Vec<Value>);

    /// Returns the values.
    fn into_values(self) -> Vec<Value> {
        let mut values = Vec::with_capacity(Self::COLUMNS.len());
        self.append_to(&mut values);
        values
    }
}

/// Declares a struct whose fields are the columns of the relation `given`.
///
/// Columns that several rows share are a row of their own, and are included by name:
///
/// ```
/// # use sagamore_database::given_row;
/// given_row! {
///     /// The parties of a payment.
///     struct Parties<'a> {
///         payer: &'a str,
///         payee: &'a str,
///     }
/// }
/// given_row! {
///     /// A payment.
///     struct Payment<'a> {
///         cents: i64,
///     }
///     including parties: Parties<'a>
/// }
/// ```
#[macro_export]
macro_rules! given_row {
    (
        $(#[$attribute:meta])*
        $visible:vis struct $name:ident $(<$life:lifetime>)? {
            $($(#[$field_attribute:meta])* $field:ident: $type:ty),* $(,)?
        }
        $(including $part:ident: $part_type:ident $(<$part_life:lifetime>)?)?
    ) => {
        $(#[$attribute])*
        $visible struct $name $(<$life>)? {
            $($(#[$field_attribute])* $visible $field: $type,)*
            $($visible $part: $part_type $(<$part_life>)?,)?
        }

        impl $(<$life>)? $crate::statement::GivenRow for $name $(<$life>)? {
            const COLUMNS: &'static [$crate::statement::Column] = &$crate::statement::joined::<{
                let own: &[&str] = &[$(stringify!($field)),*];
                own.len() $(+ $crate::given_row!(@columns $part_type $($part_life)?).len())?
            }>(&[
                &[$($crate::statement::Column {
                    name: stringify!($field),
                    sql: <$type as $crate::value::SqlType>::SQL,
                }),*],
                $($crate::given_row!(@columns $part_type $($part_life)?))?
            ]);

            fn append_to(self, values: &mut Vec<$crate::Value>) {
                $(values.push(self.$field.into());)*
                $($crate::statement::GivenRow::append_to(self.$part, values);)?
            }
        }
    };
    (@columns $row:ident $life:lifetime) => {
        <$row<'static> as $crate::statement::GivenRow>::COLUMNS
    };
    (@columns $row:ident) => {
        <$row as $crate::statement::GivenRow>::COLUMNS
    };
}

/// Joins the columns of a row's parts.
#[doc(hidden)]
pub const fn joined<const N: usize>(parts: &[&[Column]]) -> [Column; N] {
    let mut joined = [Column { name: "", sql: "" }; N];
    let (mut next, mut part) = (0, 0);
    while part < parts.len() {
        let mut index = 0;
        while index < parts[part].len() {
            joined[next] = parts[part][index];
            (next, index) = (next + 1, index + 1);
        }
        part += 1;
    }
    joined
}

/// The origin of a statement's text.
enum Source {
    Text(&'static str),
    Built(fn() -> String),
    Insert { table: &'static str, rest: &'static str },
}

/// A form of a statement's text.
#[derive(Clone, Copy)]
enum Form {
    /// For SQLite, per row.
    Sqlite,
    /// For PostgreSQL, per row.
    Postgres,
    /// For PostgreSQL, for all rows.
    PostgresArrays,
}

impl<R: GivenRow> Statement<R> {
    /// Creates a statement over the relation `given`.
    pub const fn new(sql: &'static str) -> Statement<R> {
        Statement::of(Source::Text(sql))
    }

    /// Creates a statement whose text contains constants of the program.
    pub const fn built(sql: fn() -> String) -> Statement<R> {
        Statement::of(Source::Built(sql))
    }

    /// Creates a statement that inserts the rows into a table with columns of the same names.
    /// `rest` follows, such as `ON CONFLICT (id) DO NOTHING`.
    pub const fn insert(table: &'static str, rest: &'static str) -> Statement<R> {
        Statement::of(Source::Insert { table, rest })
    }

    const fn of(source: Source) -> Statement<R> {
        Statement { source, texts: [const { OnceLock::new() }; 3], row: PhantomData }
    }

    fn text(&self, form: Form) -> &str {
        self.texts[form as usize].get_or_init(|| {
            let sql = match self.source {
                Source::Text(sql) => sql.to_owned(),
                Source::Built(sql) => sql(),
                Source::Insert { table, rest } => insert::<R>(form, table, rest),
            };
            match form {
                Form::Sqlite => per_row(&Dialect::Sqlite.text(&sql), R::COLUMNS),
                Form::Postgres => per_row(&Dialect::Postgres.text(&sql), R::COLUMNS),
                Form::PostgresArrays => {
                    let given = unnest::<R>("given", 1);
                    let sql = Dialect::Postgres.text(&sql);
                    sql.replace("FROM given", &format!("FROM {given}"))
                        .replace("USING given", &format!("USING {given}"))
                }
            }
        })
    }
}

/// A statement with its parameters, ready to run.
enum Run<'a> {
    Nothing,
    /// Once per row.
    Each(&'a str, Vec<Vec<Value>>),
    /// Once for all rows.
    Once(&'a str, Vec<Value>),
}

impl<'a> Run<'a> {
    /// Collects the rows, so that no future holds their iterator.
    fn of<R: GivenRow>(
        statement: &'a Statement<R>,
        form: Form,
        rows: impl IntoIterator<Item = R>,
    ) -> Run<'a> {
        let mut rows = rows.into_iter().peekable();
        match form {
            _ if rows.peek().is_none() => Run::Nothing,
            Form::Sqlite | Form::Postgres => Run::Each(statement.text(form), values(rows)),
            Form::PostgresArrays => Run::Once(statement.text(form), arrays(rows)),
        }
    }
}

impl Tx {
    /// Runs the statement for these rows, in one round trip. Returns the number of changed rows.
    pub fn execute_rows<'a, R: GivenRow>(
        &'a self,
        statement: &'a Statement<R>,
        rows: impl IntoIterator<Item = R>,
    ) -> BoxFuture<'a, Result<u64, Error>> {
        let run = Run::of(statement, self.form_of_all(), rows);
        Box::pin(async move {
            match run {
                Run::Nothing => Ok(0),
                Run::Each(sql, sets) => Ok(self.execute_each(sql, sets).await?.into_iter().sum()),
                Run::Once(sql, params) => self.execute(sql, params).await,
            }
        })
    }

    /// Runs the statement for these rows, in one round trip. Returns all rows. Unless the statement
    /// orders them by a given column, in any order: they must identify themselves.
    pub fn query_rows<'a, R: GivenRow>(
        &'a self,
        statement: &'a Statement<R>,
        rows: impl IntoIterator<Item = R>,
    ) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        let run = Run::of(statement, self.form_of_all(), rows);
        Box::pin(async move {
            match run {
                Run::Nothing => Ok(Vec::new()),
                Run::Each(sql, sets) => {
                    Ok(self.query_each(sql, sets).await?.into_iter().flatten().collect())
                }
                Run::Once(sql, params) => self.query(sql, params).await,
            }
        })
    }

    /// Runs the statement once per row on both dialects, one after another in one round trip.
    /// Returns the changed rows of each run.
    ///
    /// On PostgreSQL it costs more per row than [`Tx::execute_rows`]. Such a statement needs no
    /// `FROM given`.
    pub fn execute_row_by_row<'a, R: GivenRow>(
        &'a self,
        statement: &'a Statement<R>,
        rows: impl IntoIterator<Item = R>,
    ) -> BoxFuture<'a, Result<Vec<u64>, Error>> {
        let (sql, sets) = (statement.text(self.form_of_one()), values(rows));
        Box::pin(async move {
            if sets.is_empty() { Ok(Vec::new()) } else { self.execute_each(sql, sets).await }
        })
    }

    /// Runs the statement like [`Tx::execute_row_by_row`]. Returns the rows of each run.
    pub fn query_row_by_row<'a, R: GivenRow>(
        &'a self,
        statement: &'a Statement<R>,
        rows: impl IntoIterator<Item = R>,
    ) -> BoxFuture<'a, Result<Vec<Vec<Row>>, Error>> {
        let (sql, sets) = (statement.text(self.form_of_one()), values(rows));
        Box::pin(async move {
            if sets.is_empty() { Ok(Vec::new()) } else { self.query_each(sql, sets).await }
        })
    }

    fn form_of_one(&self) -> Form {
        match self.dialect() {
            Dialect::Sqlite => Form::Sqlite,
            Dialect::Postgres => Form::Postgres,
        }
    }

    fn form_of_all(&self) -> Form {
        match self.dialect() {
            Dialect::Sqlite => Form::Sqlite,
            Dialect::Postgres => Form::PostgresArrays,
        }
    }
}

impl Dialect {
    /// Returns the text of a statement, with the parts in braces on PostgreSQL only.
    pub fn text(self, sql: &str) -> String {
        let mut parts = sql.split(['{', '}']);
        let mut text = parts.next().unwrap_or_default().to_owned();
        while let (Some(only_postgres), both) = (parts.next(), parts.next()) {
            let both = both.unwrap_or_else(|| panic!("a brace is not closed: {sql}"));
            if self == Dialect::Postgres {
                text.push_str(only_postgres);
            }
            text.push_str(both);
        }
        text
    }
}

/// Returns the names of the columns: `a, b`.
pub fn names<R: GivenRow>() -> String {
    listed::<R>(|column| column.name.to_owned())
}

/// Returns a relation on PostgreSQL: `UNNEST(CAST($1 AS TEXT[]), CAST($2 AS BIGINT[])) AS given(a,
/// b)`. Its parameters are [`arrays`], from `$first` on.
pub fn unnest<R: GivenRow>(name: &str, first: usize) -> String {
    let mut number = first..;
    let arrays = listed::<R>(|column| {
        format!("CAST(${} AS {}[])", number.next().unwrap_or_default(), column.sql)
    });
    format!("UNNEST({arrays}) AS {name}({})", names::<R>())
}

/// Transposes rows into one array per column.
pub fn arrays<R: GivenRow>(rows: impl IntoIterator<Item = R>) -> Vec<Value> {
    let rows = rows.into_iter();
    let column = |_| Vec::with_capacity(rows.size_hint().0);
    let mut columns: Vec<Vec<Value>> = (0..R::COLUMNS.len()).map(column).collect();
    for row in rows {
        row.into_values().into_iter().zip(&mut columns).for_each(|(value, column)| {
            column.push(value);
        });
    }
    columns.into_iter().map(array).collect()
}

fn listed<R: GivenRow>(each: impl FnMut(&Column) -> String) -> String {
    R::COLUMNS.iter().map(each).collect::<Vec<_>>().join(", ")
}

fn values<R: GivenRow>(rows: impl IntoIterator<Item = R>) -> Vec<Vec<Value>> {
    rows.into_iter().map(GivenRow::into_values).collect()
}

/// Builds an INSERT. For one row, `VALUES` is cheaper than `SELECT` on SQLite.
fn insert<R: GivenRow>(form: Form, table: &str, rest: &str) -> String {
    let (names, given) = (names::<R>(), listed::<R>(|column| format!("given.{}", column.name)));
    match form {
        Form::Sqlite | Form::Postgres => {
            format!("INSERT INTO {table} ({names}) VALUES ({given}) {rest}")
        }
        Form::PostgresArrays => {
            format!("INSERT INTO {table} ({names}) SELECT {given} FROM given {rest}")
        }
    }
}

/// Replaces the columns of `given` by parameters, and removes the relation.
///
/// # Panics
/// If the statement reads a column that `given` lacks, or does not read one of its columns.
fn per_row(sql: &str, columns: &[Column]) -> String {
    let sql =
        sql.replace("FROM given,", "FROM").replace("FROM given", "").replace("USING given", "");
    let mut parts = sql.split("given.");
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut is_read = vec![false; columns.len()];
    for part in parts {
        let is_of_name = |letter: char| letter.is_alphanumeric() || letter == '_';
        let (name, rest) = part.split_at(part.find(|c| !is_of_name(c)).unwrap_or(part.len()));
        let place = columns.iter().position(|column| column.name == name);
        let place = place.unwrap_or_else(|| panic!("the rows have no column {name}: {sql}"));
        is_read[place] = true;
        text.push_str(&format!("${}{rest}", place + 1));
    }
    let unread = columns.iter().zip(is_read).find(|(_, is_read)| !is_read);
    assert!(unread.is_none(), "no column reads {unread:?}: {sql}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    given_row! {
        struct Deposit<'a> {
            account: &'a str,
            cents: Option<i64>,
        }
    }

    fn check(statement: &Statement<Deposit<'_>>, expected: [&str; 3]) {
        for (form, expected) in
            [Form::Sqlite, Form::Postgres, Form::PostgresArrays].into_iter().zip(expected)
        {
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(words(statement.text(form)), expected);
        }
    }

    #[test]
    fn a_statement_is_the_one_written_by_hand_in_each_dialect() {
        let arrays = "UNNEST(CAST($1 AS TEXT[]), CAST($2 AS BIGINT[])) AS given(account, cents)";
        check(
            &Statement::insert("deposit", "ON CONFLICT (account) DO NOTHING"),
            [
                "INSERT INTO deposit (account, cents) VALUES ($1, $2) \
                 ON CONFLICT (account) DO NOTHING",
                "INSERT INTO deposit (account, cents) VALUES ($1, $2) \
                 ON CONFLICT (account) DO NOTHING",
                &format!(
                    "INSERT INTO deposit (account, cents) SELECT given.account, given.cents \
                     FROM {arrays} ON CONFLICT (account) DO NOTHING"
                ),
            ],
        );
        check(
            &Statement::new(
                "UPDATE account SET cents = given.cents FROM given
                 WHERE account.id = given.account",
            ),
            [
                "UPDATE account SET cents = $2 WHERE account.id = $1",
                "UPDATE account SET cents = $2 WHERE account.id = $1",
                &format!(
                    "UPDATE account SET cents = given.cents FROM {arrays} \
                     WHERE account.id = given.account"
                ),
            ],
        );
        check(
            &Statement::new(
                "SELECT a.id FROM given, account a WHERE a.id = given.account
                 AND a.cents > given.cents {FOR UPDATE OF a}",
            ),
            [
                "SELECT a.id FROM account a WHERE a.id = $1 AND a.cents > $2",
                "SELECT a.id FROM account a WHERE a.id = $1 AND a.cents > $2 FOR UPDATE OF a",
                &format!(
                    "SELECT a.id FROM {arrays}, account a WHERE a.id = given.account \
                     AND a.cents > given.cents FOR UPDATE OF a"
                ),
            ],
        );
    }

    #[test]
    #[should_panic(expected = "the rows have no column amount")]
    fn an_unknown_column_is_a_bug() {
        Statement::<Deposit<'_>>::new("SELECT given.amount FROM given").text(Form::Sqlite);
    }

    #[test]
    #[should_panic(expected = "cents")]
    fn an_unread_column_is_a_bug() {
        Statement::<Deposit<'_>>::new("SELECT given.account FROM given").text(Form::Sqlite);
    }
}
