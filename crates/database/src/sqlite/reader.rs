//! Reading connections on disk, beside the writing one. Readers and the writer never wait for each
//! other.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use super::{connection, statement};
use crate::error::Error;
use crate::value::{Row, Value};

/// Maximum number of idle connections that stay open.
const KEPT_MAX: usize = 4;

/// The reading connections. Reads run inline, so there are never more connections than threads.
pub(super) struct Readers {
    path: PathBuf,
    kept: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Readers {
        Readers { path: path.to_owned(), kept: Mutex::new(Vec::new()) }
    }

    /// Reads committed rows.
    pub(super) fn read(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, Error> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match kept {
            Some(connection) => connection,
            None => connection::open_reader(&self.path)?,
        };
        let rows = statement::read(&connection, sql, params);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(connection);
        }
        rows
    }
}
