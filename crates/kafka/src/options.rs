//! The options: addresses, security and limits.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The options of the transport.
#[derive(Clone, Debug)]
pub struct Options {
    /// Some of the brokers, as `host:port` separated by commas.
    pub brokers: String,
    /// The client id in the brokers' logs and quotas.
    pub client: String,
    /// Prefixes every topic and group on the brokers, with a dot, so that environments can share a
    /// cluster.
    pub namespace: Option<String>,
    /// The replication factor of new topics. `None`: the brokers' default.
    pub replication: Option<u16>,
    /// A name that is unique to this process and stable over restarts, so that its groups do not
    /// wait for a lost member. If another member has it nevertheless, this one continues without a
    /// name.
    pub instance: Option<String>,
    /// TLS and SASL.
    pub security: Security,
    /// Maximum time until a record is acknowledged.
    pub delivered_within: Duration,
    /// Maximum time of any other request.
    pub answered_within: Duration,
    /// Time without a heartbeat after which a consumer's partitions move to other members.
    pub session: Duration,
    /// Maximum buffered bytes of a consumer. Above it, fetching pauses.
    pub prefetch_bytes: usize,
    /// Time without progress after which a lagging partition is stalled. Handlers and retries take
    /// less.
    pub stalled_after: Duration,
}

/// TLS and SASL. Without both the connection is plain.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// TLS with verified broker names.
    pub tls: Option<Tls>,
    /// Authentication by name and password.
    pub sasl: Option<Sasl>,
}

/// Files in PEM format.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The authority that signed the brokers' certificates. `None`: the authorities that this
    /// machine trusts.
    pub ca: Option<PathBuf>,
    /// The client's certificate, for mutual TLS.
    pub certificate: Option<PathBuf>,
    /// The key of the client's certificate.
    pub key: Option<PathBuf>,
}

/// Authentication by name and password.
#[derive(Clone)]
pub struct Sasl {
    /// `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN`.
    pub mechanism: String,
    /// The name of the user.
    pub username: String,
    /// The password, which is never printed.
    pub password: String,
}

impl Options {
    /// Returns the defaults for these brokers.
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
