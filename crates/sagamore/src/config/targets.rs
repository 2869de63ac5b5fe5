//! What the settings lead to: brokers and databases.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sagamore_database::Database;
use sagamore_database::postgres;
use sagamore_kafka::{Kafka, Options, Sasl, Security, Tls};

use super::{KafkaSettings, Settings};

impl Settings {
    /// The brokers, as this process is known to them; `instance` is what it is known as to its group.
    pub fn kafka(&self, client: &str, instance: Option<String>) -> Result<Kafka> {
        Kafka::connect(self.kafka_options(client, instance)?).context("kafka")
    }

    /// The same for an orchestrator, which must not wait for the brokers for as long as its leases hold.
    pub fn kafka_within(&self, client: &str, patience: Duration) -> Result<Kafka> {
        let options = self.kafka_options(client, None)?;
        Kafka::connect(Options { answered_within: patience / 2, delivered_within: patience, ..options })
            .context("kafka")
    }

    fn kafka_options(&self, client: &str, instance: Option<String>) -> Result<Options> {
        let KafkaSettings { brokers, replication, tls, sasl } = &self.kafka;
        let tls = tls.as_ref().map(|tls| Tls {
            ca: tls.ca.clone(),
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
        });
        let sasl = match sasl {
            None => None,
            Some(sasl) => Some(Sasl {
                mechanism: sasl.mechanism.clone(),
                username: sasl.username.clone(),
                password: match (&sasl.password, &sasl.password_file) {
                    (Some(password), _) => password.clone(),
                    (None, Some(file)) => secret(file)?,
                    (None, None) => bail!("kafka.sasl: neither password nor password_file is set"),
                },
            }),
        };
        Ok(Options {
            client: format!("sagamore-{client}"),
            namespace: Some(self.namespace.clone()),
            replication: *replication,
            instance,
            security: Security { tls, sasl },
            ..Options::new(brokers.clone())
        })
    }

    /// The database of a service, or of the engine.
    pub fn database(&self, name: &'static str) -> Result<Database> {
        let own = self.services().into_iter().find(|(service, _)| *service == name);
        let own = own.and_then(|(_, settings)| settings.url.as_deref());
        let mut url = own.unwrap_or(&self.postgres.url).to_owned();
        if let (None, Some(file)) = (own, &self.postgres.password_file) {
            url = with_password(&url, &secret(file)?)?;
        }
        let tls = self.postgres.tls.as_ref().map(|tls| postgres::Tls {
            ca: tls.ca.clone(),
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
        });
        let application = format!("sagamore-{name}");
        let options = postgres::Options { application, tls, ..postgres::Options::new(url) };
        Database::postgres(options.in_schema(self.schema(name))).with_context(|| format!("database of {name}"))
    }
}

fn secret(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read the password in {}", file.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// `postgres://user@host` with a password, written so that no letter of it means anything.
fn with_password(url: &str, password: &str) -> Result<String> {
    let Some((user, host)) = url.split_once('@') else { bail!("postgres.url names no user: postgres://user@host/..") };
    let encoded: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
    Ok(format!("{user}:{encoded}@{host}"))
}
