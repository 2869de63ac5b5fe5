//! Where the brokers are, how to be let in, and the bounds.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be chosen.
#[derive(Clone, Debug)]
pub struct Options {
    /// Some of the brokers, `host:port` with commas between them.
    pub brokers: String,
    /// What the brokers know this program as, in their logs and quotas.
    pub client: String,
    /// Stands before every topic and group on the brokers, with a dot: two environments share a cluster.
    pub namespace: Option<String>,
    /// On how many brokers new topics are kept. None: as the brokers have it.
    pub replication: Option<u16>,
    /// A name that only this process has, and has again after a restart: its group then waits for no one who is gone. When
    /// another member has it after all, this one goes on without.
    pub instance: Option<String>,
    /// How to be let in.
    pub security: Security,
    /// How long a record may take until it is acknowledged.
    pub delivered_within: Duration,
    /// How long any other question may take.
    pub answered_within: Duration,
    /// After so long without a sign of life a consumer's partitions are given to the others of its group.
    pub session: Duration,
    /// What a consumer holds of what has not been asked for yet, in bytes; above it the brokers are not asked for more.
    pub prefetch_bytes: usize,
    /// A partition that stands for so long with records before it is stalled. Handlers and retries take less.
    pub stalled_after: Duration,
}

/// TLS and SASL; with neither the connection is plain.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// Encrypted, the brokers' names checked.
    pub tls: Option<Tls>,
    /// A name and a password.
    pub sasl: Option<Sasl>,
}

/// Files in PEM format.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Who signed the brokers' certificates. None: those that this machine trusts.
    pub ca: Option<PathBuf>,
    /// The certificate of this client, for mutual TLS.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// A name and a password.
#[derive(Clone)]
pub struct Sasl {
    /// `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN`.
    pub mechanism: String,
    /// Who.
    pub username: String,
    /// Never printed.
    pub password: String,
}

impl Options {
    /// The defaults, with these brokers.
    pub fn new(brokers: impl Into<String>) -> Options {
        Options {
            brokers: brokers.into(),
            client: "sagamore".to_owned(),
            namespace: None,
            replication: None,
            instance: None,
            security: Security::default(),
            delivered_within: Duration::from_secs(5),
            answered_within: Duration::from_secs(5),
            session: Duration::from_secs(10),
            prefetch_bytes: 16 << 20,
            stalled_after: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sasl {{ {} as {} }}", self.mechanism, self.username)
    }
}
