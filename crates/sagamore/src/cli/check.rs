//! `check`: all problems of a plan or definition file, or its possible ends.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use sagamore_inspect::check::{Declaration, Identity, Report};
use sagamore_inspect::files::{self, Content, Parsed};

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
    let bytes = files::bytes(&args.file)?;
    let report = match files::text(&bytes).and_then(Parsed::parse) {
        Ok(parsed) => parsed.report(declared(&stories, &parsed, args.compare).as_deref()),
        Err(violations) => Report::of_shape(violations),
    };
    match args.format.output {
        Format::Json => output::json(&report)?,
        Format::Table => print(&report, &args.file),
    }
    Ok(if report.problems.is_empty() { Exit::Completed } else { Exit::Error })
}

/// Returns the declarations of the story that registers the file's name. With `compare`, another
/// story of the same style may take its place.
fn declared(stories: &[&Story], parsed: &Parsed, compare: bool) -> Option<Vec<Declaration>> {
    let named = |story: &&&Story| match &parsed.content {
        Content::Plan(plan) => story.plans.iter().any(|own| own.name == plan.name),
        Content::Definition(draft) => story.sagas.iter().any(|own| own.name == draft.name),
    };
    let of_style = |story: &&&Story| match &parsed.content {
        Content::Plan(_) => story.is_observed(),
        Content::Definition(_) => story.is_orchestrated(),
    };
    let first = || stories.iter().find(of_style).filter(|_| compare);
    let story = stories.iter().find(named).or_else(first)?;
    Some(match &parsed.content {
        Content::Plan(plan) => story.declarations_for(plan),
        Content::Definition(_) => story.declarations(),
    })
}

fn print(report: &Report, file: &Path) {
    report.problems.iter().for_each(|violation| outln!("{}:{violation}", file.display()));
    let Report { identity, problems, services, states, ends, warnings, compared } = report;
    let Some(Identity { name, version, kind }) = identity.as_ref().filter(|_| problems.is_empty())
    else {
        return;
    };
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
    for (index, warning) in warnings.iter().enumerate() {
        outln!("  {:<8}  {warning}", if index == 0 { "warnings" } else { "" });
    }
    if *compared {
        outln!("  compared  no difference from the services of this program");
    }
}
