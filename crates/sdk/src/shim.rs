//! Stands in for what the database crate is about to offer.
#![allow(async_fn_in_trait)]

use sagamore_database::{Database, Error, Migration, Tx};

pub(crate) trait Migrate {
    fn migrate(&self, owner: &str, migrations: &[Migration]) -> impl Future<Output = Result<(), Error>> + Send;
}

impl Migrate for Database {
    fn migrate(&self, _: &str, _: &[Migration]) -> impl Future<Output = Result<(), Error>> + Send {
        async { Ok(()) }
    }
}

pub(crate) trait Written {
    fn rows_written(&self) -> u64;
}

impl Written for Tx {
    fn rows_written(&self) -> u64 {
        0
    }
}
