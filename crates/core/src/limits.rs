//! What other systems take as a name. A name is checked before that system sees it: some of them cut a long one silently.
//!
//! Headers and file names hold nothing but [`Name`](crate::Name)s and business keys, which are bounded far below what
//! Kafka, HTTP and file systems take.

use std::fmt;

/// What a name of ours is in another system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalName {
    /// A schema of PostgreSQL, which cuts a longer one: two of them become one.
    Schema,
    /// What a connection is called in PostgreSQL, which cuts a longer one.
    Application,
    /// A topic of Kafka.
    Topic,
    /// A group of consumers in Kafka.
    Group,
    /// A client of Kafka.
    Client,
    /// A member of a group that keeps its name after a restart.
    Member,
}

/// A name that another system does not take, or takes for another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is no name for {kind}: {why}")]
pub struct UnfitName {
    /// The name.
    pub name: String,
    /// What it was to be.
    pub kind: ExternalName,
    /// The violated limit, as a sentence.
    pub why: String,
}

impl ExternalName {
    /// The longest name, in bytes.
    pub const fn bytes_max(self) -> usize {
        match self {
            ExternalName::Schema | ExternalName::Application => 63,
            ExternalName::Topic | ExternalName::Member => 249,
            ExternalName::Group | ExternalName::Client => i16::MAX as usize, // a text in Kafka's protocol
        }
    }

    /// Checks a name.
    ///
    /// # Errors
    /// The name is empty, too long, reserved, or holds letters that the system does not take.
    pub fn check(self, name: &str) -> Result<(), UnfitName> {
        let unfit = |why: String| Err(UnfitName { name: beginning(name), kind: self, why });
        let (bytes, most) = (name.len(), self.bytes_max());
        if bytes == 0 {
            return unfit("it is empty".to_owned());
        }
        if bytes > most {
            return unfit(format!("it has {bytes} bytes, and at most {most} bytes are taken"));
        }
        if name.chars().any(char::is_control) {
            return unfit("it holds a control character".to_owned());
        }
        let of_topic = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        match self {
            ExternalName::Schema if name.starts_with("pg_") => unfit("PostgreSQL reserves the prefix pg_".to_owned()),
            ExternalName::Topic if !name.bytes().all(of_topic) => {
                unfit("use a-z, A-Z, 0-9, '.', '_' and '-'".to_owned())
            }
            ExternalName::Topic if matches!(name, "." | "..") => unfit("it is a place in a file system".to_owned()),
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

/// As much of a name as a message quotes.
fn beginning(name: &str) -> String {
    let quoted = &name[..name.floor_char_boundary(300)];
    if quoted.len() < name.len() { format!("{quoted}...") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_up_to_the_limit_and_no_further() {
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
        assert!(ExternalName::Schema.check(&"é".repeat(32)).is_err(), "bytes count, and not letters");
        assert_eq!(ExternalName::Schema.check(&"é".repeat(31)), Ok(()));
    }

    #[test]
    fn a_name_that_the_system_reserves_or_cannot_hold_is_refused() {
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
