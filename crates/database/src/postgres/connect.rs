//! The pool, and the settings of its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Pool, PoolConfig, PoolError, Runtime, Timeouts,
};
use tokio_postgres::Config;

use super::options::Options;
use super::{map, tls};
use crate::error::Error;

/// The settings of every connection.
///
/// Plans are generic and use only indexes. They are made while tables are small or empty, and must
/// suit large tables.
///
/// Without sequential scans the estimated costs are very high and would start the JIT compiler, so
/// it is off too. The barrier depends on READ COMMITTED.
const SETTINGS: &[(&str, &str)] = &[
    ("default_transaction_isolation", "read committed"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// Serializes the creation of schemas, because even `IF NOT EXISTS` can collide.
const CREATE_LOCK: &str = "SELECT pg_advisory_xact_lock(520245002)";

/// Creates a pool for these options.
pub(super) fn pool(options: &Options) -> Result<Pool, Error> {
    let wrong = |why: String| Error::Unavailable(format!("the database's address is wrong: {why}"));
    let mut config: Config = options.url.parse().map_err(|why| wrong(map::chain(&why)))?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(wrong("it names no host (write postgres://user@host:port/database)".into()));
    }
    let settings =
        [settings(options), config.get_options().unwrap_or_default().to_owned()].join(" ");
    config.options(settings.trim_end());
    if config.get_application_name().is_none() {
        config.application_name(&options.application);
    }
    config.tcp_user_timeout(options.tcp_user_timeout);
    config
        .keepalives_idle(Duration::from_secs(5))
        .keepalives_interval(Duration::from_secs(2))
        .keepalives_retries(3);
    let manager = tls::manager(config, options.tls.as_ref())?;
    let timeouts = Timeouts {
        wait: Some(options.free_within),
        create: Some(options.connected_within),
        recycle: Some(options.connected_within),
    };
    let mut builder = Pool::builder(manager)
        .config(PoolConfig { max_size: options.connections_max, timeouts, ..PoolConfig::default() })
        .runtime(Runtime::Tokio1);
    if let Some(schema) = &options.schema {
        builder = builder.post_create(creating(schema));
    }
    builder.build().map_err(|why| Error::Unavailable(why.to_string()))
}

/// Converts the error of a connection that could not be acquired.
pub(super) fn error(error: PoolError, options: &Options) -> Error {
    match error {
        PoolError::Backend(why) | PoolError::PostCreateHook(HookError::Backend(why)) => {
            Error::Unavailable(format!("connect: {}", tls::explained(map::chain(&why), &why)))
        }
        PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => Error::Unavailable(format!(
            "all {} connections are in use, and none was released within {:?}",
            options.connections_max, options.free_within
        )),
        PoolError::Timeout(_) => {
            Error::Unavailable(format!("connect: no answer within {:?}", options.connected_within))
        }
        other @ (PoolError::Closed
        | PoolError::NoRuntimeSpecified
        | PoolError::PostCreateHook(_)) => Error::Unavailable(other.to_string()),
    }
}

/// Returns the settings as connection options, which cost no round trip.
fn settings(options: &Options) -> String {
    let timeouts = [
        ("statement_timeout", options.statement_timeout),
        ("lock_timeout", options.lock_timeout),
        ("idle_in_transaction_session_timeout", options.idle_in_transaction_timeout),
        ("tcp_user_timeout", options.tcp_user_timeout),
    ];
    let mut all: Vec<(&str, String)> =
        SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    all.extend(timeouts.map(|(name, limit)| (name, limit.as_millis().to_string())));
    all.extend(options.schema.as_deref().map(|schema| ("search_path", quoted(schema))));
    all.iter()
        .map(|(name, value)| format!("-c {name}={}", escaped(value)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Creates the schema on the first connection, if missing. A user without the privilege to create
/// it can use an existing one.
fn creating(schema: &str) -> Hook {
    let there = format!("SELECT FROM pg_namespace WHERE nspname = {}", literal(schema));
    let create: Arc<str> =
        format!("{CREATE_LOCK}; CREATE SCHEMA IF NOT EXISTS {}", quoted(schema)).into();
    let (there, done): (Arc<str>, Arc<AtomicBool>) = (there.into(), Arc::default());
    Hook::async_fn(move |client: &mut ClientWrapper, _| {
        let (there, create, done) = (Arc::clone(&there), Arc::clone(&create), Arc::clone(&done));
        Box::pin(async move {
            if !done.load(Ordering::Relaxed) {
                if client.query_opt(&*there, &[]).await.map_err(HookError::Backend)?.is_none() {
                    client.batch_execute(&create).await.map_err(HookError::Backend)?;
                }
                done.store(true, Ordering::Relaxed);
            }
            Ok(())
        })
    })
}

/// Quotes a name for a statement.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text for a statement.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Escapes a value of a connection option, which the server splits at blanks.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(' ', "\\ ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_the_servers_splitting() {
        let options = Options::new("postgres://nobody@127.0.0.1/x").in_schema("my \"own\" schema");
        let settings = settings(&options);
        assert!(
            settings.contains("-c default_transaction_isolation=read\\ committed -c "),
            "{settings}"
        );
        assert!(
            settings.contains("-c statement_timeout=2500 -c lock_timeout=2000 -c "),
            "{settings}"
        );
        assert!(settings.ends_with("-c search_path=\"my\\ \"\"own\"\"\\ schema\""), "{settings}");
    }

    #[test]
    fn an_invalid_address_is_reported_at_once_without_the_password() {
        let check = |url: &str, part: &str| {
            let why = pool(&Options::new(url)).expect_err(url).to_string();
            assert!(
                why.contains("address is wrong") && why.contains(part) && !why.contains("secret"),
                "{why}"
            );
        };
        check("postgres://me:secret@127.0.0.1:port/x", "port");
        check("user=me password=secret", "names no host");
        assert!(
            !format!("{:?}", Options::new("postgres://me:secret@127.0.0.1/x")).contains("secret")
        );
    }
}
