//! The shop's four databases and their migration.

use sagamore::sdk::{Database, Migration};
use sagamore::server::Server;

use crate::rows::Error;
use crate::{inventory, order, payment, shipping};

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
