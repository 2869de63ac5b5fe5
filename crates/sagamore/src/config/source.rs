//! The origin of each key's value: a variable, a line of the file, or the default. Errors about a
//! key start with its position.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Keys, below};
use super::schema::Schema;
use super::tables::Tables;

/// The prefix of environment variables.
const PREFIX: &str = "SAGAMORE";
/// The separator of tables and keys in a variable's name.
const SEPARATOR: &str = "__";

/// The values of file and environment with their positions.
#[derive(Clone, Debug, Default)]
pub struct Source {
    schema: Schema,
    file: Option<PathBuf>,
    /// Key of a value or table -> its line and column in the file, counted from 1.
    places: BTreeMap<String, (usize, usize)>,
    /// Key -> its value in the file.
    values: BTreeMap<String, FileValue>,
    /// Key -> the variable that sets it.
    variables: BTreeMap<String, Variable>,
    /// One error for each key that is set twice.
    duplicates: Vec<String>,
}

/// A value of the file.
#[derive(Clone, Debug)]
enum FileValue {
    Value(Json),
    /// The description of a value that is invalid for every key.
    Other(String),
}

/// A variable with the prefix `SAGAMORE__`.
#[derive(Clone, Debug)]
struct Variable {
    name: String,
    text: String,
}

impl Source {
    /// Reads file and environment. Fails unless both are readable and have known keys only.
    pub fn read(schema: &Schema, file: Option<&Path>) -> Result<Source> {
        let text = match file {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the configuration {}", file.display()))?,
            None => String::new(),
        };
        let source = Source::of(schema, file, &text, std::env::vars_os())?;
        let wrong = [source.duplicates.clone(), source.unknown()].concat();
        if wrong.is_empty() { Ok(source) } else { bail!("{}", wrong.join("\n")) }
    }

    /// Creates a source without values.
    pub fn of_schema(schema: Schema) -> Source {
        Source { schema, ..Source::default() }
    }

    /// Returns the services.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    fn of(
        schema: &Schema,
        file: Option<&Path>,
        text: &str,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Source> {
        let mut source =
            Source { file: file.map(Path::to_owned), ..Source::of_schema(schema.clone()) };
        let table = DeTable::parse(text).map_err(|error| {
            let (line, column) = place(text, error.span().map_or(0, |span| span.start));
            let file = file.unwrap_or(Path::new("")).display();
            anyhow!("{file}:{line}:{column}: invalid TOML: {}", error.message())
        })?;
        source.collect("", table.get_ref(), text);
        let prefix = format!("{PREFIX}{SEPARATOR}");
        // an empty variable counts as unset, because scripts often clear variables this way
        for (name, value) in variables.filter(|(_, value)| !value.is_empty()) {
            let Ok(name) = name.into_string() else { continue };
            let Some(words) = name.to_uppercase().strip_prefix(&prefix).map(str::to_lowercase)
            else {
                continue;
            };
            let key = source.schema.full_key(&words.replace(SEPARATOR, "."));
            source.schema.admit(&key);
            let Ok(text) = value.into_string() else {
                bail!("{name}: {key}: the value is not valid UTF-8")
            };
            if let Some(other) = source.variables.get(&key) {
                let shown = source.schema.shown_key(&key);
                source.duplicates.push(format!(
                    "{} and {name}: {shown}: both variables set this key: remove one",
                    other.name
                ));
            }
            source.variables.insert(key, Variable { name, text });
        }
        Ok(source)
    }

    fn collect(&mut self, parent: &str, table: &DeTable<'_>, text: &str) {
        for (name, value) in table {
            let key = match parent {
                "" => self.schema.full_key(name.get_ref()),
                parent => format!("{parent}.{}", name.get_ref()),
            };
            self.schema.admit(&key);
            match value.get_ref().as_table() {
                Some(inner) if !inner.is_empty() => self.collect(&key, inner, text),
                Some(_) if Keys::of(&self.schema).is_table(&key) => {} // an empty table
                Some(_) | None => {
                    let before = self.values.insert(key.clone(), file_value(value.get_ref()));
                    self.duplicates.extend(
                        before.and_then(|_| self.duplicate(&key, place(text, name.span().start))),
                    );
                }
            }
            self.places.insert(key, place(text, name.span().start));
        }
    }

    /// Returns the error for a key that is also set at `place`: `[payment]` and
    /// `[services.payment]` are one table.
    fn duplicate(&self, key: &str, place: (usize, usize)) -> Option<String> {
        let (file, shown) = (self.file.as_deref()?.display(), self.schema.shown_key(key));
        let mut places = [*self.places.get(key)?, place];
        places.sort_unstable(); // tables are read in alphabetical order
        let [(line, column), (again, below)] = places;
        Some(format!(
            "{file}:{again}:{below}: {shown}: {file}:{line}:{column} also sets this key: remove one"
        ))
    }

