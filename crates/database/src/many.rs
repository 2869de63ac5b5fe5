//! One statement for many rows. On SQLite it runs once per row, on PostgreSQL once for all rows,
//! whose columns are arrays. Both take one round trip, but differ in the server's cost per row.

use crate::database::Tx;
use crate::error::Error;
use crate::port::Dialect;
use crate::postgres::array;
use crate::value::{Row, Value};

/// The two forms of a statement. On SQLite the parameters are the columns of a row. On PostgreSQL
/// they are arrays of these columns: `SELECT * FROM UNNEST(CAST($1 AS TEXT[]), ..)`.
#[derive(Clone, Copy, Debug)]
pub struct Many {
    /// The statement for one row.
    pub sqlite: &'static str,
    /// The statement for all rows.
    pub postgres: &'static str,
}

impl Tx {
    /// Runs the statement for these rows, which must have the same columns.
    pub async fn execute_many(&self, many: &Many, rows: Vec<Vec<Value>>) -> Result<(), Error> {
        match self.dialect() {
            _ if rows.is_empty() => Ok(()),
            Dialect::Sqlite => self.execute_each(many.sqlite, rows).await.map(drop),
            Dialect::Postgres => self.execute(many.postgres, columns(rows)).await.map(drop),
        }
    }

    /// Runs the statement and returns all rows, in any order. They must identify themselves.
    pub async fn query_many(&self, many: &Many, rows: Vec<Vec<Value>>) -> Result<Vec<Row>, Error> {
        match self.dialect() {
            _ if rows.is_empty() => Ok(Vec::new()),
            Dialect::Sqlite => {
                Ok(self.query_each(many.sqlite, rows).await?.into_iter().flatten().collect())
            }
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
