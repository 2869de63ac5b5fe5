//! The life of a process with an HTTP server, from its readiness to the end of its stop.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::Router;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use sagamore_server::{Entry, StartupWait, http, metrics_help};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::Settings;
use crate::crew::Crew;
use crate::error::{Error, STOP_MAX};
use crate::invocation::StopFuture;
use crate::output::Exit;

/// The pause between attempts to start while a server is unavailable.
pub const PAUSE: Duration = Duration::from_millis(500);

/// Time limit of open requests after the stop, before their backends stop.
const REQUESTS_MAX: Duration = Duration::from_secs(1);
/// Distance of the suggested port from a port in use: the ports in between belong to other
/// services.
const PORT_DISTANCE: u16 = 10;
/// Interval at which the recorder of the metrics is maintained.
const UPKEEP: Duration = Duration::from_secs(5);

/// A process with a running HTTP server.
pub struct HttpProcess {
    server: JoinHandle<std::io::Result<()>>,
    stop_serving: oneshot::Sender<()>,
    stop: StopFuture,
}

/// The tasks behind the HTTP server.
pub trait Work {
    /// Waits until a part ends without a request to stop.
    fn broken(&mut self) -> impl Future<Output = Error> + Send;

    /// Finishes the work in progress.
    fn stop(self, limit: Duration) -> impl Future<Output = Result<(), Error>> + Send;
}

impl Work for Crew {
    async fn broken(&mut self) -> Error {
        Crew::broken(self).await
    }

    async fn stop(mut self, limit: Duration) -> Result<(), Error> {
        Crew::stop(&mut self, limit).await
    }
}

impl HttpProcess {
    /// Starts the HTTP server, which runs until `stop` ends.
    pub fn begin(listener: TcpListener, router: Router, stop: StopFuture) -> HttpProcess {
        let (stop_serving, serving_stops) = oneshot::channel::<()>();
        let server = tokio::spawn(http::serve(listener, router, async move {
            let _ = serving_stops.await;
        }));
        HttpProcess { server, stop_serving, stop }
    }

    /// Waits for the stop. Then the requests end first, and the tasks behind them next. Requests
    /// that wait for an outcome return without one.
    pub async fn until_stopped(mut self, mut work: impl Work) -> Result<Exit> {
        let broken = tokio::select! {
            () = &mut self.stop => None,
            broken = work.broken() => Some(anyhow::Error::from(broken)),
            ended = &mut self.server => {
                ended.context("the HTTP server panicked")?.context("the HTTP server")?;
                bail!("the HTTP server ended unexpectedly");
            }
        };
        let deadline = Instant::now() + STOP_MAX;
        let _ = self.stop_serving.send(());
        let finished = tokio::time::timeout(REQUESTS_MAX, &mut self.server).await.is_ok();
        work.stop(deadline.saturating_duration_since(Instant::now())).await?;
        if !finished {
            let left = deadline.saturating_duration_since(Instant::now()).min(REQUESTS_MAX);
            let _ = tokio::time::timeout(left, &mut self.server).await;
        }
        match broken {
            Some(broken) => Err(broken),
            None => Ok(Exit::Completed),
        }
    }
}

/// An address to listen on. Errors name the origin of the address.
pub struct ListenAddress<'a> {
    address: &'a str,
    /// The origin: `--listen`, or a key of the configuration with its position.
    key: String,
    /// The command that accepts `--listen`.
    command: String,
}

impl ListenAddress<'_> {
    /// Creates the address of the command line.
    pub fn by_flag<'a>(command: &str, address: &'a str) -> ListenAddress<'a> {
        ListenAddress { address, key: "--listen".to_owned(), command: command.to_owned() }
    }

    /// Creates the address of the command line, or else the configured one of this role.
    pub fn of<'a>(
        settings: &Settings,
        command: &str,
        role: &str,
        flag: Option<&'a str>,
        own: &'a str,
    ) -> ListenAddress<'a> {
        match flag {
            Some(address) => ListenAddress::by_flag(command, address),
            None => ListenAddress {
                key: settings.named(&format!("{role}.listen")),
                ..ListenAddress::by_flag(command, own)
            },
        }
    }
}

/// Binds the address, or explains the failure.
pub async fn listen(place: &ListenAddress<'_>, allow_unauthenticated: bool) -> Result<TcpListener> {
    let ListenAddress { address, key, command } = place;
    let socket: SocketAddr = address.parse().with_context(|| {
        format!("{key}: '{address}' is not an address: write HOST:PORT, for example 127.0.0.1:3000")
    })?;
    if !socket.ip().is_loopback() && !allow_unauthenticated {
        bail!(
            "{key}: {socket} is reachable from other hosts, and there is no authentication: use \
             127.0.0.1.\n  \
             In a private network of your own services, set SAGAMORE__ALLOW_UNAUTHENTICATED=true"
        );
    }
    match TcpListener::bind(socket).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => bail!(
            "{key}: port {} of {} is in use by another process.\n  \
             Choose another port: {command} --listen {}:{}   (port 0 selects a free one)",
            socket.port(),
            socket.ip(),
            socket.ip(),
            socket.port().saturating_add(PORT_DISTANCE),
        ),
        Err(error) => Err(error).with_context(|| format!("{key}: cannot listen on {socket}")),
    }
}

/// Runs `open` while requests to the address are answered with the reason for the wait. Returns the
/// listener with the result of `open`.
pub async fn while_opening<T>(
    listener: TcpListener,
    (role, waiting): (&str, &StartupWait),
    problems: &[&'static Entry],
    open: impl Future<Output = Result<T>>,
) -> Result<(TcpListener, T)> {
    let listener = listener.into_std().context("detach the listener")?;
    let shared = TcpListener::from_std(listener.try_clone().context("share the listener")?)?;
    let (opened, is_opened) = oneshot::channel::<()>();
    let router = http::waiting_router(role, waiting.clone(), problems);
    let serving = tokio::spawn(http::serve(shared, router, async move {
        let _ = is_opened.await;
    }));
    let outcome = open.await?;
    drop(opened);
    // This ends open connections, so that the next request reaches the started process.
    let _ = tokio::time::timeout(REQUESTS_MAX, serving).await;
    Ok((TcpListener::from_std(listener).context("reattach the listener")?, outcome))
}

/// Installs the recorder of `/metrics`.
pub fn record_metrics() -> Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| anyhow::anyhow!("{error}"))?;
    metrics_help::describe();
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// Returns this machine's name.
pub fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "host".to_owned() } else { name.trim().to_owned() }
}
