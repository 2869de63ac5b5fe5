//! The check of a start's business key and input.

use std::fmt;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::body::Body;

/// The check of a start by business key and input. Only the process that built the definition from
/// a message type has it; it is not part of the definition's content.
#[derive(Clone, Default)]
pub(crate) struct InputCheck(Option<Arc<Check>>);

type Check = dyn Fn(&str, &Body) -> Result<(), String> + Send + Sync;

impl InputCheck {
    pub fn new(
        check: impl Fn(&str, &Body) -> Result<(), String> + Send + Sync + 'static,
    ) -> InputCheck {
        InputCheck(Some(Arc::new(check)))
    }

    /// Checks a start. Accepts every start if the type is unknown.
    pub fn run(&self, key: &str, input: &Body) -> Result<(), String> {
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
pub(super) fn check_key(key: &str, field: &str, input: &Body) -> Result<(), String> {
    let held = input.fields().get(field).map(RawValue::get).unwrap_or_default();
    if spells(held, key) {
        return Ok(());
    }
    Err(format!("the business key is '{key}', but the field '{field}' holds {}", beginning(held)))
}

/// Describes why an input is not of its message type: the field where the parser stopped, with line
/// and column.
pub(crate) fn misfit(input: &Body, message: &str, error: &serde_json::Error) -> String {
    let text = input.as_str();
    let line_begins = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum::<usize>();
    let stopped_at = line_begins + error.column();
    let begins_at = |value: &RawValue| value.get().as_ptr() as usize - text.as_ptr() as usize;
    let fields = input.fields();
    let field = fields.iter().rev().find(|(_, value)| begins_at(value) <= stopped_at);
    let place = format!("line {}, column {}", error.line(), error.column());
    match field {
        Some((field, _)) => {
            format!("the field '{field}' does not fit the message '{message}' ({place})")
        }
        None => format!("the input is not a message '{message}' ({place})"),
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
