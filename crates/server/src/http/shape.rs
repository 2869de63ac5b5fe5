//! The shapes of request bodies: the type of each field. A mismatch is reported by its field.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::problem::{Code, Position, Problem};

/// The type of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Shape {
    /// Any valid JSON.
    Any,
    /// A string of valid Unicode.
    Text,
    /// A string or null.
    Note,
    /// A signed 64-bit integer.
    Whole,
    /// `true` or `false`.
    Flag,
    /// An object with exactly these fields.
    Object(&'static [Field]),
    /// An array of values of one shape.
    List(&'static Shape),
    /// Lines of one shape each (application/x-ndjson).
    Lines(&'static Shape),
    /// A YAML or JSON document, which the handler parses.
    Yaml,
    /// A JSON object or a text, which the handler parses.
    Outcome,
}

/// A field of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// The field's key in the object.
    pub name: &'static str,
    /// The type of the value.
    pub shape: Shape,
    /// Whether the field may be missing.
    pub optional: bool,
}

/// Returns a required field.
pub const fn field(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, optional: false }
}

/// Returns an optional field.
pub const fn optional(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, optional: true }
}

/// The body of a start.
pub static START: Shape = Shape::Object(&[
    field("definition", Shape::Text),
    field("key", Shape::Text),
    optional("input", Shape::Any),
    optional("version", Shape::Whole),
]);
/// A definition as a saga file.
pub static SAGA_FILE: Shape = Shape::Yaml;
/// The outcome of a command.
pub static REPLY: Shape = Shape::Outcome;
/// The data of an event, or the event in structured mode.
pub static EVENT: Shape = Shape::Any;
/// An operator's decision about one step.
pub static RESCUE: Shape =
    Shape::Object(&[field("step", Shape::Text), field("reason", Shape::Text)]);
/// A decision that a step is done, with the output of its action.
pub static RESOLVE: Shape = Shape::Object(&[
    field("step", Shape::Text),
    field("reason", Shape::Text),
    optional("output", Shape::Any),
]);
/// A retry. Without a step, it is for a saga that is set aside.
pub static RETRY: Shape =
    Shape::Object(&[optional("step", Shape::Text), field("reason", Shape::Text)]);
/// A cancel, whose body may be empty.
pub static CANCEL: Shape = Shape::Object(&[optional("reason", Shape::Text)]);
/// An operator's decision about a chain, or about a saga as a whole.
pub static REASON: Shape = Shape::Object(&[field("reason", Shape::Text)]);
/// A mismatch: its field, its reason, and the part of the body that it is in.
struct Misfit<'a> {
    pointer: String,
    why: String,
    at: &'a str,
}

impl Shape {
    /// Checks a body. Anything but JSON is a problem of its own.
    pub fn check(&self, body: &[u8]) -> Result<(), Problem> {
        let text = std::str::from_utf8(body).map_err(|error| {
            Problem::invalid_json("invalid UTF-8", Some(Position::of(body, error.valid_up_to())))
        })?;
        if let Shape::Lines(of) = self {
            return text
                .lines()
                .enumerate()
                .try_for_each(|(index, line)| of.line(body, index, line));
        }
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| {
            let place = Position { line: error.line(), column: error.column() };
            let why =
                if error.is_eof() { "unexpected end of the body" } else { "unexpected character" };
            Problem::invalid_json(why, (place.line > 0).then_some(place))
        })?;
        self.fits(raw.get(), "").map_err(|misfit| {
            // `at` is a slice of `body`
            let offset = misfit.at.as_ptr() as usize - body.as_ptr() as usize;
            Problem::misfit(&misfit.pointer, &misfit.why, Position::of(body, offset))
        })
    }

    /// Checks one line of a body. An empty line is skipped.
    fn line(&self, body: &[u8], index: usize, line: &str) -> Result<(), Problem> {
        let line = if index == 0 { line.trim_start_matches('\u{feff}') } else { line };
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(());
        }
        let number = index + 1;
        let fitting = match serde_json::from_str::<&RawValue>(line) {
            Ok(raw) => self.fits(raw.get(), ""),
            Err(_) => {
                Err(Misfit { pointer: String::new(), why: "is not JSON".to_owned(), at: line })
            }
        };
        fitting.map_err(|Misfit { pointer, why, at }| {
            let offset = at.as_ptr() as usize - body.as_ptr() as usize; // `at` is a slice of `body`
            let beside = if pointer.is_empty() { String::new() } else { format!("{pointer} ") };
            Problem::new(Code::BodyDoesNotFit, format!("line {number}: {beside}{why}"))
                .at(Position::of(body, offset))
        })
    }

    fn fits<'a>(&self, json: &'a str, pointer: &str) -> Result<(), Misfit<'a>> {
        let json = json.trim_ascii();
        let misfit =
            |why: &str| Err(Misfit { pointer: pointer.to_owned(), why: why.to_owned(), at: json });
        match self {
            Shape::Any | Shape::Lines(_) | Shape::Yaml | Shape::Outcome => Ok(()),
            Shape::Note if json == "null" => Ok(()),
            Shape::Text | Shape::Note if !json.starts_with('"') => misfit("must be a string"),
            Shape::Text | Shape::Note => match serde_json::from_str::<Cow<'_, str>>(json) {
                Ok(_) => Ok(()),
                Err(_) => misfit("is not valid text: it contains half of a surrogate pair"),
            },
            Shape::Whole => match json.parse::<i64>() {
                Ok(_) if !json.starts_with('+') => Ok(()),
                _ => misfit("must be a 64-bit integer without a decimal point or an exponent"),
            },
            Shape::Flag if json == "true" || json == "false" => Ok(()),
            Shape::Flag => misfit("must be true or false"),
            Shape::Object(fields) => object(fields, json, pointer),
            Shape::List(of) => match serde_json::from_str::<Vec<&RawValue>>(json) {
                Ok(values) => values.into_iter().enumerate().try_for_each(|(index, value)| {
                    of.fits(value.get(), &format!("{pointer}/{index}"))
                }),
                Err(_) => misfit("must be a list"),
            },
        }
    }
}

