//! The cases of a test file.

use std::path::PathBuf;
use std::time::Duration;

use sagamore_core::body::Body;
use sagamore_core::id::{Direction, Name};
use sagamore_core::message::Outcome;
use sagamore_core::saga::{Status, Verb};
use serde::Serialize;

/// Maximum cases of a file.
pub(super) const CASES_MAX: usize = 1_000;
/// Maximum lines of a case.
pub(super) const LINES_MAX: usize = 1_000;

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
