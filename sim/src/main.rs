//! `sagamore-sim`: runs seeds, counts the reached points, and prints the command that replays a
//! failing seed.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Parser;
use sagamore_core::planted::Bug;
use sagamore_sim::sweep::{Options, Sweep, command, seeds};
use sagamore_sim::{Report, Style, points, run_in};

/// Run the whole system under seeds: the same seed, the same run
#[derive(Parser)]
#[command(name = "sagamore-sim")]
struct Arguments {
    /// Run this seed only
    #[arg(long, conflicts_with_all = ["seeds", "base"])]
    seed: Option<u64>,
    /// Set the number of seeds
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Derive the seeds from this number, in hexadecimal digits
    #[arg(long, default_value = "0", value_parser = base)]
    base: u64,
    /// Print every event
    #[arg(long)]
    trace: bool,
    /// Run all seeds in this style, instead of the style of each seed
    #[arg(long)]
    style: Option<Style>,
    /// Plant this bug (requires the feature `planted-bugs`)
    #[arg(long)]
    bug: Option<String>,
    /// Fail if a row of the tables, or a case of the barrier, is never reached
    #[arg(long)]
    complete: bool,
    /// Set the number of concurrent runs
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    match execute(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("sagamore-sim: {why:#}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether no run failed.
fn execute(arguments: &Arguments) -> Result<bool> {
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
        print_failure(report, bug);
    }
    let gaps = if arguments.complete { points::gaps(&reports.counters) } else { Vec::new() };
    gaps.iter().for_each(|gap| println!("{gap}"));
    Ok(reports.failed.is_empty() && gaps.is_empty())
}

fn named(name: &str) -> Result<Bug> {
    if !cfg!(feature = "planted-bugs") {
        bail!("this build contains no bugs: add --features planted-bugs");
    }
    match Bug::named(name) {
        Some(bug) => Ok(bug),
        None => {
            bail!("'{name}' is not a bug: choose one of {}", Bug::ALL.map(Bug::name).join(", "))
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
            let _ = std::io::stderr().flush(); // a missing progress line is harmless
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

fn print_failure(report: &Report, bug: Option<Bug>) {
    let Some(violation) = &report.violation else { return };
    println!("\nseed {} FAILED: {}: {}", report.seed, violation.name, violation.detail);
    println!("  replay it: {} --trace", command(report.seed, report.style, bug));
}

fn base(text: &str) -> Result<u64, String> {
    let digits = text.get(..text.len().min(16)).unwrap_or_default();
    u64::from_str_radix(digits, 16)
        .map_err(|error| format!("'{text}' is not a hexadecimal number: {error}"))
}
