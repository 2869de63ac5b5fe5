//! Checks of a saga's data against the JSON Schemas (2020-12) of its definition.
//!
//! Schemas are compiled once per definition. Nothing is fetched: a reference outside of its schema
//! is an error. Patterns run in linear time, and the nesting of a schema's references is bounded.

mod cache;
mod weight;

use std::collections::BTreeMap;
use std::fmt;

use jsonschema::{Draft, PatternOptions, Validator};
use sagamore_core::definition::{SchemaPlace, Schemas};
use sagamore_core::{Body, Name};
use serde_json::Value;

pub use cache::Cache;
pub use weight::WEIGHT_MAX;

/// Maximum mismatches that are reported for one value.
pub const MISMATCHES_MAX: usize = 20;
/// Maximum bytes of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Maximum bytes of a mismatch's detail.
const DETAIL_BYTES_MAX: usize = 300;

/// A schema that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} is not a valid JSON Schema: {why}")]
pub struct InvalidSchema {
    /// The schema's place in the definition.
    pub place: SchemaPlace,
    /// The violated rule.
    pub why: String,
}

/// A part of a value that does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The part as a JSON pointer (RFC 6901). Empty for the whole value.
    pub pointer: String,
    /// The violated rule, without the value itself.
    pub detail: String,
}

/// A value that does not fit its schema, with at most [`MISMATCHES_MAX`] reasons.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", joined(.0))]
pub struct Misfit(pub Vec<Mismatch>);

/// The compiled schemas of a definition.
#[derive(Debug, Default)]
pub struct CompiledSchemas {
    input: Option<Validator>,
    messages: BTreeMap<Name, Validator>,
    outputs: BTreeMap<Name, Validator>,
}

impl CompiledSchemas {
    /// Compiles the schemas of a definition.
    ///
    /// # Errors
    /// Returns every schema that is invalid, refers to another document, or is too complex.
    pub fn new(schemas: &Schemas) -> Result<CompiledSchemas, Vec<InvalidSchema>> {
        let (mut compiled, mut errors) = (CompiledSchemas::default(), Vec::new());
        for (place, schema) in schemas.all() {
            match compile(schema) {
                Err(why) => errors.push(InvalidSchema { place, why }),
                Ok(validator) => match place {
                    SchemaPlace::Input => compiled.input = Some(validator),
                    SchemaPlace::Message(name) => {
                        compiled.messages.insert(name, validator);
                    }
                    SchemaPlace::Output(name) => {
                        compiled.outputs.insert(name, validator);
                    }
                },
            }
        }
        if errors.is_empty() { Ok(compiled) } else { Err(errors) }
    }

    /// Checks the input of a start. Without a schema every input fits.
    ///
    /// # Errors
    /// Returns the parts that do not fit.
    pub fn check_input(&self, input: &Body) -> Result<(), Misfit> {
        check(self.input.as_ref(), input)
    }

    /// Checks the fields of a message.
    ///
    /// # Errors
    /// Returns the parts that do not fit.
    pub fn check_message(&self, message: &Name, fields: &Body) -> Result<(), Misfit> {
        check(self.messages.get(message), fields)
    }

    /// Checks the output of the action with this message.
    ///
    /// # Errors
    /// Returns the parts that do not fit.
    pub fn check_output(&self, message: &Name, output: &Body) -> Result<(), Misfit> {
        check(self.outputs.get(message), output)
    }
}

fn compile(schema: &Value) -> Result<Validator, String> {
    weight::check(schema)?;
    let options = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES_MAX));
    options.build(schema).map_err(|error| {
        let path = error.instance_path().as_str().to_owned();
        let at = if path.is_empty() { String::new() } else { format!("{path}: ") };
        shortened(format!("{at}{error}"))
    })
}

fn check(validator: Option<&Validator>, body: &Body) -> Result<(), Misfit> {
    let Some(validator) = validator else { return Ok(()) };
    let value: Value = match serde_json::from_str(body.as_str()) {
        Ok(value) => value,
        Err(error) => {
            let detail = format!("is JSON that cannot be checked: {error}");
            return Err(Misfit(vec![Mismatch { pointer: String::new(), detail }]));
        }
    };
    if validator.is_valid(&value) {
        return Ok(());
    }
    let mismatches = validator.iter_errors(&value).take(MISMATCHES_MAX).map(|error| Mismatch {
        pointer: error.instance_path().as_str().to_owned(),
        detail: shortened(error.masked().to_string()),
    });
    Err(Misfit(mismatches.collect()))
}

fn shortened(text: String) -> String {
    let kept = text.floor_char_boundary(DETAIL_BYTES_MAX);
    let ellipsis = if kept < text.len() { ".." } else { "" };
    format!("{}{ellipsis}", text[..kept].replace(char::is_control, " "))
}

fn joined(mismatches: &[Mismatch]) -> String {
    let texts: Vec<String> = mismatches.iter().map(Mismatch::to_string).collect();
    texts.join("; ")
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => write!(f, "{}", self.detail),
            pointer => write!(f, "{pointer}: {}", self.detail),
        }
    }
}

#[cfg(test)]
mod tests;
