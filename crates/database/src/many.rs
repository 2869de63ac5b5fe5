//! One statement for many rows: on SQLite it is run once for each, on PostgreSQL once for all of them, whose columns come as
//! arrays. Either way it is one round trip; what differs is what a row costs the server.

use crate::database::Tx;
use crate::error::Error;
use crate::port::Dialect;
use crate::postgres::array;
use crate::value::{Row, Value};

/// The same statement in both forms. The parameters of the one are the columns of a row, those of the other are these columns as
/// arrays: `SELECT * FROM UNNEST(CAST($1 AS TEXT[]), ..)`.
#[derive(Clone, Copy, Debug)]
pub struct Many {
    /// For one row.
    pub sqlite: &'static str,
    /// For all rows.
    pub postgres: &'static str,
}

impl Tx {
    /// Runs it for these rows, which all have the same columns.
    pub async fn execute_many(&self, many: &Many, rows: Vec<Vec<Value>>) -> Result<(), Error> {
        match self.dialect() {
            _ if rows.is_empty() => Ok(()),
            Dialect::Sqlite => self.execute_each(many.sqlite, rows).await.map(drop),
            Dialect::Postgres => self.execute(many.postgres, columns(rows)).await.map(drop),
        }
    }

    /// The same for one that gives rows, in whatever order: which of them belongs to what has to be seen in them.
    pub async fn query_many(&self, many: &Many, rows: Vec<Vec<Value>>) -> Result<Vec<Row>, Error> {
        match self.dialect() {
            _ if rows.is_empty() => Ok(Vec::new()),
            Dialect::Sqlite => Ok(self.query_each(many.sqlite, rows).await?.into_iter().flatten().collect()),
            Dialect::Postgres => self.query(many.postgres, columns(rows)).await,
        }
    }
}

fn columns(rows: Vec<Vec<Value>>) -> Vec<Value> {
    let count = rows.first().map_or(0, Vec::len);
    let mut columns: Vec<Vec<Value>> = (0..count).map(|_| Vec::with_capacity(rows.len())).collect();
    for row in rows {
        debug_assert_eq!(row.len(), count, "all rows have the same columns");
        row.into_iter().zip(&mut columns).for_each(|(value, column)| column.push(value));
    }
    columns.into_iter().map(array).collect()
}
