//! A document under construction.

use std::collections::BTreeMap;

use sagamore_core::Name;
use sagamore_transport::wire::described::{Header, Value as Holds};
use serde_json::{Map, Value, json};

/// The topic to which services send their replies.
pub const REPLIES: &str = "sagamore.replies";

/// Part of the description of every document.
const ABOUT: &str = "All messages are CloudEvents 1.0 in binary mode with JSON bodies. Delivery is \
                     at least once and in order for each key: process each ce_id once.";

/// A document under construction.
#[derive(Default)]
pub(super) struct Document {
    /// Topic -> the keys of its messages.
    pub channels: BTreeMap<String, Vec<String>>,
    pub operations: Map<String, Value>,
    pub messages: Map<String, Value>,
    pub schemas: Map<String, Value>,
}

/// A service's operation on messages of one topic.
pub(super) struct Operation<'a> {
    pub service: &'a str,
    pub action: Action,
    pub topic: &'a str,
    /// The keys of the messages.
    pub messages: Vec<&'a str>,
    pub about: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Send,
    Receive,
}

impl Document {
    /// Adds a message whose headers are described under `headers`. For a message that exists
    /// already, the description is added to its summary.
    pub fn message(
        &mut self,
        topic: &str,
        key: &str,
        name: &str,
        headers: &str,
        about: &str,
        body: Value,
    ) {
        let messages = self.channels.entry(topic.to_owned()).or_default();
        if messages.iter().all(|present| present != key) {
            messages.push(key.to_owned());
        }
        if let Some(present) = self.messages.get_mut(key) {
            let summary = present["summary"].as_str().unwrap_or_default();
            if !summary.contains(about) {
                present["summary"] = format!("{summary} {about}").into();
            }
            return;
        }
        let message = json!({
            "name": name,
            "summary": about,
            "contentType": "application/json",
            "correlationId": { "location": "$message.header#/ce_correlationid" },
            "headers": { "$ref": format!("#/components/schemas/{headers}") },
            "payload": body,
            "bindings": {
                "kafka": {
                    "key": { "$ref": "#/components/schemas/key" },
                    "bindingVersion": "0.5.0",
                },
            },
        });
        self.messages.insert(key.to_owned(), message);
    }

    /// Adds the schema of a body, and returns a reference to it.
    pub fn schema(&mut self, key: &str, schema: &Value) -> Value {
        let at = format!("#/components/schemas/{key}");
        let mut schema = schema.clone();
        move_references(&mut schema, &at);
        self.schemas.insert(key.to_owned(), schema);
        json!({ "$ref": at })
    }

    /// Adds an operation unless it exists, and returns it.
    pub fn operation(&mut self, operation: Operation) -> &mut Value {
        let Operation { service, action, topic, messages, about } = operation;
        let verb = if action == Action::Send { "send" } else { "receive" };
        let messages: Vec<Value> =
            messages.into_iter().map(|key| reference(topic, Some(key))).collect();
        let value = json!({
            "action": verb,
            "channel": reference(topic, None),
            "summary": about,
            "tags": [{ "name": service }],
            "messages": messages,
        });
        // names contain no underscore
        self.operations.entry(format!("{service}_{verb}_{topic}")).or_insert(value)
    }

    /// Adds the schema of one kind of message's headers.
    pub fn headers(&mut self, key: &str, headers: &[Header]) {
        let properties = headers.iter().map(|header| {
            let mut schema = match header.value {
                Holds::Text => json!({ "type": "string" }),
                Holds::Number => json!({ "type": "string", "pattern": "^[0-9]+$" }),
                Holds::OneOf(texts) => json!({ "type": "string", "enum": texts }),
            };
            schema["description"] = header.about.into();
            (header.name.to_owned(), schema)
        });
        let required: Vec<&str> =
            headers.iter().filter(|header| header.always).map(|header| header.name).collect();
        let properties: Map<String, Value> = properties.collect();
        self.schemas.insert(
            key.to_owned(),
            json!({ "type": "object", "properties": properties, "required": required }),
        );
    }

    /// Returns the document as JSON, which is valid YAML.
    pub fn rendered(mut self, name: &Name, version: u32, about: &str) -> String {
        let key = json!({ "type": "string", "description": "The business key, as in ce_subject." });
        self.schemas.insert("key".to_owned(), key);
        let channels = self.channels.iter().map(|(topic, messages)| {
            let message = |key: &String| {
                (key.clone(), json!({ "$ref": format!("#/components/messages/{key}") }))
            };
            let messages: Map<String, Value> = messages.iter().map(message).collect();
            (topic.clone(), json!({ "address": topic, "messages": messages }))
        });
        let channels: Map<String, Value> = channels.collect();
        let document = json!({
            "asyncapi": "3.0.0",
            "info": {
                "title": name,
                "version": version.to_string(),
                "description": format!("{about} {ABOUT}"),
            },
            "defaultContentType": "application/json",
            "channels": channels,
            "operations": self.operations,
            "components": { "messages": self.messages, "schemas": self.schemas },
        });
        format!("{document:#}\n")
    }
}

/// A reference to a topic or to a message in it. Names need no escaping in a JSON pointer.
pub(super) fn reference(topic: &str, message: Option<&str>) -> Value {
    match message {
        None => json!({ "$ref": format!("#/channels/{topic}") }),
        Some(key) => json!({ "$ref": format!("#/channels/{topic}/messages/{key}") }),
    }
}

/// Changes the references of a schema that moves into a document: `#/$defs/a` to `AT/$defs/a`.
fn move_references(schema: &mut Value, at: &str) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get_mut("$ref")
                && let Some(pointer) = target.strip_prefix('#')
            {
                *target = format!("{at}{pointer}");
            }
            members.values_mut().for_each(|member| move_references(member, at));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, at)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
