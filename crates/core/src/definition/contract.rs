//! The parts of a definition that describe its participants and its data: the effect of a repeated
//! command, and the JSON Schemas of input, messages and outputs. Schemas are stored, not compiled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::Name;

/// The demands of a definition on one participant. A participant without an entry has the default:
/// a barrier, no query and no refusals by status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ParticipantContract {
    /// The effect of a command that arrives twice.
    #[serde(skip_serializing_if = "Repeat::is_barrier")]
    pub repeat: Repeat,
    /// The message that queries the outcome of an unknown action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Name>,
    /// The refusal code of each HTTP status that means a refusal. Any other status of an answer
    /// without a stated outcome leaves the outcome unknown.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub refusals: BTreeMap<u16, Name>,
}

/// The effect of a command that arrives twice at its participant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repeat {
    /// A barrier: each step takes effect at most once, in any order of its commands.
    #[default]
    Barrier,
    /// The participant deduplicates by command id, but an undo leaves no tombstone.
    ByKey,
    /// Each repetition takes effect again: a command is never resent.
    Never,
}

/// JSON Schemas (2020-12) of a definition's data. Data without a schema is not checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Schemas {
    /// The schema of the saga's input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The schema of each message, by the message's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub messages: BTreeMap<Name, Value>,
    /// The schema of each action's output, by the action's message.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<Name, Value>,
}

/// The place of a schema: `schemas.input`, `schemas.messages.NAME` or `schemas.outputs.NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SchemaPlace {
    Input,
    Message(Name),
    Output(Name),
}

/// Maximum bytes of one schema, as compact JSON.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;

/// Maximum bytes of a definition's schemas together, as compact JSON.
pub const SCHEMAS_BYTES_MAX: usize = 256 << 10;

/// The contract of participants without an entry.
pub(super) static BARRIER: ParticipantContract =
    ParticipantContract { repeat: Repeat::Barrier, query: None, refusals: BTreeMap::new() };

impl ParticipantContract {
    /// Returns whether an unknown action is queried: it is never resent, and there is a query.
    pub fn is_queried(&self) -> bool {
        self.repeat == Repeat::Never && self.query.is_some()
    }

    /// Returns whether the contract states nothing but the default.
    pub(crate) fn is_default(&self) -> bool {
        *self == BARRIER
    }
}

impl Repeat {
    /// Returns `barrier`, `by-key` or `never`.
    pub fn as_str(self) -> &'static str {
        match self {
            Repeat::Barrier => "barrier",
            Repeat::ByKey => "by-key",
            Repeat::Never => "never",
        }
    }

    /// Returns whether the participant has a barrier.
    pub fn is_barrier(&self) -> bool {
        *self == Repeat::Barrier
    }
}

impl std::fmt::Display for Repeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Schemas {
    /// Returns whether no data has a schema.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// Iterates over all schemas with their places.
    pub fn all(&self) -> impl Iterator<Item = (SchemaPlace, &Value)> {
        let input = self.input.iter().map(|schema| (SchemaPlace::Input, schema));
        let messages = self.messages.iter();
        let messages = messages.map(|(name, schema)| (SchemaPlace::Message(name.clone()), schema));
        let outputs = self.outputs.iter();
        let outputs = outputs.map(|(name, schema)| (SchemaPlace::Output(name.clone()), schema));
        input.chain(messages).chain(outputs)
    }

    /// Sorts the keys of every object, so that equal schemas have equal text with each build of
    /// `serde_json`.
    pub(crate) fn sort(&mut self) {
        let named = self.messages.values_mut().chain(self.outputs.values_mut());
        self.input.iter_mut().chain(named).for_each(Value::sort_all_objects);
    }
}

impl std::fmt::Display for SchemaPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SchemaPlace::Input => f.write_str("schemas.input"),
            SchemaPlace::Message(name) => write!(f, "schemas.messages.{name}"),
            SchemaPlace::Output(name) => write!(f, "schemas.outputs.{name}"),
        }
    }
}
