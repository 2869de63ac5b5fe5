//! Runs statements on a connection: parameters by name, and no control of transactions.

use std::sync::Arc;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Batch, CachedStatement, Connection, Statement};

use super::map;
use crate::error::Error;
use crate::value::{ColumnNames, Row, Value};

/// Runs one statement. Returns the number of changed rows.
pub(super) fn execute(connection: &Connection, sql: &str, params: &[Value]) -> Result<u64, Error> {
    let mut statement = prepare(connection, sql)?;
    let places = places(&statement)?;
    change(connection, &mut statement, &places, params)
}

/// Runs one statement per parameter set. Returns the changed rows of each run.
pub(super) fn execute_each(
    connection: &Connection,
    sql: &str,
    sets: &[Vec<Value>],
) -> Result<Vec<u64>, Error> {
    let mut statement = prepare(connection, sql)?;
    let places = places(&statement)?;
    sets.iter().map(|params| change(connection, &mut statement, &places, params)).collect()
}

/// Runs one statement. Returns its rows.
pub(super) fn query(
    connection: &Connection,
    sql: &str,
    params: &[Value],
) -> Result<Vec<Row>, Error> {
    let mut statement = prepare(connection, sql)?;
    let places = places(&statement)?;
    rows(&mut statement, &places, params, &mut None)
}

/// Runs one statement per parameter set. Returns the rows of each run.
pub(super) fn query_each(
    connection: &Connection,
    sql: &str,
    sets: &[Vec<Value>],
) -> Result<Vec<Vec<Row>>, Error> {
    let mut statement = prepare(connection, sql)?;
    let places = places(&statement)?;
    let mut names = None;
    sets.iter().map(|params| rows(&mut statement, &places, params, &mut names)).collect()
}

/// Runs one statement that does not write. Returns its rows.
pub(super) fn read(
    connection: &Connection,
    sql: &str,
    params: &[Value],
) -> Result<Vec<Row>, Error> {
    let mut statement = prepare(connection, sql)?;
    if !statement.readonly() {
        return Err(Error::Statement("it writes, which requires a transaction".into()));
    }
    let places = places(&statement)?;
    rows(&mut statement, &places, params, &mut None)
}

/// Runs all statements of a text, without parameters.
pub(super) fn batch(connection: &Connection, sql: &str) -> Result<(), Error> {
    let mut statements = Batch::new(connection, sql);
    while let Some(mut statement) = statements.next().map_err(map::error)? {
        refuse_control(&statement)?;
        let places = places(&statement)?;
        change(connection, &mut statement, &places, &[])?;
    }
    Ok(())
}

fn prepare<'a>(connection: &'a Connection, sql: &str) -> Result<CachedStatement<'a>, Error> {
    let statement = connection.prepare_cached(sql).map_err(map::error)?;
    refuse_control(&statement)?;
    Ok(statement)
}

/// Rejects statements that begin or end transactions, because a COMMIT in a handler's text would
/// commit the work of others.
///
/// SQLite reports such statements, and the empty text, as read-only statements without columns.
fn refuse_control(statement: &Statement<'_>) -> Result<(), Error> {
    if statement.readonly() && statement.column_count() == 0 {
        return Err(Error::Statement(
            "it neither reads nor writes: `Database` and `Open` open and end transactions".into(),
        ));
    }
    Ok(())
}

fn change(
    connection: &Connection,
    statement: &mut Statement<'_>,
    places: &[usize],
    params: &[Value],
) -> Result<u64, Error> {
    bind(statement, places, params)?;
    let before = connection.total_changes();
    {
        let mut rows = statement.raw_query();
        while rows.next().map_err(map::error)?.is_some() {}
    }
    // `changes` refers to an earlier statement unless this one is INSERT, UPDATE or DELETE
    Ok(if connection.total_changes() == before { 0 } else { connection.changes() })
}

/// Returns the rows of one run. `names` are set with the first row, for later runs.
fn rows(
    statement: &mut Statement<'_>,
    places: &[usize],
    params: &[Value],
    names: &mut Option<Arc<ColumnNames>>,
) -> Result<Vec<Row>, Error> {
    bind(statement, places, params)?;
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(map::error)? {
        let values =
            (0..columns).map(|column| value(row.get_ref(column).map_err(map::error)?, column));
        let values = values.collect::<Result<_, _>>()?;
        let names = names.get_or_insert_with(|| column_names(row.as_ref()));
        found.push(Row::new(Arc::clone(names), values));
    }
    Ok(found)
}

fn column_names(statement: &Statement<'_>) -> Arc<ColumnNames> {
    let names = (0..statement.column_count()).map(|column| statement.column_name(column));
    Arc::new(names.map(|name| name.unwrap_or_default()).collect())
}

/// Maps each of the statement's parameters to the index of the given value. SQLite numbers
/// parameters by their first occurrence, so `$2` may be the first: the name decides.
fn places(statement: &Statement<'_>) -> Result<Vec<usize>, Error> {
    let count = statement.parameter_count();
    let place = |index| {
        let name = statement.parameter_name(index).unwrap_or("?");
        let number = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
        let place = number.and_then(|number| number.checked_sub(1)).filter(|place| *place < count);
        place.ok_or_else(|| {
            Error::Statement(format!(
                "parameters must be named $1 to ${count}, but one is named {name}"
            ))
        })
    };
    (1..=count).map(place).collect()
}

fn bind(statement: &mut Statement<'_>, places: &[usize], params: &[Value]) -> Result<(), Error> {
    let count = places.len();
    if count != params.len() {
        return Err(Error::Statement(format!(
            "it has {count} parameters, but {} were given",
            params.len()
        )));
    }
    for (index, place) in (1..).zip(places) {
        statement.raw_bind_parameter(index, bound(&params[*place])?).map_err(map::error)?;
    }
    Ok(())
}

fn bound(value: &Value) -> Result<ToSqlOutput<'_>, Error> {
    Ok(ToSqlOutput::Borrowed(match value {
        Value::Null => ValueRef::Null,
        Value::Int(value) => ValueRef::Integer(*value),
        Value::Double(value) if value.is_nan() => {
            return Err(Error::Constraint("NaN cannot be stored".into()));
        }
        Value::Double(value) => ValueRef::Real(*value),
        Value::Bool(value) => ValueRef::Integer(i64::from(*value)),
        Value::Text(text) if text.as_bytes().contains(&0) => {
            return Err(Error::Constraint(
                "a text contains a NUL character, which cannot be stored".into(),
            ));
        }
        Value::Text(text) => ValueRef::Text(text.as_bytes()),
        Value::Bytes(bytes) => ValueRef::Blob(bytes),
    }))
}

fn value(value: ValueRef<'_>, column: usize) -> Result<Value, Error> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Real(value) => Value::Double(value),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => {
                return Err(Error::Column { column: column.to_string(), wanted: "text in UTF-8" });
            }
        },
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    })
}
