//! A JSON text that is carried and not looked into.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

mod meaning;

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

    /// Whether both texts say the same. White space, the order of members, escapes and the spelling of numbers do not
    /// matter: `1.0`, `1` and `10e-1` are one number, 2^64+1 and 2^64+2 are two, and `-0` is not `0`.
    ///
    /// Texts that readers may understand differently are the same only byte for byte: with half a surrogate pair, more
    /// than 127 levels, an exponent of more than 18 digits, or two members of one name in an object.
    pub fn means_the_same(&self, other: &Body) -> bool {
        self == other
            || meaning::canonical(self.as_str()).is_some_and(|own| meaning::canonical(other.as_str()) == Some(own))
    }

    /// SHA-256 of what the text says, in lower-case hex: equal exactly when [`Body::means_the_same`] holds.
    pub fn meaning_hash(&self) -> String {
        // the first byte keeps a text that has no canonical spelling apart from one that is spelt so
        let (kind, text) = match meaning::canonical(self.as_str()) {
            Some(canonical) => (b'c', Cow::Owned(canonical)),
            None => (b't', Cow::Borrowed(self.as_str())),
        };
        let digest = Sha256::new().chain_update([kind]).chain_update(text.as_bytes()).finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
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
