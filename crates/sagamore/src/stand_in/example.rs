//! An example of an action's output: from its JSON Schema, else from the names of its fields. An
//! example of an event of a plan.

use sagamore_core::definition::{Definition, Source, Step};
use sagamore_core::plan::Plan;
use sagamore_core::{Body, Name};
use serde_json::{Map, Value, json};

/// Maximum depth of an example. A schema may refer to itself.
const DEPTH_MAX: usize = 16;
/// Maximum elements of an example's array, and maximum letters of its text.
const LENGTH_MAX: u64 = 100;
/// The value of a number whose field names an amount or a count.
const NUMBER: i64 = 100;
/// The ends of names of numeric fields.
const NUMERIC: [&str; 6] = ["cents", "amount", "count", "quantity", "total", "price"];

/// Returns an output of the step's action: an example of its schema if there is one, with every
/// field that the definition refers to. A field of the same name in the command is repeated.
pub fn output(definition: &Definition, step: &Step, command: &Body) -> Map<String, Value> {
    let sent: Map<String, Value> = command.read().unwrap_or_default();
    let schema = definition.schemas.outputs.get(&step.action.message);
    let of_schema = schema.map(|schema| Example { root: schema, sent: &sent }.of(schema, None, 0));
    let mut output = match of_schema {
        Some(Value::Object(output)) => output,
        _ => Map::new(),
    };
    for field in promised(definition, step) {
        if !output.contains_key(field) {
            let value = sent.get(field).cloned().unwrap_or_else(|| plausible(field));
            output.insert(field.to_owned(), value);
        }
    }
    output
}

/// Returns the data of an event of a plan: an example of its schema if there is one. Without a
/// schema it is `sent`, the fields of the events that caused it. A field of the same name is
/// repeated.
pub fn event(plan: &Plan, name: &Name, sent: &Map<String, Value>) -> Map<String, Value> {
    let Some(schema) = plan.schemas.events.get(name) else { return sent.clone() };
    match (Example { root: schema, sent }).of(schema, None, 0) {
        Value::Object(example) => example,
        _ => Map::new(),
    }
}

/// Returns the fields of the step's output that the definition names.
fn promised<'a>(definition: &'a Definition, step: &'a Step) -> Vec<&'a str> {
    let templates = definition
        .steps
        .iter()
        .flat_map(|step| std::iter::once(&step.action).chain(step.compensation.as_ref()));
    let references = templates.flat_map(|template| template.fields.values());
    let own = references.filter(|reference| reference.source == Source::Step(step.name.clone()));
    let yields = step.yields.iter().map(String::as_str);
    yields.chain(own.map(|reference| reference.field.as_str())).collect()
}

/// Returns a value that fits the field's name: `totalCents` is 100, `isPaid` is true, `orderId` is
/// `order-id-1`.
fn plausible(field: &str) -> Value {
    let words = words(field);
    let first = words.split('-').next();
    if NUMERIC.iter().any(|end| words.split('-').next_back() == Some(end)) {
        json!(NUMBER)
    } else if matches!(first, Some("is" | "has")) {
        json!(true)
    } else {
        json!(format!("{words}-1"))
    }
}

/// Splits `orderId` into `order-id`.
fn words(field: &str) -> String {
    let mut words = String::new();
    for letter in field.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push('-');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// An example of a JSON Schema.
struct Example<'a> {
    /// The schema that `#/..` refers to.
    root: &'a Value,
    /// The fields of the command.
    sent: &'a Map<String, Value>,
}

