//! The shape of saga files: the keys of each object and the type of each value. Reading a file by
//! its shape finds every violation at once; serde would stop at the first.

mod definition;
mod key;
mod plan;

use sagamore_core::Name;
use sagamore_core::definition::Reference;
use serde_json::{Map, Value};

use crate::pointer::Pointer;
use crate::tree::{Content, Member, Node, Tree};
use crate::violation::{Finding, VIOLATIONS_MAX};

pub(crate) use definition::DEFINITION;
pub(crate) use key::{Key, Shape, Text};
pub(crate) use plan::PLAN;

const WRITE_KEYS: &str = "expected keys and values: write KEY: VALUE";
const WRITE_LIST: &str = "expected a list: write [ONE, ANOTHER]";
const WRITE_TEXT: &str = "the value is missing: write a text";

/// Reads a file as JSON that core accepts.
pub(crate) fn read(tree: &Tree, shape: &Shape) -> Result<Value, Vec<Finding>> {
    let mut reader = Reader { tree, findings: Vec::new() };
    let value = reader.value(&tree.root, shape, &Pointer::root());
    if reader.findings.is_empty() { Ok(value) } else { Err(reader.findings) }
}

struct Reader<'a> {
    tree: &'a Tree<'a>,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    /// Returns the value as JSON. A value that lacks its shape becomes null, with a finding.
    fn value(&mut self, node: &Node, shape: &Shape, pointer: &Pointer) -> Value {
        match (shape, &node.content) {
            (Shape::Schema, _) => self.any(node, pointer),
            (Shape::Text(text), _) => self.text(node, *text, pointer),
            (Shape::Whole(most), Content::Number(Some(number)))
                if number.as_u64().is_some_and(|number| number <= *most) =>
            {
                Value::Number(number.clone())
            }
            (Shape::Whole(most), Content::Number(Some(number))) if number.is_u64() => {
                self.reject(pointer, format!("expected a whole number of at most {most}"))
            }
            (Shape::Whole(_), _) => {
                self.reject(pointer, "expected a whole number of at least 0: write 1")
            }
            (Shape::Flag, Content::Flag(flag)) => Value::Bool(*flag),
            (Shape::Flag, _) => self.reject(pointer, "expected a boolean: write true or false"),
            (Shape::OneOf(texts), Content::Text(text)) if texts.contains(&text.as_str()) => {
                Value::String(text.clone())
            }
            (Shape::OneOf(texts), _) => {
                let value = self.tree.spelling(node);
                self.reject(
                    pointer,
                    format!("unknown value '{value}': use one of {}", texts.join(", ")),
                )
            }
            (Shape::List(of), Content::List(items)) => {
                let item = |(index, item)| self.value(item, of, &pointer.item(index));
                Value::Array(items.iter().enumerate().map(item).collect())
            }
            (Shape::List(_), _) => self.reject(pointer, WRITE_LIST),
            (Shape::Map(key, of), Content::Map(members)) => self.map(members, *key, of, pointer),
            (Shape::Object(keys), Content::Map(members)) => self.object(members, keys, pointer),
            (Shape::Map(..) | Shape::Object(_), _) => self.reject(pointer, WRITE_KEYS),
        }
    }

    fn any(&mut self, node: &Node, pointer: &Pointer) -> Value {
        match &node.content {
            Content::Null => Value::Null,
            Content::Flag(flag) => Value::Bool(*flag),
            Content::Number(Some(number)) => Value::Number(number.clone()),
            Content::Number(None) => self.reject(pointer, "JSON has no such number: write another"),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => {
                let item = |(index, item)| self.any(item, &pointer.item(index));
                Value::Array(items.iter().enumerate().map(item).collect())
            }
            Content::Map(members) => {
                let member = |Member { key, value, .. }: &Member| {
                    (key.clone(), self.any(value, &pointer.key(key)))
                };
                Value::Object(members.iter().map(member).collect())
            }
        }
    }

    /// Reads a text. YAML also reads `1.10` and `true` as the texts that they spell.
    fn text(&mut self, node: &Node, shape: Text, pointer: &Pointer) -> Value {
        let text = match &node.content {
            Content::Null => return self.reject(pointer, WRITE_TEXT),
            Content::List(_) | Content::Map(_) => {
                return self.reject(pointer, "expected a single text: write it without [ ] or { }");
            }
            Content::Text(text) => text.clone(),
            Content::Flag(_) | Content::Number(_) => self.tree.spelling(node).to_owned(),
        };
        match shape.check(&text) {
            Ok(()) => Value::String(text),
            Err(why) => self.reject(pointer, why),
        }
    }

    fn map(&mut self, members: &[Member], key: Text, of: &Shape, pointer: &Pointer) -> Value {
        let mut map = Map::new();
        for member in members {
            let own = pointer.key(&member.key);
            if let Err(why) = key.check(&member.key) {
                self.report(Finding::of_key(own.clone(), why));
            }
            map.insert(member.key.clone(), self.value(&member.value, of, &own));
        }
        Value::Object(map)
    }

    fn object(&mut self, members: &[Member], keys: &[Key], pointer: &Pointer) -> Value {
        let mut map = Map::new();
        for Member { key, value, .. } in members {
            let own = pointer.key(key);
            let Some(known) = keys.iter().find(|known| known.name == key) else {
                let names: Vec<&str> = keys.iter().map(|known| known.name).collect();
                let why = format!("unknown key '{key}': use one of {}", names.join(", "));
                self.report(Finding::of_key(own, why));
                continue;
            };
            let is_absent = !known.required && matches!(value.content, Content::Null);
            if !is_absent {
                map.insert(key.clone(), self.value(value, &known.shape, &own));
            }
        }
        let is_given = |known: &&Key| members.iter().any(|member| member.key == known.name);
        for missing in keys.iter().filter(|known| known.required && !is_given(known)) {
            let name = missing.name;
            self.reject(&pointer.key(name), format!("the key '{name}' is missing here: add it"));
        }
        Value::Object(map)
    }

    fn reject(&mut self, pointer: &Pointer, why: impl Into<String>) -> Value {
        self.report(Finding::new(pointer.clone(), why.into()));
        Value::Null
    }

    fn report(&mut self, finding: Finding) {
        // one more than is reported, so that the report can mention further violations
        if self.findings.len() <= VIOLATIONS_MAX {
            self.findings.push(finding);
        }
    }
}

impl Text {
    fn check(self, text: &str) -> Result<(), String> {
        match self {
            Text::Name => Name::new(text).map(|_| ()).map_err(|error| error.to_string()),
            Text::Field => Ok(()),
            Text::Status if text.parse::<u16>().is_ok_and(|status| status.to_string() == text) => {
                Ok(())
            }
            Text::Status => Err(format!("'{text}' is not an HTTP status: write 402")),
            Text::Reference => {
                Reference::try_from(text.to_owned()).map(|_| ()).map_err(|error| error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests;
