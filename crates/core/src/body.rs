//! A JSON text that is stored and forwarded without parsing.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

mod fields;
mod meaning;

pub(crate) use fields::Fields;

/// Valid JSON, stored byte for byte as received. Clones share the text.
#[derive(Clone)]
pub struct Body(Arc<RawValue>);

/// The text is not JSON, or not JSON of the expected shape.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the body: {0}")]
pub struct Unreadable(#[from] serde_json::Error);

impl Body {
    /// Serializes `value`.
    ///
    /// # Errors
    /// JSON cannot hold the value, such as a map whose keys are not strings.
    pub fn of(value: &impl Serialize) -> Result<Body, Unreadable> {
        Ok(Body(Arc::from(serde_json::value::to_raw_value(value)?)))
    }

    /// Stores `text` unchanged if it is valid JSON.
    pub fn parse(text: &str) -> Result<Body, Unreadable> {
        Ok(Body(Arc::from(serde_json::from_str::<Box<RawValue>>(text)?)))
    }

    /// Stores `bytes` unchanged if they are valid JSON in UTF-8.
    pub fn from_bytes(bytes: &[u8]) -> Result<Body, Unreadable> {
        Ok(Body(Arc::from(serde_json::from_slice::<Box<RawValue>>(bytes)?)))
    }

    /// Returns `{}`, the body of a message without fields.
    pub fn empty() -> Body {
        Body::parse("{}").expect("an empty object is JSON")
    }

    /// Whether a text of the body contains U+0000, which PostgreSQL stores in no text and no JSON.
    /// Inputs, outputs and events must not contain it: their receivers could not store them.
    pub fn has_nul(&self) -> bool {
        let json = self.as_str();
        json.match_indices("\\u0000").any(|(at, _)| {
            let behind = json[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
            behind % 2 == 0 // otherwise a backslash is escaped
        })
    }

    /// Returns the JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Returns whether two texts have the same meaning.
    ///
    /// White space, the order of members, escapes and the spelling of numbers do not matter. `1.0`,
    /// `1` and `10e-1` are one number. 2^64+1 and 2^64+2 are two, and `-0` is not `0`.
    ///
    /// Texts that JSON readers may interpret differently are equal only byte for byte. Such a text
    /// has half a surrogate pair, more than 127 levels, an exponent of more than 18 digits, or a
    /// duplicate member name.
    pub fn means_the_same(&self, other: &Body) -> bool {
        self == other
            || meaning::canonical(self.as_str())
                .is_some_and(|own| meaning::canonical(other.as_str()) == Some(own))
    }

    /// Returns the SHA-256 of the text's meaning in lower-case hex. Equal exactly when
    /// [`Body::means_the_same`] holds.
    pub fn meaning_hash(&self) -> String {
        // the first byte separates texts without a canonical spelling from canonical texts
        let (kind, text) = match meaning::canonical(self.as_str()) {
            Some(canonical) => (b'c', Cow::Owned(canonical)),
            None => (b't', Cow::Borrowed(self.as_str())),
        };
        let digest = Sha256::new().chain_update([kind]).chain_update(text.as_bytes()).finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns the top-level fields. A body that is not an object has none.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields::of(self.as_str())
    }

    /// Returns the first of these fields that the body lacks.
    pub(crate) fn first_missing<'a>(&self, promised: &'a [String]) -> Option<&'a str> {
        if promised.is_empty() {
            return None;
        }
        let fields = self.fields();
        promised.iter().find(|field| fields.get(field).is_none()).map(String::as_str)
    }

    /// Deserializes the text into a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Unreadable> {
        Ok(serde_json::from_str(self.as_str())?)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Equality is byte for byte.
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

#[cfg(test)]
mod tests {
    use super::Body;

    #[test]
    fn an_escaped_nul_is_distinguished_from_an_escaped_backslash() {
        let cases = [
            (r#"{"a":"x\u0000"}"#, true),
            (r#"{"a":"\\\u0000"}"#, true),
            (r#"{"\u0000":1}"#, true),
            (r#"{"a":"\\u0000"}"#, false),
            (r#"{"a":"u0000"}"#, false),
        ];
        for (json, has_nul) in cases {
            assert_eq!(Body::parse(json).unwrap().has_nul(), has_nul, "{json}");
        }
    }
}
