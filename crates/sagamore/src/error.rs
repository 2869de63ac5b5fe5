//! The errors of processes and of the builder.

use std::path::PathBuf;
use std::time::Duration;

/// Time limit of a stop. After it the process ends like in a crash, which loses nothing.
pub const STOP_MAX: Duration = Duration::from_secs(10);

/// A process cannot start, or has ended unexpectedly.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are named for what they hold")]
pub enum Error {
    /// The data directory cannot be used.
    #[error("data directory {}: {source}", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    /// A service's database is missing.
    #[error(
        "{} is missing, but the orchestrator's database exists: the service would repeat or \
         contradict earlier steps.\n  Restore the file, or use another directory: --data \
         DIR", path.display()
    )]
    Missing { path: PathBuf },
    /// Another process uses the directory.
    #[error(
        "the data directory {} is in use by process {pid}.\n  \
         Stop that process, or use another directory: --data DIR, or --ephemeral", path.display()
    )]
    InUse { path: PathBuf, pid: String },
    /// The log or the brokers failed.
    #[error("log: {0}")]
    Log(#[from] sagamore_transport::Error),
    /// A database failed.
    #[error("database of {name}: {source}")]
    Database { name: String, source: sagamore_database::Error },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] sagamore_engine::Error),
    /// A service failed.
    #[error("{name}: {source}")]
    Service { name: String, source: sagamore_sdk::Error },
    /// The configuration and a live topic have different numbers of partitions.
    #[error(
        "{key} is {configured}, but the live topic {topic} has {live} partitions. Nothing was \
         changed.\n  \
         Set {key} = {live} (the verb `config` shows the origin of {configured}), and restart"
    )]
    Partitions { key: String, configured: u32, topic: String, live: u32 },
    /// A task ended or panicked.
    #[error("{0} ended unexpectedly")]
    Stopped(String),
    /// A task did not end in time.
    #[error(
        "the stop took longer than {} s; unfinished work continues at the next start",
        STOP_MAX.as_secs()
    )]
    Slow,
}

/// The errors of a builder, one per line.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct BuildError(pub(crate) Vec<String>);
