//! The stored versions of definitions and plans in the API's JSON.

use sagamore_core::Body;
use sagamore_engine::{ListedVersion, Registered, RegistrationOutcome, StoredVersion};
use serde::{Deserialize, Serialize};

use crate::clock::rfc3339;

/// A stored version of a definition.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DefinitionLine {
    /// The definition's name.
    pub name: String,
    /// The version.
    pub version: u32,
    /// Whether new sagas run by this version.
    pub active: bool,
    /// The number of unfinished sagas that run by it; absent in the response to a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<u64>,
    /// The SHA-256 of the contents.
    pub hash: String,
    /// The time of the registration, if it is known.
    pub registered_at: Option<String>,
    /// The time from which no saga starts by this version.
    pub retired_at: Option<String>,
}

/// A page of stored versions, by name and version.
#[derive(Debug, Serialize, Deserialize)]
pub struct DefinitionLines {
    /// The versions. Those of plans have the key `plans`.
    #[serde(alias = "plans")]
    pub definitions: Vec<DefinitionLine>,
    /// The value of `after` for the next page; `None` on the last page.
    pub next: Option<String>,
}

/// A stored version with its contents.
#[derive(Debug, Serialize, Deserialize)]
pub struct DefinitionView {
    /// The stored version.
    #[serde(flatten)]
    pub line: DefinitionLine,
    /// The contents as JSON. `None`: the version was retired, and no saga needed it.
    #[serde(alias = "plan")]
    pub definition: Option<Body>,
}

/// The differences between two versions of a definition, in words.
#[derive(Debug, Serialize, Deserialize)]
pub struct DiffView {
    /// The older version.
    pub from: DefinitionLine,
    /// The newer version.
    pub to: DefinitionLine,
    /// The differences; empty for equal contents.
    pub differences: Vec<DifferenceView>,
}

/// One difference between two versions.
#[derive(Debug, Serialize, Deserialize)]
pub struct DifferenceView {
    /// The difference in one sentence.
    pub detail: String,
    /// Whether a participant cannot handle the message of both versions.
    pub incompatible: bool,
}

/// The result of a registration.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationView {
    /// The stored version, or the version as it would be stored.
    #[serde(flatten)]
    pub line: DefinitionLine,
    /// `registered`, `unchanged`, `restored` or `replaced`.
    pub outcome: String,
    /// Whether nothing was stored.
    pub dry_run: bool,
    /// The reasons why no process may handle a message of the version.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl DefinitionLine {
    /// The line of a stored version.
    pub fn of(version: &StoredVersion) -> DefinitionLine {
        DefinitionLine {
            name: version.name.to_string(),
            version: version.version,
            active: version.is_active,
            running: None,
            hash: version.hash.clone(),
            registered_at: version.registered_at.map(rfc3339),
            retired_at: version.retired_at.map(rfc3339),
        }
    }

    /// The line of a stored version with its sagas.
    pub fn of_listed(listed: &ListedVersion) -> DefinitionLine {
        let running = Some(listed.running);
        DefinitionLine { running, ..DefinitionLine::of(&listed.version) }
    }

    /// Returns `checkout@3`.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// Returns `active`, `retired`, or nothing for another version.
    pub fn state(&self) -> &'static str {
        match (self.active, &self.retired_at) {
            (true, _) => "active",
            (false, Some(_)) => "retired",
            (false, None) => "",
        }
    }
}

impl RegistrationView {
    /// The result of a registration.
    pub fn of(registered: &Registered, dry_run: bool) -> RegistrationView {
        let outcome = match registered.outcome {
            RegistrationOutcome::Registered => "registered",
            RegistrationOutcome::Unchanged => "unchanged",
            RegistrationOutcome::Restored => "restored",
            RegistrationOutcome::Replaced => "replaced",
        };
        let line = DefinitionLine::of(&registered.version);
        RegistrationView { line, outcome: outcome.to_owned(), dry_run, warnings: Vec::new() }
    }
}
