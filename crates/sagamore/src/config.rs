//! The configuration of the processes: defaults < file < environment (`SAGAMORE__KAFKA__BROKERS`) <
//! flags. `dev` needs none.

mod keys;
mod origin;
mod participants;
mod pem;
mod schema;
mod source;
mod tables;
mod targets;

use std::ops::{Deref, DerefMut};
use std::path::Path;

use anyhow::{Context, bail};
use sagamore_core::limits::ExternalName;

use crate::error::ProgramError;
pub use origin::{Value, explain};
pub use schema::{RESERVED, Schema};
use source::Source;
pub use tables::{
    BarrierSettings, GatewaySettings, KafkaSettings, ObserverSettings, OrchestratorSettings,
    ParticipantSettings, PostgresSettings, SAGAS_MAX, SaslSettings, ServiceSettings, Tables,
    TlsSettings,
};

/// Maximum retention, in days: a hundred years.
const RETENTION_DAYS_MAX: u64 = 36_500;

/// The values of all keys, after defaults, file and environment are merged. Dereferences to its
/// [`Tables`].
#[derive(Clone, Debug)]
pub struct Settings {
    tables: Tables,
    /// The positions of all values.
    source: Source,
}

impl Deref for Settings {
    type Target = Tables;

    fn deref(&self) -> &Tables {
        &self.tables
    }
}

impl DerefMut for Settings {
    fn deref_mut(&mut self) -> &mut Tables {
        &mut self.tables
    }
}

impl Settings {
    /// Returns the defaults for these services.
    pub fn of(schema: &Schema) -> Settings {
        Settings { tables: schema.tables(), source: Source::of_schema(schema.clone()) }
    }

    /// Reads the configuration from defaults, file and environment.
    ///
    /// # Errors
    ///
    /// All unknown, missing and invalid keys, each after its position.
    pub fn load(schema: &Schema, file: Option<&Path>) -> Result<Settings, ProgramError> {
        Settings::read(schema, file).map_err(ProgramError::of)
    }

    fn read(schema: &Schema, file: Option<&Path>) -> anyhow::Result<Settings> {
        let source = Source::read(schema, file)?;
        let settings = Settings { tables: source.tables()?, source };
        settings.check()?;
        Ok(settings)
    }

    /// Returns the key for an error, after the line of the file or the variable that sets it.
    pub fn named(&self, key: &str) -> String {
        self.source.named(key)
    }

    /// Returns the key as users write it, without its position.
    pub(crate) fn key(&self, key: &str) -> String {
        self.source.schema().shown_key(key).to_owned()
    }

    fn check(&self) -> anyhow::Result<()> {
        let services = self.services();
        let mut names = services.iter().map(|(name, _)| *name).chain(["sagamore"]);
        let plain =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if !self.namespace.chars().all(plain) || names.any(|name| name == self.namespace) {
            bail!(
                "{}: '{}' is not a namespace: use lower-case letters, digits and '-', and no \
                 service's name",
                self.named("namespace"),
                self.namespace
            );
        }
        if let Some(event) = self.source.schema().event_below(&self.namespace) {
            bail!(
                "{}: '{}' is not a namespace: the event '{event}' begins with it, so its topic \
                 would count as prefixed: choose another namespace",
                self.named("namespace"),
                self.namespace
            );
        }
        let schemas =
            ["engine", "observer"].into_iter().chain(services.iter().map(|(name, _)| *name));
        for schema in schemas {
            let fits = ExternalName::Schema.check(&self.schema(schema));
            fits.with_context(|| {
                format!("{}: choose another or a shorter namespace", self.named("namespace"))
            })?;
        }
        if !(500..=3_000).contains(&self.orchestrator.lease_ms) {
            let key = self.named("orchestrator.lease_ms");
            bail!("{key}: {} is out of range: use 500 to 3000", self.orchestrator.lease_ms);
        }
        let retentions = [
            ("barrier", self.barrier.retention_days),
            ("orchestrator", self.orchestrator.retention_days),
        ];
        if let Some((table, days)) =
            retentions.into_iter().find(|(_, days)| *days > RETENTION_DAYS_MAX)
        {
            bail!(
                "{}: {days} is out of range: use at most {RETENTION_DAYS_MAX}",
                self.named(&format!("{table}.retention_days"))
            );
        }
        if self.barrier.retention_days == 0 {
            let key = self.named("barrier.retention_days");
            bail!("{key}: 0 is out of range: use at least 1, or redelivered steps would run twice");
        }
        if self.orchestrator.sagas_max == 0 {
            let key = self.named("orchestrator.sagas_max");
            bail!("{key}: 0 is out of range: use at least 1, or every start would be rejected");
        }
        let others = [
            ("orchestrator", self.orchestrator.partitions),
            ("observer", self.observer.partitions),
        ];
        let others = others.map(|(name, partitions)| (name.to_owned(), partitions));
        let services =
            services.iter().map(|(name, service)| (format!("services.{name}"), service.partitions));
        if let Some((name, _)) =
            others.into_iter().chain(services).find(|(_, partitions)| *partitions == 0)
        {
            bail!(
                "{}: 0 is out of range: a topic has at least one partition",
                self.named(&format!("{name}.partitions"))
            );
        }
        Ok(())
    }

