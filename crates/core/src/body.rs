//! A JSON text that is carried and not looked into.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Valid JSON, kept as the text that came in; clones share it.
#[derive(Clone)]
pub struct Body(Arc<RawValue>);

/// The text is not JSON, or not JSON of the wanted shape.
#[derive(Debug, thiserror::Error)]
#[error("the body is not what was expected: {0}")]
pub struct Unreadable(#[from] serde_json::Error);

impl Body {
    /// Serializes `value`. Fails only for values that JSON cannot hold (a map with keys that are no strings).
    pub fn of(value: &impl Serialize) -> Result<Body, Unreadable> {
        Ok(Body(Arc::from(serde_json::value::to_raw_value(value)?)))
    }

    /// Checks that `text` is JSON and keeps it as it is.
    pub fn parse(text: &str) -> Result<Body, Unreadable> {
        Ok(Body(Arc::from(serde_json::from_str::<Box<RawValue>>(text)?)))
    }

    /// Checks that `bytes` are JSON in UTF-8 and keeps them as they are.
    pub fn from_bytes(bytes: &[u8]) -> Result<Body, Unreadable> {
        Ok(Body(Arc::from(serde_json::from_slice::<Box<RawValue>>(bytes)?)))
    }

    /// The empty object, what a message without fields carries.
    pub fn empty() -> Body {
        Body::parse("{}").expect("an empty object is JSON")
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Reads the text as a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Unreadable> {
        Ok(serde_json::from_str(self.as_str())?)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Two bodies are equal when their texts are, letter by letter.
impl PartialEq for Body {
    fn eq(&self, other: &Body) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Body {}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Body, D::Error> {
        Ok(Body(Arc::from(Box::<RawValue>::deserialize(deserializer)?)))
    }
}
