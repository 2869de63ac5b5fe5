//! Checks of a saga's data against the JSON Schemas (2020-12) of its definition.
//!
//! Schemas are compiled once per definition. Nothing is fetched: a reference outside its schema is
//! an error. Patterns run in linear time, and the nesting of a schema's references is bounded.

mod compare;
mod weight;

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use sagamore_core::definition::{Definition, Misfit, Misfits, SchemaCheck, SchemaPlace, Schemas};
use sagamore_core::{Body, Name};
use serde_json::Value;

pub use compare::{SchemaChange, compare, incompatible};
pub use weight::WEIGHT_MAX;

/// Maximum violations that are reported for one value.
pub const MISFITS_MAX: usize = 20;
/// Maximum bytes of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Maximum bytes of a violation's pointer, and of its detail.
const TEXT_BYTES_MAX: usize = 300;

/// A schema that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} is not a valid JSON Schema: {why}")]
pub struct InvalidSchema {
    /// The schema's place in the definition.
    pub place: SchemaPlace,
    /// The violated rule.
    pub why: String,
}

/// One compiled schema.
#[derive(Debug)]
pub struct CompiledSchema {
    validator: Validator,
    /// Whether the schema contains itself, as that of a tree does.
    is_recursive: bool,
}

impl CompiledSchema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// Returns the reason if the schema is invalid, refers to another document, or is too complex.
    pub fn new(schema: &Value) -> Result<CompiledSchema, String> {
        let is_recursive = weight::check(schema)?.is_recursive;
        Ok(CompiledSchema { validator: compile(schema)?, is_recursive })
    }

    /// Checks a value. A recursive schema names no part: the validator answers whether a value fits
    /// in bounded time, but the search for all misfits takes exponential time when two references
    /// apply to one part.
    ///
    /// # Errors
    /// Returns the parts that do not fit.
    pub fn check(&self, value: &Body) -> Result<(), Misfits> {
        let value: Value = serde_json::from_str(value.as_str()).map_err(|error| {
            Misfits(vec![Misfit::of_all(format!("is JSON that cannot be checked: {error}"))])
        })?;
        if self.validator.is_valid(&value) {
            return Ok(());
        }
        if self.is_recursive {
            let detail = "does not fit its schema, which refers to itself".to_owned();
            return Err(Misfits(vec![Misfit::of_all(detail)]));
        }
        Err(Misfits(self.validator.iter_errors(&value).take(MISFITS_MAX).map(misfit).collect()))
    }
}

/// The compiled schemas of a definition.
#[derive(Debug, Default)]
pub struct CompiledSchemas {
    input: Option<CompiledSchema>,
    messages: BTreeMap<Name, CompiledSchema>,
    outputs: BTreeMap<Name, CompiledSchema>,
}

impl CompiledSchemas {
    /// Compiles the schemas of a definition.
    ///
    /// # Errors
    /// Returns every schema that is invalid, refers to another document, or is too complex.
    pub fn new(schemas: &Schemas) -> Result<CompiledSchemas, Vec<InvalidSchema>> {
        let (mut compiled, mut errors) = (CompiledSchemas::default(), Vec::new());
        for (place, schema) in schemas.all() {
            match CompiledSchema::new(schema) {
                Err(why) => errors.push(InvalidSchema { place, why }),
                Ok(schema) => match place {
                    SchemaPlace::Input => compiled.input = Some(schema),
                    SchemaPlace::Message(name) => {
                        compiled.messages.insert(name, schema);
                    }
                    SchemaPlace::Output(name) => {
                        compiled.outputs.insert(name, schema);
                    }
                },
            }
        }
        if errors.is_empty() { Ok(compiled) } else { Err(errors) }
    }

    /// Checks the fields of a message. Without a schema all fields fit.
    ///
    /// # Errors
    /// Returns the parts that do not fit.
    pub fn check_message(&self, message: &Name, fields: &Body) -> Result<(), Misfits> {
        check(self.messages.get(message), fields)
    }
}

impl SchemaCheck for CompiledSchemas {
    fn check_input(&self, input: &Body) -> Result<(), Misfits> {
        check(self.input.as_ref(), input)
    }

    fn check_output(&self, message: &Name, output: &Body) -> Result<(), Misfits> {
        check(self.outputs.get(message), output)
    }
}

/// Compiles the schemas of a definition, once: clones of the definition share them.
///
/// # Errors
/// Returns every schema that is invalid, refers to another document, or is too complex.
pub fn attach(definition: Definition) -> Result<Definition, Vec<InvalidSchema>> {
    if definition.checks_schemas() {
        return Ok(definition);
    }
    let compiled = CompiledSchemas::new(&definition.schemas)?;
    Ok(definition.with_schema_check(Arc::new(compiled)))
}

fn compile(schema: &Value) -> Result<Validator, String> {
    let options = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES_MAX));
    options.build(schema).map_err(|error| {
        let path = error.instance_path().as_str().to_owned();
        let at = if path.is_empty() { String::new() } else { format!("{path}: ") };
        shortened(&format!("{at}{error}"))
    })
}

/// Without a schema, every value fits.
fn check(schema: Option<&CompiledSchema>, value: &Body) -> Result<(), Misfits> {
    schema.map_or(Ok(()), |schema| schema.check(value))
}

fn misfit(error: ValidationError<'_>) -> Misfit {
    let mut pointer = error.instance_path().as_str().to_owned();
    let detail = match error.kind() {
        ValidationErrorKind::Required { property: Value::String(name) } => {
            pointer.push_str(&Misfit::of_field(name, "").pointer);
            "is missing".to_owned()
        }
        _ => error.masked().to_string(),
    };
    Misfit { pointer: shortened(&pointer), detail: shortened(&detail) }
}

/// Returns the beginning of a text, without control characters: databases store no NUL.
fn shortened(text: &str) -> String {
    let kept = text.floor_char_boundary(TEXT_BYTES_MAX);
    let ellipsis = if kept < text.len() { ".." } else { "" };
    format!("{}{ellipsis}", text[..kept].replace(char::is_control, " "))
}

#[cfg(test)]
mod tests;
