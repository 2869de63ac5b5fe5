//! The shop's four databases, brought up to date and filled; what can go wrong with them.

use sagamore::database::Value;
use sagamore::sdk::{Database, Migration};

use sagamore::server::Server;
use sagamore::server::problem::{Problem, Transience};

use crate::{inventory, order, payment, shipping};

/// How many rows are loaded in one transaction.
const ROWS_MAX: usize = 1_000;

/// The version of this program, as schemas count it.
const PROGRAM: u32 = 1;

/// What each service keeps, in a database of its own.
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

/// Why the shop's data could not be read or loaded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Database(#[from] sagamore::database::Error),
    /// A row holds what this program never writes.
    #[error("read {row}: {reason}")]
    Stored {
        /// Which row: `order 10248`.
        row: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Whether trying again, later, may succeed.
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
    /// Four new databases for a test.
    #[doc(hidden)]
    pub fn of_tests() -> Databases {
        let [order, payment, inventory, shipping] =
            std::array::from_fn(|_| sagamore::database::testing::database());
        Databases { order, payment, inventory, shipping }
    }

    /// Those of the services in this process; none where one of them runs elsewhere.
    pub fn of(server: &Server) -> Option<Databases> {
        let of = |name: &str| Some(server.service(name)?.database.clone());
        Some(Databases {
            order: of(order::SERVICE)?,
            payment: of(payment::SERVICE)?,
            inventory: of(inventory::SERVICE)?,
            shipping: of(shipping::SERVICE)?,
        })
    }

    /// Each with its service's name.
    pub fn all(&self) -> [(&'static str, &Database); 4] {
        [
            (order::SERVICE, &self.order),
            (payment::SERVICE, &self.payment),
            (inventory::SERVICE, &self.inventory),
            (shipping::SERVICE, &self.shipping),
        ]
    }

    /// Makes the services' tables where they are not there yet, so that they can be loaded before the services run.
    pub async fn prepare(&self) -> Result<(), Error> {
        let schemas: [&[Migration]; 4] =
            [order::MIGRATIONS, payment::MIGRATIONS, inventory::MIGRATIONS, shipping::MIGRATIONS];
        for ((owner, database), schema) in self.all().into_iter().zip(schemas) {
            database.migrate(owner, schema, PROGRAM).await?;
        }
        Ok(())
    }
}

/// Runs an insert that leaves alone what is there, once for each row; gives how many rows are new. After an error or a
/// crash some rows may be there and others not: to do it again is harmless.
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
