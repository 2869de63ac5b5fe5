//! `sagamore dev`: everything in one process, until it is told to stop.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::DevArgs;
use super::attend::{self, Attended, Place, Work};
use super::output::Exit;
use crate::http;
use crate::stack::{self, Choreography, Stack};

/// Runs until SIGTERM or Ctrl-C.
pub async fn run(args: DevArgs) -> Result<Exit> {
    let begun = Instant::now();
    let listener = attend::listen(&Place::by_flag("sagamore dev", &args.listen), false).await?;
    let address = listener.local_addr().context("ask for the listener's address")?;
    let metrics = attend::record_metrics()?;
    let ephemeral = args.ephemeral.then(tempfile::tempdir).transpose().context("make a temporary directory")?;
    let data: PathBuf = ephemeral.as_ref().map_or(args.data, |directory| directory.path().to_owned());
    if args.choreography {
        let stack = Choreography::open(&data).await?;
        sagamore_shop::sample::load(&stack.shop).await.context("load the sample's account and product")?;
        let attended = Attended::begin(listener, http::choreography_router(stack.app(Some(metrics))))?;
        greet(address, &data, args.ephemeral, begun.elapsed(), true)?;
        return attended.until_stopped(stack).await;
    }
    let options = stack::Options { sagas_max: args.sagas_max, ..stack::Options::default() };
    let stack = Stack::open(&data, options).await?;
    sagamore_shop::sample::load(&stack.shop).await.context("load the sample's account and product")?;
    let attended = Attended::begin(listener, http::router(stack.app(Some(metrics))))?;
    greet(address, &data, args.ephemeral, begun.elapsed(), false)?;
    attended.until_stopped(stack).await
}

impl Work for Stack {
    async fn broken(&mut self) -> stack::Error {
        Stack::broken(self).await
    }

    async fn stop(self, limit: Duration) -> Result<(), stack::Error> {
        Stack::stop(self, limit).await
    }
}

impl Work for Choreography {
    async fn broken(&mut self) -> stack::Error {
        Choreography::broken(self).await
    }

    async fn stop(self, limit: Duration) -> Result<(), stack::Error> {
        Choreography::stop(self, limit).await
    }
}

fn greet(address: SocketAddr, data: &Path, ephemeral: bool, took: Duration, choreography: bool) -> Result<()> {
    let kept = if ephemeral { " (removed at the end)" } else { "" };
    let mut out = anstream::stdout().lock();
    writeln!(out, "Sagamore is ready after {} ms.\n", took.as_millis())?;
    writeln!(out, "  server   http://{address}")?;
    writeln!(out, "  orders   http://{address}/orders")?;
    writeln!(out, "  sagas    http://{address}/api/v1/sagas")?;
    writeln!(out, "  metrics  http://{address}/metrics")?;
    let apart = data.join(stack::CHOREOGRAPHY_FOLDER);
    let folder = if choreography { &apart } else { data };
    writeln!(out, "  data     {}{kept}\n", folder.display())?;
    if !choreography && apart.exists() {
        writeln!(out, "  What `dev --choreography` keeps is apart, in {}: not seen here.\n", apart.display())?;
    }
    let server = if address.port() == 3000 { String::new() } else { format!(" --server http://{address}") };
    writeln!(out, "Try next:")?;
    writeln!(out, "  curl 'http://{address}/saga/start/12345?wait=10'")?;
    writeln!(out, "  sagamore watch 12345{server}")?;
    writeln!(out, "  sagamore list{server}")?;
    out.flush()?;
    Ok(())
}
