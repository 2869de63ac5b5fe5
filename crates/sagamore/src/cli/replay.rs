//! `sagamore shop replay`: every order of a folder as a saga, in this process, or with a configuration as a client of
//! running ones. Run again it goes on where it was.

mod choreographed;
mod folder;
mod remote;
mod report;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::{FutureExt, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use sagamore_core::saga::Status;
use sagamore_core::{Body, SagaId};
use sagamore_engine::{Filter, Handle, Start, StartError, VerbError};
use sagamore_shop::import::BadLine;

use super::output::{self, Exit};
use super::{ConfigArgs, Format, ReplayArgs};
use crate::config::Settings;
use crate::stack::{self, Stack};
use folder::{Folder, PlacedLine};
use remote::Remote;
use report::Report;

/// How long one wait for an outcome is; it is asked again for ever.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many orders whose sagas are at rest are compared at once.
const COMPARED_AT_ONCE: usize = 500;
/// The pause before a start that found the engine busy is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Ends with 1 when a line could not be taken.
pub async fn run(config: &ConfigArgs, args: ReplayArgs) -> Result<Exit> {
    let begun = Instant::now();
    let folder = Folder::read(&args.folder)?;
    folder.bad.iter().for_each(tell);
    if let Some(file) = &config.config {
        let mut settings = Settings::load(Some(file))?;
        settings.choreography |= args.choreography;
        let remote = Remote::of(&settings)?;
        return as_client(&remote, &folder, &args, begun).await;
    }
    if args.choreography {
        return choreographed::run(&folder, &args, begun).await;
    }
    let stack = Stack::open(&args.data, stack::Options::default()).await?;
    folder.load(&stack.shop).await?;
    let known = at_rest(&stack.handle).await?;
    // those at rest are only compared with what they were started with, all at once whatever the order
    let (known, fresh): (Vec<_>, Vec<_>) = folder.orders.iter().partition(|order| known.contains(&order.key));
    let bar = progress(folder.orders.len(), args.sequential);
    let width = width(&args);
    let mut bad_lines = folder.bad.len();
    for (orders, width) in [(known, COMPARED_AT_ONCE), (fresh, width)] {
        bad_lines += each(orders, width, &bar, |order| see_through(&stack.handle, order)).await?;
    }
    bar.finish_and_clear();
    let report = report::make(&stack, &folder, begun.elapsed()).await?;
    stack.stop(stack::STOP_MAX).await?;
    print(&report, &args, bad_lines)
}

/// The same, over HTTP.
async fn as_client(remote: &Remote, folder: &Folder, args: &ReplayArgs, begun: Instant) -> Result<Exit> {
    remote.there().await?;
    remote.load(folder).await?;
    let bar = progress(folder.orders.len(), args.sequential);
    let bad_lines = folder.bad.len() + remote.run_all(&folder.orders, width(args), &bar).await?;
    bar.finish_and_clear();
    print(&remote.report(folder, begun.elapsed()).await?, args, bad_lines)
}

fn print(report: &Report, args: &ReplayArgs, bad_lines: usize) -> Result<Exit> {
    match args.format.output {
        Format::Json => output::json(report)?,
        Format::Table => report.print(),
    }
    Ok(if bad_lines == 0 { Exit::Completed } else { Exit::Error })
}

fn width(args: &ReplayArgs) -> usize {
    if args.sequential { 1 } else { usize::from(args.concurrency) }
}

/// Sees orders through, so many at once; gives how many were bad.
async fn each<'a, F>(
    orders: impl IntoIterator<Item = &'a PlacedLine>,
    width: usize,
    bar: &ProgressBar,
    see_through: impl Fn(&'a PlacedLine) -> F,
) -> Result<usize>
where
    F: Future<Output = Result<Option<BadLine>>>,
{
    let outcomes = futures_util::stream::iter(orders).map(|order| see_through(order).inspect(|_| bar.inc(1)));
    let mut outcomes = std::pin::pin!(outcomes.buffer_unordered(width));
    let mut bad_lines = 0;
    while let Some(outcome) = outcomes.next().await {
        if let Some(bad) = outcome? {
            bar.suspend(|| tell(&bad));
            bad_lines += 1;
        }
    }
    Ok(bad_lines)
}

/// The keys of the checkouts that have come to rest, in this run or an earlier one.
async fn at_rest(handle: &Handle) -> Result<HashSet<String>> {
    let mut keys = HashSet::new();
    let mut filter =
        Filter { definition: Some(stack::checkout_name()), limit: Some(report::PAGE), ..Filter::default() };
    loop {
        let page = handle.list(&filter).await?;
        let ended = page.sagas.iter().filter(|header| header.status.has_ended() || header.status == Status::Stuck);
        keys.extend(ended.map(|header| header.id.key().to_owned()));
        match page.next {
            Some(next) => filter.before = Some(next),
            None => return Ok(keys),
        }
    }
}

/// Starts the order's saga, or finds the one there is, and waits for it to come to rest.
async fn see_through(handle: &Handle, order: &PlacedLine) -> Result<Option<BadLine>> {
    let id = SagaId::new(&stack::checkout_name(), &order.key)?;
    loop {
        let start = Start::new(stack::checkout_name(), &order.key, Body::clone(&order.input));
        match handle.start_and_wait(start, PATIENCE).await {
            Ok((_, Some(_))) => return Ok(None),
            Ok((_, None)) => break,
            Err(StartError::Busy { .. }) => tokio::time::sleep(BUSY_PAUSE).await,
            Err(StartError::Unavailable(why)) => bail!("the engine stopped: {why}"),
            Err(
                why @ (StartError::OtherInput(_)
                | StartError::BadInput(_)
                | StartError::TooLarge { .. }
                | StartError::Malformed(_)
                | StartError::OtherRequest
                | StartError::UnknownDefinition { .. }),
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

fn tell(bad: &BadLine) {
    errln!("{bad}");
}

fn progress(orders: usize, sequential: bool) -> ProgressBar {
    let bar = ProgressBar::new(orders as u64); // draws on stderr, and only on a terminal
    let how = if sequential { "one after another" } else { "concurrently" };
    let template = "{msg} {wide_bar} {pos}/{len} {per_sec} {eta}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(format!("orders {how}"));
    bar
}
