//! The database of another crate's tests: in memory, or a new schema on the PostgreSQL server in
//! `SAGAMORE_TEST_POSTGRES`.

mod skipped;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::database::Database;
use crate::error::Error;
use crate::postgres::Options;
pub use skipped::skipped;

/// The variable with the URL of the server.
const VARIABLE: &str = "SAGAMORE_TEST_POSTGRES";
/// The reason that skipped tests report when they need a server.
pub const NO_SERVER: &str = "SAGAMORE_TEST_POSTGRES is not set (cargo xtask services env)";

/// The schemas of one test, removed when its thread ends.
#[derive(Default)]
struct Schemas(Vec<String>);

thread_local! {
    static SCHEMAS: RefCell<Schemas> = RefCell::default();
}

/// Returns the number of prepared statements of the next connection, and the plans that scan one of
/// these tables completely.
///
/// Plans are made as on a production server: once, for any values, and mostly while the tables are
/// empty.
pub async fn whole_table_walks(
    database: &Database,
    tables: &[&str],
) -> Result<(usize, Vec<String>), Error> {
    let list = "SELECT name, statement FROM pg_prepared_statements WHERE NOT from_sql";
    let (mut checked, mut walks) = (0, Vec::new());
    for row in database.query(list, ()).await? {
        let (name, statement): (String, String) = (row.get(0)?, row.get(1)?);
        let word = statement.split_whitespace().next().unwrap_or_default().to_uppercase();
        if !["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].contains(&word.as_str()) {
            continue;
        }
        checked += 1;
        let count = (1..=64).rev().find(|n| statement.contains(&format!("${n}"))).unwrap_or(0);
        let nulls = if count == 0 {
            String::new()
        } else {
            format!("({})", vec!["NULL"; count].join(", "))
        };
        let plan =
            database.query(&format!("EXPLAIN (COSTS OFF) EXECUTE {name}{nulls}"), ()).await?;
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect::<Result<_, _>>()?;
        let walks_through = |line: &String| tables.iter().any(|table| walk(line, table));
        if plan.iter().any(walks_through) {
            walks.push(format!("{statement}\n{}", plan.join("\n")));
        }
    }
    Ok((checked, walks))
}

fn walk(line: &str, table: &str) -> bool {
    let after = line.split_once("Seq Scan on ").map(|(_, after)| after);
    after.is_some_and(|after| after.split_whitespace().next() == Some(table))
}

/// Returns whether [`database`] uses a server, where statements take longer.
pub fn is_remote() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Returns whether [`database`] uses a server. If not, it reports that the current test is skipped.
pub fn needs_server() -> bool {
    if !is_remote() {
        skipped(NO_SERVER);
    }
    is_remote()
}

/// Creates a new, empty database.
pub fn database() -> Database {
    database_with(|options| options)
}

/// Creates a new, empty database, on a server with other limits.
pub fn database_with(limits: impl FnOnce(Options) -> Options) -> Database {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Ok(url) = std::env::var(VARIABLE) else {
        skipped::substituted(
            "on PostgreSQL, SQLite in memory takes its place: SAGAMORE_TEST_POSTGRES is not set",
        );
        return Database::memory();
    };
    let schema = format!("test_{:x}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    SCHEMAS.with_borrow_mut(|schemas| schemas.0.push(schema.clone()));
    Database::postgres(limits(Options::new(url).in_schema(schema))).expect("the URL is valid")
}

impl Drop for Schemas {
    fn drop(&mut self) {
        let Ok(url) = std::env::var(VARIABLE) else { return };
        let schemas = std::mem::take(&mut self.0);
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let server = Database::postgres(Options::new(url)).expect("the URL is valid");
                for schema in schemas {
                    let open = server.begin().await.expect("begin");
                    open.tx()
                        .batch(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE"))
                        .await
                        .expect("drop the schema");
                    open.commit().await.expect("commit");
                }
            });
        });
        assert!(
            removal.join().is_ok() || std::thread::panicking(),
            "the test's schemas are still there"
        );
    }
}
