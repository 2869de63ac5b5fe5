//! Runs statements on a connection: parameters by name, rows out, and nothing that opens or ends a transaction.

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Batch, CachedStatement, Connection, Statement};

use super::map;
use crate::error::Error;
use crate::value::{Row, Value};

/// Runs one statement; gives the number of rows it changed.
pub(super) fn execute(connection: &Connection, sql: &str, params: &[Value]) -> Result<u64, Error> {
    let mut statement = prepare(connection, sql)?;
    let places = places(&statement)?;
    change(connection, &mut statement, &places, params)
}

/// Runs one statement with each set of parameters; gives the number of rows that each changed.
pub(super) fn execute_each(connection: &Connection, sql: &str, sets: &[Vec<Value>]) -> Result<Vec<u64>, Error> {
    let mut statement = prepare(connection, sql)?;
    let places = places(&statement)?;
    sets.iter().map(|params| change(connection, &mut statement, &places, params)).collect()
}

/// Runs one statement; gives its rows.
pub(super) fn query(connection: &Connection, sql: &str, params: &[Value]) -> Result<Vec<Row>, Error> {
    let mut statement = prepare(connection, sql)?;
    let places = places(&statement)?;
    rows(&mut statement, &places, params)
}

/// Runs one statement with each set of parameters; gives the rows of each.
pub(super) fn query_each(connection: &Connection, sql: &str, sets: &[Vec<Value>]) -> Result<Vec<Vec<Row>>, Error> {
    let mut statement = prepare(connection, sql)?;
    let places = places(&statement)?;
    sets.iter().map(|params| rows(&mut statement, &places, params)).collect()
}

/// Runs one statement that writes nothing; gives its rows.
pub(super) fn read(connection: &Connection, sql: &str, params: &[Value]) -> Result<Vec<Row>, Error> {
    let mut statement = prepare(connection, sql)?;
    if !statement.readonly() {
        return Err(Error::Statement("it writes, and writing needs a transaction".into()));
    }
    let places = places(&statement)?;
    rows(&mut statement, &places, params)
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

/// A COMMIT in a handler's text would commit its neighbours' work. Among the statements that SQLite calls read-only,
/// those that have no columns are the ones that open and end transactions (and the text without a statement).
fn refuse_control(statement: &Statement<'_>) -> Result<(), Error> {
    if statement.readonly() && statement.column_count() == 0 {
        return Err(Error::Statement(
            "it neither reads nor writes (transactions are opened and ended by `Database` and `Open`)".into(),
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
    // `changes` still tells of the statement before when this one is no INSERT, UPDATE or DELETE
    Ok(if connection.total_changes() == before { 0 } else { connection.changes() })
}

fn rows(statement: &mut Statement<'_>, places: &[usize], params: &[Value]) -> Result<Vec<Row>, Error> {
    bind(statement, places, params)?;
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(map::error)? {
        let values = (0..columns).map(|column| value(row.get_ref(column).map_err(map::error)?, column));
        found.push(Row::new(values.collect::<Result<_, _>>()?));
    }
    Ok(found)
}

/// Of each of the statement's parameters, which one of those given it is. SQLite numbers parameters by where they first
/// stand in the text: `$2` may be the first one, so the name decides.
fn places(statement: &Statement<'_>) -> Result<Vec<usize>, Error> {
    let count = statement.parameter_count();
    let place = |index| {
        let name = statement.parameter_name(index).unwrap_or("?");
        let number = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
        let place = number.and_then(|number| number.checked_sub(1)).filter(|place| *place < count);
        place.ok_or_else(|| Error::Statement(format!("parameters are called $1 to ${count}, and one is called {name}")))
    };
    (1..=count).map(place).collect()
}

fn bind(statement: &mut Statement<'_>, places: &[usize], params: &[Value]) -> Result<(), Error> {
    let count = places.len();
    if count != params.len() {
        return Err(Error::Statement(format!("it has {count} parameters, and {} were given", params.len())));
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
            return Err(Error::Constraint("NaN is not a number that can be stored".into()));
        }
        Value::Double(value) => ValueRef::Real(*value),
        Value::Bool(value) => ValueRef::Integer(i64::from(*value)),
        Value::Text(text) if text.as_bytes().contains(&0) => {
            return Err(Error::Constraint("a text holds a NUL character, which cannot be stored".into()));
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
            Err(_) => return Err(Error::Column { column: column.to_string(), wanted: "text in UTF-8" }),
        },
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    })
}
