//! PostgreSQL behind the port: a pool of connections, statements prepared once per connection, and
//! minimal round trips.
//!
//! A connection answers requests in order. Requests that cannot fail by themselves (BEGIN,
//! savepoints) are therefore sent with the next statement, without waiting for their answers.

mod array;
mod connect;
mod convert;
mod map;
mod pipeline;
mod session;
mod text;
mod tls;
mod transaction;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool_postgres::Pool;
use sagamore_core::limits::ExternalName;

use crate::database::Database;
use crate::error::Error;
use crate::port::{Backend, BoxFuture, Dialect, Stats, Transaction};
use crate::value::{Row, Value};

pub use array::array;

use session::Session;
use transaction::PostgresTransaction;

/// Connections of a database that is opened apart: one for a transaction, one for a read.
const CONNECTIONS_APART: usize = 2;

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
    /// Maximum silence of the server before the connection is closed. Longer than the server-side
    /// limits.
    pub answer_within: Duration,
    /// Maximum duration of a statement.
    pub statement_timeout: Duration,
    /// Maximum wait of a statement for another transaction's lock.
    pub lock_timeout: Duration,
    /// Maximum time of an open transaction without a statement.
    pub idle_in_transaction_timeout: Duration,
    /// Maximum time of sent data without a TCP acknowledgement before the connection is dead.
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

/// One PostgreSQL database.
struct Postgres {
    pool: Pool,
    options: Arc<Options>,
    committed: Arc<AtomicU64>,
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

impl Database {
    /// Creates a database on a PostgreSQL server. It connects on first use, so an error here
    /// concerns the options.
    ///
    /// It requires a tokio runtime with I/O and time. A transaction holds one connection, and
    /// [`Database::query`] needs another one. A task that holds all of them and awaits one more
    /// fails after the wait.
    pub fn postgres(options: Options) -> Result<Database, Error> {
        ExternalName::Application.check(&options.application)?;
        options.schema.as_deref().map_or(Ok(()), |schema| ExternalName::Schema.check(schema))?;
        let pool = connect::pool(&options)?;
        Ok(Database::new(Arc::new(Postgres {
            pool,
            options: Arc::new(options),
            committed: Arc::default(),
        })))
    }
}

impl Postgres {
    async fn session(&self) -> Result<Session, Error> {
        let client = self.pool.get().await.map_err(|why| connect::error(why, &self.options))?;
        Ok(Session::new(client, self.options.answer_within))
    }
}

impl Backend for Postgres {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn idle_limit(&self) -> Option<Duration> {
        Some(self.options.idle_in_transaction_timeout)
    }

    fn begin(&self) -> BoxFuture<'_, Result<Arc<dyn Transaction>, Error>> {
        Box::pin(async {
            let session = self.session().await?;
            Ok(Arc::new(PostgresTransaction::new(session, Arc::clone(&self.committed)))
                as Arc<dyn Transaction>)
        })
    }

    fn read<'a>(
        &'a self,
        sql: &'a str,
        params: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(async move {
            text::effect(sql)?;
            self.session().await?.read(sql, params).await
        })
    }

    fn apart(&self) -> Option<Arc<dyn Backend>> {
        let options = Options { connections_max: CONNECTIONS_APART, ..(*self.options).clone() };
        let pool = connect::pool(&options).ok()?; // the same options have made a pool before
        let committed = Arc::clone(&self.committed);
        Some(Arc::new(Postgres { pool, options: Arc::new(options), committed }))
    }

    /// Each transaction has its own commit. The server shares the syncs.
    fn stats(&self) -> Stats {
        let committed = self.committed.load(Ordering::Relaxed);
        Stats { transactions: committed, commits: committed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_schema_name_that_is_too_long_is_rejected_before_connecting() {
        let open = |schema: String| {
            Database::postgres(Options::new("postgres://me@127.0.0.1:1/x").in_schema(schema))
        };
        assert!(open("n".repeat(63)).is_ok());
        let why = open("n".repeat(64)).err().expect("too long");
        assert!(
            matches!(&why, Error::Name(_)) && why.to_string().contains("at most 63 bytes"),
            "{why}"
        );
        assert!(matches!(open("pg_order".into()), Err(Error::Name(_))));
    }
}
