//! Where each key is set: a variable, a line of the file, or nowhere. Errors about a key say it before anything else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::config::ConfigError;
use anyhow::{Context, Result, anyhow, bail};
use toml::de::DeTable;

use super::{PREFIX, SEPARATOR, SaslSettings, Settings, TlsSettings, origin};

/// So many letters may be wrong in a key for which another one is suggested.
const LETTERS_WRONG_MAX: usize = 2;

/// Where the values come from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    file: Option<PathBuf>,
    /// Key, of a value or of a table -> line and column in the file, counted from 1.
    places: BTreeMap<String, (usize, usize)>,
    /// Key -> the variable that sets it.
    variables: BTreeMap<String, String>,
}

impl Source {
    /// What the file and the environment set; an error unless they can be read and every key in them is one of ours.
    pub fn read(file: Option<&Path>) -> Result<Source> {
        let text = match file {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("{}: the configuration cannot be read", file.display()))?,
            None => String::new(),
        };
        let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let source = Source::of(file, &text, variables)?;
        let unknown = source.unknown();
        if unknown.is_empty() { Ok(source) } else { bail!("{}", unknown.join("\n")) }
    }

    fn of(file: Option<&Path>, text: &str, variables: impl Iterator<Item = String>) -> Result<Source> {
        let mut source = Source { file: file.map(Path::to_owned), ..Source::default() };
        let table = DeTable::parse(text).map_err(|error| {
            let (line, column) = place(text, error.span().map_or(0, |span| span.start));
            let file = file.unwrap_or(Path::new("")).display();
            anyhow!("{file}:{line}:{column}: this is not TOML: {}", error.message())
        })?;
        source.collect("", table.get_ref(), text);
        let prefix = format!("{PREFIX}{SEPARATOR}");
        for variable in variables {
            if let Some(words) = variable.to_uppercase().strip_prefix(&prefix) {
                source.variables.insert(words.to_lowercase().replace(SEPARATOR, "."), variable);
            }
        }
        Ok(source)
    }

    fn collect(&mut self, parent: &str, table: &DeTable<'_>, text: &str) {
        for (name, value) in table {
            let key =
                if parent.is_empty() { name.get_ref().to_string() } else { format!("{parent}.{}", name.get_ref()) };
            if let Some(inner) = value.get_ref().as_table() {
                self.collect(&key, inner, text);
            }
            self.places.insert(key, place(text, name.span().start));
        }
    }

    /// The variable's name, or the file with line and column; none when nothing sets it.
    pub fn place(&self, key: &str) -> Option<String> {
        if let Some(variable) = self.variables.get(key) {
            return Some(variable.clone());
        }
        let (line, column) = self.places.get(key)?;
        Some(format!("{}:{line}:{column}", self.file.as_deref()?.display()))
    }

    /// The key behind its place, or behind that of the table it is missing in.
    pub fn named(&self, key: &str) -> String {
        let parent = key.rsplit_once('.').map(|(parent, _)| parent);
        match self.place(key).or_else(|| self.place(parent?)) {
            Some(place) => format!("{place}: {key}"),
            None => key.to_owned(),
        }
    }

    /// What the `config` library says, with the key's place and without the words of our code.
    pub fn explained(&self, error: ConfigError) -> anyhow::Error {
        match &error {
            ConfigError::Type { key: Some(key), .. } | ConfigError::At { key: Some(key), .. }
                if known().iter().any(|known| below(known, key)) =>
            {
                anyhow!("{}: this is a table with keys of its own, [{key}], and no value", self.named(key))
            }
            ConfigError::Type { key: Some(key), unexpected, expected, .. } => {
                anyhow!("{}: {unexpected} is given, and {expected} is wanted", self.named(key))
            }
            ConfigError::At { key: Some(key), error, .. } => anyhow!("{}: {error}", self.named(key)),
            ConfigError::NotFound(key) => {
                anyhow!("{}: this is not set, and has to be with the rest of its table", self.named(key))
            }
            _ => anyhow!(error).context("configuration"),
        }
    }

    /// A line for each key that is none of ours, but not for those in a table that is none.
    fn unknown(&self) -> Vec<String> {
        let known = known();
        let is_known = |key: &str| known.iter().any(|known| known == key || below(known, key));
        let set = self.places.keys().chain(self.variables.keys());
        let topmost =
            set.filter(|key| !is_known(key) && key.rsplit_once('.').is_none_or(|(parent, _)| is_known(parent)));
        topmost
            .map(|key| match likely(key, &known) {
                Some(likely) => format!("{}: there is no such key; did you mean {likely}?", self.named(key)),
                None => format!("{}: there is no such key; `sagamore config` lists those there are", self.named(key)),
            })
            .collect()
    }
}

