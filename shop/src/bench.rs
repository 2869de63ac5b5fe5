//! `shop bench`: measures the throughput of this machine, on which the clients run as well.

mod load;
mod machine;
mod plan;
mod processes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sagamore::clap::{self, Args, ValueEnum};
use sagamore::engine::{ChainStatus, Filter};
use sagamore::output;
use sagamore::{Exit, Format, FormatArgs, Invocation, Running, StartOptions};
use serde::Serialize;

use crate::databases::Databases;
use crate::output::{errln, outln};
use load::{Load, LoadResult, Target, Until};
use machine::CpuTime;
use processes::Processes;

pub use plan::{RefuseAt, VARIABLE};

/// Measure the throughput of four-step sagas
///
/// Sagas run real local transactions on a new data directory. With --config the benchmark starts
/// its own processes, and removes their topics and schemas afterwards.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Run without an orchestrator: the services react to each other's events
    #[arg(long)]
    choreography: bool,
    /// Set the number of sagas, instead of ten seconds of load
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    sagas: Option<u64>,
    /// Set the number of clients, each with one saga at a time
    #[arg(
        long,
        default_value_t = 64,
        value_parser = clap::value_parser!(u16).range(1..=10_000),
        value_name = "C"
    )]
    clients: u16,
    /// Refuse every saga at this step
    #[arg(long, value_enum, value_name = "STEP")]
    refuse_at: Option<RefuseAt>,
    /// Choose the interface of the clients: HTTP, or the library directly
    #[arg(long, value_enum, default_value_t = Via::Http)]
    via: Via,
    /// Set the partitions of each topic, with --config
    #[arg(
        long,
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=64),
        value_name = "N"
    )]
    partitions: u32,
    /// Create the data directory under this one, and remove it afterwards
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

/// The interface of the benchmark's clients to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// One connection per client.
    Http,
    /// Direct calls of the engine.
    Library,
}

/// The duration of a run without `--sagas`.
const RUN: Duration = Duration::from_secs(10);
/// The maximum duration of the warm-up.
const WARM_UP: Duration = Duration::from_secs(2);
/// Maximum unfinished chains that are counted, per status.
const UNFINISHED_MAX: u32 = 500;
/// The share of other processes in the machine's CPU time above which the figures are unreliable.
const OTHERS_PERCENT_MAX: f64 = 10.0;

/// The results, as printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    sagas: u64,
    sagas_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_ms_per_saga: f64,
    unfinished: usize,
    actions_per_second: f64,
    clients: u16,
    completed: u64,
    compensated: u64,
    without_outcome: u64,
    seconds: f64,
    others_percent: f64,
    memory_mib: u64,
    /// CPU milliseconds per saga, by process. Empty if there is one process.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    cpu_ms_by_process: BTreeMap<String, f64>,
}

/// Returns the definition of the benchmark's saga.
pub fn definition() -> Result<sagamore::core::Definition> {
    plan::definition()
}

/// Runs the benchmark and removes its data.
pub async fn run(invocation: Invocation, args: BenchArgs) -> Result<Exit> {
    let report = match invocation.config_file() {
        Some(file) => on_processes(&invocation, file, &args).await?,
        None if args.choreography => choreographed(&args).await?,
        None => in_one_process(&args).await?,
    };
    if report.others_percent > OTHERS_PERCENT_MAX {
        errln!(
            "warning: other processes used {:.0} % of the machine's CPU: the figures are \
             unreliable",
            report.others_percent
        );
    }
    print(&report, args.format.output)?;
    Ok(Exit::Completed)
}

