//! `sagamore check`: everything that is wrong with a saga's file, or what the saga in it comes to.

mod shop;

use std::path::Path;

use anyhow::Result;
use sagamore_core::definition::{Definition, Draft, Kind};
use sagamore_core::plan::{self, Explored, Plan, Problem, Role};
use serde::Serialize;

use super::output::{self, Exit};
use super::{CheckArgs, Format};
use crate::files::{self, Written};

/// So many ends are listed; plans in which much may fail side by side have hundreds.
const ENDS_MAX: usize = 20;

/// What a check has found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    name: String,
    version: u32,
    kind: &'static str,
    /// None when it may run.
    problems: Vec<Wrong>,
    services: Vec<String>,
    /// How many states of a plan were explored.
    #[serde(skip_serializing_if = "Option::is_none")]
    states: Option<usize>,
    /// What it can come to, in words.
    ends: Vec<String>,
    /// Whether it was compared with what the shop's services do.
    shop: bool,
}

/// What is wrong, and what to do about it.
#[derive(Serialize)]
struct Wrong {
    problem: String,
    /// The shortest run that shows it, where it is a matter of timing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    run: Vec<String>,
}

/// Prints each problem with its run, and ends with 1; or a summary.
pub fn run(args: &CheckArgs) -> Result<Exit> {
    let report = match files::read(&args.file)? {
        Written::Plan(plan) => Report::of_plan(&plan, args.shop),
        Written::Definition(draft) => Report::of_definition(draft, args.shop),
    };
    match args.format.output {
        Format::Json => output::json(&report)?,
        Format::Table => report.print(&args.file),
    }
    Ok(if report.problems.is_empty() { Exit::Completed } else { Exit::Error })
}

impl Report {
    fn of_plan(plan: &Plan, with_shop: bool) -> Report {
        let with_shop = with_shop || plan.name.as_str() == sagamore_shop::choreography::NAME;
        let mut report = Report {
            name: plan.name.to_string(),
            version: plan.version,
            kind: "plan",
            problems: Vec::new(),
            services: each_once(plan.parts().map(|part| part.service.as_str())),
            states: None,
            ends: Vec::new(),
            shop: with_shop,
        };
        match plan::explored(plan) {
            Ok(explored) => {
                report.states = Some(explored.states);
                report.ends = ends_of_plan(plan, &explored);
            }
            Err(problems) => report.problems = problems.iter().map(Wrong::of).collect(),
        }
        if with_shop {
            report.problems.extend(shop::differences(plan).into_iter().map(Wrong::plain));
        }
        report
    }

    fn of_definition(draft: Draft, with_shop: bool) -> Report {
        let with_shop = with_shop || draft.name.as_str() == sagamore_shop::checkout::NAME;
        let mut report = Report {
            name: draft.name.to_string(),
            version: draft.version,
            kind: "definition",
            problems: Vec::new(),
            services: each_once(draft.steps.iter().map(|step| step.action.participant.as_str())),
            states: None,
            ends: Vec::new(),
            shop: with_shop,
        };
        if with_shop {
            report.problems = shop::unknown(&draft).into_iter().map(Wrong::plain).collect();
        }
        match Definition::check(draft) {
            Ok(definition) => report.ends = ends_of_definition(&definition),
            Err(error) => report
                .problems
                .splice(..0, error.problems.iter().map(ToString::to_string).map(Wrong::plain))
                .for_each(drop),
        }
        report
    }

    fn print(&self, file: &Path) {
        if !self.problems.is_empty() {
            self.problems.iter().for_each(|wrong| wrong.print(file));
            return;
        }
        let Report { name, version, kind, services, states, ends, shop, .. } = self;
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
        if *shop {
            outln!("  shop      its services do the same");
        }
    }
}

impl Wrong {
    fn plain(problem: String) -> Wrong {
        Wrong { problem, run: Vec::new() }
    }

    fn of(problem: &Problem) -> Wrong {
        let text = problem.to_string();
        match problem.run() {
            None => Wrong::plain(text),
            Some(run) => {
                let brief = text.strip_suffix(&format!(" ({run})")).unwrap_or(&text);
                Wrong { problem: brief.to_owned(), run: run.0.clone() }
            }
        }
    }

    fn print(&self, file: &Path) {
        outln!("{}: {}", file.display(), self.problem);
        for (index, step) in self.run.iter().enumerate() {
            outln!("  {}. {step}", index + 1);
        }
    }
}

/// All ends that there are: what is done when nothing fails, and after which failures all is undone.
fn ends_of_plan(plan: &Plan, explored: &Explored) -> Vec<String> {
    let ends = explored.ends.iter().map(|failures| match failures.as_slice() {
        [] => format!("all done: {}", happy_end(plan)),
        failures => format!("all undone, after {}", joined(failures, " and ")),
    });
    ends.collect()
}

/// What is told last when nothing fails: the successes for which nobody waits. Who tells nothing is named.
fn happy_end(plan: &Plan) -> String {
    let heard = |event| plan.parts().any(|part| part.on.contains(event));
    let last = plan.parts().flat_map(|part| {
        let told = part.events().filter(|(event, role)| *role == Role::Success && !heard(event));
        let silent = part.emits.is_empty().then(|| format!("'{}' of {}", part.name, part.service));
        told.map(|(event, _)| event.to_string()).chain(silent).collect::<Vec<String>>()
    });
    last.collect::<Vec<String>>().join(", ")
}

/// Completed, or compensated from each step that may be refused.
fn ends_of_definition(definition: &Definition) -> Vec<String> {
    let (steps, graph) = (&definition.steps, definition.graph());
    let ends = steps.iter().enumerate().filter(|(_, step)| step.kind != Kind::Retriable).map(|(index, step)| {
        let before = graph.all_before(index).map(|before| steps[before].name.to_string());
        let beside = graph.beside(index).map(|beside| format!("{} if done", steps[beside].name));
        let undone = before.chain(beside).collect::<Vec<String>>().join(", ");
        let undone = if undone.is_empty() { "nothing".to_owned() } else { undone };
        format!("compensated, when '{}' is refused; undone: {undone}", step.name)
    });
    let deadline = definition.deadline_ms.map(|deadline_ms| {
        format!("compensated, when {deadline_ms} ms have passed before the pivot is asked for; undone: what was done")
    });
    std::iter::once(format!("completed: {}", joined(steps.iter().map(|step| &step.name), ", ")))
        .chain(ends)
        .chain(deadline)
        .collect()
}

fn each_once<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut once: Vec<String> = Vec::new();
    for name in names {
        if !once.iter().any(|known| known == name) {
            once.push(name.to_owned());
        }
    }
    once
}

fn joined(names: impl IntoIterator<Item = impl ToString>, between: &str) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<String>>().join(between)
}