fn object<'a>(fields: &[Field], json: &'a str, pointer: &str) -> Result<(), Misfit<'a>> {
    let misfit = |pointer: String, why: String, at| Err(Misfit { pointer, why, at });
    if !json.starts_with('{') {
        return misfit(pointer.to_owned(), "must be an object".to_owned(), json);
    }
    let Ok(Pairs(pairs)) = serde_json::from_str::<Pairs<'_>>(json) else {
        return misfit(pointer.to_owned(), "has a key that is not valid text".to_owned(), json);
    };
    for (at, (name, value)) in pairs.iter().enumerate() {
        let own = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            let names = fields.iter().map(|field| field.name).collect::<Vec<_>>().join(", ");
            return misfit(own, format!("is unknown: use one of {names}"), value.get());
        };
        if pairs[..at].iter().any(|(other, _)| other == name) {
            return misfit(own, "is given twice".to_owned(), value.get());
        }
        let absent = field.optional && value.get() == "null";
        if !absent {
            field.shape.fits(value.get(), &own)?;
        }
    }
    let given = |field: &&Field| field.optional || pairs.iter().any(|(name, _)| name == field.name);
    match fields.iter().find(|field| !given(field)) {
        Some(missing) => {
            misfit(format!("{pointer}/{}", missing.name), "is missing".to_owned(), json)
        }
        None => Ok(()),
    }
}

/// The fields of an object in their order, including duplicates.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs<'de>, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Pairs<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry::<String, &'de RawValue>()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of a bill.
    static LINE: Shape =
        Shape::Object(&[field("sku", Shape::Text), field("quantity", Shape::Whole)]);
    static BILL: Shape = Shape::Object(&[
        field("id", Shape::Text),
        field("lines", Shape::List(&LINE)),
        optional("region", Shape::Note),
    ]);

    #[test]
    fn a_mismatch_is_reported_by_its_field() {
        let check = |shape: &Shape, body: &str, code: &str, expected: &str| {
            let problem = shape.check(body.as_bytes()).unwrap_err().document();
            assert_eq!(
                (problem.code.as_str(), problem.detail.as_str()),
                (code, expected),
                "{body}"
            );
        };
        let bill = r#"{"id":"1","lines":[{"sku":"a","quantity":1}],"region":"north"}"#;
        let with = |from: &str, to: &str| bill.replace(from, to);
        check(&BILL, "", "SAGA-0102", "unexpected end of the body");
        check(&BILL, "{\"id\": ", "SAGA-0102", "unexpected end of the body");
        check(&BILL, "{oops}", "SAGA-0102", "unexpected character");
        check(&BILL, "[]", "SAGA-0103", "the body must be an object");
        check(&RESCUE, r#"{"step":"a"}"#, "SAGA-0103", "/reason is missing");
        check(&RESCUE, r#"{"step":7,"reason":"a"}"#, "SAGA-0103", "/step must be a string");
        check(
            &RESCUE,
            r#"{"step":"\ud83d","reason":"a"}"#,
            "SAGA-0103",
            "/step is not valid text: it contains half of a surrogate pair",
        );
        check(
            &RESCUE,
            r#"{"step":"a","reason":"b","step":"c"}"#,
            "SAGA-0103",
            "/step is given twice",
        );
        check(
            &REASON,
            r#"{"reason":"b","a/b":1}"#,
            "SAGA-0103",
            "/a~1b is unknown: use one of reason",
        );
        let whole = "must be a 64-bit integer without a decimal point or an exponent";
        check(
            &BILL,
            &with("\"quantity\":1", "\"quantity\":1.0"),
            "SAGA-0103",
            &format!("/lines/0/quantity {whole}"),
        );
        check(
            &BILL,
            &with("\"region\":\"north\"", "\"region\":5"),
            "SAGA-0103",
            "/region must be a string",
        );
        assert!(BILL.check(bill.as_bytes()).is_ok());
        assert!(
            START
                .check(br#"{"definition":"a","key":"b","input":{"x":"\ud83d","y":1e999}}"#)
                .is_ok()
        );
    }

    #[test]
    fn the_position_of_a_mismatch_is_reported() {
        let problem =
            RESCUE.check(b"{\n  \"step\":   7,\n \"reason\": \"a\" }").unwrap_err().document();
        assert_eq!(problem.at, Some(Position { line: 2, column: 13 }));
        assert_eq!(problem.pointer.as_deref(), Some("/step"));
    }
}