/// Measures separate processes on Kafka and PostgreSQL: an orchestrator or an observer, and four
/// services.
async fn on_processes(invocation: &Invocation, file: &Path, args: &BenchArgs) -> Result<Report> {
    let processes =
        Processes::start(invocation.settings()?, file, args.partitions, args.choreography).await?;
    processes.load(&plan::rows()).await.context("load the benchmark's accounts and products")?;
    let load = load(args, processes.target()?);
    warm_up(args, &load).await?;
    let (used, seconds_then, begun) = (CpuTime::now(), processes.seconds(), Instant::now());
    let seen = load.run().await.context("measure")?;
    let (seconds, used_then) = (begun.elapsed().as_secs_f64(), CpuTime::now());
    let seconds_now = processes.seconds();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let unfinished = processes.unfinished().await?;
    let count = seen.took_us.len();
    let mut report = report(args, &seen, seconds, unfinished, (&used, &used_then));
    let per_saga = |seconds: f64| rounded(1000.0 * seconds / to_f64(count as u64));
    report.cpu_ms_by_process = seconds_now
        .iter()
        .map(|(name, now)| (name.clone(), per_saga(now - seconds_then.get(name).unwrap_or(&0.0))))
        .collect();
    report.cpu_ms_by_process.insert("clients".to_owned(), per_saga(used_then.ours_since(&used)));
    report.cpu_ms_per_saga = rounded(report.cpu_ms_by_process.values().sum());
    let theirs: f64 =
        seconds_now.iter().map(|(name, now)| now - seconds_then.get(name).unwrap_or(&0.0)).sum();
    report.others_percent =
        rounded((report.others_percent - used_then.percent_of_machine(&used, theirs)).max(0.0));
    processes.remove().await.context("remove the benchmark's topics and schemas")?;
    Ok(report)
}

/// Measures the orchestrated shop in this process.
async fn in_one_process(args: &BenchArgs) -> Result<Report> {
    let directory = directory(args)?;
    let running = start(args, directory.path()).await?;
    let handle = running.handle().context("no orchestrator runs")?;
    let target = match args.via {
        Via::Library => Target::Library(handle.clone()),
        Via::Http => Target::Http(running.address().context("no HTTP listener runs")?),
    };
    let measured = measure(args, target).await?;
    let unfinished = handle.in_flight();
    running.stop().await?;
    Ok(measured.report(args, unfinished))
}

/// Measures the choreographed shop in this process.
async fn choreographed(args: &BenchArgs) -> Result<Report> {
    let directory = directory(args)?;
    let running = start(args, directory.path()).await?;
    let (chains, address) = (running.chains().context("no observer runs")?, running.address());
    let orders = address.context("no HTTP listener runs")?;
    let measured = measure(args, Target::Choreography { orders, observer: None }).await?;
    let mut unfinished = 0;
    for status in [ChainStatus::Running, ChainStatus::Compensating] {
        let filter =
            Filter { status: Some(status), limit: Some(UNFINISHED_MAX), ..Filter::default() };
        unfinished += chains.list(&filter).await?.len();
    }
    running.stop().await?;
    Ok(measured.report(args, unfinished))
}

/// Starts the shop with the benchmark's saga, and loads its rows.
async fn start(args: &BenchArgs, data: &Path) -> Result<Running> {
    let listen = (args.choreography || args.via == Via::Http).then(|| "127.0.0.1:0".to_owned());
    let options =
        StartOptions { listen, choreography: args.choreography, ..StartOptions::of(data) };
    let program = crate::stories::stories();
    let running = program.saga(plan::definition).start(options).await?;
    let databases =
        Databases::of(running.server()).context("a service of the shop does not run")?;
    plan::load(&databases).await.context("load the benchmark's accounts and products")?;
    Ok(running)
}

/// The clients' results, with duration and CPU time.
struct Measurement {
    seen: LoadResult,
    seconds: f64,
    used: (CpuTime, CpuTime),
}

async fn measure(args: &BenchArgs, target: Target) -> Result<Measurement> {
    let load = load(args, target);
    warm_up(args, &load).await?;
    let (used, begun) = (CpuTime::now(), Instant::now());
    let seen = load.run().await.context("measure")?;
    let (seconds, used_then) = (begun.elapsed().as_secs_f64(), CpuTime::now());
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(Measurement { seen, seconds, used: (used, used_then) })
}

