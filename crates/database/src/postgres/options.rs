//! The address of a database, and its time limits.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The address of the database, and its time limits.
///
/// The server-side limits are below the 3 s of an orchestrator's lease. A process that is paused
/// inside a transaction thus does not block its successor.
#[derive(Clone)]
pub struct Options {
    /// `postgres://user:password@host:port/database`, or `host=.. dbname=..`. Settings in the URL
    /// override the fields below.
    pub url: String,
    /// The schema to use, created if missing. `None`: the server's default (`public`).
    pub schema: Option<String>,
    /// TLS with verified certificate and host name; `None` for plain connections.
    pub tls: Option<Tls>,
    /// The name of the connections in `pg_stat_activity`.
    pub application: String,
    /// Maximum number of connections.
    pub connections_max: usize,
    /// Maximum wait for a free connection.
    pub free_within: Duration,
    /// Maximum wait for a new connection.
    pub connected_within: Duration,
    /// Maximum time without an answer before the connection is closed. Longer than the server-side
    /// limits.
    pub answer_within: Duration,
    /// Maximum duration of a statement.
    pub statement_timeout: Duration,
    /// Maximum wait of a statement for another transaction's lock.
    pub lock_timeout: Duration,
    /// Maximum time of an open transaction without a statement.
    pub idle_in_transaction_timeout: Duration,
    /// Maximum time that sent data may stay without a TCP acknowledgement before the connection is
    /// closed.
    pub tcp_user_timeout: Duration,
}

/// Files in PEM format.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The authority that signed the server's certificate. `None`: the authorities that this
    /// machine trusts.
    pub ca: Option<PathBuf>,
    /// The client's certificate, for mutual TLS.
    pub certificate: Option<PathBuf>,
    /// The key of the client's certificate.
    pub key: Option<PathBuf>,
}

impl Options {
    /// Returns the defaults for this address.
    pub fn new(url: impl Into<String>) -> Options {
        Options {
            url: url.into(),
            schema: None,
            tls: None,
            application: "sagamore".to_owned(),
            connections_max: 10,
            free_within: Duration::from_secs(5),
            connected_within: Duration::from_secs(5),
            answer_within: Duration::from_secs(10),
            statement_timeout: Duration::from_millis(2_500),
            lock_timeout: Duration::from_secs(2),
            idle_in_transaction_timeout: Duration::from_millis(2_500),
            tcp_user_timeout: Duration::from_millis(2_500),
        }
    }

    /// Sets the schema.
    pub fn in_schema(self, schema: impl Into<String>) -> Options {
        Options { schema: Some(schema.into()), ..self }
    }
}

/// Omits the address, which may contain a password.
impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { schema, application, connections_max, .. } = self;
        write!(
            formatter,
            "Options {{ {application}, schema {schema:?}, at most {connections_max} connections }}"
        )
    }
}
