//! The run of a folder's orders: flags, progress bar and result, the same for each way to run them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressStyle};
use sagamore::clap::{self, Args};
use sagamore::output;
use sagamore::{Exit, Format, FormatArgs, Running, StartOptions};

use super::folder::PlacedLine;
use super::report::Report;
use crate::databases::Databases;
use crate::import::BadLine;
use crate::output::errln;

/// Run every order of a folder as a saga
///
/// Loads accounts, stock and destinations first. A repeated run on the same data continues. With
/// --config it is a client of running processes.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Read accounts.jsonl, stock.jsonl, destinations.jsonl and orders.jsonl from this folder
    pub folder: PathBuf,
    /// Store all data in this directory, created when missing
    #[arg(
        long,
        default_value = "./data",
        env = "SAGAMORE_DATA",
        hide_env_values = true,
        value_name = "DIR"
    )]
    pub data: PathBuf,
    /// Run the orders one after another
    #[arg(long, conflicts_with = "concurrency")]
    pub sequential: bool,
    /// Run without an orchestrator: the services react to each other's events
    #[arg(long)]
    pub choreography: bool,
    /// Set the number of concurrent orders
    #[arg(
        long,
        default_value_t = 64,
        value_parser = clap::value_parser!(u16).range(1..=10_000),
        value_name = "N"
    )]
    pub concurrency: u16,
    #[command(flatten)]
    pub format: FormatArgs,
}

/// The length of one wait for an outcome. It is repeated indefinitely.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the shop in this process, without HTTP.
pub(super) async fn start(args: &ReplayArgs) -> Result<Running> {
    let options = StartOptions { choreography: args.choreography, ..StartOptions::of(&args.data) };
    Ok(crate::stories::stories().start(options).await?)
}

pub(super) fn databases(running: &Running) -> Result<Databases> {
    Databases::of(running.server()).context("a service of the shop does not run")
}

pub(super) fn print(report: &Report, args: &ReplayArgs, bad_lines: usize) -> Result<Exit> {
    match args.format.output {
        Format::Json => output::json(report)?,
        Format::Table => report.print(),
    }
    Ok(if bad_lines == 0 { Exit::Completed } else { Exit::Error })
}

pub(super) fn width(args: &ReplayArgs) -> usize {
    if args.sequential { 1 } else { usize::from(args.concurrency) }
}

/// A way to run orders. A trait, because a closure over references would make the future of the
/// verb not `Send`.
pub(super) trait Passage {
    /// Runs an order until it is at rest. Returns the line if it is bad.
    fn see_through(
        &self,
        order: &PlacedLine,
        bar: &ProgressBar,
    ) -> impl Future<Output = Result<Option<BadLine>>> + Send;
}

/// Runs orders, at most `width` at once. Returns the number of bad lines.
pub(super) async fn each<'a>(
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

pub(super) fn report_bad_line(bad: &BadLine) {
    errln!("{bad}");
}

pub(super) fn progress(orders: usize, sequential: bool) -> ProgressBar {
    let bar = ProgressBar::new(orders as u64); // draws on stderr, and only on a terminal
    let how = if sequential { "one after another" } else { "concurrently" };
    let template = "{msg} {wide_bar} {pos}/{len} {per_sec} {eta}";
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.set_message(format!("orders {how}"));
    bar
}
