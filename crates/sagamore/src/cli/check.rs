//! `check`: all problems of a plan or definition file, or its possible ends.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use sagamore_inspect::check::{self, Finding, Report};
use sagamore_inspect::files::{self, SagaFile};

use super::args::{Format, FormatArgs};
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::story::Story;

/// Maximum listed ends. Plans with many parallel failures have hundreds.
const ENDS_MAX: usize = 20;

/// The arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// YAML file
    file: PathBuf,
    /// Compare the file with the services of this program; the default for a name that the program
    /// registers
    #[arg(long)]
    compare: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// Prints each problem with its run and returns exit code 1, or prints a summary.
pub fn run(invocation: &Invocation, args: &CheckArgs) -> Result<Exit> {
    let stories: Vec<&Story> = invocation.program.stories().collect();
    if args.compare && stories.iter().all(|story| story.declarations().is_empty()) {
        bail!("--compare: {} has no services to compare with", invocation.program.name);
    }
    // prefer the story that registers the name over the first one
    let compared = |is_of: &dyn Fn(&Story) -> bool, has_name: &dyn Fn(&Story) -> bool| {
        let named = stories.iter().find(|story| has_name(story));
        named
            .or_else(|| stories.iter().find(|story| is_of(story)).filter(|_| args.compare))
            .copied()
    };
    let report = match files::read(&args.file)? {
        SagaFile::Plan(plan) => {
            let has_name = |story: &Story| story.plans.iter().any(|own| own.name == plan.name);
            let declared =
                compared(&Story::is_observed, &has_name).map(|story| story.declarations_for(&plan));
            check::of_plan(&plan, declared.as_deref())
        }
        SagaFile::Definition(draft) => {
            let has_name = |story: &Story| story.sagas.iter().any(|own| own.name == draft.name);
            let declared = compared(&Story::is_orchestrated, &has_name).map(Story::declarations);
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
        outln!("  explored  {states} states, in all orders of events");
    }
    for (index, end) in ends.iter().take(ENDS_MAX).enumerate() {
        outln!("  {:<8}  {end}", if index == 0 { "ends" } else { "" });
    }
    if let Some(more) = ends.len().checked_sub(ENDS_MAX + 1) {
        outln!("            and {} more: see -o json", more + 1);
    }
    if *compared {
        outln!("  compared  no difference from the services of this program");
    }
}

fn print_finding(Finding { problem, run }: &Finding, file: &Path) {
    outln!("{}: {problem}", file.display());
    for (index, step) in run.iter().enumerate() {
        outln!("  {}. {step}", index + 1);
    }
}
