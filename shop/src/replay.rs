//! `shop replay`: runs every order of a folder as a saga, in this process or as a client of running
//! processes. A repeated run continues where the last one ended.

mod choreographed;
mod folder;
mod passage;
mod remote;
mod report;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use sagamore::core::saga::Status;
use sagamore::core::{Body, SagaId};
use sagamore::engine::{Filter, Handle, Start, StartError, VerbError};
use sagamore::{Exit, Invocation};

use crate::checkout;
use crate::import::BadLine;
use folder::{Folder, PlacedLine};
pub use passage::ReplayArgs;
use passage::{PATIENCE, Passage, databases, each, print, progress, report_bad_line, start, width};
use remote::Remote;

/// The number of finished orders that are compared concurrently.
const COMPARED_AT_ONCE: usize = 500;
/// The pause before a start is retried on a busy engine.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Returns exit code 1 if a line was rejected.
pub async fn run(invocation: Invocation, args: ReplayArgs) -> Result<Exit> {
    let begun = Instant::now();
    let folder = Folder::read(&args.folder)?;
    folder.bad.iter().for_each(report_bad_line);
    if invocation.config_file().is_some() {
        let mut settings = invocation.settings()?;
        settings.choreography |= args.choreography;
        let remote = Remote::of(&settings)?;
        return as_client(&remote, &folder, &args, begun).await;
    }
    if args.choreography {
        return choreographed::run(&folder, &args, begun).await;
    }
    let running = start(&args).await?;
    let (handle, databases) =
        (running.handle().context("no orchestrator runs")?, databases(&running)?);
    folder.load(&databases).await?;
    let known = at_rest(handle).await?;
    // Finished orders are only compared with their stored input, concurrently even with
    // `--sequential`.
    let (known, fresh): (Vec<_>, Vec<_>) =
        folder.orders.iter().partition(|order| known.contains(&order.key));
    let bar = progress(folder.orders.len(), args.sequential);
    let width = width(&args);
    let mut bad_lines = folder.bad.len();
    for (orders, width) in [(known, COMPARED_AT_ONCE), (fresh, width)] {
        bad_lines += each(orders, width, &bar, handle).await?;
    }
    bar.finish_and_clear();
    let report = report::make(handle, &databases, &folder, begun.elapsed()).await?;
    running.stop().await?;
    print(&report, &args, bad_lines)
}

/// Replays as a client of running processes, over HTTP.
async fn as_client(
    remote: &Remote,
    folder: &Folder,
    args: &ReplayArgs,
    begun: Instant,
) -> Result<Exit> {
    remote.wait_until_ready().await?;
    remote.load(folder).await?;
    let bar = progress(folder.orders.len(), args.sequential);
    let bad_lines = folder.bad.len() + remote.run_all(&folder.orders, width(args), &bar).await?;
    bar.finish_and_clear();
    print(&remote.report(folder, begun.elapsed()).await?, args, bad_lines)
}

/// Returns the keys of the checkouts at rest, including those of earlier runs.
async fn at_rest(handle: &Handle) -> Result<HashSet<String>> {
    let mut keys = HashSet::new();
    let mut filter = Filter {
        definition: Some(checkout::name()),
        limit: Some(report::PAGE),
        ..Filter::default()
    };
    loop {
        let page = handle.list(&filter).await?;
        let ended = page
            .sagas
            .iter()
            .filter(|header| header.status.has_ended() || header.status == Status::Stuck);
        keys.extend(ended.map(|header| header.id.key().to_owned()));
        match page.next {
            Some(next) => filter.before = Some(next),
            None => return Ok(keys),
        }
    }
}

impl Passage for Handle {
    async fn see_through(&self, order: &PlacedLine, _: &ProgressBar) -> Result<Option<BadLine>> {
        see_through(self, order).await
    }
}

/// Starts the order's saga, or finds the existing one, and waits until it is at rest.
async fn see_through(handle: &Handle, order: &PlacedLine) -> Result<Option<BadLine>> {
    let id = SagaId::new(&checkout::name(), &order.key)?;
    loop {
        let start = Start::new(checkout::name(), &order.key, Body::clone(&order.input));
        match handle.start_and_wait(start, PATIENCE).await {
            Ok((_, Some(_))) => return Ok(None),
            Ok((_, None)) => break,
            Err(StartError::Busy { .. }) => tokio::time::sleep(BUSY_PAUSE).await,
            Err(StartError::Unavailable(why)) => bail!("the engine stopped: {why}"),
            Err(
                why @ (StartError::OtherInput(_)
                | StartError::BadInput { .. }
                | StartError::TooLarge { .. }
                | StartError::Malformed(_)
                | StartError::OtherRequest
                | StartError::UnknownDefinition { .. }
                | StartError::UnknownVersion { .. }
                | StartError::RetiredVersion { .. }
                | StartError::NoActiveVersion { .. }),
            ) => return Ok(Some(order.bad(why.to_string()))),
        }
    }
    loop {
        match handle.wait(id.clone(), PATIENCE).await {
            Ok(Some(_)) => return Ok(None),
            Ok(None) => {}
            Err(VerbError::Busy { .. }) => tokio::time::sleep(BUSY_PAUSE).await,
            Err(error) => return Err(error).with_context(|| format!("wait for {id}")),
        }
    }
}
