//! Where each key is set: a variable, a line of the file, or nowhere, and with which value. Errors about a key say its
//! place before anything else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Keys, below};
use super::{PREFIX, SEPARATOR, Schema, Settings};

/// Where the values come from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    schema: Schema,
    file: Option<PathBuf>,
    /// Key, of a value or of a table -> line and column in the file, counted from 1.
    places: BTreeMap<String, (usize, usize)>,
    /// Key -> its value in the file.
    written: BTreeMap<String, Written>,
    /// Key -> the variable that sets it.
    variables: BTreeMap<String, Variable>,
    /// A line for each key that the file or the environment sets twice.
    twice: Vec<String>,
}

/// A value of the file.
#[derive(Clone, Debug)]
enum Written {
    Value(Json),
    /// A value that no key takes, in words.
    Other(String),
}

/// A variable of the environment.
#[derive(Clone, Debug)]
struct Variable {
    name: String,
    text: String,
}

impl Source {
    /// Reads what the file and the environment set. Fails unless both can be read and hold known keys only.
    pub fn read(schema: &Schema, file: Option<&Path>) -> Result<Source> {
        let text = match file {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("{}: the configuration cannot be read", file.display()))?,
            None => String::new(),
        };
        let source = Source::of(schema, file, &text, std::env::vars_os())?;
        let wrong = [source.twice.clone(), source.unknown()].concat();
        if wrong.is_empty() { Ok(source) } else { bail!("{}", wrong.join("\n")) }
    }

    /// No place for any value.
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
            anyhow!("{file}:{line}:{column}: this is not TOML: {}", error.message())
        })?;
        source.collect("", table.get_ref(), text);
        let prefix = format!("{PREFIX}{SEPARATOR}");
        // an empty variable counts as unset: scripts often clear one so
        for (name, value) in variables.filter(|(_, value)| !value.is_empty()) {
            let Ok(name) = name.into_string() else { continue };
            let Some(words) = name.to_uppercase().strip_prefix(&prefix).map(str::to_lowercase)
            else {
                continue;
            };
            let key = source.schema.full_key(&words.replace(SEPARATOR, "."));
            source.schema.admit(&key);
            let Ok(text) = value.into_string() else { bail!("{name}: {key}: this is not UTF-8") };
            if let Some(other) = source.variables.get(&key) {
                let shown = source.schema.shown_key(&key);
                source.twice.push(format!(
                    "{} and {name}: {shown}: both set this key; keep one",
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
                Some(_) if Keys::of(&self.schema).is_table(&key) => {} // a heading with nothing below it
                Some(_) | None => {
                    let before = self.written.insert(key.clone(), written(value.get_ref()));
                    self.twice.extend(
                        before.and_then(|_| self.set_twice(&key, place(text, name.span().start))),
                    );
                }
            }
            self.places.insert(key, place(text, name.span().start));
        }
    }

    /// A line for a key that is set at this place as well: `[payment]` and `[services.payment]` are one table.
    fn set_twice(&self, key: &str, place: (usize, usize)) -> Option<String> {
        let (file, shown) = (self.file.as_deref()?.display(), self.schema.shown_key(key));
        let mut places = [*self.places.get(key)?, place];
        places.sort_unstable(); // tables are read in the order of their names
        let [(line, column), (again, below)] = places;
        Some(format!(
            "{file}:{again}:{below}: {shown}: {file}:{line}:{column} sets this key as well; keep one"
        ))
    }

    /// The settings: the defaults with what the file and then the environment set. The key decides the type.
    ///
    /// # Errors
    /// Every value that does not fit its key, and every key that is missing in its table, behind its place.
    pub fn settings(&self) -> Result<Settings> {
        let keys = Keys::of(&self.schema);
        let mut all =
            serde_json::to_value(Settings::of(&self.schema)).context("write the defaults")?;
        let mut wrong = Vec::new();
        for (key, written) in
            self.written.iter().filter(|(key, _)| !self.variables.contains_key(*key))
        {
            match written {
                Written::Value(value) if keys.fits(key, value) => {
                    keys::set(&mut all, key, value.clone())
                }
                Written::Value(value) => wrong.push(self.misfit(key, &value.to_string())),
                Written::Other(text) => wrong.push(self.misfit(key, text)),
            }
        }
        for (key, Variable { text, .. }) in &self.variables {
            match keys.value_of(key, text) {
                Some(value) => keys::set(&mut all, key, value),
                None => wrong.push(self.misfit(key, &format!("\"{text}\""))),
            }
        }
        let lacks = |key: &String| {
            format!(
                "{}: this is not set, and has to be with the rest of its table",
                self.named(key)
            )
        };
        wrong.extend(keys.missing(&all).iter().map(lacks));
        if !wrong.is_empty() {
            bail!("{}", wrong.join("\n"));
        }
        serde_json::from_value(all).context("configuration")
    }

    fn misfit(&self, key: &str, given: &str) -> String {
        match Keys::of(&self.schema).wanted(key) {
            Some(wanted) => {
                format!("{}: {given} is given, and {wanted} is wanted", self.named(key))
            }
            None => format!(
                "{}: this is a table with keys of its own, [{}], and no value",
                self.named(key),
                self.schema.shown_key(key)
            ),
        }
    }

    /// The variable's name, or the file with line and column; none when nothing sets it.
    pub fn place(&self, key: &str) -> Option<String> {
        if let Some(variable) = self.variables.get(key) {
            return Some(variable.name.clone());
        }
        let (line, column) = self.places.get(key)?;
        Some(format!("{}:{line}:{column}", self.file.as_deref()?.display()))
    }

    /// The key behind its place, or behind that of the table it is missing in.
    pub fn named(&self, key: &str) -> String {
        let parent = key.rsplit_once('.').map(|(parent, _)| parent);
        match self.place(key).or_else(|| self.place(parent?)) {
            Some(place) => format!("{place}: {}", self.schema.shown_key(key)),
            None => self.schema.shown_key(key).to_owned(),
        }
    }

    /// A line for each key that is none of ours, but not for those in a table that is none.
    fn unknown(&self) -> Vec<String> {
        let known = Keys::of(&self.schema).known();
        let is_known = |key: &str| known.iter().any(|known| known == key || below(known, key));
        let set = self.places.keys().chain(self.variables.keys());
        let topmost = set.filter(|key| {
            !is_known(key) && key.rsplit_once('.').is_none_or(|(parent, _)| is_known(parent))
        });
        topmost
            .map(|key| match keys::likely(key, &known) {
                Some(likely) => format!(
                    "{}: there is no such key; did you mean {}?",
                    self.named(key),
                    self.schema.shown_key(likely)
                ),
                None => {
                    let (named, program) = (self.named(key), self.schema.program());
                    format!(
                        "{named}: there is no such key; `{program} config` lists those there are"
                    )
                }
            })
            .collect()
    }
}

