//! Parses the YAML of a test file into its types. Errors of types are reworded for the author.

use serde::de::DeserializeOwned;

use crate::pointer::Pointer;
use crate::tree::yaml;
use crate::violation::{Finding, Violation};

/// Parses a test file.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Violation> {
    serde_saphyr::from_str_with_options(text, yaml::options()).map_err(|error| {
        let position = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        Violation::new(Finding::new(Pointer::root(), why(error.without_snippet())), position)
    })
}

fn why(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as Yaml;
    match error {
        Yaml::SerdeUnknownField { field, expected, .. } => {
            format!("unknown key '{field}': use one of {}", expected.join(", "))
        }
        Yaml::SerdeUnknownVariant { variant, expected, .. } => {
            format!("unknown value '{variant}': use one of {}", expected.join(", "))
        }
        Yaml::SerdeMissingField { field, .. } => {
            format!("the key '{field}' is missing here: add it")
        }
        Yaml::Unexpected { expected: "sequence start", .. } => {
            "expected a list: write one `- ` for each element".into()
        }
        Yaml::Unexpected { expected: "mapping start", .. } => {
            "expected keys and values: write KEY: VALUE".into()
        }
        Yaml::Unexpected { expected: "string scalar", .. } => {
            "expected a single text: write it without [ ] or { }".into()
        }
        Yaml::InvalidBooleanStrict { .. } => "expected a boolean: write true or false".into(),
        Yaml::NullIntoString { .. } => "the value is missing: write a text".into(),
        // core's own message about a name
        Yaml::Message { msg, .. } => msg.clone(),
        Yaml::AliasError { error, .. } => why(error),
        other => yaml::why(other),
    }
}
