//! A violated rule of a file, with its place.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::pointer::Pointer;

/// Maximum number of violations that are reported for a file.
pub const VIOLATIONS_MAX: usize = 100;
/// Maximum bytes of a violation's detail, which may quote the file.
const DETAIL_BYTES_MAX: usize = 2_000;

/// A violated rule of a file, with its place. It serializes as an entry of a problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The value as a JSON pointer (RFC 6901). Empty for the whole file.
    pub pointer: String,
    /// The line of the value, or of the nearest one that contains it; from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
    /// The violated rule with its fix, in one sentence.
    pub detail: String,
    /// The shortest run that leads to the problem, if the problem depends on the order of events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<String>,
}

/// A violation before its place in the text is known.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub pointer: Pointer,
    /// Whether the key of the value is wrong, not the value.
    pub of_key: bool,
    pub detail: String,
    pub run: Vec<String>,
}

impl Finding {
    /// Returns a finding whose detail is complete.
    pub fn new(pointer: Pointer, detail: impl fmt::Display) -> Finding {
        Finding { pointer, of_key: false, detail: detail.to_string(), run: Vec::new() }
    }

    /// Returns a finding about the key of a value.
    pub fn of_key(pointer: Pointer, detail: impl fmt::Display) -> Finding {
        Finding { of_key: true, ..Finding::new(pointer, detail) }
    }
}

impl Violation {
    /// Returns a violation at a position, without control characters that the file contains.
    pub(crate) fn new(finding: Finding, (line, column): (u64, u64)) -> Violation {
        let Finding { pointer, detail, run, .. } = finding;
        let (pointer, detail) = (clean(pointer.as_str()), clean(&detail));
        Violation { pointer, line, column, detail, run }
    }

    /// Limits the number of violations. The last one counts the others.
    pub(crate) fn bounded(mut violations: Vec<Violation>) -> Vec<Violation> {
        if violations.len() > VIOLATIONS_MAX {
            let more = violations.len() - VIOLATIONS_MAX + 1;
            violations.truncate(VIOLATIONS_MAX);
            if let Some(last) = violations.last_mut() {
                last.detail = format!("and {more} more violations: fix the others first");
                last.run.clear();
            }
        }
        violations
    }
}

/// Writes `LINE:COLUMN: DETAIL`, and the run with a line for each step.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { line, column, detail, run, .. } = self;
        write!(f, "{line}:{column}: {detail}")?;
        run.iter().enumerate().try_for_each(|(index, step)| write!(f, "\n  {}. {step}", index + 1))
    }
}

fn clean(text: &str) -> String {
    let kept = &text[..text.floor_char_boundary(DETAIL_BYTES_MAX)];
    let ellipsis = if kept.len() < text.len() { ".." } else { "" };
    format!("{}{ellipsis}", kept.replace(char::is_control, " "))
}