    /// Returns the services in the order of the program, with their names.
    pub fn services(&self) -> Vec<(&str, &ServiceSettings)> {
        let names = self.source.schema().names();
        names.iter().filter_map(|name| Some((name.as_str(), self.services.get(name)?))).collect()
    }

    /// Whether the program has a service of this name built in.
    fn is_built_in(&self, name: &str) -> bool {
        self.source.schema().is_built_in(name)
    }

    /// Returns the settings of one service.
    pub fn service(&self, name: &str) -> Option<&ServiceSettings> {
        self.services.get(name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The schema of four services with short keys.
    pub fn schema() -> Schema {
        Schema::of(
            "shop",
            ["order", "payment", "inventory", "shipping"].map(str::to_owned).into(),
            Vec::new(),
            true,
        )
        .with_events(vec!["seat.reserved".to_owned()])
    }

    pub fn of(toml: &str) -> anyhow::Result<Settings> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("sagamore.toml");
        std::fs::write(&file, toml)?;
        Settings::read(&schema(), Some(&file))
    }

    #[test]
    fn a_file_overrides_only_its_own_keys() {
        let settings = of("namespace = \"staging\"\n[kafka]\nbrokers = \"a:1,b:2\"\n").unwrap();
        assert_eq!(
            (settings.kafka.brokers.as_str(), settings.services["payment"].listen.as_str()),
            ("a:1,b:2", "127.0.0.1:3002")
        );
        assert_eq!(
            (settings.topic("order.commands"), settings.schema("order")),
            ("staging.order.commands".into(), "staging_order".into())
        );
        assert_eq!(settings.servers(), ["http://127.0.0.1:3000"]);
    }

    #[test]
    fn invalid_settings_are_rejected_with_their_position() {
        let check = |toml: &str, part: &str| {
            let why = format!("{:#}", of(toml).expect_err(toml));
            assert!(why.contains(part), "{why}");
        };
        check("[kafka]\nbroker = \"a:1\"\n", "sagamore.toml:2:1: kafka.broker: unknown key");
        check("namespace = \"payment\"\n", "sagamore.toml:1:1: namespace: 'payment'");
        check(
            "namespace = \"seat\"\n",
            "sagamore.toml:1:1: namespace: 'seat' is not a namespace: the event 'seat.reserved'",
        );
        assert!(of("namespace = \"seats\"\n").is_ok());
        check(
            "[orchestrator]\n  lease_ms = 10\n",
            "sagamore.toml:2:3: orchestrator.lease_ms: 10 is out of range: use 500",
        );
        check(
            "[order]\npartitions = 0\n",
            "sagamore.toml:2:1: order.partitions: 0 is out of range",
        );
        check(
            "[orchestrator]\nsagas_max = 0\n",
            "sagamore.toml:2:1: orchestrator.sagas_max: 0 is out",
        );
        check(
            "[order]\npartitions = \"many\"\n",
            "sagamore.toml:2:1: order.partitions: expected a whole",
        );
        check("order = 3\n", "sagamore.toml:1:1: order: expected a table");
        check(
            "[kafka.sasl]\nmechanism = \"PLAIN\"\n",
            "sagamore.toml:1:8: kafka.sasl.username: missing",
        );
        check("[order\n", "sagamore.toml:1:7: invalid TOML");
        assert!(
            format!(
                "{:#}",
                Settings::load(&schema(), Some(Path::new("/nowhere.toml"))).unwrap_err()
            )
            .contains("nowhere")
        );
    }
}
