//! The shop's four databases: migration, bulk inserts and errors.

use sagamore::database::Value;
use sagamore::sdk::{Database, Migration};

use sagamore::server::Server;
use sagamore::server::problem::{Problem, Transience};

use crate::{inventory, order, payment, shipping};

/// Maximum rows that are inserted in one transaction.
const ROWS_MAX: usize = 1_000;

/// The program's version in the services' schemas.
const PROGRAM: u32 = 1;

/// The databases of the four services, one each.
#[derive(Clone)]
pub struct Databases {
    /// Orders.
    pub order: Database,
    /// Accounts and charges.
    pub payment: Database,
    /// Stock and reservations.
    pub inventory: Database,
    /// Destinations and shipments.
    pub shipping: Database,
}

/// An error while reading or loading the shop's data.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sagamore::database::Error),
    /// A stored row has a value that this program never writes.
    #[error("read {row}: {reason}")]
    Stored {
        /// The row, for example `order 10248`.
        row: String,
        /// The invalid value and the reason.
        reason: String,
    },
}

impl Error {
    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Database(error) => error.is_transient(),
            Error::Stored { .. } => false,
        }
    }
}

impl Transience for Error {
    fn is_transient(&self) -> bool {
        Error::is_transient(self)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem::broke(&error, "read the shop's data")
    }
}

impl Databases {
    /// Creates four databases for a test.
    #[doc(hidden)]
    pub fn of_tests() -> Databases {
        let [order, payment, inventory, shipping] =
            std::array::from_fn(|_| sagamore::database::testing::database());
        Databases { order, payment, inventory, shipping }
    }

    /// Returns the databases of the services in this process, or `None` if one of them runs
    /// elsewhere.
    pub fn of(server: &Server) -> Option<Databases> {
        let of = |name: &str| Some(server.service(name)?.database.clone());
        Some(Databases {
            order: of(order::SERVICE)?,
            payment: of(payment::SERVICE)?,
            inventory: of(inventory::SERVICE)?,
            shipping: of(shipping::SERVICE)?,
        })
    }

    /// Returns each database with its service's name.
    pub fn all(&self) -> [(&'static str, &Database); 4] {
        [
            (order::SERVICE, &self.order),
            (payment::SERVICE, &self.payment),
            (inventory::SERVICE, &self.inventory),
            (shipping::SERVICE, &self.shipping),
        ]
    }

    /// Creates missing tables, so that data can be loaded before the services run.
    pub async fn prepare(&self) -> Result<(), Error> {
        let schemas: [&[Migration]; 4] =
            [order::MIGRATIONS, payment::MIGRATIONS, inventory::MIGRATIONS, shipping::MIGRATIONS];
        for ((owner, database), schema) in self.all().into_iter().zip(schemas) {
            database.migrate(owner, schema, PROGRAM).await?;
        }
        Ok(())
    }
}

/// Runs an insert with `ON CONFLICT DO NOTHING` once per row, and returns the number of new rows.
/// An error or a crash may leave a part of the rows inserted. Repeating the call is safe.
pub(crate) async fn insert(
    database: &Database,
    sql: &str,
    rows: Vec<Vec<Value>>,
) -> Result<u64, Error> {
    let mut new = 0;
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let open = database.begin().await?;
        let inserted = open.tx().execute_each(sql, rows.by_ref().take(ROWS_MAX).collect()).await?;
        open.commit().await?;
        new += inserted.iter().sum::<u64>();
    }
    Ok(new)
}
