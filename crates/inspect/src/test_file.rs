//! Test files: YAML with given/expect scripts of one definition. This module parses them and checks
//! their shape; `play` runs a case.

mod play;
mod written;
mod yaml;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sagamore_core::body::Body;
use sagamore_core::id::{Direction, Name};
use sagamore_core::message::Outcome;
use sagamore_core::saga::{Status, Verb};
use serde::Serialize;

use crate::files::{self, Error};

pub use play::{Failure, FailureCause, play};

/// Maximum cases of a file.
const CASES_MAX: usize = 1_000;
/// Maximum lines of a case.
const LINES_MAX: usize = 1_000;
/// The end of a test file's name.
const SUFFIXES: [&str; 2] = [".test.yaml", ".test.yml"];

/// A test file whose shape is valid.
#[derive(Clone, Debug, PartialEq)]
pub struct TestFile {
    /// The path of the definition file, relative to the working directory.
    pub definition: PathBuf,
    /// The position of the path in the test file.
    pub at: Place,
    /// The cases, at least one.
    pub cases: Vec<Case>,
}

/// One case: a start, and the lines of its script.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Case {
    pub name: String,
    /// The business key. Absent: the key field of the input, or `test`.
    pub key: Option<String>,
    pub input: Body,
    /// The position of the start's key and input.
    pub given: Place,
    pub lines: Vec<Line>,
}

/// One line of a script.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub(crate) at: Place,
    pub(crate) kind: LineKind,
    /// The fields that the command must carry, with their position.
    pub(crate) exactly: Option<(Place, Body)>,
    pub(crate) answer: Option<Answer>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LineKind {
    /// Exactly these commands are outstanding. A single one may have fields and an answer.
    Sends(Direction, Vec<Name>),
    /// Fields and the answer of one of several outstanding commands, in either direction.
    Answers(Name),
    /// A late or repeated reply to an action: the line has an outcome.
    Late(Name),
    After(Duration),
    Cancel,
    CancelTooLate,
    BrokersUnavailable,
    BrokersRecovered,
    Rescue(Verb, Name),
    /// The saga has this status, and no command is outstanding.
    Rests(Status),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Outcome(Outcome),
    Silence,
    SetAside(String),
}

/// A position in a file: line and column from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

/// Returns whether a file is a test file, by its name.
pub fn is_test_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| SUFFIXES.iter().any(|suffix| name.ends_with(suffix)))
}

/// Returns the test files of a folder, by name.
///
/// # Errors
/// The folder cannot be read.
pub fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| Error::Unreadable { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_test_file(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads and parses a test file.
///
/// # Errors
/// The file cannot be read, or its shape is invalid.
pub fn read(path: &Path) -> Result<TestFile, Error> {
    let invalid = |violations| Error::Invalid { path: path.to_owned(), violations };
    let bytes = files::bytes(path)?;
    let text = files::text(&bytes).map_err(invalid)?;
    let mut file = written::parse(text).map_err(|violation| invalid(vec![violation]))?;
    file.definition = path.parent().unwrap_or(Path::new("")).join(&file.definition);
    Ok(file)
}

#[cfg(test)]
mod tests;
