//! `/openapi.json`: an OpenAPI 3.1 document, generated from the table of addresses.

use axum::Json;
use sagamore_core::id::IDEMPOTENCY_KEY_BYTES_MAX;
use serde_json::{Map, Value, json};

use super::address::{Address, Kind, Media, Parameter, Table};
use super::shape::{Field, Shape};
use crate::problem::Entry;

/// Returns the document as a response.
pub fn answer(table: &Table, problems: &[&'static Entry]) -> Json<Value> {
    Json(document(table, problems))
}

/// Generates the document.
pub fn document(table: &Table, problems: &[&'static Entry]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for address in table.addresses() {
        let path = paths.entry(address.path).or_insert_with(|| json!({}));
        path[address.method.to_lowercase()] = operation(address);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Sagamore", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": { "Problem": problem(problems) } },
    })
}

fn operation(address: &Address) -> Value {
    let mut parameters: Vec<Value> = in_path(address.path);
    parameters
        .extend(address.contract.query.iter().map(|parameter| parameter_of("query", parameter)));
    if address.contract.waits {
        parameters.push(json!({ "name": "Prefer", "in": "header", "required": false,
            "schema": { "type": "string", "examples": ["wait=10"] } }));
    }
    if address.contract.keyed {
        let bounds = json!({
            "type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_BYTES_MAX,
        });
        parameters.push(json!({ "name": "Idempotency-Key", "in": "header", "required": false,
            "schema": bounds }));
    }
    let media = match address.contract.answers {
        Media::Json => "application/json",
        Media::Text => "text/plain",
        Media::Html => "text/html",
    };
    let schema_of_problem = json!({ "$ref": "#/components/schemas/Problem" });
    let refused = json!({ "application/problem+json": { "schema": schema_of_problem } });
    let mut operation = json!({
        "parameters": parameters,
        "responses": {
            "2XX": { "description": "success", "content": { media: {} } },
            "default": { "description": "a problem", "content": refused },
        },
    });
    if let Some(shape) = address.contract.body {
        let (media, shape) = match shape {
            Shape::Lines(of) => ("application/x-ndjson", *of),
            other => ("application/json", other),
        };
        let mut content = json!({ media: { "schema": schema(shape) } });
        if *shape == Shape::Yaml {
            content["application/yaml"] = json!({ "schema": schema(shape) });
        }
        if *shape == Shape::Outcome {
            content["text/plain"] = json!({ "schema": schema(&Shape::Text) });
            operation["parameters"] = outcome_headers();
        }
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

/// The headers of a late reply.
fn outcome_headers() -> Value {
    let outcomes = json!({ "type": "string", "enum": ["done", "refused", "fault"] });
    let token = json!({ "type": "string", "examples": ["Bearer TOKEN"] });
    json!([
        { "name": "Authorization", "in": "header", "required": true, "schema": token },
        { "name": "Sagamore-Outcome", "in": "header", "required": true, "schema": outcomes },
    ])
}

fn in_path(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let schema = json!({ "type": "string" });
    let parameter =
        |name| json!({ "name": name, "in": "path", "required": true, "schema": schema });
    names.map(parameter).collect()
}

fn parameter_of(place: &str, parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Count(max) => json!({ "type": "integer", "minimum": 1, "maximum": max }),
        Kind::Seconds => json!({ "type": "integer", "minimum": 0 }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::OneOf(values) => json!({ "type": "string", "enum": values }),
    };
    json!({ "name": parameter.name, "in": place, "required": false, "schema": schema })
}

fn schema(shape: &Shape) -> Value {
    match shape {
        Shape::Any => json!({}),
        Shape::Yaml | Shape::Outcome => json!({ "type": "object" }),
        Shape::Text => json!({ "type": "string" }),
        Shape::Note => json!({ "type": ["string", "null"] }),
        Shape::Whole => json!({ "type": "integer", "format": "int64" }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::List(of) | Shape::Lines(of) => json!({ "type": "array", "items": schema(of) }),
        Shape::Object(fields) => {
            let properties = |field: &Field| (field.name.to_owned(), schema(&field.shape));
            let required: Vec<&str> =
                fields.iter().filter(|field| !field.optional).map(|field| field.name).collect();
            json!({
                "type": "object",
                "properties": fields.iter().map(properties).collect::<Map<_, _>>(),
                "required": required,
                "additionalProperties": false,
            })
        }
    }
}

fn problem(problems: &[&'static Entry]) -> Value {
    let codes: Vec<&str> = problems.iter().map(|entry| entry.number).collect();
    json!({
        "type": "object",
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" }, "code": { "type": "string", "enum": codes },
            "pointer": { "type": "string" },
            "errors": { "type": "array", "items": {
                "type": "object",
                "properties": {
                    "pointer": { "type": "string" }, "detail": { "type": "string" },
                    "line": { "type": "integer" }, "column": { "type": "integer" },
                    "run": { "type": "array", "items": { "type": "string" } },
                },
                "required": ["pointer", "detail"],
            } },
            "at": {
                "type": "object",
                "properties": { "line": { "type": "integer" }, "column": { "type": "integer" } },
            },
        },
        "required": ["type", "title", "status", "detail", "code"],
    })
}
