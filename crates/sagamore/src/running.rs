//! The embedded stack as a value, for programs with their own runtime and for tests.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use sagamore_engine::{Chains, Handle};
use sagamore_server::{Server, ServiceHost, http};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::blueprint::Blueprint;
use crate::cli::process::{self, ListenAddress};
use crate::config::SAGAS_MAX;
use crate::error::{ProgramError, STOP_MAX};
use crate::http_participants::HttpParticipants;
use crate::stack::{self, Stack};

/// Options of [`Program::start`](crate::Program::start).
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// The directory for all data, created if it does not exist.
    pub data: PathBuf,
    /// The address to listen on; port 0 selects a free one. `None` disables HTTP.
    pub listen: Option<String>,
    /// Whether the address may be reachable from other hosts, without authentication.
    pub allow_unauthenticated: bool,
    /// Maximum unfinished sagas. Further starts are rejected as busy.
    pub sagas_max: usize,
    /// Whether the program's choreography runs instead of its main story.
    pub choreography: bool,
    /// Participants that are called over HTTP.
    pub participants: HttpParticipants,
}

/// The running embedded stack. Dropping it without [`Running::stop`] is like a crash, which loses
/// nothing.
pub struct Running {
    stack: Stack,
    serving: Option<HttpServer>,
}

struct HttpServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

impl StartOptions {
    /// Creates the options for this data directory, without HTTP.
    pub fn of(data: impl Into<PathBuf>) -> StartOptions {
        StartOptions {
            data: data.into(),
            listen: None,
            allow_unauthenticated: false,
            sagas_max: SAGAS_MAX,
            choreography: false,
            participants: HttpParticipants::default(),
        }
    }
}

impl Running {
    pub(crate) async fn start(
        program: &Blueprint,
        options: StartOptions,
    ) -> anyhow::Result<Running> {
        let listener = match &options.listen {
            None => None,
            Some(address) => {
                let place = ListenAddress::by_flag(program.name, address);
                Some(process::listen(&place, options.allow_unauthenticated).await?)
            }
        };
        let StartOptions { choreography, data, sagas_max, participants, .. } = options;
        let mut stack = Stack::open(program, choreography, &data, sagas_max).await?;
        let folder = stack::directory(program, choreography, &data);
        stack.call(program.story(choreography), &folder, participants).await?;
        let serving = match listener {
            None => None,
            Some(listener) => {
                let address = listener.local_addr().context("read the listener's address")?;
                let (stop, stopped) = oneshot::channel::<()>();
                let router = stack.router(program, choreography, None);
                let server = tokio::spawn(http::serve(listener, router, async move {
                    let _ = stopped.await;
                }));
                Some(HttpServer { address, stop, server })
            }
        };
        Ok(Running { stack, serving })
    }

    /// Returns the orchestrator's handle; `None` for a story of plans without sagas.
    pub fn handle(&self) -> Option<&Handle> {
        self.stack.server.handle.as_ref()
    }

    /// Returns the observer's view of chains, which every story has: a plan may be registered at
    /// run time.
    pub fn chains(&self) -> Option<&Chains> {
        self.stack.server.chains.as_ref()
    }

    /// Returns a service with its database and outbox.
    pub fn service(&self, name: &str) -> Option<&ServiceHost> {
        self.stack.server.service(name)
    }

    /// Returns the parts for routes.
    pub fn server(&self) -> &Server {
        &self.stack.server
    }

    /// Returns the HTTP server's address, if there is one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.serving.as_ref().map(|serving| serving.address)
    }

    /// Finishes the work in progress, syncs the log, and releases the data directory.
    ///
    /// # Errors
    ///
    /// A task that does not end in time, or a log that cannot be synced.
    pub async fn stop(self) -> Result<(), ProgramError> {
        if let Some(HttpServer { stop, server, .. }) = self.serving {
            let _ = stop.send(());
            drop(server); // connections end with their clients
        }
        self.stack.stop(STOP_MAX).await.map_err(ProgramError::of)
    }
}