/// Every key that has a value.
fn known() -> Vec<String> {
    let mut all = Settings::default();
    let sasl = SaslSettings { mechanism: String::new(), username: String::new(), password: None, password_file: None };
    (all.kafka.tls, all.kafka.sasl) = (Some(TlsSettings::default()), Some(sasl));
    all.postgres.tls = Some(TlsSettings::default());
    let mut keys = BTreeMap::new();
    origin::flatten(String::new(), &serde_json::to_value(&all).unwrap_or_default(), &mut keys);
    keys.into_keys().collect()
}

/// Whether `key` is in the table `table`.
fn below(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

/// The key that was meant: misspelt, or put into another table.
fn likely<'a>(key: &str, known: &'a [String]) -> Option<&'a str> {
    let wrong = |candidate: &&String| strsim::damerau_levenshtein(key, candidate);
    let last = format!(".{}", key.rsplit('.').next().unwrap_or(key));
    let nearest = known.iter().min_by_key(wrong).filter(|nearest| wrong(nearest) <= LETTERS_WRONG_MAX);
    nearest.or_else(|| known.iter().find(|known| known.ends_with(&last))).map(String::as_str)
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

    fn unknown(text: &str, variable: &str) -> String {
        let source = Source::of(Some(Path::new("s.toml")), text, std::iter::once(variable.to_owned()));
        source.expect("it is TOML").unknown().join("\n")
    }

    #[test]
    fn a_key_that_is_none_is_told_with_its_place_and_what_was_likely_meant() {
        let check = |text: &str, wanted: &str| assert_eq!(unknown(text, "PATH"), wanted, "{text}");
        check("namespace = \"a\"\n[kafka]\nbrokers = \"a:1\"\n[kafka.tls]\nca = \"x\"\n", "");
        check(
            "[kafka]\n  broker = \"a:1\"\n",
            "s.toml:2:3: kafka.broker: there is no such key; did you mean kafka.brokers?",
        );
        check("lease_ms = 900\n", "s.toml:1:1: lease_ms: there is no such key; did you mean orchestrator.lease_ms?");
        check(
            "[colour.deep]\nred = 1\n",
            "s.toml:1:2: colour: there is no such key; `sagamore config` lists those there are",
        );
        let told = unknown("", "SAGAMORE__POSTGRES__TLS__CERTIFICAT");
        assert!(told.starts_with("SAGAMORE__POSTGRES__TLS__CERTIFICAT: postgres.tls.certificat: "), "{told}");
        assert!(told.ends_with("did you mean postgres.tls.certificate?"), "{told}");
        assert_eq!(unknown("", "SAGAMORE__KAFKA__TLS__CA"), "");
        assert_eq!(unknown("", "SAGAMORE_CONFIG"), "");
    }

    #[test]
    fn a_variable_stands_before_the_file() {
        let text = "[order]\nlisten = \"x\"\n";
        let of =
            |variable: &str| Source::of(Some(Path::new("s.toml")), text, std::iter::once(variable.to_owned())).unwrap();
        assert_eq!(of("PATH").named("order.listen"), "s.toml:2:1: order.listen");
        assert_eq!(of("SAGAMORE__ORDER__LISTEN").named("order.listen"), "SAGAMORE__ORDER__LISTEN: order.listen");
        assert_eq!(of("PATH").named("order.url"), "s.toml:1:2: order.url", "missing in its table");
        assert_eq!(of("PATH").named("payment.listen"), "payment.listen");
    }
}
