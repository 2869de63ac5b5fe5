//! The verdict of `check`: all problems of a plan or definition, or its possible ends.

mod names;
mod services;
mod weaker;

use sagamore_core::definition::{Definition, Draft, Kind};
use sagamore_core::plan::{self, Explored, Plan, Role};
use serde::Serialize;

use crate::files::{Content, Parsed, of_definition, of_event_schemas, of_schemas};
use crate::violation::{Finding, Violation};

pub use services::Declaration;

use names::{distinct, joined};

/// The result of checking one plan or definition.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The identity of the plan or definition. Absent if the shape of the file is wrong.
    #[serde(flatten)]
    pub identity: Option<Identity>,
    /// All violations; empty for a valid plan or definition.
    pub problems: Vec<Violation>,
    /// The services that take part, without duplicates.
    pub services: Vec<String>,
    /// The number of explored states of a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub states: Option<usize>,
    /// The possible ends, in words.
    pub ends: Vec<String>,
    /// Steps with weaker guarantees, in words. They are no violations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Whether it was compared with the declarations of services.
    pub compared: bool,
}

/// The identity of a plan or definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The name of the plan or definition.
    pub name: String,
    /// The version of the plan or definition.
    pub version: u32,
    /// `plan` or `definition`.
    pub kind: &'static str,
}

impl Report {
    /// Returns the report of a file whose shape is wrong.
    pub fn of_shape(problems: Vec<Violation>) -> Report {
        Report { problems, ..Report::default() }
    }

    fn empty(identity: Identity, services: Vec<String>, compared: bool) -> Report {
        Report { identity: Some(identity), services, compared, ..Report::default() }
    }
}

impl Parsed<'_> {
    /// Checks the content. With `services`, also compares it with their declarations.
    pub fn report(&self, services: Option<&[Declaration]>) -> Report {
        let (mut report, findings) = match &self.content {
            Content::Plan(plan) => of_plan(plan, services),
            Content::Definition(draft) => of_draft(draft, services),
        };
        report.problems = self.tree.violations(findings);
        report
    }
}

fn of_plan(plan: &Plan, services: Option<&[Declaration]>) -> (Report, Vec<Finding>) {
    let identity = Identity { name: plan.name.to_string(), version: plan.version, kind: "plan" };
    let parts = distinct(plan.parts().map(|part| part.service.as_str()));
    let mut report = Report::empty(identity, parts, services.is_some());
    let mut findings = match plan::explored(plan) {
        Ok(explored) => {
            report.states = Some(explored.states);
            report.ends = ends_of_plan(plan, &explored);
            of_event_schemas(plan)
        }
        Err(problems) => problems.iter().map(|problem| Finding::of_plan(problem, plan)).collect(),
    };
    let differences = services.map(|services| services::differences(plan, services));
    findings.extend(differences.unwrap_or_default());
    (report, findings)
}

fn of_draft(draft: &Draft, services: Option<&[Declaration]>) -> (Report, Vec<Finding>) {
    let (name, version) = (draft.name.to_string(), draft.version);
    let participants = draft.steps.iter().map(|step| step.action.participant.as_str());
    let identity = Identity { name, version, kind: "definition" };
    let mut report = Report::empty(identity, distinct(participants), services.is_some());
    let mut findings = match Definition::check(draft.clone()) {
        Ok(definition) => {
            report.ends = ends_of_definition(&definition);
            report.warnings = weaker::warnings(draft);
            sagamore_schema::attach(definition)
                .err()
                .map_or_else(Vec::new, |errors| of_schemas(&errors))
        }
        Err(error) => of_definition(&error, draft),
    };
    findings
        .extend(services.map(|services| services::unknown(draft, services)).unwrap_or_default());
    (report, findings)
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
