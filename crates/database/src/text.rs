//! Texts that every database here can store.

use std::fmt;
use std::str::FromStr;

use crate::value::Value;

/// A text without the character U+0000, which neither PostgreSQL nor (by our rule) SQLite stores.
///
/// Functions that look something up by a text of a stranger take one, or make one first: no row holds what is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(String);

/// The text holds the character U+0000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("holds the character U+0000, which no database here can store")]
pub struct Unstorable;

impl Text {
    /// Checks `text` and keeps it.
    pub fn new(text: &str) -> Result<Text, Unstorable> {
        if text.contains('\0') { Err(Unstorable) } else { Ok(Text(text.to_owned())) }
    }

    /// The longest beginning of `text` that can be stored. The same stored texts sort behind it (in byte order) as behind
    /// `text`: there is none between the two.
    pub fn beginning(text: &str) -> Text {
        Text(text.split('\0').next().unwrap_or_default().to_owned())
    }

    /// The text.
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

    /// No storable text lies between a text and its beginning.
    #[test]
    fn the_same_texts_sort_behind_a_beginning_as_behind_the_whole() {
        for text in ["a\0", "a\0z", "\0", "a"] {
            for stored in ["", "a", "a\u{1}", "a\u{1}z", "aa", "b"] {
                assert_eq!(stored > Text::beginning(text).as_str(), stored > text, "{stored:?} behind {text:?}");
            }
        }
    }
}
