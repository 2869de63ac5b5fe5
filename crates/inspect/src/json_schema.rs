//! JSON Schemas (2020-12) of saga files, for editors. They follow from the shapes by which files
//! are read.

use serde_json::{Map, Value, json};

use crate::shape::{DEFINITION, Key, PLAN, Shape, Text};

/// Returns the JSON Schema of definition files.
pub fn definition() -> String {
    document(
        &DEFINITION,
        "Sagamore definition",
        "An orchestrated saga: steps, their commands and their compensations.",
    )
}

/// Returns the JSON Schema of plan files.
pub fn plan() -> String {
    document(
        &PLAN,
        "Sagamore plan",
        "A choreography: the services that take part, and the events that each consumes and emits.",
    )
}

fn document(shape: &Shape, title: &str, about: &str) -> String {
    let mut schema = of(shape);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = title.into();
    schema["description"] = about.into();
    format!("{schema:#}\n")
}

fn of(shape: &Shape) -> Value {
    match shape {
        Shape::Schema => json!({ "type": "object" }),
        Shape::Text(text) => text_schema(*text),
        Shape::Whole(most) => json!({ "type": "integer", "minimum": 0, "maximum": most }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::OneOf(texts) => json!({ "type": "string", "enum": texts }),
        Shape::List(of_item) => json!({ "type": "array", "items": of(of_item) }),
        Shape::Map(key, of_value) => json!({
            "type": "object",
            "propertyNames": text_schema(*key),
            "additionalProperties": of(of_value),
        }),
        Shape::Object(keys) => object(keys),
    }
}

fn object(keys: &[Key]) -> Value {
    let property = |key: &Key| {
        let mut schema = of(&key.shape);
        schema["description"] = key.about.into();
        let default = key.default.and_then(|text| serde_json::from_str::<Value>(text).ok());
        if let Some(default) = default {
            schema["default"] = default;
        }
        (key.name.to_owned(), schema)
    };
    let properties: Map<String, Value> = keys.iter().map(property).collect();
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn text_schema(text: Text) -> Value {
    match text {
        Text::Name => {
            json!({ "type": "string", "pattern": "^[a-z][a-z0-9.-]*$", "maxLength": 100 })
        }
        Text::Field => json!({ "type": "string" }),
        Text::Reference => json!({ "type": "string", "pattern": "^[a-z][a-z0-9.-]*\\.[^.]+$" }),
        Text::Status => json!({ "type": "string", "pattern": "^[45][0-9]{2}$" }),
    }
}

#[cfg(test)]
mod tests;
