//! The configuration of the processes: defaults < file < environment (`SAGAMORE__KAFKA__BROKERS`) <
//! flags. `dev` needs none.

mod keys;
mod origin;
mod participants;
mod pem;
mod schema;
mod source;
mod targets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sagamore_core::limits::ExternalName;
use serde::{Deserialize, Serialize};

use crate::error::ProgramError;
pub use origin::{Value, explain};
pub use participants::ParticipantSettings;
pub use schema::{RESERVED, Schema};
use source::Source;

/// Default maximum of unfinished sagas.
pub const SAGAS_MAX: usize = 20_000;
/// The prefix of environment variables.
const PREFIX: &str = "SAGAMORE";
/// Maximum retention, in days: a hundred years.
const RETENTION_DAYS_MAX: u64 = 36_500;
/// The separator of tables and keys in a variable's name.
const SEPARATOR: &str = "__";

/// The values of all keys, after defaults, file and environment are merged.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Prefix of topics, groups and schemas, so that environments can share brokers and database
    /// servers.
    pub namespace: String,
    /// Whether processes may listen on addresses that other hosts reach, without authentication: in
    /// a private network only.
    pub allow_unauthenticated: bool,
    /// Whether the program's choreography runs instead of its main story.
    pub choreography: bool,
    /// Saga files, and folders of them, that `serve` and `observe` load at their start.
    pub definitions: Vec<PathBuf>,
    /// The only addresses that gateways connect to; if empty, those of the participants' URLs.
    pub egress: Vec<String>,
    /// The table `[kafka]`.
    pub kafka: KafkaSettings,
    /// The database server of all processes without their own.
    pub postgres: PostgresSettings,
    /// The barriers of the services.
    pub barrier: BarrierSettings,
    /// The settings of `serve`.
    pub orchestrator: OrchestratorSettings,
    /// The settings of `observe`.
    pub observer: ObserverSettings,
    /// The services, by name: `[services.NAME]`.
    pub services: BTreeMap<String, ServiceSettings>,
    /// The bindings of participants, by name: `[participants.NAME]`.
    pub participants: BTreeMap<String, ParticipantSettings>,
    /// The positions of all values.
    #[serde(skip)]
    source: Source,
}

/// The settings of Apache Kafka.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// Addresses `host:port`, separated by commas.
    pub brokers: String,
    /// Replicas of new topics; without it the brokers' default.
    pub replication: Option<u16>,
    /// TLS to the brokers.
    pub tls: Option<TlsSettings>,
    /// SASL credentials, for brokers that require them.
    pub sasl: Option<SaslSettings>,
}

/// TLS files in PEM format.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// Certificate authority of the server; without it those that this machine trusts.
    pub ca: Option<PathBuf>,
    /// The client's certificate, for servers that require one.
    pub certificate: Option<PathBuf>,
    /// The key of the client's certificate.
    pub key: Option<PathBuf>,
}

/// The table `[kafka.sasl]`. Either the password or its file must be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaslSettings {
    /// `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN`.
    pub mechanism: String,
    /// The user's name.
    pub username: String,
    /// The password in plain text. `config` hides it.
    pub password: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
}

/// The table `[postgres]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:port/database`.
    pub url: String,
    /// A file with the password, if the URL has none.
    pub password_file: Option<PathBuf>,
    /// TLS to the server.
    pub tls: Option<TlsSettings>,
}

/// The barrier rows, which make each step run once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BarrierSettings {
    /// Minimum retention after the end of a saga, in days. It must exceed the retention of a
    /// command topic plus its dead letters. Orchestrators and services need the same value.
    pub retention_days: u64,
}

/// The settings of an orchestrator.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrchestratorSettings {
    /// The address of the HTTP API.
    pub listen: String,
    /// Addresses of the orchestrators for clients, separated by commas; if empty, the address
    /// above.
    pub servers: String,
    /// Partitions of the topic of replies, which limit the number of active orchestrators.
    pub partitions: u32,
    /// Time without renewal after which other orchestrators take over the sagas, in milliseconds,
    /// at most 3000.
    pub lease_ms: u64,
    /// Maximum unfinished sagas of one orchestrator. Further starts are rejected with 429.
    pub sagas_max: usize,
    /// Retention of journals after the end of a saga, in days.
    pub retention_days: u64,
}

/// The settings of the observer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObserverSettings {
    /// The address of the HTTP API.
    pub listen: String,
    /// Addresses of the observers for clients, separated by commas; if empty, the address above.
    pub servers: String,
    /// Partitions of each event's topic.
    pub partitions: u32,
    /// Whether the observer emits the overdue event to the pivot's owner, which then undoes an
    /// unfinished chain.
    pub tells_overdue: bool,
}

/// The settings of a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSettings {
    /// The address of the service's HTTP API.
    pub listen: String,
    /// Partitions of the service's command topic, which limit the number of its active processes.
    pub partitions: u32,
    /// URL of the service's own database server, if it has one.
    pub url: Option<String>,
}

impl Settings {
    /// Returns the defaults for these services.
    pub fn of(schema: &Schema) -> Settings {
        Settings {
            namespace: String::new(),
            allow_unauthenticated: false,
            choreography: false,
            definitions: Vec::new(),
            egress: Vec::new(),
            kafka: KafkaSettings {
                brokers: "127.0.0.1:9092".into(),
                replication: None,
                tls: None,
                sasl: None,
            },
            postgres: PostgresSettings {
                url: "postgres://postgres@127.0.0.1:5432/sagamore".into(),
                password_file: None,
                tls: None,
            },
            barrier: BarrierSettings { retention_days: 30 },
            orchestrator: OrchestratorSettings {
                listen: "127.0.0.1:3000".into(),
                servers: String::new(),
                partitions: 12,
                lease_ms: 3_000,
                sagas_max: SAGAS_MAX,
                retention_days: 30,
            },
            observer: ObserverSettings {
                listen: "127.0.0.1:3005".into(),
                servers: String::new(),
                partitions: 12,
                tells_overdue: false,
            },
            services: schema.defaults(),
            participants: schema.bindings(),
            source: Source::of_schema(schema.clone()),
        }
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
        let mut settings = source.settings()?;
        settings.source = source;
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
