//! Reads files of JSON lines: `accounts.jsonl`, `stock.jsonl`, `destinations.jsonl`,
//! `orders.jsonl`.
//!
//! A line is a valid row or a [`BadLine`] with place and reason. Reading continues after a bad
//! line.

use std::fmt;
use std::io::{BufRead, Read};
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::form::Order;
use crate::inventory::Delivery;
use crate::payment::Account;
use crate::shipping::Destination;

/// Maximum length of a line, in bytes.
pub const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// A type of row.
pub trait Record: DeserializeOwned {
    /// The file's name in a folder: `accounts.jsonl`.
    const FILE: &'static str;
    /// Reads one row.
    fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }
    /// Checks the row. The error names the field.
    fn check(&self) -> Result<(), String>;
}

/// A line that was rejected, without any effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {reason}")]
pub struct BadLine {
    /// The file's name, as the caller passed it.
    pub file: String,
    /// The line's number, from 1.
    pub line: u64,
    /// The reason of the rejection.
    pub reason: String,
}

/// The valid and bad lines of a file, in order. Skips empty lines.
pub struct Lines<T, R> {
    file: String,
    reader: R,
    line: u64,
    over: bool,
    holds: PhantomData<fn() -> T>,
}

/// Reads `reader` as lines of `T`. Bad lines quote `file` as the file's name.
pub fn lines<T: Record, R: BufRead>(file: &str, reader: R) -> Lines<T, R> {
    Lines { file: file.to_owned(), reader, line: 0, over: false, holds: PhantomData }
}

impl Record for Account {
    const FILE: &'static str = "accounts.jsonl";

    fn check(&self) -> Result<(), String> {
        Account::check(self)
    }
}

impl Record for Delivery {
    const FILE: &'static str = "stock.jsonl";

    fn check(&self) -> Result<(), String> {
        Delivery::check(self)
    }
}

impl Record for Destination {
    const FILE: &'static str = "destinations.jsonl";

    fn check(&self) -> Result<(), String> {
        Destination::check(self)
    }
}

impl Record for Order {
    const FILE: &'static str = "orders.jsonl";

    fn read(json: &[u8]) -> Result<Order, serde_json::Error> {
        Order::read(json)
    }

    fn check(&self) -> Result<(), String> {
        Order::check(self)
    }
}

impl<T: Record, R: BufRead> Iterator for Lines<T, R> {
    type Item = Result<T, BadLine>;

    fn next(&mut self) -> Option<Result<T, BadLine>> {
        while !self.over {
            self.line += 1;
            let row = self.read().and_then(|line| line.as_deref().map(row).transpose()).transpose();
            if let Some(row) = row {
                return Some(row.map_err(|reason| BadLine {
                    file: self.file.clone(),
                    line: self.line,
                    reason,
                }));
            }
        }
        None
    }
}

impl<T, R: BufRead> Lines<T, R> {
    /// Returns the next line without surrounding white space, or `None` if it is empty.
    fn read(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut line = Vec::new();
        let taken = self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if let Err(error) = taken {
            self.over = true;
            return Err(format!("cannot be read: {error}"));
        }
        self.over = line.is_empty();
        if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
            self.skip_line().map_err(|error| format!("cannot be read: {error}"))?;
            return Err(format!("is longer than {LINE_BYTES_MAX} bytes"));
        }
        let mark: &[u8] = if self.line == 1 { b"\xef\xbb\xbf" } else { b"" };
        let line = line.strip_prefix(mark).unwrap_or(&line).trim_ascii();
        Ok(if line.is_empty() { None } else { Some(line.to_vec()) })
    }

    /// Skips the rest of a line without buffering it.
    fn skip_line(&mut self) -> std::io::Result<()> {
        let skipped = self.reader.skip_until(b'\n');
        self.over = skipped.is_err();
        skipped.map(drop)
    }
}

fn row<T: Record>(line: &[u8]) -> Result<T, String> {
    let row = T::read(line).map_err(|error| explain(&error))?;
    row.check().map(|()| row)
}

/// Replaces serde's position by the column: serde always counts line 1, because it gets single
/// lines.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(reason) => format!("{reason} (column {})", error.column()),
        None => text,
    }
}

impl<T, R> fmt::Debug for Lines<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("file", &self.file)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}
