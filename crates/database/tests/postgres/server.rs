//! The server for the tests, with a new schema for each database.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};

use sagamore_database::Database;
use sagamore_database::postgres::Options;
use sagamore_database::testing::{NO_SERVER, skipped};

pub const VARIABLE: &str = "SAGAMORE_TEST_POSTGRES";

/// A server for one test. Its schemas are removed at the end.
pub struct Server {
    url: String,
    schemas: RefCell<Vec<String>>,
}

/// Returns a function that creates empty databases; `None` without a server, which is reported.
pub fn fresh() -> Option<impl Fn() -> Database> {
    Server::there().map(|server| move || server.database())
}

impl Server {
    /// Returns the server, if one is configured. Otherwise reports a skipped test.
    pub fn there() -> Option<Server> {
        let Ok(url) = std::env::var(VARIABLE) else {
            skipped(NO_SERVER);
            return None;
        };
        Some(Server { url, schemas: RefCell::default() })
    }

    /// Returns the options of a new, empty schema.
    pub fn options(&self) -> Options {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let schema =
            format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        self.schemas.borrow_mut().push(schema.clone());
        Options { application: schema.clone(), ..Options::new(&self.url).in_schema(schema) }
    }

    /// Returns a new, empty database.
    pub fn database(&self) -> Database {
        Database::postgres(self.options()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let (url, schemas) = (self.url.clone(), self.schemas.take());
        let removal = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(remove(&url, &schemas));
        });
        let removed = removal.join();
        assert!(removed.is_ok() || std::thread::panicking(), "the test's schemas are still there");
    }
}

/// Open connections may hold locks without a driver, so they are terminated first.
async fn remove(url: &str, schemas: &[String]) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    for schema in schemas {
        let close =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
        client.query(close, &[schema]).await.unwrap();
        client.batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).await.unwrap();
    }
}
