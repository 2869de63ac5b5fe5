//! The differences between two JSON Schemas of one message.
//!
//! A schema may gain optional properties. Every other change of validity is incompatible in both
//! directions, because one participant reads the messages of both versions.

use std::collections::BTreeSet;

use sagamore_core::definition::{SchemaPlace, Schemas};
use serde_json::{Map, Value};

/// Keywords without an effect on validity, and keywords that are compared by their members.
const SKIPPED: [&str; 13] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "properties",
    "required",
    "items",
    "type",
];
/// Maximum nesting that is compared, and maximum references that are followed for one schema.
const DEPTH_MAX: usize = 32;

/// A difference between two schemas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaChange {
    /// The difference in one sentence.
    pub detail: String,
    /// Whether a participant cannot handle the data of both schemas.
    pub incompatible: bool,
}

/// Maximum incompatible changes that are reported.
const INCOMPATIBLE_MAX: usize = 20;

/// Returns the changes of messages and outputs that a participant of both versions cannot handle,
/// with their places. Data that has no schema in one version is not compared.
pub fn incompatible(old: &Schemas, new: &Schemas) -> Vec<(SchemaPlace, String)> {
    let mut found = Vec::new();
    for (place, schema) in new.all() {
        let (before, what) = match &place {
            // callers of a start are no participants: each start names a version
            SchemaPlace::Input => continue,
            SchemaPlace::Message(name) => (old.messages.get(name), format!("message '{name}'")),
            SchemaPlace::Output(name) => (old.outputs.get(name), format!("the output of '{name}'")),
        };
        let changes = before.map(|before| compare(&what, before, schema)).unwrap_or_default();
        let breaks = changes.into_iter().filter(|change| change.incompatible);
        found.extend(breaks.map(|change| (place.clone(), change.detail)));
    }
    found.truncate(INCOMPATIBLE_MAX);
    found
}

/// Two schemas under comparison.
struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    what: &'a str,
    found: Vec<SchemaChange>,
}

/// Returns the differences of two schemas of `what`.
pub fn compare(what: &str, old: &Value, new: &Value) -> Vec<SchemaChange> {
    let mut comparison = Comparison { old, new, what, found: Vec::new() };
    comparison.schemas(old, new, "", 0);
    comparison.found
}

impl Comparison<'_> {
    fn schemas(&mut self, old: &Value, new: &Value, path: &str, depth: usize) {
        let (old, new) = (resolved(self.old, old), resolved(self.new, new));
        if depth == DEPTH_MAX {
            return;
        }
        let (Value::Object(old), Value::Object(new)) = (old, new) else {
            if old != new {
                self.breaks(path, format!("changes from {old} to {new}"));
            }
            return;
        };
        let (was, is) = (types(old), types(new));
        if was != is {
            self.breaks(path, format!("has the type {is}, was {was}"));
        }
        self.properties(old, new, path, depth);
        if let (Some(old), Some(new)) = (old.get("items"), new.get("items")) {
            self.schemas(old, new, &format!("{path}[]"), depth + 1);
        } else if old.get("items") != new.get("items") {
            self.breaks(path, "changes what its items are".to_owned());
        }
        let keywords: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for keyword in keywords {
            if !SKIPPED.contains(&keyword.as_str()) && old.get(keyword) != new.get(keyword) {
                let shown = |of: &Map<String, Value>| {
                    of.get(keyword).map_or("absent".to_owned(), Value::to_string)
                };
                self.breaks(path, format!("has {keyword} {}, was {}", shown(new), shown(old)));
            }
        }
    }

    fn properties(
        &mut self,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
        path: &str,
        depth: usize,
    ) {
        let empty = Map::new();
        let of = |schema: &Map<String, Value>| {
            schema.get("properties").and_then(Value::as_object).unwrap_or(&empty).clone()
        };
        let (before, after) = (of(old), of(new));
        for (name, was) in &before {
            let own = format!("{path}.{name}");
            match after.get(name) {
                Some(is) => self.schemas(was, is, &own, depth + 1),
                None => self.breaks(&own, "is removed, and may be required".to_owned()),
            }
        }
        let (was, is) = (required(old), required(new));
        for name in is.difference(&was) {
            let own = format!("{path}.{name}");
            let why = match before.contains_key(*name) {
                true => "becomes required, and the old version may omit it",
                false => "is new and required, and the old version does not send it",
            };
            self.breaks(&own, why.to_owned());
        }
        for name in was.difference(&is).filter(|name| after.contains_key(**name)) {
            let own = format!("{path}.{name}");
            self.breaks(&own, "becomes optional, and participants may require it".to_owned());
        }
        for name in after.keys().filter(|name| !before.contains_key(*name)) {
            if !is.contains(name.as_str()) {
                let (what, own) = (self.what, format!("{path}.{name}"));
                let detail = format!("{what} gains the optional property '{}'", &own[1..]);
                self.found.push(SchemaChange { detail, incompatible: false });
            }
        }
    }

    fn breaks(&mut self, path: &str, why: String) {
        let what = self.what;
        let detail = match path.strip_prefix('.').unwrap_or(path) {
            "" => format!("{what} {why}"),
            path => format!("{what}: '{path}' {why}"),
        };
        self.found.push(SchemaChange { detail, incompatible: true });
    }
}

/// Follows references inside the document, a bounded number of times.
fn resolved<'a>(document: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..DEPTH_MAX {
        let target = schema.get("$ref").and_then(Value::as_str);
        let pointer = target.and_then(|target| target.strip_prefix('#'));
        match pointer.and_then(|pointer| document.pointer(pointer)) {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

/// Returns the types of a schema in words.
fn types(schema: &Map<String, Value>) -> String {
    let mut names: Vec<&str> = match schema.get("type") {
        None => return "any".to_owned(),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        Some(name) => name.as_str().into_iter().collect(),
    };
    names.sort_unstable();
    names.join(" or ")
}

fn required(schema: &Map<String, Value>) -> BTreeSet<&str> {
    let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).collect()
}
