//! Trees of JSON documents.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::node::{Content, Member, Node, position};
use crate::pointer::Pointer;
use crate::violation::{Finding, Violation};

/// Maximum nesting of lists and objects.
const DEPTH_MAX: usize = 64;

/// A reader of one document.
struct Reader<'a> {
    source: &'a str,
    violations: Vec<Violation>,
}

/// Parses a document. Duplicate keys are reported together, an error of syntax alone.
pub(super) fn parse(source: &str) -> Result<Node, Vec<Violation>> {
    let whole: &RawValue = serde_json::from_str(source).map_err(|error| {
        // the parser counts bytes
        let lines = source.split_inclusive('\n').take(error.line().saturating_sub(1));
        let at = lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
        let why = if error.is_eof() { "unexpected end" } else { "unexpected character" };
        let why = format!("not valid JSON ({why}): check brackets, commas and quotes up to here");
        vec![Violation::new(Finding::new(Pointer::root(), why), position(source, at))]
    })?;
    let mut reader = Reader { source, violations: Vec::new() };
    let node = reader.node(whole, &Pointer::root(), 0);
    if reader.violations.is_empty() { Ok(node) } else { Err(Violation::bounded(reader.violations)) }
}

impl<'a> Reader<'a> {
    fn node(&mut self, raw: &'a RawValue, pointer: &Pointer, depth: usize) -> Node {
        let text = raw.get();
        let at = self.offset(text);
        let content = match text.as_bytes().first() {
            Some(b'n') | None => Content::Null,
            Some(b't' | b'f') => Content::Flag(text == "true"),
            Some(b'[' | b'{') if depth == DEPTH_MAX => {
                self.reject(at, pointer.clone(), "nested too deeply: write it more simply".into());
                Content::Null
            }
            Some(b'"') => match serde_json::from_str(text) {
                Ok(text) => Content::Text(text),
                Err(_) => {
                    let why = "not valid text: it contains half of a surrogate pair";
                    self.reject(at, pointer.clone(), why.into());
                    Content::Null
                }
            },
            Some(b'[') => {
                let items: Vec<&'a RawValue> = serde_json::from_str(text).unwrap_or_default();
                let item = |(index, item)| self.node(item, &pointer.item(index), depth + 1);
                Content::List(items.into_iter().enumerate().map(item).collect())
            }
            Some(b'{') => self.members(text, pointer, depth),
            Some(_) => Content::Number(serde_json::from_str(text).ok()),
        };
        Node { at, spelled: at..at + text.len(), content }
    }

    fn members(&mut self, text: &'a str, pointer: &Pointer, depth: usize) -> Content {
        let at = self.offset(text);
        let Ok(Pairs(pairs)) = serde_json::from_str::<Pairs<'_>>(text) else {
            self.reject(at, pointer.clone(), "a key is not valid text: rename it".into());
            return Content::Null;
        };
        let mut members: Vec<Member> = Vec::with_capacity(pairs.len());
        let mut known = std::collections::HashSet::with_capacity(pairs.len());
        for (key, value) in pairs {
            let spelled: &'a str = key.get();
            let at = self.offset(spelled);
            let Ok(key) = serde_json::from_str::<Cow<'_, str>>(spelled) else {
                self.reject(at, pointer.clone(), "a key is not valid text: rename it".into());
                continue;
            };
            let key = key.into_owned();
            let own = pointer.key(&key);
            let value = self.node(value, &own, depth + 1);
            if known.insert(key.clone()) {
                members.push(Member { key, at, value });
            } else {
                self.reject(at, own, format!("duplicate key '{key}': remove one"));
            }
        }
        Content::Map(members)
    }

    fn reject(&mut self, at: usize, pointer: Pointer, detail: String) {
        // one more than is reported, so that the report can mention further violations
        if self.violations.len() <= crate::violation::VIOLATIONS_MAX {
            let position = position(self.source, at);
            self.violations.push(Violation::new(Finding::new(pointer, detail), position));
        }
    }

    /// Returns where a part of the source begins.
    fn offset(&self, part: &'a str) -> usize {
        part.as_ptr() as usize - self.source.as_ptr() as usize
    }
}

/// The members of an object in their order, including duplicates.
struct Pairs<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs<'de>, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
