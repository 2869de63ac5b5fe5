//! JSON pointers (RFC 6901).

use std::fmt;

/// A JSON pointer, empty for the whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pointer(String);

impl Pointer {
    /// Returns the pointer of the whole document.
    pub fn root() -> Pointer {
        Pointer::default()
    }

    /// Returns a pointer with this text.
    pub fn parsed(text: String) -> Pointer {
        Pointer(text)
    }

    /// Returns the pointer of a member of an object.
    pub fn key(&self, key: &str) -> Pointer {
        Pointer(format!("{}/{}", self.0, key.replace('~', "~0").replace('/', "~1")))
    }

    /// Returns the pointer of a value in nested objects.
    pub fn keys(&self, keys: &[&str]) -> Pointer {
        keys.iter().fold(self.clone(), |pointer, key| pointer.key(key))
    }

    /// Returns the pointer of an item of a list.
    pub fn item(&self, index: usize) -> Pointer {
        Pointer(format!("{}/{index}", self.0))
    }

    /// Returns the unescaped segments.
    pub fn segments(&self) -> impl Iterator<Item = String> {
        self.0.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~"))
    }

    /// Returns the text of the pointer.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
