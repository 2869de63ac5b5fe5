//! `sagamore-sim`: runs seeds, counts what was reached, and says how to run a failing one again.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Parser;
use sagamore_core::planted::Bug;
use sagamore_sim::sweep::{Options, Sweep, command, seeds};
use sagamore_sim::{Report, Style, points, run_in};

/// Runs the whole system under seeds: the same seed, the same run.
#[derive(Parser)]
#[command(name = "sagamore-sim")]
struct Arguments {
    /// Run this one seed.
    #[arg(long, conflicts_with_all = ["seeds", "base"])]
    seed: Option<u64>,
    /// Run so many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// What the seeds are derived from, in hexadecimal digits.
    #[arg(long, default_value = "0", value_parser = base)]
    base: u64,
    /// Print every event.
    #[arg(long)]
    trace: bool,
    /// Run them all in this style; each seed has one of its own.
    #[arg(long)]
    style: Option<Style>,
    /// Plant this bug; needs the feature `planted-bugs`.
    #[arg(long)]
    bug: Option<String>,
    /// Fail when a row of the tables, or a case of the barrier, is never reached.
    #[arg(long)]
    complete: bool,
    /// How many seeds run at a time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    match obey(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("sagamore-sim: {why:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing was found.
fn obey(arguments: &Arguments) -> Result<bool> {
    let bug = match &arguments.bug {
        Some(name) => Some(named(name)?),
        None => None,
    };
    let reports = match arguments.seed {
        Some(seed) => {
            sagamore_sim::plant(bug);
            let report = run_in(arguments.style.unwrap_or(Style::of(seed)), seed, arguments.trace);
            println!(
                "seed {seed}, {}: trace {:016x}, {} events",
                report.style.name(),
                report.trace.0,
                report.trace.1
            );
            Sweep::of(vec![report])
        }
        None => sweep(arguments, bug),
    };
    print!("{}", reports.text());
    for report in &reports.failed {
        tell(report, bug);
    }
    let gaps = if arguments.complete { points::gaps(&reports.counters) } else { Vec::new() };
    gaps.iter().for_each(|gap| println!("{gap}"));
    Ok(reports.failed.is_empty() && gaps.is_empty())
}

fn named(name: &str) -> Result<Bug> {
    if !cfg!(feature = "planted-bugs") {
        bail!("this build holds no bugs: add --features planted-bugs");
    }
    match Bug::named(name) {
        Some(bug) => Ok(bug),
        None => {
            bail!("there is no bug '{name}'; there are: {}", Bug::ALL.map(Bug::name).join(", "))
        }
    }
}

fn sweep(arguments: &Arguments, bug: Option<Bug>) -> Sweep {
    let (begun, terminal) = (Instant::now(), std::io::stderr().is_terminal());
    let done = |count: u64| {
        if terminal && count.is_multiple_of(20) {
            eprint!(
                "\r{count} of {} seeds, {:.0} s ",
                arguments.seeds,
                begun.elapsed().as_secs_f64()
            );
            let _ = std::io::stderr().flush(); // a progress line that stays away harms nobody
        }
    };
    let Arguments { threads, style, trace: print, .. } = *arguments;
    let options = Options { threads, style, bug, print };
    let sweep = Sweep::run(&seeds(arguments.base, arguments.seeds), options, &done);
    if terminal {
        eprintln!();
    }
    println!(
        "{} seeds from {:x} in {:.1} s",
        sweep.runs,
        arguments.base,
        begun.elapsed().as_secs_f64()
    );
    sweep
}

fn tell(report: &Report, bug: Option<Bug>) {
    let Some(violation) = &report.violation else { return };
    println!("\nseed {} FAILED: {}: {}", report.seed, violation.name, violation.detail);
    println!("  replay it: {} --trace", command(report.seed, report.style, bug));
}

fn base(text: &str) -> Result<u64, String> {
    let digits = text.get(..text.len().min(16)).unwrap_or_default();
    u64::from_str_radix(digits, 16)
        .map_err(|error| format!("'{text}' is no hexadecimal number: {error}"))
}
