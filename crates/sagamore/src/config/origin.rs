//! The origin of each value, for `config`. Secrets are not printed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value as Json;

use super::keys::flatten;
use super::{Schema, Settings};
use crate::error::ProgramError;

/// The replacement of a secret.
const HIDDEN: &str = "(hidden)";

/// A value with its origin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Value {
    /// The key, for example `kafka.brokers`.
    pub key: String,
    /// The value as text; empty if unset.
    pub value: String,
    /// `default`, the file with line and column, or the variable's name.
    pub origin: String,
}

/// Returns every value with its origin.
pub fn explain(schema: &Schema, file: Option<&Path>) -> Result<Vec<Value>, ProgramError> {
    let settings = Settings::load(schema, file)?;
    let mut all = BTreeMap::new();
    flatten(
        String::new(),
        &serde_json::to_value(&*settings)
            .context("serialize the settings")
            .map_err(ProgramError::of)?,
        &mut all,
    );
    let value = |(key, value): (String, Json)| {
        let origin = settings.source.place(&key).unwrap_or_else(|| "default".to_owned());
        Value { value: shown(&key, &value), key: schema.shown_key(&key).to_owned(), origin }
    };
    let mut values: Vec<Value> = all.into_iter().map(value).collect();
    values.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(values)
}

fn shown(key: &str, value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(_) if key.ends_with("password") => HIDDEN.to_owned(),
        Json::String(text) if key.ends_with("url") => without_password(text),
        Json::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// Removes the password from `postgres://user:password@host`.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return HIDDEN.to_owned() };
    match rest.rsplit_once('@').map(|(credentials, rest)| (credentials.split_once(':'), rest)) {
        Some((Some((user, _)), rest)) => format!("{scheme}://{user}:{HIDDEN}@{rest}"),
        Some((None, _)) | None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_listed_with_its_origin_and_without_secrets() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sagamore.toml");
        let text = "[postgres]\nurl = \"postgres://me:hush@db:5432/x\"\n\
                    [kafka.sasl]\nmechanism = \"PLAIN\"\nusername = \"me\"\npassword \
                    = \"hush\"\n";
        std::fs::write(&file, text).unwrap();
        let values = explain(&crate::config::tests::schema(), Some(&file)).unwrap();
        let of = |key: &str| {
            values.iter().find(|value| value.key == key).unwrap_or_else(|| panic!("{key}"))
        };
        assert_eq!(of("postgres.url").value, "postgres://me:(hidden)@db:5432/x");
        assert_eq!(of("kafka.sasl.password").value, "(hidden)");
        assert_eq!(
            (
                of("kafka.brokers").origin.as_str(),
                of("kafka.sasl.username").origin.ends_with("sagamore.toml:5:1")
            ),
            ("default", true)
        );
        assert!(!format!("{values:?}").contains("hush"));
    }
}
