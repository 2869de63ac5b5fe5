//! PostgreSQL behind the port: a pool of connections, statements prepared once on each, and as few round trips as possible.
//!
//! Requests on a connection are answered in their order, so what cannot fail by itself (BEGIN, savepoints) is sent along
//! with the next statement, and nobody waits for its answer.

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
use transaction::Held;

/// Where the database is, and how long anything there may take.
///
/// The bounds on the server's side are below the 3 s for which an orchestrator leases its sagas: a process that is paused
/// inside a transaction must not hold its successor up.
#[derive(Clone)]
pub struct Options {
    /// `postgres://user:password@host:port/database`, or `host=.. dbname=..`. What it sets itself overrides what is below.
    pub url: String,
    /// The schema to work in; created when it is not there. None: the one that the server chooses (`public`).
    pub schema: Option<String>,
    /// Encrypted, the server's certificate and name checked; none: plain.
    pub tls: Option<Tls>,
    /// What the connections are called in `pg_stat_activity`.
    pub application: String,
    /// How many connections at most.
    pub connections_max: usize,
    /// How long to wait for one of them to be free.
    pub free_within: Duration,
    /// How long to wait until a new one is there.
    pub connected_within: Duration,
    /// How long the server may be silent before the connection is given up. Above the bounds of the server.
    pub answer_within: Duration,
    /// How long a statement may run.
    pub statement_timeout: Duration,
    /// How long a statement may wait for a lock that another transaction has.
    pub lock_timeout: Duration,
    /// How long a transaction may stay open without a statement.
    pub idle_in_transaction_timeout: Duration,
    /// How long what was sent may be without the other side's receipt before the connection is dead.
    pub tcp_user_timeout: Duration,
}

/// Files in PEM format.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Who signed the server's certificate. None: those that this machine trusts.
    pub ca: Option<PathBuf>,
    /// The certificate of this client, for mutual TLS.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// One PostgreSQL database.
struct Postgres {
    pool: Pool,
    options: Arc<Options>,
    committed: Arc<AtomicU64>,
}

impl Options {
    /// The defaults, for this address.
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

    /// The same, in this schema.
    pub fn in_schema(self, schema: impl Into<String>) -> Options {
        Options { schema: Some(schema.into()), ..self }
    }
}

/// Without the address, which may hold a password.
impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { schema, application, connections_max, .. } = self;
        write!(formatter, "Options {{ {application}, schema {schema:?}, at most {connections_max} connections }}")
    }
}

impl Database {
    /// A database on a PostgreSQL server. It connects when it is needed first: an error here is one of the options.
    ///
    /// Runs inside a tokio runtime with I/O and time. Who holds a transaction has a connection, and [`Database::query`]
    /// takes another one: who holds all of them and awaits one more waits until that fails.
    pub fn postgres(options: Options) -> Result<Database, Error> {
        ExternalName::Application.check(&options.application)?;
        options.schema.as_deref().map_or(Ok(()), |schema| ExternalName::Schema.check(schema))?;
        let pool = connect::pool(&options)?;
        Ok(Database::new(Arc::new(Postgres { pool, options: Arc::new(options), committed: Arc::default() })))
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
            Ok(Arc::new(Held::new(session, Arc::clone(&self.committed))) as Arc<dyn Transaction>)
        })
    }

    fn read<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>, Error>> {
        Box::pin(async move {
            text::effect(sql)?;
            self.session().await?.read(sql, params).await
        })
    }

    /// Each transaction has a commit of its own here; the server shares the syncs.
    fn stats(&self) -> Stats {
        let committed = self.committed.load(Ordering::Relaxed);
        Stats { transactions: committed, commits: committed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_schema_that_the_server_would_cut_is_refused_before_it_connects() {
        let open = |schema: String| Database::postgres(Options::new("postgres://me@127.0.0.1:1/x").in_schema(schema));
        assert!(open("n".repeat(63)).is_ok());
        let why = open("n".repeat(64)).err().expect("too long");
        assert!(matches!(&why, Error::Name(_)) && why.to_string().contains("at most 63 bytes"), "{why}");
        assert!(matches!(open("pg_order".into()), Err(Error::Name(_))));
    }
}
