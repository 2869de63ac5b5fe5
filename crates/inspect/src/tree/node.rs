//! The values of a file.

use std::ops::Range;

use serde_json::Number;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The byte at which the value begins. For an alias, the alias.
    pub(super) at: usize,
    /// The bytes that spell the value. For an alias, the bytes of its anchor.
    pub(super) spelled: Range<usize>,
    pub content: Content,
}

/// The kinds of value.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Null,
    Flag(bool),
    /// A number; `None` for one that JSON cannot express.
    Number(Option<Number>),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Member>),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub key: String,
    /// The byte at which the key begins.
    pub(super) at: usize,
    pub value: Node,
}

impl Node {
    /// Returns the value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Content::Map(members) = &self.content else { return None };
        members.iter().find(|member| member.key == key).map(|member| &member.value)
    }
}

/// Returns the line and the column, in characters, of a byte.
pub(super) fn position(source: &str, at: usize) -> (u64, u64) {
    let before = &source[..source.floor_char_boundary(at)];
    let line = before.matches('\n').count() as u64 + 1;
    let begun = before.rsplit('\n').next().unwrap_or_default();
    (line, begun.trim_start_matches('\u{feff}').chars().count() as u64 + 1)
}
