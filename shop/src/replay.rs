//! `shop replay`: runs every order of a folder as a saga, in this process or as a client of running
//! ones. A repeated run continues.

mod choreographed;
mod folder;
mod remote;
mod report;

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressStyle};
use sagamore::clap::{self, Args};
use sagamore::core::saga::Status;
use sagamore::core::{Body, SagaId};
use sagamore::engine::{Filter, Handle, Start, StartError, VerbError};
use sagamore::output;
use sagamore::{Exit, Format, FormatArgs, Invocation, Running, StartOptions};

use crate::checkout;
use crate::databases::Databases;
use crate::import::BadLine;
use crate::output::errln;
use folder::{Folder, PlacedLine};
use remote::Remote;
use report::Report;

/// Run every order of a folder as a saga
///
/// Loads accounts, stock and destinations first. A repeated run on the same data continues. With
/// --config it is a client of running processes.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Read accounts.jsonl, stock.jsonl, destinations.jsonl and orders.jsonl from this folder
    folder: PathBuf,
    /// Store all data in this directory, created when missing
    #[arg(
        long,
        default_value = "./data",
        env = "SAGAMORE_DATA",
        hide_env_values = true,
        value_name = "DIR"
    )]
    data: PathBuf,
    /// Run the orders one after another
    #[arg(long, conflicts_with = "concurrency")]
    sequential: bool,
    /// Run without an orchestrator: the services react to each other's events
    #[arg(long)]
    choreography: bool,
    /// Set the number of concurrent orders
    #[arg(
        long,
        default_value_t = 64,
        value_parser = clap::value_parser!(u16).range(1..=10_000),
        value_name = "N"
    )]
    concurrency: u16,
    #[command(flatten)]
    format: FormatArgs,
}

/// The length of one wait for an outcome. It is repeated indefinitely.
const PATIENCE: Duration = Duration::from_secs(60);
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

/// Starts the shop in this process, without HTTP.
async fn start(args: &ReplayArgs) -> Result<Running> {
    let options = StartOptions { choreography: args.choreography, ..StartOptions::of(&args.data) };
    Ok(crate::stories::stories().start(options).await?)
}

fn databases(running: &Running) -> Result<Databases> {
    Databases::of(running.server()).context("a service of the shop does not run")
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

/// A way to run orders. A trait, because a closure over references would make the future of the
/// verb not `Send`.
trait Passage {
    /// Runs an order until it is at rest. Returns the line if it is bad.
    fn see_through(
        &self,
        order: &PlacedLine,
        bar: &ProgressBar,
    ) -> impl Future<Output = Result<Option<BadLine>>> + Send;
}

/// Runs orders, at most `width` at once. Returns the number of bad lines.
async fn each<'a>(
    orders: impl IntoIterator<Item = &'a PlacedLine>,
    width: usize,
    bar: &ProgressBar,
    passage: &impl Passage,
) -> Result<usize> {
    let mut rest: VecDeque<&PlacedLine> = orders.into_iter().collect();
    let mut running = FuturesUnordered::new();
    let mut bad_lines = 0;
    loop {
        while running.len() < width
            && let Some(order) = rest.pop_front()
        {
            running.push(passage.see_through(order, bar));
        }
        let Some(outcome) = running.next().await else { return Ok(bad_lines) };
        bar.inc(1);
        if let Some(bad) = outcome? {
            bar.suspend(|| report_bad_line(&bad));
            bad_lines += 1;
        }
    }
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
                | StartError::BadInput(_)
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

fn report_bad_line(bad: &BadLine) {
    errln!("{bad}");
}

fn progress(orders: usize, sequential: bool) -> ProgressBar {
    let bar = ProgressBar::new(orders as u64); // draws on stderr, and only on a terminal
    let how = if sequential { "one after another" } else { "concurrently" };
    let template = "{msg} {wide_bar} {pos}/{len} {per_sec} {eta}";
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.set_message(format!("orders {how}"));
    bar
}
