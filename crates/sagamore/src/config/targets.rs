//! Resources that the settings describe: names, brokers, databases, clients.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use sagamore_core::Name;
use sagamore_database::Database;
use sagamore_database::postgres;
use sagamore_kafka::{Kafka, Options, Sasl, Security, Tls};
use sagamore_server::{Client, Services};

use super::{KafkaSettings, SaslSettings, ServiceSettings, Settings};
use crate::error::ProgramError;

/// The supported mechanisms of SASL, without Kerberos and OAuth.
const MECHANISMS: [&str; 3] = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"];

impl Settings {
    /// Returns the name of a topic or group on the brokers.
    pub fn topic(&self, name: &str) -> String {
        if self.namespace.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.namespace)
        }
    }

    /// Returns the schema of a service, the observer or the engine.
    pub fn schema(&self, name: &str) -> String {
        if self.namespace.is_empty() {
            name.to_owned()
        } else {
            format!("{}_{name}", self.namespace)
        }
    }

    /// Returns the minimum retention of barrier rows.
    pub fn barrier_retention(&self) -> Duration {
        days(self.barrier.retention_days)
    }

    /// Returns the retention of journals after the end of a saga.
    pub fn journal_retention(&self) -> Duration {
        days(self.orchestrator.retention_days)
    }

    /// Returns the addresses of the orchestrators.
    pub fn servers(&self) -> Vec<String> {
        addresses(&self.orchestrator.servers, &self.orchestrator.listen)
    }

    /// Returns clients of the services. A participant that is called over HTTP has none.
    pub(crate) fn service_clients(&self) -> Result<Services> {
        let client = |(name, service): (&str, &ServiceSettings)| {
            Ok::<_, anyhow::Error>((
                Name::new(name)?,
                Client::new(&format!("http://{}", service.listen))?,
            ))
        };
        let is_called = |name: &str| {
            self.participants.get(name).is_some_and(|participant| participant.protocol == "http")
        };
        let services = self.services().into_iter().filter(|(name, _)| !is_called(name));
        let clients = services.map(client).collect::<Result<Vec<_>>>()?;
        Ok(Services::Remote(clients.into()))
    }

    /// Returns the addresses of the observers.
    pub fn observers(&self) -> Vec<String> {
        addresses(&self.observer.servers, &self.observer.listen)
    }

    /// Connects to the brokers. `client` identifies the process, and `instance` the member of its
    /// group.
    pub fn kafka(&self, client: &str, instance: Option<String>) -> Result<Kafka, ProgramError> {
        let options = self.kafka_options(client, instance);
        options.and_then(|options| self.connect(options)).map_err(ProgramError::of)
    }

    /// Connects an orchestrator. A request to the brokers must end before the orchestrator's leases
    /// expire.
    pub fn kafka_within(&self, client: &str, timeout: Duration) -> Result<Kafka, ProgramError> {
        let within = |options| Options {
            answered_within: timeout / 2,
            delivered_within: timeout,
            ..options
        };
        let options = self.kafka_options(client, None).map(within);
        options.and_then(|options| self.connect(options)).map_err(ProgramError::of)
    }

    /// Creates the connection without network traffic. An error is one of the options, most likely
    /// an invalid TLS file.
    fn connect(&self, options: Options) -> Result<Kafka> {
        let key = if options.security.tls.is_some() { "kafka.tls" } else { "kafka" };
        Kafka::connect(options).with_context(|| self.named(key))
    }

    fn kafka_options(&self, client: &str, instance: Option<String>) -> Result<Options> {
        let KafkaSettings { brokers, replication, tls, sasl } = &self.kafka;
        if let Some(tls) = tls {
            self.check_files("kafka.tls", tls)?;
            self.check_build("kafka.tls")?;
        }
        let tls = tls.as_ref().map(|tls| Tls {
            ca: tls.ca.clone(),
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
        });
        let sasl = sasl.as_ref().map(|sasl| self.sasl(sasl)).transpose()?;
        Ok(Options {
            client: format!("sagamore-{client}"),
            namespace: Some(self.namespace.clone()),
            replication: *replication,
            instance,
            security: Security { tls, sasl },
            ..Options::new(brokers.clone())
        })
    }

    fn sasl(&self, sasl: &SaslSettings) -> Result<Sasl> {
        let SaslSettings { mechanism, username, password, password_file } = sasl;
        if !MECHANISMS.contains(&mechanism.as_str()) {
            bail!(
                "{}: '{mechanism}' is not supported: use one of {}",
                self.named("kafka.sasl.mechanism"),
                MECHANISMS.join(", ")
            );
        }
        self.check_build("kafka.sasl")?;
        let password = match (password, password_file) {
            (Some(password), _) => password.clone(),
            (None, Some(file)) => {
                secret(file).with_context(|| self.named("kafka.sasl.password_file"))?
            }
            (None, None) => {
                bail!("{}: set password or password_file", self.named("kafka.sasl"))
            }
        };
        Ok(Sasl { mechanism: mechanism.clone(), username: username.clone(), password })
    }

    /// Opens the database of a service, the observer or the engine.
    pub fn database(&self, name: &str) -> Result<Database, ProgramError> {
        self.open(name).map_err(ProgramError::of)
    }

    fn open(&self, name: &str) -> Result<Database> {
        let own = self.service(name).and_then(|settings| settings.url.as_deref());
        let key =
            self.named(&own.map_or("postgres.url".to_owned(), |_| format!("services.{name}.url")));
        let mut url = own.unwrap_or(&self.postgres.url).to_owned();
        if let (None, Some(file)) = (own, &self.postgres.password_file) {
            let password = secret(file).with_context(|| self.named("postgres.password_file"))?;
            url = with_password(&url, &password).with_context(|| key.clone())?;
        }
        if let Some(tls) = &self.postgres.tls {
            self.check_files("postgres.tls", tls)?;
            self.check_build("postgres.tls")?;
        }
        let tls = self.postgres.tls.as_ref().map(|tls| postgres::Tls {
            ca: tls.ca.clone(),
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
        });
        let application = format!("sagamore-{name}");
        let options = postgres::Options { application, tls, ..postgres::Options::new(url) };
        let plain = postgres::Options { tls: None, ..options.clone() };
        Database::postgres(options.in_schema(self.schema(name))).map_err(|error| {
            let of_address = Database::postgres(plain).is_err(); // otherwise only TLS is invalid
            anyhow!(error).context(if of_address { key } else { self.named("postgres.tls") })
        })
    }
}

/// Splits addresses at commas. Without any, the process's own address is used.
fn addresses(servers: &str, listen: &str) -> Vec<String> {
    let servers = servers.split(',').map(str::trim).filter(|server| !server.is_empty());
    let servers: Vec<String> = servers.map(str::to_owned).collect();
    if servers.is_empty() { vec![format!("http://{listen}")] } else { servers }
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days.saturating_mul(24 * 3600))
}

fn secret(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("read the password from {}", file.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Inserts a percent-encoded password into `postgres://user@host`.
fn with_password(url: &str, password: &str) -> Result<String> {
    let Some((user, host)) = url.split_once('@') else {
        bail!("the URL has no user: write postgres://user@host/..")
    };
    let encoded: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
    Ok(format!("{user}:{encoded}@{host}"))
}