    /// Returns the defaults, overridden by the file and then by the environment. The key determines
    /// the type.
    ///
    /// # Errors
    ///
    /// All invalid values, and all keys that are missing in their tables, each after its position.
    pub fn tables(&self) -> Result<Tables> {
        let keys = Keys::of(&self.schema);
        let mut all =
            serde_json::to_value(self.schema.tables()).context("serialize the defaults")?;
        let mut wrong = Vec::new();
        for (key, value) in self.values.iter().filter(|(key, _)| !self.variables.contains_key(*key))
        {
            match value {
                FileValue::Value(value) if keys.fits(key, value) => {
                    keys::set(&mut all, key, value.clone())
                }
                FileValue::Value(value) => wrong.push(self.misfit(key, &value.to_string())),
                FileValue::Other(text) => wrong.push(self.misfit(key, text)),
            }
        }
        for (key, Variable { text, .. }) in &self.variables {
            match keys.value_of(key, text) {
                Some(value) => keys::set(&mut all, key, value),
                None => wrong.push(self.misfit(key, &format!("\"{text}\""))),
            }
        }
        let missing = |key: &String| {
            format!("{}: missing: set it together with the rest of its table", self.named(key))
        };
        wrong.extend(keys.missing(&all).iter().map(missing));
        if !wrong.is_empty() {
            bail!("{}", wrong.join("\n"));
        }
        serde_json::from_value(all).context("configuration")
    }

    fn misfit(&self, key: &str, found: &str) -> String {
        match Keys::of(&self.schema).expected(key) {
            Some(expected) => {
                format!("{}: expected {expected}, found {found}", self.named(key))
            }
            None => format!(
                "{}: expected a table [{}], found a value",
                self.named(key),
                self.schema.shown_key(key)
            ),
        }
    }

    /// Returns the variable's name, or the file with line and column; `None` for a default.
    pub fn place(&self, key: &str) -> Option<String> {
        if let Some(variable) = self.variables.get(key) {
            return Some(variable.name.clone());
        }
        let (line, column) = self.places.get(key)?;
        Some(format!("{}:{line}:{column}", self.file.as_deref()?.display()))
    }

    /// Returns the key after its position, or after the position of the table that lacks it.
    pub fn named(&self, key: &str) -> String {
        let parent = key.rsplit_once('.').map(|(parent, _)| parent);
        match self.place(key).or_else(|| self.place(parent?)) {
            Some(place) => format!("{place}: {}", self.schema.shown_key(key)),
            None => self.schema.shown_key(key).to_owned(),
        }
    }

    /// Returns an error for each unknown key. Keys in unknown tables are omitted.
    fn unknown(&self) -> Vec<String> {
        let keys = Keys::of(&self.schema).known();
        let is_known = |key: &str| keys.iter().any(|known| known == key || below(known, key));
        let set = self.places.keys().chain(self.variables.keys());
        let topmost = set.filter(|key| {
            !is_known(key) && key.rsplit_once('.').is_none_or(|(parent, _)| is_known(parent))
        });
        topmost
            .map(|key| match keys::likely(key, &keys) {
                Some(likely) => format!(
                    "{}: unknown key: did you mean {}?",
                    self.named(key),
                    self.schema.shown_key(likely)
                ),
                None => {
                    let (named, program) = (self.named(key), self.schema.program());
                    format!("{named}: unknown key: `{program} config` lists all keys")
                }
            })
            .collect()
    }
}

/// Converts a value of the file to JSON. TOML integers are signed 64-bit numbers.
fn file_value(value: &DeValue<'_>) -> FileValue {
    match value {
        DeValue::String(text) => FileValue::Value(Json::from(text.as_ref())),
        DeValue::Boolean(truth) => FileValue::Value(Json::from(*truth)),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => FileValue::Value(Json::from(number)),
            Err(_) => FileValue::Other(integer.to_string()),
        },
        DeValue::Float(float) => FileValue::Other(float.as_str().to_owned()),
        DeValue::Datetime(time) => FileValue::Other(time.to_string()),
        DeValue::Array(items) => {
            let text = |item: &toml::Spanned<DeValue<'_>>| match item.get_ref() {
                DeValue::String(text) => Some(Json::from(text.as_ref())),
                _ => None,
            };
            match items.iter().map(text).collect::<Option<Vec<Json>>>() {
                Some(items) => FileValue::Value(Json::Array(items)),
                None => FileValue::Other("a list".to_owned()),
            }
        }
        DeValue::Table(_) => FileValue::Other("a table".to_owned()),
    }
}

