//! The data of a definition, as written and not yet validated.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::contract::{BARRIER, ParticipantContract, Schemas};
use crate::id::Name;

/// A definition as written, not yet validated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Draft {
    /// The definition's name, such as `checkout`.
    pub name: Name,
    /// Raised with every change: the same version with other contents is rejected.
    pub version: u32,
    /// Milliseconds from the saga's start. If the pivot's command has not been sent by then, the
    /// saga compensates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// The field of the input that holds the business key. A start with another key is rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The fields of the input that steps may refer to.
    pub input: Vec<String>,
    /// The steps in the order in which they were written.
    pub steps: Vec<Step>,
    /// The contracts of participants. A participant without an entry has a barrier.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub participants: BTreeMap<Name, ParticipantContract>,
    /// The schemas of input, messages and outputs.
    #[serde(default, skip_serializing_if = "Schemas::is_empty")]
    pub schemas: Schemas,
}

/// One step of a definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// A name that is unique in the definition.
    pub name: Name,
    /// Whether the step is compensatable, the pivot or retriable.
    pub kind: Kind,
    /// The steps that must be done before this one. Absent: the step written before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<Name>>,
    /// The command that executes the step.
    pub action: CommandTemplate,
    /// The command that undoes the step. Exactly the compensatable steps have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<CommandTemplate>,
    /// The fields of the action's output that later steps may refer to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub yields: Vec<String>,
    /// Timeout, attempts and pauses of the step's commands.
    #[serde(default)]
    pub patience: Patience,
}

/// The three kinds of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A step that can be undone.
    Compensatable,
    /// The point of no return, at most one in a definition.
    Pivot,
    /// A step after the pivot, repeated until it is done.
    Retriable,
}

/// One message to one participant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandTemplate {
    /// The participant whose command topic receives the message.
    pub participant: Name,
    /// The message's name: `payment.charge`.
    pub message: Name,
    /// Maps each field of the message to the reference that fills it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Reference>,
}

/// A reference to one field of a source: written `input.orderId` or `create-order.totalCents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    /// The input, or the step whose output holds the field.
    pub source: Source,
    /// The name of a top-level field, not a path.
    pub field: String,
}

/// A text that is not a [`Reference`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a reference: write input.FIELD or STEP.FIELD")]
pub struct NotAReference(pub String);

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The input of the saga's start.
    Input,
    /// The output of this step's action.
    Step(Name),
}

/// Timeout and retries of a step's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Patience {
    /// Milliseconds without a reply, counted from the transport's acknowledgement, after which the
    /// outcome is unknown.
    pub timeout_ms: u64,
    /// Attempts of a compensatable action before it is given up and compensated. Absent: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    /// Milliseconds before the second attempt. The pause doubles with each attempt.
    pub backoff_ms_min: u64,
    /// The longest pause in milliseconds.
    pub backoff_ms_max: u64,
}

/// Maximum number of steps in a definition.
pub const STEPS_MAX: usize = 64;

impl Draft {
    /// Returns the contract of a participant: its entry, or the default.
    pub fn contract(&self, participant: &Name) -> &ParticipantContract {
        self.participants.get(participant).unwrap_or(&BARRIER)
    }

    /// Returns the contract of the participant that executes a step.
    pub(crate) fn contract_of(&self, step: &Step) -> &ParticipantContract {
        self.contract(&step.action.participant)
    }
}

impl Patience {
    /// Returns how long to wait for a reply, counted from the transport's acknowledgement.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

impl Default for Patience {
    /// Waits 30 s for a reply and resends indefinitely, after 0.2 s to 30 s.
    fn default() -> Patience {
        Patience {
            timeout_ms: 30_000,
            attempts_max: None,
            backoff_ms_min: 200,
            backoff_ms_max: 30_000,
        }
    }
}

impl Kind {
    /// Returns `compensatable`, `pivot` or `retriable`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Compensatable => "compensatable",
            Kind::Pivot => "pivot",
            Kind::Retriable => "retriable",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.source {
            Source::Input => write!(f, "input.{}", self.field),
            Source::Step(step) => write!(f, "{step}.{}", self.field),
        }
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

impl TryFrom<String> for Reference {
    type Error = NotAReference;

    fn try_from(text: String) -> Result<Reference, NotAReference> {
        let wanted = || NotAReference(text.clone());
        let (source, field) =
            text.rsplit_once('.').filter(|(_, field)| !field.is_empty()).ok_or_else(wanted)?;
        let source = match source {
            "input" => Source::Input,
            step => Source::Step(Name::new(step).map_err(|_| wanted())?),
        };
        Ok(Reference { source, field: field.to_owned() })
    }
}
