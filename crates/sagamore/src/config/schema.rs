//! The services of a program, as the configuration knows them.

use std::collections::BTreeMap;

use super::ServiceSettings;

/// The port of the first service; the next ones follow it.
const FIRST_PORT: u16 = 3001;
/// The port of the observer, which no service takes by default.
const OBSERVER_PORT: u16 = 3005;

/// Names of tables and keys that no service can have.
pub const RESERVED: [&str; 13] = [
    "namespace",
    "allow_unauthenticated",
    "choreography",
    "kafka",
    "postgres",
    "barrier",
    "orchestrator",
    "observer",
    "services",
    "engine",
    "sagamore",
    "gateway",
    "doctor",
];

/// The names of the services, and how their keys are written.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    program: &'static str,
    names: Vec<String>,
    short_keys: bool,
    /// Services of other programs that the configuration may name.
    external: Vec<String>,
    /// Whether the configuration may name any service: the program has none built in.
    is_open: bool,
}

impl Schema {
    /// The schema of these services of a program, and of those of other programs. `short_keys`: `[NAME]` stands for
    /// `[services.NAME]`.
    pub fn of(
        program: &'static str,
        names: Vec<String>,
        external: Vec<String>,
        short_keys: bool,
    ) -> Schema {
        Schema { program, is_open: names.is_empty(), names, external, short_keys }
    }

    /// Returns the program's name.
    pub(super) fn program(&self) -> &'static str {
        self.program
    }

    /// Returns the names, in the order in which the program adds them.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the default settings of every service.
    pub(super) fn defaults(&self) -> BTreeMap<String, ServiceSettings> {
        let ports = (FIRST_PORT..).filter(|port| *port != OBSERVER_PORT);
        let settings = |port| ServiceSettings {
            listen: format!("127.0.0.1:{port}"),
            partitions: 12,
            url: None,
        };
        self.names.iter().cloned().zip(ports.map(settings)).collect()
    }

    /// Returns the key as it is listed: `services.order.listen` for `order.listen`.
    pub(super) fn full_key(&self, key: &str) -> String {
        let first = key.split('.').next().unwrap_or(key);
        let is_short = self.short_keys && self.names.iter().any(|name| name == first);
        if is_short { format!("services.{key}") } else { key.to_owned() }
    }

    /// Returns the key as people write it: the inverse of [`Schema::full_key`].
    pub(super) fn shown_key<'a>(&self, key: &'a str) -> &'a str {
        key.strip_prefix("services.").filter(|_| self.short_keys).unwrap_or(key)
    }

    /// Adds the service that this key is of, where the configuration may name further ones.
    pub(super) fn admit(&mut self, key: &str) {
        let Some(name) = key.strip_prefix("services.").and_then(|rest| rest.split('.').next())
        else {
            return;
        };
        let is_new = self.names.iter().all(|known| known != name);
        let is_free =
            self.is_open && !RESERVED.contains(&name) && sagamore_core::Name::new(name).is_ok();
        if is_new && (is_free || self.external.iter().any(|external| external == name)) {
            self.names.push(name.to_owned());
        }
    }
}
