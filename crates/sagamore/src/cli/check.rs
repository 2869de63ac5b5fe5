//! `check`: every problem of the plan or definition in a file, or the ends that it may come to.

use std::path::Path;

use anyhow::Result;
use sagamore_inspect::check::{self, Declaration, Finding, Report};
use sagamore_inspect::files::{self, Written};
use sagamore_sdk::Service;

use super::output::{self, Exit};
use super::{CheckArgs, Format};

/// The largest number of ends that are listed; plans with many failures side by side have hundreds.
const ENDS_MAX: usize = 20;

/// Prints each problem with its run, and ends with 1; or a summary.
pub fn run(args: &CheckArgs) -> Result<Exit> {
    let report = match files::read(&args.file)? {
        Written::Plan(plan) => {
            let is_ours = args.compare || plan.name.as_str() == sagamore_shop::choreography::NAME;
            let declared = declarations(&sagamore_shop::choreographed());
            check::of_plan(&plan, is_ours.then_some(&declared))
        }
        Written::Definition(draft) => {
            let is_ours = args.compare || draft.name.as_str() == sagamore_shop::checkout::NAME;
            let declared = declarations(&sagamore_shop::services());
            check::of_definition(draft, is_ours.then_some(&declared))
        }
    };
    match args.format.output {
        Format::Json => output::json(&report)?,
        Format::Table => print(&report, &args.file),
    }
    Ok(if report.problems.is_empty() { Exit::Completed } else { Exit::Error })
}

fn declarations(services: &[Service]) -> Vec<Declaration> {
    let declaration = |service: &Service| Declaration {
        service: service.name().clone(),
        reactions: service.declares(),
        commands: service.knows().collect(),
    };
    services.iter().map(declaration).collect()
}

fn print(report: &Report, file: &Path) {
    if !report.problems.is_empty() {
        report.problems.iter().for_each(|finding| print_finding(finding, file));
        return;
    }
    let Report { name, version, kind, services, states, ends, compared, .. } = report;
    outln!("OK: {kind} '{name}', version {version}");
    outln!("  services  {}", services.join(", "));
    if let Some(states) = states {
        outln!("  explored  {states} states, by every order in which events can come");
    }
    for (index, end) in ends.iter().take(ENDS_MAX).enumerate() {
        outln!("  {:<8}  {end}", if index == 0 { "ends" } else { "" });
    }
    if let Some(more) = ends.len().checked_sub(ENDS_MAX + 1) {
        outln!("            and {} others: see -o json", more + 1);
    }
    if *compared {
        outln!("  compared  the services of this program declare the same");
    }
}

fn print_finding(Finding { problem, run }: &Finding, file: &Path) {
    outln!("{}: {problem}", file.display());
    for (index, step) in run.iter().enumerate() {
        outln!("  {}. {step}", index + 1);
    }
}
