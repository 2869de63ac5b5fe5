//! `sagamore dev`: everything in one process, until it is told to stop.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::DevArgs;
use super::output::Exit;
use crate::http;
use crate::stack::{self, Stack};

/// How long requests may go on after the stop before the engine stops under them.
const REQUESTS_MAX: Duration = Duration::from_secs(1);
/// How often the metrics' samples are put together.
const UPKEEP: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or Ctrl-C.
pub async fn run(args: DevArgs) -> Result<Exit> {
    let begun = Instant::now();
    let listener = listen(&args.listen).await?;
    let address = listener.local_addr().context("ask for the listener's address")?;
    let metrics = record_metrics()?;
    let ephemeral = args.ephemeral.then(tempfile::tempdir).transpose().context("make a temporary directory")?;
    let data: PathBuf = ephemeral.as_ref().map_or(args.data, |directory| directory.path().to_owned());
    let options = stack::Options { sagas_max: args.sagas_max, ..stack::Options::default() };
    let mut stack = Stack::open(&data, options).await?;
    sagamore_shop::sample::load(&stack.shop).await.context("load the sample's account and product")?;
    let app = Arc::new(stack.app(Some(metrics)));
    let (stop_serving, serving_stops) = oneshot::channel::<()>();
    let mut server = tokio::spawn(http::serve(listener, app, async move {
        let _ = serving_stops.await;
    }));
    // before anybody is told that it is ready: from then on a signal is a stop in order
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
    greet(address, &data, args.ephemeral, begun.elapsed())?;

    let broken = tokio::select! {
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        broken = stack.broken() => Some(anyhow::Error::from(broken)),
        ended = &mut server => {
            ended.context("the HTTP server panicked")?.context("the HTTP server")?;
            bail!("the HTTP server stopped by itself");
        }
    };
    // requests first, then the turns under them; whatever waits for an outcome is told that it is not known yet
    let deadline = Instant::now() + stack::STOP_MAX;
    let _ = stop_serving.send(());
    let answered = tokio::time::timeout(REQUESTS_MAX, &mut server).await.is_ok();
    stack.stop(deadline.saturating_duration_since(Instant::now())).await?;
    if !answered {
        let left = deadline.saturating_duration_since(Instant::now()).min(REQUESTS_MAX);
        let _ = tokio::time::timeout(left, &mut server).await;
    }
    match broken {
        Some(broken) => Err(broken),
        None => Ok(Exit::Completed),
    }
}

/// Takes the address, or explains why it cannot be had.
pub async fn listen(address: &str) -> Result<TcpListener> {
    let wanted: SocketAddr = address
        .parse()
        .with_context(|| format!("--listen: '{address}' is no address: write HOST:PORT, like 127.0.0.1:3000"))?;
    if !wanted.ip().is_loopback() {
        bail!("--listen: {wanted} can be reached from outside, and there is no authentication yet: use 127.0.0.1");
    }
    match TcpListener::bind(wanted).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => bail!(
            "port {} of {} is taken by another program (another sagamore?).\n  \
             Choose another: sagamore dev --listen {}:{}   (port 0 takes any free one)",
            wanted.port(),
            wanted.ip(),
            wanted.ip(),
            wanted.port().saturating_add(1),
        ),
        Err(error) => Err(error).with_context(|| format!("listen on {wanted}")),
    }
}

/// From here on what is measured is kept for `/metrics`.
fn record_metrics() -> Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| anyhow::anyhow!("{error}"))?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

fn greet(address: SocketAddr, data: &Path, ephemeral: bool, took: Duration) -> Result<()> {
    let kept = if ephemeral { " (removed at the end)" } else { "" };
    let mut out = anstream::stdout().lock();
    writeln!(out, "Sagamore is ready after {} ms.\n", took.as_millis())?;
    writeln!(out, "  server   http://{address}")?;
    writeln!(out, "  orders   http://{address}/orders")?;
    writeln!(out, "  sagas    http://{address}/api/v1/sagas")?;
    writeln!(out, "  metrics  http://{address}/metrics")?;
    writeln!(out, "  data     {}{kept}\n", data.display())?;
    writeln!(out, "Try next:")?;
    writeln!(out, "  curl 'http://{address}/saga/start/12345?wait=10'")?;
    let server = if address.port() == 3000 { String::new() } else { format!(" --server http://{address}") };
    writeln!(out, "  sagamore watch 12345{server}")?;
    writeln!(out, "  sagamore list{server}")?;
    out.flush()?;
    Ok(())
}