impl Example<'_> {
    /// Returns the schema's own example, its only value, or a minimal value of its type.
    fn of(&self, schema: &Value, field: Option<&str>, depth: usize) -> Value {
        let stated = ["const", "default", "example"].iter().find_map(|key| schema.get(key));
        let listed = ["examples", "enum"].iter().find_map(|key| schema.get(key)?.get(0));
        if let Some(stated) = stated.or(listed) {
            return stated.clone();
        }
        if depth == DEPTH_MAX {
            return Value::Null;
        }
        let referred = schema.get("$ref").and_then(Value::as_str);
        let referred = referred.and_then(|text| self.root.pointer(text.strip_prefix('#')?));
        let chosen = ["oneOf", "anyOf", "allOf"].iter().find_map(|key| schema.get(key)?.get(0));
        let kind = match schema.get("type") {
            Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
            kind => kind.and_then(Value::as_str),
        };
        let of_object = schema.get("properties").is_some();
        match (referred.or(chosen), kind) {
            (Some(other), None) if !of_object => self.of(other, field, depth + 1),
            (_, kind) => self.of_kind(kind.unwrap_or("object"), schema, field, depth),
        }
    }

    fn of_kind(&self, kind: &str, schema: &Value, field: Option<&str>, depth: usize) -> Value {
        let sent = field.and_then(|field| self.sent.get(field)).filter(|sent| is_of(sent, kind));
        let bound =
            |key: &str| schema.get(key).and_then(Value::as_u64).unwrap_or(0).min(LENGTH_MAX);
        match (kind, sent) {
            (_, Some(sent)) => sent.clone(),
            ("object", None) => self.object(schema, depth),
            ("array", None) => {
                let item = schema.get("items").unwrap_or(&Value::Null);
                let items = (0..bound("minItems")).map(|_| self.of(item, None, depth + 1));
                items.collect()
            }
            ("string", None) => text(schema, field, bound("minLength") as usize),
            ("integer" | "number", None) => number(schema, field),
            ("boolean", None) => json!(true),
            _ => Value::Null,
        }
    }

    /// Returns an object with every property of the schema.
    fn object(&self, schema: &Value, depth: usize) -> Value {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return json!({});
        };
        let value = |(field, schema): (&String, &Value)| {
            (field.clone(), self.of(schema, Some(field), depth + 1))
        };
        Value::Object(properties.iter().map(value).collect())
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => false,
    }
}

fn text(schema: &Value, field: Option<&str>, length_min: usize) -> Value {
    let text = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "2026-01-01T00:00:00Z".to_owned(),
        Some("date") => "2026-01-01".to_owned(),
        Some("time") => "00:00:00Z".to_owned(),
        Some("email") => "ana@example.com".to_owned(),
        Some("uri") => "https://example.com".to_owned(),
        Some("uuid") => "00000000-0000-4000-8000-000000000000".to_owned(),
        _ => format!("{}-1", field.map_or("text".to_owned(), words)),
    };
    json!(format!("{text:x<length_min$}"))
}

fn number(schema: &Value, field: Option<&str>) -> Value {
    let limit = |key: &str| schema.get(key).and_then(Value::as_i64);
    let plausible = field.and_then(|field| plausible(field).as_i64()).unwrap_or(1);
    let least = limit("minimum").or(limit("exclusiveMinimum").map(|least| least + 1));
    let most = limit("maximum").or(limit("exclusiveMaximum").map(|most| most - 1));
    json!(plausible.min(most.unwrap_or(i64::MAX)).max(least.unwrap_or(i64::MIN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schema: Value, expected: Value) {
        let sent = json!({ "card": "VISA", "cents": 5 });
        let example = Example { root: &schema, sent: sent.as_object().unwrap() };
        assert_eq!(example.of(&schema, None, 0), expected);
    }

    #[test]
    fn a_field_without_a_schema_has_a_value_by_its_name() {
        let check = |field, expected: Value| assert_eq!(plausible(field), expected, "{field}");
        check("seat", json!("seat-1"));
        check("orderId", json!("order-id-1"));
        check("totalCents", json!(100));
        check("amount", json!(100));
        check("isPaid", json!(true));
        check("discount", json!("discount-1"));
    }

    #[test]
    fn an_example_of_the_schema_comes_first() {
        check(json!({ "type": "string", "examples": ["a", "b"] }), json!("a"));
        check(json!({ "type": "string", "default": "d", "enum": ["e"] }), json!("d"));
        check(json!({ "const": 7 }), json!(7));
        check(json!({ "enum": ["e", "f"] }), json!("e"));
    }

    #[test]
    fn a_schema_without_an_example_has_a_minimal_value() {
        let properties = json!({
            "receipt": { "type": "string" },
            "card": { "type": "string" },
            "cents": { "type": "integer", "minimum": 1 },
            "paidAt": { "type": "string", "format": "date-time" },
            "lines": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/line" } },
            "isNew": { "type": "boolean" },
            "code": { "type": ["string", "null"], "minLength": 8 },
            "totalCents": { "type": "integer", "maximum": 50 }
        });
        let line = json!({ "type": "object", "properties": { "sku": { "type": "string" } } });
        check(
            json!({ "type": "object", "properties": properties, "$defs": { "line": line } }),
            json!({
                "receipt": "receipt-1", "card": "VISA", "cents": 5,
                "paidAt": "2026-01-01T00:00:00Z", "lines": [{ "sku": "sku-1" }], "isNew": true,
                "code": "code-1xx", "totalCents": 50
            }),
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({ "properties": { "next": { "$ref": "#" } } });
        let example = Example { root: &schema, sent: &Map::new() }.of(&schema, None, 0);
        assert!(example.is_object());
    }
}
