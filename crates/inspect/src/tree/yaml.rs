//! Trees of YAML files.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::{Location, Spanned};

use super::node::{Content, Member, Node};
use crate::pointer::Pointer;
use crate::violation::{Finding, Violation};

/// Parses a file. An error of syntax hides those behind it.
pub(super) fn parse(source: &str) -> Result<Node, Violation> {
    serde_saphyr::from_str_with_options(source, options()).map_err(|error| {
        let position = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        Violation::new(Finding::new(Pointer::root(), why(error.without_snippet())), position)
    })
}

/// Only `true` and `false` are booleans, and duplicate keys are errors.
pub(crate) fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        strict_booleans: true,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
    }
}

/// Rewords an error of the parser for the author of the file.
pub(crate) fn why(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as Yaml;
    match error {
        Yaml::DuplicateMappingKey { key: Some(key), .. } => {
            format!("duplicate key '{key}': remove one")
        }
        Yaml::MultipleDocuments { .. } => {
            "second YAML document: write one plan or definition per file".into()
        }
        Yaml::ExternalMessage { msg, .. } => {
            format!(
                "not valid YAML ({msg}): check indentation, brackets and quotes up to this position"
            )
        }
        Yaml::AliasError { error, .. } => why(error),
        Yaml::Budget { .. } => {
            "nested too deeply, or too many aliases: write the values out".into()
        }
        // the parser appends the position, which this message has already
        other => {
            let text = other.to_string();
            let cause = text.split_once(" at line ").map_or(text.as_str(), |(cause, _)| cause);
            format!("unsupported YAML ({cause}): write it more simply")
        }
    }
}

fn byte(location: Location) -> usize {
    location.span().byte_offset().unwrap_or_default() as usize
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        let Spanned { value, referenced, defined } = Spanned::deserialize(deserializer)?;
        let begins = byte(defined);
        let length = defined.span().byte_len().unwrap_or_default() as usize;
        Ok(Node { at: byte(referenced), spelled: begins..begins + length, content: value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Content, E> {
        Ok(Content::Flag(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Content, E> {
        Ok(Content::Number(Some(number.into())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Content, E> {
        Ok(Content::Number(Some(number.into())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Content, E> {
        Ok(Content::Number(Number::from_f64(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Content::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Node>()? {
            let (at, key) = (byte(key.referenced), key.value);
            members.push(Member { key, at, value });
        }
        Ok(Content::Map(members))
    }
}
