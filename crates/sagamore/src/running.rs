//! The embedded stack as a value: started in a program of one's own, or in a test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use sagamore_engine::{Chains, Handle};
use sagamore_server::{Server, ServiceHost, http};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::cli::attend::{self, Place};
use crate::crew::STOP_MAX;
use crate::program::Program;
use crate::stack::{self, Stack};

/// How [`Program::start`] starts the embedded stack.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// The directory for all data, made when it is absent.
    pub data: PathBuf,
    /// The address to listen on; port 0 takes any free one. None: no HTTP.
    pub listen: Option<String>,
    /// Whether other machines may reach that address, though there is no authentication.
    pub allow_unauthenticated: bool,
    /// The most sagas under way; starts beyond it are rejected as busy.
    pub sagas_max: usize,
    /// Whether the program's choreography runs, and not its main story.
    pub choreography: bool,
}

/// The embedded stack at work. Dropped without [`Running::stop`] it ends as by a crash: nothing is lost.
pub struct Running {
    stack: Stack,
    serving: Option<Serving>,
}

struct Serving {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

impl StartOptions {
    /// Options for this data directory, without HTTP.
    pub fn of(data: impl Into<PathBuf>) -> StartOptions {
        StartOptions {
            data: data.into(),
            listen: None,
            allow_unauthenticated: false,
            sagas_max: stack::SAGAS_MAX,
            choreography: false,
        }
    }
}

impl Running {
    pub(crate) async fn start(program: Arc<Program>, options: StartOptions) -> Result<Running> {
        let listener = match &options.listen {
            None => None,
            Some(address) => {
                let place = Place::by_flag(program.name, address);
                Some(attend::listen(&place, options.allow_unauthenticated).await?)
            }
        };
        let stack =
            Stack::open(&program, options.choreography, &options.data, options.sagas_max).await?;
        let serving = match listener {
            None => None,
            Some(listener) => {
                let address = listener.local_addr().context("ask for the listener's address")?;
                let (stop, stopped) = oneshot::channel::<()>();
                let router = stack.router(&program, options.choreography, None);
                let server = tokio::spawn(http::serve(listener, router, async move {
                    let _ = stopped.await;
                }));
                Some(Serving { address, stop, server })
            }
        };
        Ok(Running { stack, serving })
    }

    /// Returns the orchestrator's handle, or none if the story has plans and no sagas.
    pub fn handle(&self) -> Option<&Handle> {
        self.stack.server.handle.as_ref()
    }

    /// Returns the observer's view of chains; none where the story has no plans.
    pub fn chains(&self) -> Option<&Chains> {
        self.stack.server.chains.as_ref()
    }

    /// Returns a service with its database and outbox.
    pub fn service(&self, name: &str) -> Option<&ServiceHost> {
        self.stack.server.service(name)
    }

    /// Returns all parts.
    pub fn server(&self) -> &Server {
        &self.stack.server
    }

    /// Returns the address of its HTTP, if it has one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.serving.as_ref().map(|serving| serving.address)
    }

    /// Finishes the turns that have begun, syncs the log, and releases the directory.
    ///
    /// # Errors
    /// When a part does not end in time, or the log cannot be synced.
    pub async fn stop(self) -> Result<()> {
        if let Some(Serving { stop, server, .. }) = self.serving {
            let _ = stop.send(());
            drop(server); // its connections end with their clients
        }
        Ok(self.stack.stop(STOP_MAX).await?)
    }
}
