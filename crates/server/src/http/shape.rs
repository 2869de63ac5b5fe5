//! The shapes of bodies: what a field may hold. A body that does not fit is told by its field, in words of our own.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::problem::{Code, Place, Problem};

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Shape {
    /// Anything that is JSON.
    Any,
    /// A string.
    Text,
    /// A string, or null.
    Note,
    /// A whole number of 64 bits with its sign.
    Whole,
    /// `true` or `false`.
    Flag,
    /// An object with these fields and no others.
    Object(&'static [Field]),
    /// A list of these.
    List(&'static Shape),
    /// One of these in each line.
    Lines(&'static Shape),
}

/// A field of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it may hold.
    pub shape: Shape,
    /// Whether it may be missing.
    pub optional: bool,
}

/// A field that must be there.
pub const fn field(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, optional: false }
}

/// A field that may be missing.
pub const fn optional(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, optional: true }
}

/// The body of a start.
pub static START: Shape = Shape::Object(&[
    field("definition", Shape::Text),
    field("key", Shape::Text),
    optional("input", Shape::Any),
]);
/// A decision about one step.
pub static RESCUE: Shape =
    Shape::Object(&[field("step", Shape::Text), field("reason", Shape::Text)]);
/// A retry, which names no step of a saga that is set aside.
pub static RETRY: Shape =
    Shape::Object(&[optional("step", Shape::Text), field("reason", Shape::Text)]);
/// A cancel, which may have no body at all.
pub static CANCEL: Shape = Shape::Object(&[optional("reason", Shape::Text)]);
/// A decision about a chain, or about a saga as a whole.
pub static REASON: Shape = Shape::Object(&[field("reason", Shape::Text)]);
/// What does not fit, and where.
struct Misfit<'a> {
    pointer: String,
    why: String,
    at: &'a str,
}

impl Shape {
    /// Checks a body, which is JSON or is refused as none.
    pub fn check(&self, body: &[u8]) -> Result<(), Problem> {
        let text = std::str::from_utf8(body).map_err(|error| {
            Problem::no_json("it is not text in UTF-8", Some(Place::of(body, error.valid_up_to())))
        })?;
        if let Shape::Lines(of) = self {
            return text
                .lines()
                .enumerate()
                .try_for_each(|(index, line)| of.line(body, index, line));
        }
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| {
            let place = Place { line: error.line(), column: error.column() };
            let why = if error.is_eof() { "it ends within a value" } else { "it is not JSON here" };
            Problem::no_json(why, (place.line > 0).then_some(place))
        })?;
        self.fits(raw.get(), "").map_err(|misfit| {
            let offset = misfit.at.as_ptr() as usize - body.as_ptr() as usize; // a part of it
            Problem::misfit(&misfit.pointer, &misfit.why, Place::of(body, offset))
        })
    }

    /// Checks one line of a body; an empty one counts as none.
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
            let offset = at.as_ptr() as usize - body.as_ptr() as usize; // a part of it
            let beside = if pointer.is_empty() { String::new() } else { format!("{pointer} ") };
            Problem::new(Code::BodyDoesNotFit, format!("line {number}: {beside}{why}"))
                .at(Place::of(body, offset))
        })
    }

    fn fits<'a>(&self, json: &'a str, pointer: &str) -> Result<(), Misfit<'a>> {
        let json = json.trim_ascii();
        let misfit =
            |why: &str| Err(Misfit { pointer: pointer.to_owned(), why: why.to_owned(), at: json });
        match self {
            Shape::Any | Shape::Lines(_) => Ok(()),
            Shape::Note if json == "null" => Ok(()),
            Shape::Text | Shape::Note if !json.starts_with('"') => misfit("takes a string"),
            Shape::Text | Shape::Note => match serde_json::from_str::<Cow<'_, str>>(json) {
                Ok(_) => Ok(()),
                Err(_) => misfit("is no text: half a character stands in it"),
            },
            Shape::Whole => match json.parse::<i64>() {
                Ok(_) if !json.starts_with('+') => Ok(()),
                _ => misfit(
                    "takes a whole number of at most 64 bits, without a point or an exponent",
                ),
            },
            Shape::Flag if json == "true" || json == "false" => Ok(()),
            Shape::Flag => misfit("takes true or false"),
            Shape::Object(fields) => object(fields, json, pointer),
            Shape::List(of) => match serde_json::from_str::<Vec<&RawValue>>(json) {
                Ok(values) => values.into_iter().enumerate().try_for_each(|(index, value)| {
                    of.fits(value.get(), &format!("{pointer}/{index}"))
                }),
                Err(_) => misfit("takes a list"),
            },
        }
    }
}

fn object<'a>(fields: &[Field], json: &'a str, pointer: &str) -> Result<(), Misfit<'a>> {
    let misfit = |pointer: String, why: String, at| Err(Misfit { pointer, why, at });
    if !json.starts_with('{') {
        return misfit(pointer.to_owned(), "takes an object".to_owned(), json);
    }
    let Ok(Pairs(pairs)) = serde_json::from_str::<Pairs<'_>>(json) else {
        return misfit(pointer.to_owned(), "has a name that is no text".to_owned(), json);
    };
    for (at, (name, value)) in pairs.iter().enumerate() {
        let own = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            let names = fields.iter().map(|field| field.name).collect::<Vec<_>>().join(", ");
            return misfit(own, format!("is no field here; there are: {names}"), value.get());
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

/// The fields of an object in their order, those that are given twice included.
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
    fn a_body_that_does_not_fit_is_reported_by_its_field() {
        let check = |shape: &Shape, body: &str, code: &str, wanted: &str| {
            let told = shape.check(body.as_bytes()).unwrap_err().told();
            assert_eq!((told.code.as_str(), told.detail.as_str()), (code, wanted), "{body}");
        };
        let bill = r#"{"id":"1","lines":[{"sku":"a","quantity":1}],"region":"north"}"#;
        let with = |from: &str, to: &str| bill.replace(from, to);
        check(&BILL, "", "SAGA-0102", "the body is not JSON: it ends within a value");
        check(&BILL, "{\"id\": ", "SAGA-0102", "the body is not JSON: it ends within a value");
        check(&BILL, "{oops}", "SAGA-0102", "the body is not JSON: it is not JSON here");
        check(&BILL, "[]", "SAGA-0103", "the body takes an object");
        check(&RESCUE, r#"{"step":"a"}"#, "SAGA-0103", "/reason is missing");
        check(&RESCUE, r#"{"step":7,"reason":"a"}"#, "SAGA-0103", "/step takes a string");
        check(
            &RESCUE,
            r#"{"step":"\ud83d","reason":"a"}"#,
            "SAGA-0103",
            "/step is no text: half a character stands in it",
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
            "/a~1b is no field here; there are: reason",
        );
        let whole = "takes a whole number of at most 64 bits, without a point or an exponent";
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
            "/region takes a string",
        );
        assert!(BILL.check(bill.as_bytes()).is_ok());
        assert!(
            START
                .check(br#"{"definition":"a","key":"b","input":{"x":"\ud83d","y":1e999}}"#)
                .is_ok()
        );
    }

    #[test]
    fn the_place_of_a_field_that_does_not_fit_is_reported() {
        let told = RESCUE.check(b"{\n  \"step\":   7,\n \"reason\": \"a\" }").unwrap_err().told();
        assert_eq!(told.at, Some(Place { line: 2, column: 13 }));
        assert_eq!(told.pointer.as_deref(), Some("/step"));
    }
}
