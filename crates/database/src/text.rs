//! Texts that every supported database can store.

use std::fmt;
use std::str::FromStr;

use crate::value::Value;

/// A text without the character U+0000. PostgreSQL cannot store that character, so SQLite must not
/// store it either.
///
/// Functions that look up rows by an untrusted text take this type: no row contains such a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(String);

/// The text contains the character U+0000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("contains the character U+0000, which the database cannot store")]
pub struct Unstorable;

impl Text {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Text, Unstorable> {
        if text.contains('\0') { Err(Unstorable) } else { Ok(Text(text.to_owned())) }
    }

    /// Returns the longest storable prefix of `text`. In byte order, exactly the same stored texts
    /// sort after the prefix as after `text`.
    pub fn beginning(text: &str) -> Text {
        Text(text.split('\0').next().unwrap_or_default().to_owned())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Text {
    type Err = Unstorable;

    fn from_str(text: &str) -> Result<Text, Unstorable> {
        Text::new(text)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Value {
        Value::Text(text.0)
    }
}

impl From<&Text> for Value {
    fn from(text: &Text) -> Value {
        Value::Text(text.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_that_can_be_stored_are_texts() {
        assert_eq!(Text::new("a\u{1}b").as_ref().map(Text::as_str), Ok("a\u{1}b"));
        assert_eq!(Text::new("a\0"), Err(Unstorable));
    }

    /// No storable text lies between a text and its storable prefix.
    #[test]
    fn the_same_texts_sort_after_the_prefix_as_after_the_whole() {
        for text in ["a\0", "a\0z", "\0", "a"] {
            for stored in ["", "a", "a\u{1}", "a\u{1}z", "aa", "b"] {
                assert_eq!(
                    stored > Text::beginning(text).as_str(),
                    stored > text,
                    "{stored:?} behind {text:?}"
                );
            }
        }
    }
}
