//! `check`: every problem of the plan or definition in a file, or the ends that it may come to.

use std::path::Path;

use anyhow::{Result, bail};
use sagamore_inspect::check::{self, Finding, Report};
use sagamore_inspect::files::{self, Written};

use super::{CheckArgs, Format};
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::story::Story;

/// The largest number of ends that are listed; plans with many failures side by side have hundreds.
const ENDS_MAX: usize = 20;

/// Prints each problem with its run, and ends with 1; or a summary.
pub fn run(invocation: &Invocation, args: &CheckArgs) -> Result<Exit> {
    let stories: Vec<&Story> = invocation.program.stories().collect();
    if args.compare && stories.iter().all(|story| story.declarations().is_empty()) {
        bail!("--compare: {} has no services built in to compare with", invocation.program.name);
    }
    // of two stories the one that has such a file, or else the first
    let compared = |is_of: &dyn Fn(&Story) -> bool, names_it: &dyn Fn(&Story) -> bool| {
        let named = stories.iter().find(|story| names_it(story));
        named
            .or_else(|| stories.iter().find(|story| is_of(story)).filter(|_| args.compare))
            .copied()
    };
    let report = match files::read(&args.file)? {
        Written::Plan(plan) => {
            let names_it = |story: &Story| story.plans.iter().any(|known| known.name == plan.name);
            let declared =
                compared(&Story::is_observed, &names_it).map(|story| story.declarations_for(&plan));
            check::of_plan(&plan, declared.as_deref())
        }
        Written::Definition(draft) => {
            let names_it = |story: &Story| story.sagas.iter().any(|known| known.name == draft.name);
            let declared = compared(&Story::is_orchestrated, &names_it).map(Story::declarations);
            check::of_definition(draft, declared.as_deref())
        }
    };
    match args.format.output {
        Format::Json => output::json(&report)?,
        Format::Table => print(&report, &args.file),
    }
    Ok(if report.problems.is_empty() { Exit::Completed } else { Exit::Error })
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
