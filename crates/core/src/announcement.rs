//! Announcements: which messages a process of a participant handles. They serve warnings only: no
//! saga depends on them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::id::Name;
use crate::time::Timestamp;

/// The interval between two announcements of a process.
pub const ANNOUNCEMENT_INTERVAL: Duration = Duration::from_secs(30);
/// Maximum messages of an announcement.
pub const ANNOUNCED_MAX: usize = 1_000;
/// Maximum bytes of an announcement as JSON.
pub const ANNOUNCEMENT_BYTES_MAX: usize = 256 << 10;
/// Maximum bytes of a process id, and of the hash of a schema.
const TEXT_BYTES_MAX: usize = 100;

/// The messages that a process of a participant handles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The participant.
    pub participant: Name,
    /// The id of the process, which no other process has: 1 to 100 printable ASCII characters.
    pub process: String,
    /// The time of the announcement, by the participant's clock.
    pub at: Timestamp,
    /// The messages, at most [`ANNOUNCED_MAX`].
    pub messages: Vec<HandledMessage>,
    /// Whether the process stops, and handles no further message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopping: bool,
}

/// A message that a process handles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandledMessage {
    /// The name of the command or event.
    pub name: Name,
    /// The kind of the message.
    pub kind: MessageKind,
    /// The [hash](schema_hash) of the message's JSON Schema, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
}

/// The kind of a handled message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageKind {
    /// A command that executes a step.
    Action,
    /// A command that undoes a step.
    Compensation,
    /// A command that queries the outcome of an action.
    Query,
    /// An event that triggers a reaction.
    Reaction,
}

impl Announcement {
    /// Checks the bounds.
    ///
    /// # Errors
    /// Names the violated bound.
    pub fn check(&self) -> Result<(), String> {
        let is_text = |text: &str| {
            (1..=TEXT_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !is_text(&self.process) {
            return Err(format!(
                "the process must have 1 to {TEXT_BYTES_MAX} printable ASCII characters"
            ));
        }
        if self.messages.len() > ANNOUNCED_MAX {
            let count = self.messages.len();
            return Err(format!("it has {count} messages, more than {ANNOUNCED_MAX}"));
        }
        let schemas = self.messages.iter().filter_map(|message| message.schema.as_deref());
        match schemas.into_iter().all(is_text) {
            true => Ok(()),
            false => {
                Err(format!("a schema must have 1 to {TEXT_BYTES_MAX} printable ASCII characters"))
            }
        }
    }
}

/// Returns the SHA-256 of a schema's canonical JSON in lower-case hex: without white space, the
/// keys of every object sorted.
pub fn schema_hash(schema: &Value) -> String {
    let mut sorted = schema.clone();
    sorted.sort_all_objects();
    Sha256::digest(sorted.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn announcement() -> Announcement {
        let name = Name::new("payment.charge").unwrap();
        let schema = Some(schema_hash(&json!({ "type": "object" })));
        Announcement {
            participant: Name::new("payment").unwrap(),
            process: "71-a0".into(),
            at: Timestamp(7),
            messages: vec![HandledMessage { name, kind: MessageKind::Action, schema }],
            stopping: false,
        }
    }

    #[test]
    fn equal_schemas_have_equal_hashes_whatever_their_order() {
        let one: Value = serde_json::from_str(r#"{"a": 1, "b": {"c": 2, "d": [3]}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"b": {"d": [3], "c": 2}, "a": 1}"#).unwrap();
        assert_eq!(schema_hash(&one), schema_hash(&other));
        // printf '%s' '{"type":"object"}' | sha256sum
        let known = "a2c799262a3ce3c19ef5cdd983bf3d12b43ab3c426227091b909dcb7054738c0";
        assert_eq!(schema_hash(&json!({ "type": "object" })), known);
    }

    #[test]
    fn an_announcement_beyond_its_bounds_is_rejected() {
        let check = |change: fn(&mut Announcement), part: &str| {
            let mut changed = announcement();
            change(&mut changed);
            let why = changed.check().expect_err(part);
            assert!(why.contains(part), "{why}");
        };
        assert_eq!(announcement().check(), Ok(()));
        check(|it| it.process = String::new(), "the process must have");
        check(|it| it.process = "a\0".into(), "the process must have");
        check(|it| it.process = "a".repeat(101), "the process must have");
        check(|it| it.messages[0].schema = Some("\u{e9}".into()), "a schema must have");
        check(|it| it.messages = vec![it.messages[0].clone(); 1_001], "it has 1001 messages");
    }

    /// The form that other languages write.
    #[test]
    fn a_schema_and_the_end_are_optional() {
        let text = r#"{"participant":"payment","process":"1","at":7,
            "messages":[{"name":"payment.refund","kind":"compensation"}]}"#;
        let read: Announcement = serde_json::from_str(text).unwrap();
        assert_eq!(read.messages[0].schema, None);
        assert!(!read.stopping);
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), json!(read));
    }
}