impl Measurement {
    fn report(&self, args: &BenchArgs, unfinished: usize) -> Report {
        report(args, &self.seen, self.seconds, unfinished, (&self.used.0, &self.used.1))
    }
}

/// Creates a temporary directory, removed when dropped.
fn directory(args: &BenchArgs) -> Result<tempfile::TempDir> {
    let base = args.data.clone().unwrap_or_else(default_base);
    std::fs::create_dir_all(&base).with_context(|| format!("create {}", base.display()))?;
    let directory = tempfile::Builder::new().prefix("sagamore-bench-").tempdir_in(&base);
    directory.with_context(|| format!("create a directory in {}", base.display()))
}

fn load(args: &BenchArgs, target: Target) -> Load {
    let until = args.sagas.map_or(Until::Passed(RUN), Until::Sagas);
    Load { phase: "m", target, clients: args.clients, refuse_at: args.refuse_at, until }
}

async fn warm_up(args: &BenchArgs, load: &Load) -> Result<()> {
    let until = match args.sagas {
        Some(sagas) if sagas < 1_000 => Until::Sagas(sagas),
        Some(_) | None => Until::Passed(WARM_UP),
    };
    Load { phase: "w", until, ..load.clone() }.run().await.context("warm up")?;
    Ok(())
}

fn report(
    args: &BenchArgs,
    seen: &LoadResult,
    seconds: f64,
    unfinished: usize,
    used: (&CpuTime, &CpuTime),
) -> Report {
    let (before, after) = used;
    let count = u32::try_from(seen.took_us.len()).map_or(f64::INFINITY, f64::from);
    let runs = 4.0 * to_f64(seen.completed)
        + to_f64(plan::runs(args.refuse_at)) * to_f64(seen.compensated);
    Report {
        sagas: seen.took_us.len() as u64,
        sagas_per_second: rounded(count / seconds),
        p50_ms: seen.percentile_ms(50),
        p99_ms: seen.percentile_ms(99),
        cpu_ms_per_saga: rounded(1000.0 * after.ours_since(before) / count),
        unfinished,
        actions_per_second: rounded(runs / seconds),
        clients: args.clients,
        completed: seen.completed,
        compensated: seen.compensated,
        without_outcome: seen.others,
        seconds: rounded(seconds),
        others_percent: rounded(after.others_percent_since(before)),
        memory_mib: machine::memory_mib(),
        cpu_ms_by_process: BTreeMap::new(),
    }
}

fn print(report: &Report, format: Format) -> Result<()> {
    match format {
        Format::Json => Ok(output::json(report)?),
        Format::Table => {
            let Report { sagas, seconds, clients, .. } = report;
            outln!("{sagas} sagas in {seconds} s with {clients} clients");
            outln!("  sagas/s    {:>10.0}", report.sagas_per_second);
            outln!("  actions/s  {:>10.0}   (including compensations)", report.actions_per_second);
            outln!("  p50        {:>10.2} ms", report.p50_ms);
            outln!("  p99        {:>10.2} ms", report.p99_ms);
            outln!(
                "  CPU        {:>10.3} ms per saga, including the clients",
                report.cpu_ms_per_saga
            );
            for (name, cpu_ms) in &report.cpu_ms_by_process {
                outln!("    {name:<12} {cpu_ms:>6.3} ms");
            }
            outln!("  unfinished {:>10}   one second after the load stopped", report.unfinished);
            outln!("  memory     {:>10} MiB", report.memory_mib);
            Ok(())
        }
    }
}

/// Returns cargo's `target` directory if it exists, because temporary directories may be in memory.
fn default_base() -> PathBuf {
    let target = PathBuf::from("target");
    if target.is_dir() { target } else { PathBuf::from(".") }
}

fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

fn to_f64(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
