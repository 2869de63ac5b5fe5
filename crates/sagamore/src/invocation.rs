//! One run of a program: the program, its configuration, and its stop.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::blueprint::Blueprint;
use crate::config::Settings;
use crate::error::ProgramError;
use crate::story::Story;

/// A future that completes when the process must stop.
pub(crate) type StopFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The source of the stop of a serving process.
pub(crate) enum StopSource {
    /// SIGTERM and Ctrl-C.
    Signals,
    /// A future of the caller, which one server can take.
    Given(Mutex<Option<StopFuture>>),
}

/// One run of a program. Clones share it.
#[derive(Clone)]
pub struct Invocation {
    pub(crate) program: Arc<Blueprint>,
    config: Option<PathBuf>,
    stop: Arc<StopSource>,
}

impl StopSource {
    pub(crate) fn given(stop: impl Future<Output = ()> + Send + 'static) -> StopSource {
        StopSource::Given(Mutex::new(Some(Box::pin(stop))))
    }
}

impl Invocation {
    pub(crate) fn of(
        program: Arc<Blueprint>,
        config: Option<PathBuf>,
        stop: StopSource,
    ) -> Invocation {
        Invocation { program, config, stop: Arc::new(stop) }
    }

    /// Returns the same run with a changed program.
    pub(crate) fn with_program(&self, program: Blueprint) -> Invocation {
        Invocation { program: Arc::new(program), ..self.clone() }
    }

    /// Returns the program's name.
    pub fn name(&self) -> &'static str {
        self.program.name
    }

    /// Returns the configuration file, if one is set.
    pub fn config_file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Reads the configuration from defaults, file and environment.
    ///
    /// # Errors
    ///
    /// All unknown, missing and invalid keys, each after its position.
    pub fn settings(&self) -> Result<Settings, ProgramError> {
        Settings::load(&self.program.schema(), self.config_file())
    }

    /// Returns the story that the configuration selects.
    pub(crate) fn story(&self, settings: &Settings) -> &Story {
        self.program.story(settings.choreography)
    }

    /// Returns the future that completes when the process must stop. After this call, signals shut
    /// the process down gracefully.
    pub(crate) fn stop(&self) -> anyhow::Result<StopFuture> {
        match self.stop.as_ref() {
            StopSource::Signals => {
                let mut terminate =
                    signal(SignalKind::terminate()).context("listen for SIGTERM")?;
                let mut interrupt = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
                Ok(Box::pin(async move {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                }))
            }
            StopSource::Given(stop) => {
                match stop.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    Some(stop) => Ok(stop),
                    None => bail!("this program already runs a server"),
                }
            }
        }
    }
}
