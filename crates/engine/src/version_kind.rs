//! The kinds of contents that are stored by version.

use std::fmt;

/// A kind of stored contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionKind {
    /// Definitions, whose sagas an orchestrator runs.
    Definition,
    /// Plans, whose chains an observer follows.
    Plan,
}

impl VersionKind {
    /// Returns `definition` or `plan`, which is also the name of the table.
    pub fn as_str(self) -> &'static str {
        match self {
            VersionKind::Definition => "definition",
            VersionKind::Plan => "plan",
        }
    }

    /// Returns the table whose rows refer to the contents by their hash.
    pub(crate) fn instances(self) -> &'static str {
        match self {
            VersionKind::Definition => "saga",
            VersionKind::Plan => "chain",
        }
    }
}

impl fmt::Display for VersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
