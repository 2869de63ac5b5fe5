//! The defects that keep a record from being decoded.

use std::fmt::Display;

/// Maximum bytes of a text about a record, which may quote any input.
const TEXT_BYTES_MAX: usize = 2_000;
/// Maximum bytes of a quotation, which leaves room for the rest of the text.
const QUOTED_BYTES_MAX: usize = TEXT_BYTES_MAX - 200;

/// A defect of a record. Its text has at most 2,000 bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum Malformed {
    /// A header is missing, or its value is not a text.
    #[error("header {0} is missing or not a text")]
    MissingHeader(&'static str),
    /// A header has an illegal value, occurs twice, or contradicts another part of the record.
    #[error("header {header}: {problem}")]
    Header { header: &'static str, problem: String },
    /// Topic, key, reply address or generation of the record contradict its kind or its headers.
    #[error("{0}")]
    Address(String),
    /// The body is not the JSON that the message requires.
    #[error("{0}")]
    Body(String),
}

impl Malformed {
    /// Describes a defect of a header.
    pub(super) fn header(header: &'static str, problem: impl Display) -> Malformed {
        Malformed::Header { header, problem: quoted(problem) }
    }

    /// Describes a defect of topic, key, reply address or generation.
    pub(super) fn address(problem: impl Display) -> Malformed {
        Malformed::Address(quoted(problem))
    }

    /// Describes a defect of the body.
    pub(super) fn body(problem: impl Display) -> Malformed {
        Malformed::Body(quoted(problem))
    }
}

/// Returns the beginning of a text about a record.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

fn quoted(problem: impl Display) -> String {
    let mut text = problem.to_string();
    text.truncate(text.floor_char_boundary(QUOTED_BYTES_MAX));
    text
}
