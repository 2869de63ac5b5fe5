//! The configuration of the processes: defaults < file < environment (`SAGAMORE__KAFKA__BROKERS`) < flags.
//!
//! `sagamore dev` needs none of it.

mod keys;
mod origin;
mod pem;
mod schema;
mod source;
mod targets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sagamore_core::limits::ExternalName;
use serde::{Deserialize, Serialize};

pub use origin::{Value, explain};
pub use schema::{RESERVED, Schema};
use source::Source;

/// The environment's prefix.
const PREFIX: &str = "SAGAMORE";
/// The longest retention, in days: a hundred years.
const RETENTION_DAYS_MAX: u64 = 36_500;
/// Between the words of a variable's name.
const SEPARATOR: &str = "__";

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Stands before topics, groups and schemas: several environments share a cluster and a server.
    pub namespace: String,
    /// Listen on addresses that others can reach, although there is no authentication: in a private network only.
    pub allow_unauthenticated: bool,
    /// The program's choreography runs, and not its main story.
    pub choreography: bool,
    /// The brokers.
    pub kafka: KafkaSettings,
    /// The server of all databases that have none of their own.
    pub postgres: PostgresSettings,
    /// The barriers of the services.
    pub barrier: BarrierSettings,
    /// `sagamore serve`.
    pub orchestrator: OrchestratorSettings,
    /// `sagamore observe`.
    pub observer: ObserverSettings,
    /// The services, by name: `[services.NAME]`.
    pub services: BTreeMap<String, ServiceSettings>,
    /// The places of all values.
    #[serde(skip)]
    source: Source,
}

/// Apache Kafka.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// `host:port`, with commas between them.
    pub brokers: String,
    /// On how many brokers new topics are kept; as the brokers have it, when absent.
    pub replication: Option<u16>,
    /// TLS to the brokers.
    pub tls: Option<TlsSettings>,
    /// A name and a password.
    pub sasl: Option<SaslSettings>,
}

/// Files in PEM format.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// Who signed the server's certificate; those that this machine trusts, when absent.
    pub ca: Option<PathBuf>,
    /// This client's certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// SASL.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaslSettings {
    /// `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN`.
    pub mechanism: String,
    /// Who.
    pub username: String,
    /// The password.
    pub password: Option<String>,
    /// A file that holds the password.
    pub password_file: Option<PathBuf>,
}

/// PostgreSQL.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// `postgres://user:password@host:port/database`.
    pub url: String,
    /// A file that holds the password, if the address has none.
    pub password_file: Option<PathBuf>,
    /// TLS to the server.
    pub tls: Option<TlsSettings>,
}

/// The rows that let each step happen once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BarrierSettings {
    /// How long they are kept after the end of their saga, in days: longer than a topic of commands and its dead letters keep
    /// their records together. Orchestrators and services have to be given the same.
    pub retention_days: u64,
}

/// The orchestrator.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrchestratorSettings {
    /// Where the HTTP API listens.
    pub listen: String,
    /// Where clients find the orchestrators, with commas between them; the address above, when empty.
    pub servers: String,
    /// How many partitions the topic of replies has: as many orchestrators can work at once.
    pub partitions: u32,
    /// How long an orchestrator may be silent before others take its sagas over, in milliseconds; 3000 at most.
    pub lease_ms: u64,
    /// How many sagas may be under way in one orchestrator; starts beyond it are answered with 429.
    pub sagas_max: usize,
    /// How long the journals of sagas are kept after their end, in days.
    pub retention_days: u64,
}

/// The observer of choreographies.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObserverSettings {
    /// Where its HTTP listens.
    pub listen: String,
    /// Where clients find the observers, with commas between them; the address above, when empty.
    pub servers: String,
    /// How many partitions each event's topic has.
    pub partitions: u32,
    /// Whether it tells the owner of a plan's pivot that a chain is overdue: an order that takes too long is then undone.
    pub tells_overdue: bool,
}

/// A service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSettings {
    /// Where its own HTTP listens.
    pub listen: String,
    /// How many partitions its topic of commands has: as many processes of the service can work at once.
    pub partitions: u32,
    /// The server of its database, when it has one of its own.
    pub url: Option<String>,
}

