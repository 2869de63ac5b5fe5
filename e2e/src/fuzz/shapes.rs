//! The operations of a server, read from its own `/openapi.json`.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A path with one method.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The index of the server in its form.
    pub server: usize,
    /// The method, `GET` or `POST`.
    pub method: String,
    /// The path, with parameters in braces.
    pub path: String,
    /// The parameters of the query with their schemas.
    pub query: Vec<(String, Value)>,
    /// The names of its headers.
    pub headers: Vec<String>,
    /// The schema of the body, and whether the body has one such value per line.
    pub body: Option<(Value, bool)>,
}

/// Returns all operations in a server's document.
pub fn operations(server: usize, document: &Value) -> Result<Vec<Operation>> {
    let paths = document["paths"].as_object().context("the document has no paths")?;
    let mut operations = Vec::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().context("a path has no methods")? {
            operations.push(Operation {
                server,
                method: method.to_uppercase(),
                path: path.clone(),
                query: parameters(operation, "query"),
                headers: parameters(operation, "header")
                    .into_iter()
                    .map(|(name, _)| name)
                    .collect(),
                body: body(operation),
            });
        }
    }
    ensure!(!operations.is_empty(), "the document has no operations");
    Ok(operations)
}

fn parameters(operation: &Value, place: &str) -> Vec<(String, Value)> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    let here = all.filter(|parameter| parameter["in"] == place);
    here.filter_map(|parameter| {
        Some((parameter["name"].as_str()?.to_owned(), parameter["schema"].clone()))
    })
    .collect()
}

fn body(operation: &Value) -> Option<(Value, bool)> {
    let (media, content) = operation["requestBody"]["content"].as_object()?.iter().next()?;
    let lines = media == "application/x-ndjson";
    let schema = if lines { &content["schema"]["items"] } else { &content["schema"] };
    Some((schema.clone(), lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_read_from_a_document() {
        let document = serde_json::json!({ "paths": { "/orders/{id}": { "post": {
            "parameters": [
                { "name": "id", "in": "path", "schema": {} },
                { "name": "wait", "in": "query", "schema": { "type": "integer" } },
                { "name": "Prefer", "in": "header", "schema": {} },
            ],
            "requestBody": {
                "content": { "application/json": { "schema": { "type": "object" } } }
            },
        } } } });
        let read = operations(3, &document).unwrap();
        assert_eq!((read.len(), read[0].server, read[0].method.as_str()), (1, 3, "POST"));
        assert_eq!(read[0].query, [("wait".to_owned(), serde_json::json!({ "type": "integer" }))]);
        assert_eq!(
            (read[0].headers.as_slice(), read[0].body.as_ref().map(|body| body.1)),
            (&["Prefer".to_owned()][..], Some(false))
        );
        assert!(operations(0, &serde_json::json!({})).is_err());
    }
}
