//! A stored version, and the contents that have one.

use std::ops::Deref;

use sagamore_core::body::Unreadable;
use sagamore_core::definition::{Definition, Draft, SchemaPlace};
use sagamore_core::id::Name;
use sagamore_core::{Body, Plan, Timestamp, plan};

use crate::error::RegistrationError;

/// Contents with a name and a version.
pub(crate) trait Versioned: Send + Sync + 'static {
    fn name(&self) -> &Name;
    fn version(&self) -> u32;
    fn hash(&self) -> String;

    /// Returns the contents as JSON.
    fn body(&self) -> Result<Body, Unreadable>;

    /// Checks all rules. Parsed contents may predate the latest ones.
    fn check(&self) -> Result<(), RegistrationError>;

    /// Whether the contents have schemas that must fit those of other versions.
    fn has_schemas(&self) -> bool {
        false
    }

    /// Returns the messages that have another schema in a stored version, beyond additional
    /// optional fields, with the reasons.
    fn changes_from(&self, _other: u32, _body: &str) -> Vec<(SchemaPlace, String)> {
        Vec::new()
    }
}

/// Contents that satisfy all rules.
pub(crate) struct CheckedContents<T>(Vec<T>);

impl<T: Versioned> CheckedContents<T> {
    /// Checks contents.
    pub fn of(contents: Vec<T>) -> Result<CheckedContents<T>, RegistrationError> {
        contents.iter().try_for_each(Versioned::check)?;
        Ok(CheckedContents(contents))
    }

    /// Checks contents like [`CheckedContents::of`] on a thread for blocking work: the check of a
    /// plan explores up to hundreds of thousands of states.
    pub async fn without_blocking(
        contents: Vec<T>,
    ) -> Result<CheckedContents<T>, RegistrationError> {
        let checked = tokio::task::spawn_blocking(move || CheckedContents::of(contents)).await;
        checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

impl<T> Deref for CheckedContents<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> IntoIterator for CheckedContents<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A stored version of a definition or plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredVersion {
    /// The name of the definition or plan.
    pub name: Name,
    /// The version.
    pub version: u32,
    /// The hash of the contents.
    pub hash: String,
    /// Whether new sagas or chains run by this version. At most one version of a name is active.
    pub is_active: bool,
    /// The time of the registration. `None`: an older program registered it.
    pub registered_at: Option<Timestamp>,
    /// The time from which no saga or chain starts by this version.
    pub retired_at: Option<Timestamp>,
}

/// A stored version with the number of its unfinished sagas or chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVersion {
    /// The stored version.
    pub version: StoredVersion,
    /// Those unfinished, with those that run by a body that was replaced in place.
    pub running: u64,
}

/// The source of a registration, which decides on activation and conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationMode {
    /// An operator applies a file: only the first version of a name becomes active, and a retired
    /// version is restored.
    Apply,
    /// A process brings the contents: a new version becomes active if it is higher than the active
    /// one, and a known version changes nothing.
    Deploy,
    /// Like `Deploy`, and other contents replace a version in place. Its sagas or chains keep their
    /// contents.
    Replace,
}

/// The effect of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationOutcome {
    /// The version is new.
    Registered,
    /// The version was stored before, with the same contents.
    Unchanged,
    /// The version was retired before.
    Restored,
    /// The version had other contents before.
    Replaced,
}

/// A registered version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The stored version.
    pub version: StoredVersion,
    /// The effect of the registration.
    pub outcome: RegistrationOutcome,
}

impl Versioned for Definition {
    fn name(&self) -> &Name {
        &self.name
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn hash(&self) -> String {
        Definition::hash(self).to_owned()
    }

    fn body(&self) -> Result<Body, Unreadable> {
        Body::of(self)
    }

    fn check(&self) -> Result<(), RegistrationError> {
        Ok(Definition::check(self.clone().into()).map(drop)?)
    }

    fn has_schemas(&self) -> bool {
        !self.schemas.is_empty()
    }

    fn changes_from(&self, other: u32, body: &str) -> Vec<(SchemaPlace, String)> {
        // a newer program stored what this one cannot read
        let Ok(stored) = serde_json::from_str::<Draft>(body) else { return Vec::new() };
        match other < self.version {
            true => sagamore_schema::incompatible(&stored.schemas, &self.schemas),
            false => sagamore_schema::incompatible(&self.schemas, &stored.schemas),
        }
    }
}

impl Versioned for Plan {
    fn name(&self) -> &Name {
        &self.name
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn hash(&self) -> String {
        Plan::hash(self)
    }

    fn body(&self) -> Result<Body, Unreadable> {
        Body::of(self)
    }

    fn check(&self) -> Result<(), RegistrationError> {
        match plan::check(self) {
            problems if problems.is_empty() => Ok(()),
            problems => Err(RegistrationError::InvalidPlan(plan::Error {
                plan: self.name.to_string(),
                problems,
            })),
        }
    }
}

impl StoredVersion {
    /// Returns `3`, `3 (active)` or `3 (retired)`.
    pub(crate) fn summary(&self) -> String {
        let StoredVersion { version, is_active, retired_at, .. } = self;
        match (is_active, retired_at) {
            (true, _) => format!("{version} (active)"),
            (false, Some(_)) => format!("{version} (retired)"),
            (false, None) => version.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;

    /// Contents whose check ends when another task of the runtime has run.
    struct Slow {
        name: Name,
        progress: Mutex<Receiver<()>>,
    }

    impl Versioned for Slow {
        fn name(&self) -> &Name {
            &self.name
        }

        fn version(&self) -> u32 {
            1
        }

        fn hash(&self) -> String {
            "h".to_owned()
        }

        fn body(&self) -> Result<Body, Unreadable> {
            Ok(Body::empty())
        }

        fn check(&self) -> Result<(), RegistrationError> {
            let progress = self.progress.lock().expect("no panic");
            progress.recv_timeout(Duration::from_secs(10)).expect("the runtime is blocked");
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_check_does_not_block_the_other_tasks_of_the_runtime() {
        let (sender, progress) = channel();
        let slow = Slow { name: "slow".parse().expect("a name"), progress: Mutex::new(progress) };
        let check = CheckedContents::without_blocking(vec![slow]);
        let (checked, sent) = tokio::join!(check, async move { sender.send(()) });
        sent.expect("sent");
        assert_eq!(checked.expect("checked").len(), 1);
    }
}
