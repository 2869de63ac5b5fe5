//! The configuration's keys with their types, derived from [`Tables`].

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::schema::Schema;
use super::tables::{SaslSettings, Tables, TlsSettings};

/// Maximum edit distance of a suggested key.
const DISTANCE_MAX: usize = 2;

/// The keys of a schema.
pub struct Keys {
    /// The defaults, including every optional table.
    full: Json,
}

/// Whether `key` is in the table `table`.
pub fn below(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

impl Keys {
    /// Derives the keys of this schema.
    pub fn of(schema: &Schema) -> Keys {
        let mut all = schema.tables();
        let sasl = SaslSettings {
            mechanism: String::new(),
            username: String::new(),
            password: None,
            password_file: None,
        };
        (all.kafka.tls, all.kafka.sasl) = (Some(TlsSettings::default()), Some(sasl));
        all.postgres.tls = Some(TlsSettings::default());
        for participant in all.participants.values_mut() {
            participant.tls = Some(TlsSettings::default());
        }
        Keys { full: serde_json::to_value(&all).expect("settings are valid JSON") }
    }

    /// Returns every key with a value.
    pub fn known(&self) -> Vec<String> {
        let mut keys = BTreeMap::new();
        flatten(String::new(), &self.full, &mut keys);
        keys.into_keys().collect()
    }

    /// Whether the key is a table.
    pub fn is_table(&self, key: &str) -> bool {
        self.known().iter().any(|other| below(other, key))
    }

    /// Whether the value is valid for the key.
    pub fn fits(&self, key: &str, value: &Json) -> bool {
        let mut all = self.full.clone();
        set(&mut all, key, value.clone());
        serde_json::from_value::<Tables>(all).is_ok()
    }

    /// Parses a variable's text for the key; `None` if it is invalid. Text keys accept any text.
    pub fn value_of(&self, key: &str, text: &str) -> Option<Json> {
        if self.is_table(key) {
            return None;
        }
        if self.fits(key, &Json::from(text)) {
            return Some(Json::from(text));
        }
        if self.is_list(key) {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            return Some(items.map(Json::from).collect());
        }
        let value = match text {
            "true" => Json::from(true),
            "false" => Json::from(false),
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Json::from(digits.parse::<u64>().ok()?)
            }
            _ => return None,
        };
        self.fits(key, &value).then_some(value)
    }

    /// Whether the value of the key is a list of texts.
    fn is_list(&self, key: &str) -> bool {
        self.fits(key, &Json::from(vec!["text"]))
    }

    /// Describes the valid values of the key; `None` for a table.
    pub fn expected(&self, key: &str) -> Option<String> {
        if self.is_table(key) {
            return None;
        }
        if self.fits(key, &Json::from("text")) {
            return Some("a text".to_owned());
        }
        if self.is_list(key) {
            return Some("a list of texts".to_owned());
        }
        if self.fits(key, &Json::from(true)) {
            return Some("true or false".to_owned());
        }
        let bounds = [u64::MAX, u64::from(u32::MAX), u64::from(u16::MAX)];
        Some(match bounds.into_iter().find(|most| self.fits(key, &Json::from(*most))) {
            Some(u64::MAX) | None => "a whole number".to_owned(),
            Some(most) => format!("a whole number from 0 to {most}"),
        })
    }

    /// Returns the missing keys of tables that are partly set.
    pub fn missing(&self, all: &Json) -> Vec<String> {
        let is_missing = |key: &String| {
            let Some((table, name)) = key.rsplit_once('.') else { return false };
            let table =
                all.pointer(&format!("/{}", table.replace('.', "/"))).and_then(Json::as_object);
            table.is_some_and(|table| !table.contains_key(name)) && !self.fits(key, &Json::Null)
        };
        self.known().into_iter().filter(is_missing).collect()
    }
}

/// Sets a key, and creates its tables.
pub fn set(all: &mut Json, key: &str, value: Json) {
    if !all.is_object() {
        *all = Json::Object(serde_json::Map::new());
    }
    match key.split_once('.') {
        Some((name, rest)) => set(&mut all[name], rest, value),
        None => all[key] = value,
    }
}

/// Returns the key that the user may have meant: a similar one, or the same name in another table.
pub fn likely<'a>(key: &str, known: &'a [String]) -> Option<&'a str> {
    let distance = |candidate: &&String| strsim::damerau_levenshtein(key, candidate);
    let last = format!(".{}", key.rsplit('.').next().unwrap_or(key));
    let nearest =
        known.iter().min_by_key(distance).filter(|nearest| distance(nearest) <= DISTANCE_MAX);
    nearest.or_else(|| known.iter().find(|known| known.ends_with(&last))).map(String::as_str)
}

/// Collects every value that is not a table, by its key.
pub(super) fn flatten(prefix: String, value: &Json, into: &mut BTreeMap<String, Json>) {
    match value {
        Json::Object(fields) => {
            for (name, value) in fields {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(key, value, into);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            into.insert(prefix, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::schema;

    #[test]
    fn each_key_describes_its_valid_values() {
        let keys = Keys::of(&schema());
        let check = |key: &str, words: Option<&str>| {
            assert_eq!(keys.expected(key).as_deref(), words, "{key}")
        };
        check("namespace", Some("a text"));
        check("services.order.url", Some("a text"));
        check("kafka.tls.ca", Some("a text"));
        check("choreography", Some("true or false"));
        check("definitions", Some("a list of texts"));
        check("services.order.partitions", Some("a whole number from 0 to 4294967295"));
        check("kafka.replication", Some("a whole number from 0 to 65535"));
        check("barrier.retention_days", Some("a whole number"));
        check("kafka.sasl", None);
        for key in keys.known() {
            assert!(keys.expected(&key).is_some(), "{key}");
        }
    }
}
