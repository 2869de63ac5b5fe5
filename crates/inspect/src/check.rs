//! The judgement of `check`: every problem of a plan or a definition, or the ends that it may come to.

mod services;

use sagamore_core::definition::{Definition, Draft, Kind};
use sagamore_core::plan::{self, Explored, Plan, Problem, Role};
use serde::Serialize;

pub use services::Declaration;

/// The result of checking one plan or definition.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The name of the plan or definition.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// `plan` or `definition`.
    pub kind: &'static str,
    /// Every problem; empty when it may run.
    pub problems: Vec<Finding>,
    /// The services that take part, each once.
    pub services: Vec<String>,
    /// The number of states of a plan that were explored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub states: Option<usize>,
    /// The ends that it may come to, in words.
    pub ends: Vec<String>,
    /// Whether it was compared with what services declare.
    pub compared: bool,
}

/// One problem, with what to do about it.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The problem.
    pub problem: String,
    /// The shortest run that shows it, where it depends on the order of events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<String>,
}

/// Checks a plan. `services`: the declarations to compare it with, if any.
pub fn of_plan(plan: &Plan, services: Option<&[Declaration]>) -> Report {
    let mut report = Report {
        name: plan.name.to_string(),
        version: plan.version,
        kind: "plan",
        problems: Vec::new(),
        services: each_once(plan.parts().map(|part| part.service.as_str())),
        states: None,
        ends: Vec::new(),
        compared: services.is_some(),
    };
    match plan::explored(plan) {
        Ok(explored) => {
            report.states = Some(explored.states);
            report.ends = ends_of_plan(plan, &explored);
        }
        Err(problems) => report.problems = problems.iter().map(Finding::of).collect(),
    }
    let differences = services.map(|services| services::differences(plan, services));
    report.problems.extend(differences.unwrap_or_default().into_iter().map(Finding::plain));
    report
}

/// Checks a definition. `services`: the declarations to compare it with, if any.
pub fn of_definition(draft: Draft, services: Option<&[Declaration]>) -> Report {
    let mut report = Report {
        name: draft.name.to_string(),
        version: draft.version,
        kind: "definition",
        problems: Vec::new(),
        services: each_once(draft.steps.iter().map(|step| step.action.participant.as_str())),
        states: None,
        ends: Vec::new(),
        compared: services.is_some(),
    };
    let unknown = services.map(|services| services::unknown(&draft, services)).unwrap_or_default();
    match Definition::check(draft) {
        Ok(definition) => report.ends = ends_of_definition(&definition),
        Err(error) => {
            report.problems =
                error.problems.iter().map(|each| Finding::plain(each.to_string())).collect()
        }
    }
    report.problems.extend(unknown.into_iter().map(Finding::plain));
    report
}

impl Finding {
    fn plain(problem: String) -> Finding {
        Finding { problem, run: Vec::new() }
    }

    fn of(problem: &Problem) -> Finding {
        let text = problem.to_string();
        match problem.run() {
            None => Finding::plain(text),
            Some(run) => {
                let brief = text.strip_suffix(&format!(" ({run})")).unwrap_or(&text);
                Finding { problem: brief.to_owned(), run: run.0.clone() }
            }
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
    let ends = steps.iter().enumerate().filter(|(_, step)| step.kind != Kind::Retriable).map(
        |(index, step)| {
            let before = graph.all_before(index).map(|before| steps[before].name.to_string());
            let beside =
                graph.beside(index).map(|beside| format!("{} if done", steps[beside].name));
            let undone = before.chain(beside).collect::<Vec<String>>().join(", ");
            let undone = if undone.is_empty() { "nothing".to_owned() } else { undone };
            format!("compensated, when '{}' is refused; undone: {undone}", step.name)
        },
    );
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
