//! The JSON Schema (2020-12) of a type, for messages with `#[message(schema)]`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::body::Body;
use crate::id::{Name, SagaId};

/// A type whose JSON has a schema. Implement it for the types of fields that serde derives, or
/// write the field's keywords in full: `#[message(type = "string", format = "date-time")]`.
///
/// ```
/// # extern crate sagamore_core as sagamore;
/// use sagamore_core::typed::JsonSchema;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// #[serde(rename_all = "lowercase")]
/// enum Class { First, Second }
///
/// impl JsonSchema for Class {
///     fn json_schema() -> serde_json::Value {
///         serde_json::json!({ "enum": ["first", "second"] })
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no JSON Schema",
    note = "implement `JsonSchema` for it, or give the field its keywords: \
            `#[message(type = \"string\")]`"
)]
pub trait JsonSchema {
    /// Whether a field of this type may be missing.
    const OPTIONAL: bool = false;

    /// Returns the schema.
    fn json_schema() -> Value;
}

/// A field of a message, for the derive.
#[doc(hidden)]
pub struct FieldSchema {
    /// The field's name on the wire.
    pub name: &'static str,
    /// Whether the field may be missing.
    pub optional: bool,
    pub schema: Value,
    /// Keywords that the field's attribute adds to the schema of its type.
    pub keywords: Vec<(&'static str, Value)>,
}

/// Returns the schema of a message with these fields. Unknown fields are permitted, because later
/// versions of the message may add fields.
#[doc(hidden)]
pub fn of_fields(fields: Vec<FieldSchema>) -> Value {
    let mut required = Vec::new();
    let mut properties = Map::new();
    for FieldSchema { name, optional, mut schema, keywords } in fields {
        if let Some(schema) = schema.as_object_mut() {
            let keywords = keywords.into_iter();
            schema.extend(keywords.map(|(keyword, value)| (keyword.to_owned(), value)));
        }
        properties.insert(name.to_owned(), schema);
        if !optional {
            required.push(name);
        }
    }
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

macro_rules! schemas {
    ($($holds:ty),+ => $schema:expr) => {
        $(impl JsonSchema for $holds {
            fn json_schema() -> Value {
                $schema
            }
        })+
    };
}

schemas!(bool => json!({ "type": "boolean" }));
schemas!(String, Arc<str>, char, Name, SagaId => json!({ "type": "string" }));
schemas!(f32, f64 => json!({ "type": "number" }));
schemas!(i64, i128, isize => json!({ "type": "integer" }));
schemas!(u64, u128, usize => json!({ "type": "integer", "minimum": 0 }));
schemas!(Value, Body => json!({}));
schemas!(() => json!({ "type": "null" }));

macro_rules! bounded {
    ($($holds:ty),+) => {
        $(impl JsonSchema for $holds {
            fn json_schema() -> Value {
                json!({ "type": "integer", "minimum": <$holds>::MIN, "maximum": <$holds>::MAX })
            }
        })+
    };
}

bounded!(i8, i16, i32, u8, u16, u32);

macro_rules! lists {
    ($($holds:ident),+) => {
        $(impl<T: JsonSchema> JsonSchema for $holds<T> {
            fn json_schema() -> Value {
                json!({ "type": "array", "items": T::json_schema() })
            }
        })+
    };
}

lists!(Vec, BTreeSet);

impl<T: JsonSchema, S> JsonSchema for HashSet<T, S> {
    fn json_schema() -> Value {
        Vec::<T>::json_schema()
    }
}

impl<T: JsonSchema, const N: usize> JsonSchema for [T; N] {
    fn json_schema() -> Value {
        json!({ "type": "array", "items": T::json_schema(), "minItems": N, "maxItems": N })
    }
}

impl<T: JsonSchema> JsonSchema for BTreeMap<String, T> {
    fn json_schema() -> Value {
        json!({ "type": "object", "additionalProperties": T::json_schema() })
    }
}

impl<T: JsonSchema, S> JsonSchema for HashMap<String, T, S> {
    fn json_schema() -> Value {
        BTreeMap::<String, T>::json_schema()
    }
}

impl<T: JsonSchema> JsonSchema for Box<T> {
    const OPTIONAL: bool = T::OPTIONAL;

    fn json_schema() -> Value {
        T::json_schema()
    }
}

impl<T: JsonSchema> JsonSchema for Option<T> {
    const OPTIONAL: bool = true;

    fn json_schema() -> Value {
        json!({ "anyOf": [T::json_schema(), { "type": "null" }] })
    }
}

impl<A: JsonSchema, B: JsonSchema> JsonSchema for (A, B) {
    fn json_schema() -> Value {
        let items = [A::json_schema(), B::json_schema()];
        json!({ "type": "array", "prefixItems": items, "minItems": 2, "maxItems": 2 })
    }
}
