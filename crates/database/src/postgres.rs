//! PostgreSQL behind the port: a pool of connections, statements prepared once per connection, and
//! minimal round trips.
//!
//! A connection answers requests in order. Requests that cannot fail by themselves (BEGIN,
//! savepoints) are therefore sent with the next statement, without waiting for their answers.

mod array;
mod connect;
mod convert;
mod map;
mod options;
mod pipeline;
mod session;
mod text;
mod tls;
mod transaction;

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
pub use options::{Options, Tls};
/// The TLS configuration of a client, also for connections to other servers.
#[cfg(feature = "tls")]
pub use tls::client::config as client_config;

use session::Session;
use transaction::PostgresTransaction;

/// Connections of a database that is opened apart: one for a transaction, one for a read.
const CONNECTIONS_APART: usize = 2;

/// One PostgreSQL database.
struct Postgres {
    pool: Pool,
    options: Arc<Options>,
    committed: Arc<AtomicU64>,
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
        let pool = connect::pool(&options).ok()?; // a pool was already created with these options
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