/// Returns line and column of a byte, counted from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::schema;

    fn of(text: &str, variable: &str, value: &str) -> Source {
        Source::of(
            &schema(),
            Some(Path::new("s.toml")),
            text,
            std::iter::once((variable.into(), value.into())),
        )
        .expect("valid TOML")
    }

    fn unknown(text: &str, variable: &str) -> String {
        of(text, variable, "x").unknown().join("\n")
    }

    #[test]
    fn an_unknown_key_is_reported_with_its_position_and_a_suggestion() {
        let check =
            |text: &str, expected: &str| assert_eq!(unknown(text, "PATH"), expected, "{text}");
        check("namespace = \"a\"\n[kafka]\nbrokers = \"a:1\"\n[kafka.tls]\nca = \"x\"\n", "");
        check(
            "[kafka]\n  broker = \"a:1\"\n",
            "s.toml:2:3: kafka.broker: unknown key: did you mean kafka.brokers?",
        );
        check(
            "lease_ms = 900\n",
            "s.toml:1:1: lease_ms: unknown key: did you mean orchestrator.lease_ms?",
        );
        check(
            "[colour.deep]\nred = 1\n",
            "s.toml:1:2: colour: unknown key: `shop config` lists all keys",
        );
        let error = unknown("", "SAGAMORE__POSTGRES__TLS__CERTIFICAT");
        assert!(
            error.starts_with("SAGAMORE__POSTGRES__TLS__CERTIFICAT: postgres.tls.certificat: "),
            "{error}"
        );
        assert!(error.ends_with("did you mean postgres.tls.certificate?"), "{error}");
        assert_eq!(unknown("", "SAGAMORE__KAFKA__TLS__CA"), "");
        assert_eq!(unknown("", "SAGAMORE_CONFIG"), "");
    }

    #[test]
    fn a_variable_overrides_the_file() {
        let of = |variable: &str| of("[order]\nlisten = \"x\"\n", variable, "y");
        assert_eq!(of("PATH").named("services.order.listen"), "s.toml:2:1: order.listen");
        assert_eq!(
            of("SAGAMORE__ORDER__LISTEN").named("services.order.listen"),
            "SAGAMORE__ORDER__LISTEN: order.listen"
        );
        assert_eq!(
            of("PATH").named("services.order.url"),
            "s.toml:1:2: order.url",
            "missing in its table"
        );
        assert_eq!(of("PATH").named("services.payment.listen"), "payment.listen");
        assert_eq!(
            of("SAGAMORE__ORDER__LISTEN").tables().expect("sound").services["order"].listen,
            "y"
        );
    }

    #[test]
    fn the_key_determines_the_type_of_a_variable() {
        let check = |variable: &str, value: &str, expected: &str| {
            let why = of("", variable, value).tables().expect_err(value).to_string();
            assert_eq!(why, expected);
        };
        assert_eq!(of("", "SAGAMORE__NAMESPACE", "007").tables().expect("sound").namespace, "007");
        assert_eq!(
            of("", "SAGAMORE__KAFKA__REPLICATION", "3").tables().expect("sound").kafka.replication,
            Some(3)
        );
        let place = "SAGAMORE__ORDER__PARTITIONS: order.partitions: ";
        for text in ["1.9", "true", "1e3", "+1", " 1", "-1", "4294967296", "99999999999999999999"] {
            let expected =
                format!("{place}expected a whole number from 0 to 4294967295, found \"{text}\"");
            check("SAGAMORE__ORDER__PARTITIONS", text, &expected);
        }
        check(
            "SAGAMORE__ORDER",
            "3",
            "SAGAMORE__ORDER: order: expected a table [order], found a value",
        );
    }

    #[test]
    fn an_invalid_value_of_the_file_is_reported_with_its_position() {
        let check = |text: &str, expected: &str| {
            let why = of(text, "PATH", "").tables().expect_err(text).to_string();
            assert_eq!(why, expected);
        };
        let number = "a whole number from 0 to 4294967295";
        for text in ["1.5", "1.0", "true", "-1", "4294967296", "\"3\""] {
            let expected = format!("s.toml:2:1: order.partitions: expected {number}, found {text}");
            check(&format!("[order]\npartitions = {text}\n"), &expected);
        }
        check(
            "[barrier]\n\nretention_days = 18446744073709551615\n",
            "s.toml:3:1: barrier.retention_days: expected a whole number, found \
             18446744073709551615",
        );
        check("namespace = {}\n", "s.toml:1:1: namespace: expected a text, found a table");
        let partitions =
            |text: &str| of(text, "PATH", "").tables().expect("valid").services["order"].partitions;
        assert_eq!(partitions("[order]\npartitions = 0x10\n"), 16);
        assert_eq!(partitions("[order]\n"), 12);
    }
}
