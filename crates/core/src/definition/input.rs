//! The check of a start's business key and input.

use std::fmt;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::fit::{Misfit, Misfits};
use crate::body::Body;
use crate::id::Name;

/// The reason why a business key or an input is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum InputError {
    /// The input lacks a field that the definition names, or is not an object.
    #[error("the input of '{definition}' lacks the field '{field}'")]
    MissingField { definition: Name, field: String },
    /// The key field holds another value than the business key.
    #[error("the business key is '{key}', but the field '{field}' holds {held}")]
    OtherKey {
        key: String,
        field: String,
        /// The first 200 bytes of the field's JSON text.
        held: String,
    },
    /// A field is not of the type that the message has for it.
    #[error(
        "the field '{field}' does not fit the message '{message}' (line {line}, column {column})"
    )]
    FieldType { field: String, message: &'static str, line: usize, column: usize },
    /// The input is not of the message type, for a reason that no field has.
    #[error("the input is not a message '{message}' (line {line}, column {column})")]
    MessageType { message: &'static str, line: usize, column: usize },
    /// The input does not fit its schema.
    #[error(transparent)]
    Schema(#[from] Misfits),
    /// The program's own check of the input failed, with this text.
    #[error("{0}")]
    Check(String),
}

impl InputError {
    /// Returns the parts of the input that do not fit.
    pub fn misfits(&self) -> Misfits {
        let text = self.to_string();
        Misfits(vec![match self {
            InputError::Schema(misfits) => return misfits.clone(),
            InputError::MissingField { field, .. } => Misfit::of_field(field, "is missing"),
            InputError::OtherKey { field, .. } | InputError::FieldType { field, .. } => {
                Misfit::of_field(field, text)
            }
            InputError::MessageType { .. } | InputError::Check(_) => Misfit::of_all(text),
        }])
    }
}

/// The check of a start by business key and input. Only the process that built the definition from
/// a message type has it; it is not part of the definition's content.
#[derive(Clone, Default)]
pub(crate) struct InputCheck(Option<Arc<Check>>);

type Check = dyn Fn(&str, &Body) -> Result<(), InputError> + Send + Sync;

impl InputCheck {
    pub fn new(
        check: impl Fn(&str, &Body) -> Result<(), InputError> + Send + Sync + 'static,
    ) -> InputCheck {
        InputCheck(Some(Arc::new(check)))
    }

    /// Checks a start. Accepts every start if the type is unknown.
    pub fn run(&self, key: &str, input: &Body) -> Result<(), InputError> {
        self.0.as_ref().map_or(Ok(()), |check| check(key, input))
    }
}

impl fmt::Debug for InputCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InputCheck")
    }
}

/// All checks are equal: definitions of the same content are equal, with or without a message type.
impl PartialEq for InputCheck {
    fn eq(&self, _: &InputCheck) -> bool {
        true
    }
}

/// Checks that the input's field holds the business key.
pub(super) fn check_key(key: &str, field: &str, input: &Body) -> Result<(), InputError> {
    let held = input.fields().get(field).map(RawValue::get).unwrap_or_default();
    if spells(held, key) {
        return Ok(());
    }
    let (key, field, held) = (key.to_owned(), field.to_owned(), beginning(held).to_owned());
    Err(InputError::OtherKey { key, field, held })
}

/// Returns why an input is not of its message type: the field where the parser stopped.
pub(crate) fn misfit(input: &Body, message: &'static str, error: &serde_json::Error) -> InputError {
    let text = input.as_str();
    let (line, column) = (error.line(), error.column());
    let line_begins =
        text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    let stopped_at = line_begins + column;
    let begins_at = |value: &RawValue| value.get().as_ptr() as usize - text.as_ptr() as usize;
    let fields = input.fields();
    match fields.iter().rev().find(|(_, value)| begins_at(value) <= stopped_at) {
        Some((field, _)) => {
            InputError::FieldType { field: field.to_owned(), message, line, column }
        }
        None => InputError::MessageType { message, line, column },
    }
}

/// Returns whether a JSON value equals this key: a string of the same content, or a number spelled
/// the same.
fn spells(value: &str, key: &str) -> bool {
    let is_number = value.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number {
        value == key
    } else {
        serde_json::from_str::<String>(value).is_ok_and(|text| text == key)
    }
}

/// Returns the first 200 bytes of a value, for error messages.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(200)]
}
