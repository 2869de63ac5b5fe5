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
pub struct CompiledSchema(Validator);

impl CompiledSchema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// Returns the reason if the schema is invalid, refers to another document, or is too complex.
    pub fn new(schema: &Value) -> Result<CompiledSchema, String> {
        compile(schema).map(CompiledSchema)
    }

    /// Checks a value.
    ///
    /// # Errors
    /// Returns the parts that do not fit.
    pub fn check(&self, value: &Body) -> Result<(), Misfits> {
        check(Some(&self.0), value)
    }
}

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
    weight::check(schema)?;
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

fn check(validator: Option<&Validator>, body: &Body) -> Result<(), Misfits> {
    let Some(validator) = validator else { return Ok(()) };
    let value: Value = serde_json::from_str(body.as_str()).map_err(|error| {
        Misfits(vec![Misfit::of_all(format!("is JSON that cannot be checked: {error}"))])
    })?;
    if validator.is_valid(&value) {
        return Ok(());
    }
    Err(Misfits(validator.iter_errors(&value).take(MISFITS_MAX).map(misfit).collect()))
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