impl Settings {
    /// Returns the defaults for these services.
    pub fn of(schema: &Schema) -> Settings {
        Settings {
            namespace: String::new(),
            allow_unauthenticated: false,
            choreography: false,
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
                sagas_max: crate::stack::SAGAS_MAX,
                retention_days: 30,
            },
            observer: ObserverSettings {
                listen: "127.0.0.1:3005".into(),
                servers: String::new(),
                partitions: 12,
                tells_overdue: false,
            },
            services: schema.defaults(),
            source: Source::of_schema(schema.clone()),
        }
    }

    /// Reads the configuration: the defaults, the file, and the environment.
    ///
    /// # Errors
    /// Every key that is unknown, missing or does not fit, behind its place.
    pub fn load(schema: &Schema, file: Option<&Path>) -> Result<Settings> {
        let source = Source::read(schema, file)?;
        let mut settings = source.settings()?;
        settings.source = source;
        settings.check()?;
        Ok(settings)
    }

    /// A key as errors name it: behind the line of the file, or the variable, that sets it.
    pub fn named(&self, key: &str) -> String {
        self.source.named(key)
    }

    /// Returns the key as people write it, without its place.
    pub(crate) fn key(&self, key: &str) -> String {
        self.source.schema().shown_key(key).to_owned()
    }

    fn check(&self) -> Result<()> {
        let services = self.services();
        let mut names = services.iter().map(|(name, _)| *name).chain(["sagamore"]);
        let plain =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if !self.namespace.chars().all(plain) || names.any(|name| name == self.namespace) {
            bail!(
                "{}: '{}' is none; write lower-case letters, digits and '-', and no name of a service",
                self.named("namespace"),
                self.namespace
            );
        }
        let schemas =
            ["engine", "observer"].into_iter().chain(services.iter().map(|(name, _)| *name));
        for schema in schemas {
            let fits = ExternalName::Schema.check(&self.schema(schema));
            fits.with_context(|| {
                format!("{}: choose another, or a shorter one", self.named("namespace"))
            })?;
        }
        if !(500..=3_000).contains(&self.orchestrator.lease_ms) {
            let key = self.named("orchestrator.lease_ms");
            bail!("{key}: {}; from 500 to 3000 are taken", self.orchestrator.lease_ms);
        }
        let retentions = [
            ("barrier", self.barrier.retention_days),
            ("orchestrator", self.orchestrator.retention_days),
        ];
        if let Some((table, days)) =
            retentions.into_iter().find(|(_, days)| *days > RETENTION_DAYS_MAX)
        {
            bail!(
                "{}: {days}; at most {RETENTION_DAYS_MAX} are taken",
                self.named(&format!("{table}.retention_days"))
            );
        }
        if self.barrier.retention_days == 0 {
            let key = self.named("barrier.retention_days");
            bail!("{key}: 0; a step that is delivered again would be done again: at least 1");
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
                "{}: 0; a topic has at least one partition",
                self.named(&format!("{name}.partitions"))
            );
        }
        Ok(())
    }

    /// Returns the services with their names, in the order in which the program adds them.
    pub fn services(&self) -> Vec<(&str, &ServiceSettings)> {
        let names = self.source.schema().names();
        names.iter().filter_map(|name| Some((name.as_str(), self.services.get(name)?))).collect()
    }

    /// Returns the settings of a service.
    pub fn service(&self, name: &str) -> Option<&ServiceSettings> {
        self.services.get(name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Four services, with short keys.
    pub fn schema() -> Schema {
        Schema::of(
            "shop",
            ["order", "payment", "inventory", "shipping"].map(str::to_owned).into(),
            Vec::new(),
            true,
        )
    }

    fn of(toml: &str) -> Result<Settings> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("sagamore.toml");
        std::fs::write(&file, toml)?;
        Settings::load(&schema(), Some(&file))
    }

    #[test]
    fn a_file_changes_what_it_names_and_leaves_the_rest() {
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
    fn what_cannot_be_is_refused_with_the_place() {
        let check = |toml: &str, part: &str| {
            let why = format!("{:#}", of(toml).expect_err(toml));
            assert!(why.contains(part), "{why}");
        };
        check(
            "[kafka]\nbroker = \"a:1\"\n",
            "sagamore.toml:2:1: kafka.broker: there is no such key",
        );
        check("namespace = \"payment\"\n", "sagamore.toml:1:1: namespace: 'payment'");
        check(
            "[orchestrator]\n  lease_ms = 10\n",
            "sagamore.toml:2:3: orchestrator.lease_ms: 10; from 500",
        );
        check("[order]\npartitions = 0\n", "sagamore.toml:2:1: order.partitions: 0;");
        check(
            "[order]\npartitions = \"many\"\n",
            "sagamore.toml:2:1: order.partitions: \"many\" is given, and a whole",
        );
        check("order = 3\n", "sagamore.toml:1:1: order: this is a table");
        check(
            "[kafka.sasl]\nmechanism = \"PLAIN\"\n",
            "sagamore.toml:1:8: kafka.sasl.username: this is not set",
        );
        check("[order\n", "sagamore.toml:1:7: this is not TOML");
        assert!(
            format!(
                "{:#}",
                Settings::load(&schema(), Some(Path::new("/nowhere.toml"))).unwrap_err()
            )
            .contains("nowhere")
        );
    }
}
