//! The errors of processes, of the builder, and of the public interface.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Time limit of a stop. After it the process ends as in a crash, which loses nothing.
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
    /// The gateway of a participant failed.
    #[error("gateway of {name}: {source}")]
    Gateway { name: String, source: sagamore_gateway::Error },
    /// A built-in service has a binding.
    #[error("{0} is a built-in service and has a URL: remove --http {0}")]
    Bound(String),
    /// The configuration and a live topic have different numbers of partitions.
    #[error(
        "{key} is {configured}, but the live topic {topic} has {live} partitions. Nothing was \
         changed.\n  \
         Set {key} = {live} (`config` shows the origin of {configured}), and restart"
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

/// A program cannot be built, configured, started or stopped, or one of its commands failed.
///
/// The text names the failed operation, and [`source`](StdError::source) returns the cause. With
/// `{:#}` the text includes all causes.
pub struct ProgramError(anyhow::Error);

impl ProgramError {
    pub(crate) fn of(error: impl Into<anyhow::Error>) -> ProgramError {
        ProgramError(error.into())
    }

    /// Returns the error of this type that the text describes, for example [`Error::InUse`] or
    /// [`BuildError`].
    pub fn downcast_ref<E: StdError + Send + Sync + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for ProgramError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, out)
    }
}

impl fmt::Display for ProgramError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl StdError for ProgramError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_program_s_error_has_its_text_and_its_causes() {
        let directory = || Error::Directory {
            path: "data".into(),
            source: std::io::Error::other("no space is left"),
        };
        let error = ProgramError::of(directory());
        assert_eq!(error.to_string(), "data directory data: no space is left");
        assert!(matches!(error.downcast_ref(), Some(Error::Directory { .. })));
        let wrapped = Err::<(), _>(directory()).context("start").expect_err("an error");
        let wrapped = ProgramError::of(wrapped);
        assert_eq!(wrapped.to_string(), "start");
        assert!(format!("{wrapped:#}").starts_with("start: data directory data: no space"));
        assert_eq!(wrapped.source().map(ToString::to_string), Some(error.to_string()));
    }
}
