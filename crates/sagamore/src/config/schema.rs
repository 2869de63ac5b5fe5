//! The services of a program from the configuration's point of view.

use std::collections::BTreeMap;

use super::tables::{ParticipantSettings, ServiceSettings, Tables};

/// The default port of the first service. The next services have the following ports.
const FIRST_PORT: u16 = 3001;
/// The port of the observer, which is not the default port of any service.
const OBSERVER_PORT: u16 = 3005;

/// Names of tables and keys, which no service can have.
pub const RESERVED: [&str; 16] = [
    "namespace",
    "allow_unauthenticated",
    "choreography",
    "definitions",
    "kafka",
    "postgres",
    "barrier",
    "orchestrator",
    "observer",
    "services",
    "participants",
    "egress",
    "engine",
    "sagamore",
    "gateway",
    "doctor",
];

/// The names of the services, and the spelling of their keys.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    program: &'static str,
    names: Vec<String>,
    short_keys: bool,
    /// Services of other programs that the configuration may name.
    external: Vec<String>,
    /// Whether the configuration may name any service, because the program has none.
    is_open: bool,
    /// The names of the program's events.
    events: Vec<String>,
    /// The participants with a binding.
    bound: Vec<String>,
}

impl Schema {
    /// Creates the schema of a program's services and of external ones. With `short_keys`, `[NAME]`
    /// is short for `[services.NAME]`.
    pub fn of(
        program: &'static str,
        names: Vec<String>,
        external: Vec<String>,
        short_keys: bool,
    ) -> Schema {
        Schema {
            program,
            is_open: names.is_empty(),
            names,
            external,
            short_keys,
            events: Vec::new(),
            bound: Vec::new(),
        }
    }

    /// Sets the names of the program's events. No namespace may clash with them.
    pub fn with_events(self, events: Vec<String>) -> Schema {
        Schema { events, ..self }
    }

    /// Returns an event whose name begins with this segment.
    pub(super) fn event_below(&self, segment: &str) -> Option<&str> {
        let is_below =
            |event: &&String| event.split_once('.').is_some_and(|(first, _)| first == segment);
        self.events.iter().find(is_below).map(String::as_str)
    }

    /// Returns the program's name.
    pub(super) fn program(&self) -> &'static str {
        self.program
    }

    /// Returns the services' names, in the order of the program.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the default settings.
    pub(super) fn tables(&self) -> Tables {
        Tables::of(self.defaults(), self.bindings())
    }

    /// Returns the default settings of every service.
    fn defaults(&self) -> BTreeMap<String, ServiceSettings> {
        let ports = (FIRST_PORT..).filter(|port| *port != OBSERVER_PORT);
        let settings = |port| ServiceSettings {
            listen: format!("127.0.0.1:{port}"),
            partitions: 12,
            url: None,
        };
        self.names.iter().cloned().zip(ports.map(settings)).collect()
    }

    /// Returns the default bindings of all participants that the configuration names.
    fn bindings(&self) -> BTreeMap<String, ParticipantSettings> {
        self.bound.iter().map(|name| (name.clone(), ParticipantSettings::default())).collect()
    }

    /// Whether the program has a service of this name built in.
    pub(super) fn is_built_in(&self, name: &str) -> bool {
        !self.is_open && self.names.iter().any(|service| service == name)
    }

    /// Returns the full key: `services.order.listen` for `order.listen`.
    pub(super) fn full_key(&self, key: &str) -> String {
        let first = key.split('.').next().unwrap_or(key);
        let mut services = self.names.iter().chain(&self.external);
        let is_short = self.short_keys && services.any(|name| name == first);
        if is_short { format!("services.{key}") } else { key.to_owned() }
    }

    /// Returns the key as users write it: the inverse of [`Schema::full_key`].
    pub(super) fn shown_key<'a>(&self, key: &'a str) -> &'a str {
        key.strip_prefix("services.").filter(|_| self.short_keys).unwrap_or(key)
    }

    /// Adds the service or participant of this key, if the configuration may name it.
    pub(super) fn admit(&mut self, key: &str) {
        let bound = key.strip_prefix("participants.").and_then(|rest| rest.split('.').next());
        if let Some(name) = bound
            && sagamore_core::Name::new(name).is_ok()
            && self.bound.iter().all(|other| other != name)
        {
            self.bound.push(name.to_owned());
        }
        let Some(name) = key.strip_prefix("services.").and_then(|rest| rest.split('.').next())
        else {
            return;
        };
        let is_new = self.names.iter().all(|other| other != name);
        let is_free =
            self.is_open && !RESERVED.contains(&name) && sagamore_core::Name::new(name).is_ok();
        if is_new && (is_free || self.external.iter().any(|external| external == name)) {
            self.names.push(name.to_owned());
        }
    }
}
