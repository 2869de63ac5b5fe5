//! The limits of other systems on names. A name is checked before the system sees it: some truncate
//! a long name silently.
//!
//! Headers and file names hold only [`Name`](crate::Name)s and business keys. Those are far shorter
//! than the limits of Kafka, HTTP and file systems.

use std::fmt;

/// The use of a name in another system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalName {
    /// A PostgreSQL schema. PostgreSQL truncates a longer name, so two schemas can become one.
    Schema,
    /// The name of a PostgreSQL connection. PostgreSQL truncates a longer one.
    Application,
    /// A Kafka topic.
    Topic,
    /// A Kafka consumer group.
    Group,
    /// A Kafka client.
    Client,
    /// A static member of a Kafka consumer group, which has the same name after a restart.
    Member,
}

/// A name that another system rejects or truncates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is not a name for {kind}: {why}")]
#[expect(missing_docs, reason = "the message names the fields")]
pub struct UnfitName {
    pub name: String,
    pub kind: ExternalName,
    /// The violated limit, as a sentence.
    pub why: String,
}

impl ExternalName {
    /// Returns the maximum bytes of a name.
    pub const fn bytes_max(self) -> usize {
        match self {
            ExternalName::Schema | ExternalName::Application => 63,
            ExternalName::Topic | ExternalName::Member => 249,
            // a string's length in Kafka
            ExternalName::Group | ExternalName::Client => i16::MAX as usize,
        }
    }

    /// Checks a name for this use.
    ///
    /// # Errors
    /// The name is empty, too long, reserved, or holds characters that the system rejects.
    pub fn check(self, name: &str) -> Result<(), UnfitName> {
        let unfit = |why: String| Err(UnfitName { name: beginning(name), kind: self, why });
        let (bytes, most) = (name.len(), self.bytes_max());
        if bytes == 0 {
            return unfit("it is empty".to_owned());
        }
        if bytes > most {
            return unfit(format!("it has {bytes} bytes: use at most {most} bytes"));
        }
        if name.chars().any(char::is_control) {
            return unfit("it contains a control character".to_owned());
        }
        let of_topic = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        match self {
            ExternalName::Schema if name.starts_with("pg_") => {
                unfit("PostgreSQL reserves the prefix pg_".to_owned())
            }
            ExternalName::Topic if !name.bytes().all(of_topic) => {
                unfit("use a-z, A-Z, 0-9, '.', '_' and '-'".to_owned())
            }
            ExternalName::Topic if matches!(name, "." | "..") => {
                unfit("it means a folder in a file system".to_owned())
            }
            ExternalName::Schema
            | ExternalName::Application
            | ExternalName::Topic
            | ExternalName::Group
            | ExternalName::Client
            | ExternalName::Member => Ok(()),
        }
    }
}

impl fmt::Display for ExternalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExternalName::Schema => "a PostgreSQL schema",
            ExternalName::Application => "a PostgreSQL connection",
            ExternalName::Topic => "a Kafka topic",
            ExternalName::Group => "a Kafka consumer group",
            ExternalName::Client => "a Kafka client",
            ExternalName::Member => "a member of a Kafka consumer group",
        })
    }
}

/// Returns at most 300 bytes of a name, for error messages.
fn beginning(name: &str) -> String {
    let quoted = &name[..name.floor_char_boundary(300)];
    if quoted.len() < name.len() { format!("{quoted}...") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_accepted_up_to_the_limit() {
        for (place, most) in [
            (ExternalName::Schema, 63),
            (ExternalName::Topic, 249),
            (ExternalName::Member, 249),
            (ExternalName::Group, 32_767),
        ] {
            assert_eq!(place.check(&"n".repeat(most)), Ok(()), "{place}");
            let why = place.check(&"n".repeat(most + 1)).unwrap_err().to_string();
            assert!(why.contains(&format!("at most {most} bytes")), "{why}");
        }
        assert!(
            ExternalName::Schema.check(&"é".repeat(32)).is_err(),
            "the limit counts bytes, not characters"
        );
        assert_eq!(ExternalName::Schema.check(&"é".repeat(31)), Ok(()));
    }

    #[test]
    fn a_reserved_or_illegal_name_is_rejected() {
        for (place, name) in [
            (ExternalName::Schema, ""),
            (ExternalName::Schema, "pg_order"),
            (ExternalName::Schema, "a\0b"),
            (ExternalName::Topic, "."),
            (ExternalName::Topic, ".."),
            (ExternalName::Topic, "order/commands"),
            (ExternalName::Topic, "bestellung-ü"),
            (ExternalName::Topic, "a b"),
            (ExternalName::Group, "a\nb"),
            (ExternalName::Client, ""),
        ] {
            assert!(place.check(name).is_err(), "{name:?} for {place}");
        }
        assert_eq!(ExternalName::Topic.check("staging.order.commands"), Ok(()));
        assert_eq!(ExternalName::Member.check("staging.order-host-[::1]:3001"), Ok(()));
    }
}
