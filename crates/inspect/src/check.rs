//! The verdict of `check`: all problems of a plan or definition, or its possible ends.

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
    /// The version of the plan or definition.
    pub version: u32,
    /// `plan` or `definition`.
    pub kind: &'static str,
    /// All problems; empty for a valid plan or definition.
    pub problems: Vec<Finding>,
    /// The services that take part, without duplicates.
    pub services: Vec<String>,
    /// The number of explored states of a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub states: Option<usize>,
    /// The possible ends, in words.
    pub ends: Vec<String>,
    /// Whether it was compared with the declarations of services.
    pub compared: bool,
}

/// One problem with its fix.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The violated rule with its fix, in one sentence.
    pub problem: String,
    /// The shortest run that leads to the problem, if the problem depends on the order of events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<String>,
}

/// Checks a plan. With `services`, also compares it with their declarations.
pub fn of_plan(plan: &Plan, services: Option<&[Declaration]>) -> Report {
    let mut report = Report {
        name: plan.name.to_string(),
        version: plan.version,
        kind: "plan",
        problems: Vec::new(),
        services: distinct(plan.parts().map(|part| part.service.as_str())),
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

/// Checks a definition. With `services`, also compares it with their declarations.
pub fn of_definition(draft: Draft, services: Option<&[Declaration]>) -> Report {
    let mut report = Report {
        name: draft.name.to_string(),
        version: draft.version,
        kind: "definition",
        problems: Vec::new(),
        services: distinct(draft.steps.iter().map(|step| step.action.participant.as_str())),
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
/// All ends of a plan: the events of a run without failure, and the failures after which everything
/// is undone.
fn ends_of_plan(plan: &Plan, explored: &Explored) -> Vec<String> {
    let ends = explored.ends.iter().map(|failures| match failures.as_slice() {
        [] => format!("all done: {}", happy_end(plan)),
        failures => format!("all undone, after {}", joined(failures, " and ")),
    });
    ends.collect()
}

/// The last events of a run without failure: successes that no part consumes. A part that emits no
/// event is named instead.
fn happy_end(plan: &Plan) -> String {
    let consumed = |event| plan.parts().any(|part| part.on.contains(event));
    let last = plan.parts().flat_map(|part| {
        let last = part.events().filter(|(event, role)| *role == Role::Success && !consumed(event));
        let silent = part.emits.is_empty().then(|| format!("'{}' of {}", part.name, part.service));
        last.map(|(event, _)| event.to_string()).chain(silent).collect::<Vec<String>>()
    });
    last.collect::<Vec<String>>().join(", ")
}

/// Completion, and a compensation for each step that may be refused.
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
        format!(
            "compensated, when {deadline_ms} ms pass before the pivot's command is sent; undone: \
            all steps done by then"
        )
    });
    std::iter::once(format!("completed: {}", joined(steps.iter().map(|step| &step.name), ", ")))
        .chain(ends)
        .chain(deadline)
        .collect()
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for name in names {
        if !distinct.iter().any(|other| other == name) {
            distinct.push(name.to_owned());
        }
    }
    distinct
}

fn joined(names: impl IntoIterator<Item = impl ToString>, between: &str) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<String>>().join(between)
}
