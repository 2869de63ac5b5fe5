//! A record in a row: the headers and the body of an event.

use std::collections::BTreeMap;

use sagamore_core::Name;
use sagamore_transport::Record;
use sagamore_transport::wire::event_topic;
use serde::{Deserialize, Serialize};

/// A record of an event. Its headers and its body are texts, because it was decoded before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredRecord {
    topic: String,
    key: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl StoredRecord {
    /// Stores the readable parts of a record.
    pub fn of(record: &Record) -> StoredRecord {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = record.headers.iter();
        StoredRecord {
            topic: record.topic.to_string(),
            key: text(&record.key),
            headers: headers.map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: text(&record.body),
        }
    }

    /// Returns whether this is an event of this name.
    pub fn is_of(&self, event: &Name) -> bool {
        *self.topic == *event_topic(event)
    }

    /// Returns the record.
    pub fn record(&self) -> Record {
        let StoredRecord { topic, key, headers, body } = self.clone();
        let headers = headers.into_iter();
        Record {
            topic: topic.into(),
            partition: None,
            key: key.into_bytes().into(),
            headers: headers
                .map(|(name, value)| (name.into(), value.into_bytes().into()))
                .collect(),
            body: body.into_bytes().into(),
        }
    }

    /// Returns the event as a CloudEvent in structured mode. Its data is verbatim.
    pub fn structured(&self) -> String {
        let mut attributes: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, value) in &self.headers {
            let attribute = name.strip_prefix("ce_");
            let is_trace = matches!(name.as_str(), "traceparent" | "tracestate");
            if let Some(name) = attribute.or(is_trace.then_some(name.as_str())) {
                attributes.insert(name, value);
            }
        }
        attributes.insert("datacontenttype", "application/json");
        let mut text = serde_json::to_string(&attributes).expect("texts serialize to JSON");
        text.pop();
        text.push_str(",\"data\":");
        text.push_str(&self.body);
        text.push('}');
        text
    }
}
