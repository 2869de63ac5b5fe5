//! The life of a process that serves: from the moment it is ready to the end of its stop.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use axum::Router;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use sagamore_server::{Entry, Waiting, http, metrics_help};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::Settings;
use crate::crew::STOP_MAX;
use crate::invocation::StopFuture;
use crate::output::Exit;
use crate::stack::Error;

/// How long requests may go on after the stop before the work stops under them.
const REQUESTS_MAX: Duration = Duration::from_secs(1);
/// How far on the port is that is suggested in place of a taken one: the next ones are the other services'.
const PORTS_ON: u16 = 10;
/// How often the metrics' samples are put together.
const UPKEEP: Duration = Duration::from_secs(5);

/// A process that serves.
pub struct Attended {
    server: JoinHandle<std::io::Result<()>>,
    stop_serving: oneshot::Sender<()>,
    stop: StopFuture,
}

/// What works behind the server.
pub trait Work {
    /// Waits until some part of it stops although nobody asked it to.
    fn broken(&mut self) -> impl Future<Output = Error>;

    /// Finishes what has begun.
    fn stop(self, limit: Duration) -> impl Future<Output = Result<(), Error>>;
}

impl Attended {
    /// Serves from here on, until `stop` ends.
    pub fn begin(listener: TcpListener, router: Router, stop: StopFuture) -> Attended {
        let (stop_serving, serving_stops) = oneshot::channel::<()>();
        let server = tokio::spawn(http::serve(listener, router, async move {
            let _ = serving_stops.await;
        }));
        Attended { server, stop_serving, stop }
    }

    /// Waits for the stop: requests first, then the work under them; whatever waits for an outcome is told that it is not
    /// known yet.
    pub async fn until_stopped(mut self, mut work: impl Work) -> Result<Exit> {
        let broken = tokio::select! {
            () = &mut self.stop => None,
            broken = work.broken() => Some(anyhow::Error::from(broken)),
            ended = &mut self.server => {
                ended.context("the HTTP server panicked")?.context("the HTTP server")?;
                bail!("the HTTP server stopped by itself");
            }
        };
        let deadline = Instant::now() + STOP_MAX;
        let _ = self.stop_serving.send(());
        let answered = tokio::time::timeout(REQUESTS_MAX, &mut self.server).await.is_ok();
        work.stop(deadline.saturating_duration_since(Instant::now())).await?;
        if !answered {
            let left = deadline.saturating_duration_since(Instant::now()).min(REQUESTS_MAX);
            let _ = tokio::time::timeout(left, &mut self.server).await;
        }
        match broken {
            Some(broken) => Err(broken),
            None => Ok(Exit::Completed),
        }
    }
}

/// Where to listen, as it was said.
pub struct Place<'a> {
    address: &'a str,
    /// What says so: `--listen`, or a key of the configuration, with its place.
    key: String,
    /// The command that can be given another one.
    command: String,
}

impl Place<'_> {
    /// What the command line says.
    pub fn by_flag<'a>(command: &str, address: &'a str) -> Place<'a> {
        Place { address, key: "--listen".to_owned(), command: command.to_owned() }
    }

    /// What the command line says, or else the configuration for this role.
    pub fn of<'a>(
        settings: &Settings,
        command: &str,
        role: &str,
        flag: Option<&'a str>,
        own: &'a str,
    ) -> Place<'a> {
        match flag {
            Some(address) => Place::by_flag(command, address),
            None => Place {
                key: settings.named(&format!("{role}.listen")),
                ..Place::by_flag(command, own)
            },
        }
    }
}

/// Takes the address, or explains why it cannot be had.
pub async fn listen(place: &Place<'_>, allow_unauthenticated: bool) -> Result<TcpListener> {
    let Place { address, key, command } = place;
    let wanted: SocketAddr = address.parse().with_context(|| {
        format!("{key}: '{address}' is no address: write HOST:PORT, like 127.0.0.1:3000")
    })?;
    if !wanted.ip().is_loopback() && !allow_unauthenticated {
        bail!(
            "{key}: {wanted} can be reached from outside, and there is no authentication yet: use 127.0.0.1.\n  \
             In a private network that only your own services reach, say SAGAMORE__ALLOW_UNAUTHENTICATED=true"
        );
    }
    match TcpListener::bind(wanted).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => bail!(
            "{key}: port {} of {} is taken by another program (another sagamore?).\n  \
             Choose another: {command} --listen {}:{}   (port 0 takes any free one)",
            wanted.port(),
            wanted.ip(),
            wanted.ip(),
            wanted.port().saturating_add(PORTS_ON),
        ),
        Err(error) => Err(error).with_context(|| format!("{key}: listen on {wanted}")),
    }
}

/// Opens what a process works with, while its address says what it waits for. Gives the listener back.
pub async fn meanwhile<T>(
    listener: TcpListener,
    (role, waiting): (&str, &Waiting),
    problems: &[&'static Entry],
    open: impl Future<Output = Result<T>>,
) -> Result<(TcpListener, T)> {
    let listener = listener.into_std().context("hold the listener")?;
    let twin = TcpListener::from_std(listener.try_clone().context("share the listener")?)?;
    let (opened, is_opened) = oneshot::channel::<()>();
    let router = http::waiting_router(role, waiting.clone(), problems);
    let serving = tokio::spawn(http::serve(twin, router, async move {
        let _ = is_opened.await;
    }));
    let outcome = open.await?;
    drop(opened);
    // connections that are kept open end here: the next request of their clients is for the process itself
    let _ = tokio::time::timeout(REQUESTS_MAX, serving).await;
    Ok((TcpListener::from_std(listener).context("take the listener back")?, outcome))
}

/// From here on what is measured is kept for `/metrics`.
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