/// A value of the file as JSON. Integers are those of TOML: 64 bits with a sign.
fn written(value: &DeValue<'_>) -> Written {
    match value {
        DeValue::String(text) => Written::Value(Json::from(text.as_ref())),
        DeValue::Boolean(truth) => Written::Value(Json::from(*truth)),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => Written::Value(Json::from(number)),
            Err(_) => Written::Other(integer.to_string()),
        },
        DeValue::Float(float) => Written::Other(float.as_str().to_owned()),
        DeValue::Datetime(time) => Written::Other(time.to_string()),
        DeValue::Array(_) => Written::Other("a list".to_owned()),
        DeValue::Table(_) => Written::Other("a table".to_owned()),
    }
}

/// Line and column of a byte, counted from 1.
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
        .expect("TOML")
    }

    fn unknown(text: &str, variable: &str) -> String {
        of(text, variable, "x").unknown().join("\n")
    }

    #[test]
    fn a_key_that_is_none_is_told_with_its_place_and_what_was_likely_meant() {
        let check = |text: &str, wanted: &str| assert_eq!(unknown(text, "PATH"), wanted, "{text}");
        check("namespace = \"a\"\n[kafka]\nbrokers = \"a:1\"\n[kafka.tls]\nca = \"x\"\n", "");
        check(
            "[kafka]\n  broker = \"a:1\"\n",
            "s.toml:2:3: kafka.broker: there is no such key; did you mean kafka.brokers?",
        );
        check(
            "lease_ms = 900\n",
            "s.toml:1:1: lease_ms: there is no such key; did you mean orchestrator.lease_ms?",
        );
        check(
            "[colour.deep]\nred = 1\n",
            "s.toml:1:2: colour: there is no such key; `shop config` lists those there are",
        );
        let told = unknown("", "SAGAMORE__POSTGRES__TLS__CERTIFICAT");
        assert!(
            told.starts_with("SAGAMORE__POSTGRES__TLS__CERTIFICAT: postgres.tls.certificat: "),
            "{told}"
        );
        assert!(told.ends_with("did you mean postgres.tls.certificate?"), "{told}");
        assert_eq!(unknown("", "SAGAMORE__KAFKA__TLS__CA"), "");
        assert_eq!(unknown("", "SAGAMORE_CONFIG"), "");
    }

    #[test]
    fn a_variable_stands_before_the_file() {
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
            of("SAGAMORE__ORDER__LISTEN").settings().expect("sound").services["order"].listen,
            "y"
        );
    }

    #[test]
    fn the_key_decides_what_the_text_of_a_variable_is() {
        let check = |variable: &str, value: &str, told: &str| {
            let why = of("", variable, value).settings().expect_err(value).to_string();
            assert_eq!(why, told);
        };
        assert_eq!(
            of("", "SAGAMORE__NAMESPACE", "007").settings().expect("sound").namespace,
            "007"
        );
        assert_eq!(
            of("", "SAGAMORE__KAFKA__REPLICATION", "3")
                .settings()
                .expect("sound")
                .kafka
                .replication,
            Some(3)
        );
        let place = "SAGAMORE__ORDER__PARTITIONS: order.partitions: ";
        for text in ["1.9", "true", "1e3", "+1", " 1", "-1", "4294967296", "99999999999999999999"] {
            let told = format!(
                "{place}\"{text}\" is given, and a whole number from 0 to 4294967295 is wanted"
            );
            check("SAGAMORE__ORDER__PARTITIONS", text, &told);
        }
        check(
            "SAGAMORE__ORDER",
            "3",
            "SAGAMORE__ORDER: order: this is a table with keys of its own, [order], and no value",
        );
    }

    #[test]
    fn a_value_of_the_file_that_does_not_fit_is_told_with_its_line() {
        let check = |text: &str, told: &str| {
            let why = of(text, "PATH", "").settings().expect_err(text).to_string();
            assert_eq!(why, told);
        };
        let number = "a whole number from 0 to 4294967295 is wanted";
        for text in ["1.5", "1.0", "true", "-1", "4294967296", "\"3\""] {
            let told = format!("s.toml:2:1: order.partitions: {text} is given, and {number}");
            check(&format!("[order]\npartitions = {text}\n"), &told);
        }
        check(
            "[barrier]\n\nretention_days = 18446744073709551615\n",
            "s.toml:3:1: barrier.retention_days: 18446744073709551615 is given, and a whole number is wanted",
        );
        check("namespace = {}\n", "s.toml:1:1: namespace: a table is given, and a text is wanted");
        assert_eq!(
            of("[order]\npartitions = 0x10\n", "PATH", "").settings().expect("sound").services["order"].partitions,
            16
        );
        assert_eq!(
            of("[order]\n", "PATH", "").settings().expect("sound").services["order"].partitions,
            12
        );
    }
}
