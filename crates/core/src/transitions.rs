//! The transition tables as data and as a document, derived by probing `apply`'s tables with every
//! pair. For docs and tests.

use std::fmt::Write as _;

use crate::apply::{permits, saga_after, step_after};
use crate::body::Body;
use crate::id::{Direction, Name};
use crate::journal::{Change, SagaChange, StepChange};
use crate::message::Refusal;
use crate::saga::{Cause, Saga, Status, StepStatus, Verb};
use crate::time::Timestamp;

/// One legal pair, in the words of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The subject: `saga`, `step` or `held step`.
    pub subject: &'static str,
    /// The status before the change, a column of the document.
    pub from: &'static str,
    /// The change, a row of the document.
    pub change: &'static str,
    /// The status after the change.
    pub to: &'static str,
}

const SAGA_COLUMNS: [(Status, bool); 6] = [
    (Status::Running, false),
    (Status::Compensating, true),
    (Status::Stuck, false),
    (Status::Stuck, true),
    (Status::Completed, false),
    (Status::Compensated, true),
];

const STEP_COLUMNS: [StepStatus; 9] = [
    StepStatus::Waiting,
    StepStatus::Asked,
    StepStatus::Unknown,
    StepStatus::Done,
    StepStatus::Refused,
    StepStatus::Undoing,
    StepStatus::Undone,
    StepStatus::UndoFailed,
    StepStatus::Skipped,
];

const HELD_COLUMNS: [StepStatus; 3] =
    [StepStatus::Waiting, StepStatus::Unknown, StepStatus::Undoing];

/// Returns every legal pair of all tables.
pub fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for change in samples() {
        for (status, back) in SAGA_COLUMNS {
            cells.extend(saga_cell(status, back, &change));
        }
        for status in STEP_COLUMNS {
            cells.extend(step_cell(status, false, &change));
        }
        for status in HELD_COLUMNS {
            cells.extend(step_cell(status, true, &change));
        }
    }
    cells
}

/// Returns the cells that applying `change` to `saga` uses.
pub fn used(saga: &Saga, change: &Change) -> Vec<Cell> {
    let step = change.step().and_then(|name| saga.definition.index_of(name));
    let of_step = step
        .map(|index| &saga.steps[index])
        .and_then(|step| step_cell(step.status, step.wait.is_held(), change));
    saga_cell(saga.status, saga.cause.is_some(), change).into_iter().chain(of_step).collect()
}

/// Returns the content of `docs/transitions.md`.
pub fn document() -> String {
    let mut text = String::from(
        "# Transitions\n\n\
         Generated from the tables in `crates/core/src/apply.rs`; refresh with\n\
         `cargo run -q -p sagamore-core --example transitions > docs/transitions.md`.\n\n\
         A column is the current status, a row is a change, a cell is the status after it. An \
         empty cell is illegal:\n\
         such a change is never made, and a journal with it is rejected.\n",
    );
    let saga_columns = SAGA_COLUMNS.map(|(status, back)| saga_name(status, back));
    let saga_row = |change: &Change| {
        SAGA_COLUMNS.map(|(status, back)| saga_cell(status, back, change)).to_vec()
    };
    write_table(&mut text, "Sagas", &saga_columns, &saga_row);
    let step_columns = STEP_COLUMNS.map(StepStatus::as_str);
    let step_row =
        |change: &Change| STEP_COLUMNS.map(|status| step_cell(status, false, change)).to_vec();
    write_table(&mut text, "Steps", &step_columns, &step_row);
    let held_columns = HELD_COLUMNS.map(StepStatus::as_str);
    let held_row =
        |change: &Change| HELD_COLUMNS.map(|status| step_cell(status, true, change)).to_vec();
    write_table(&mut text, "Steps that were set aside", &held_columns, &held_row);
    text.push_str(NOTES);
    text
}

const NOTES: &str = "
## Terms

- *asked*: the action's command is sent; *asked to undo*: the compensation's. Each resend counts as
  an attempt.
- *faulted*: the participant stored nothing, and the command is resent. *silent*: no reply arrived
  in time, so the outcome is unknown. *For the last time*: the action is not resent, because the
  saga turns back or has turned back.
- An *unknown* step never counts as refused. Forward, its command is resent. Backward, it is undone
  like a done step.
- *pending*: the participant works on the command. Nothing is resent before the time that it asked
  for.
- A participant without a barrier (`repeat: by-key` or `never`) cannot be asked to undo an *unknown*
  step. The step is resolved first, in both directions of the saga. With `by-key` its command is
  resent. With `never` it is *queried*, or held without a query. *absent* is the answer to a query
  of an action that never ran: the step waits again, in a new generation.
- *done* while a step is being undone only stores the output, for operators. The undo's own reply
  decides.
- *set aside*: the step's result cannot be stored, its command cannot be sent, or an operator
  decides a step whose faults last. The step is held: no reply is awaited, and nothing is sent,
  until an operator decides. A late reply still counts. A waiting step is held when its command is
  too large to be sent: it has not happened. An action is released when the saga turns back. A
  *done* that arrives while an undo is held leaves it held.
- *retry*, *skip* and *resolve* are operators' verbs. A retried step returns to a status from which
  its command is resent: in a new generation after a refusal or with `repeat: never`, otherwise in
  the same one. A step with a query is queried again. An unknown step that is skipped is undone if
  the saga turns back, because it may have happened, but not without a barrier. They apply to
  a waiting step that is not held if its inputs will never exist: an earlier step was skipped or
  resolved and has no output, or its output lacks the field.
- *stuck (back)* is a saga that had turned back before it became stuck.
";

fn write_table(
    text: &mut String,
    title: &str,
    columns: &[&str],
    row: &dyn Fn(&Change) -> Vec<Option<Cell>>,
) {
    let infallible = "writing to a string does not fail";
    writeln!(text, "\n## {title}\n\n| change | {} |", columns.join(" | ")).expect(infallible);
    writeln!(text, "|---{}|", "|---".repeat(columns.len())).expect(infallible);
    for change in samples() {
        let cells = row(&change);
        if cells.iter().any(Option::is_some) {
            let cells: Vec<&str> =
                cells.iter().map(|cell| cell.map_or("", |cell| cell.to)).collect();
            writeln!(text, "| {} | {} |", label(&change), cells.join(" | ")).expect(infallible);
        }
    }
}

fn saga_cell(status: Status, back: bool, change: &Change) -> Option<Cell> {
    let (after, still_back) = match change {
        Change::Step { change, .. } => (permits(status, back, change).map(|()| status), back),
        Change::Saga(change) => (
            saga_after(status, back, change),
            back || matches!(change, SagaChange::TurnedBack { .. }),
        ),
    };
    let (from, to) = (saga_name(status, back), saga_name(after.ok()?, still_back));
    Some(Cell { subject: "saga", from, change: label(change), to })
}

fn step_cell(status: StepStatus, held: bool, change: &Change) -> Option<Cell> {
    let Change::Step { change: of_step, .. } = change else { return None };
    let after = step_after(status, held, of_step).ok()?;
    let subject = if held { "held step" } else { "step" };
    Some(Cell { subject, from: status.as_str(), change: label(change), to: after.as_str() })
}

fn saga_name(status: Status, back: bool) -> &'static str {
    match (status, back) {
        (Status::Stuck, true) => "stuck (back)",
        (status, _) => status.as_str(),
    }
}

fn label(change: &Change) -> &'static str {
    match change {
        Change::Step { change, .. } => match change {
            StepChange::Asked { direction: Direction::Action, .. } => "asked",
            StepChange::Asked { direction: Direction::Compensation, .. } => "asked to undo",
            StepChange::Asked { direction: Direction::Query, .. } => "queried",
            StepChange::Done { .. } => "done",
            StepChange::Refused { .. } => "refused",
            StepChange::Faulted { due: Some(_), .. } => "faulted",
            StepChange::Faulted { due: None, .. } => "faulted for the last time",
            StepChange::Silent { due: Some(_) } => "silent",
            StepChange::Silent { due: None } => "silent for the last time",
            StepChange::Pending { direction: Direction::Action, .. } => "pending",
            StepChange::Pending { direction: Direction::Compensation, .. } => "undo pending",
            StepChange::Pending { direction: Direction::Query, .. } => "query pending",
            StepChange::Absent { .. } => "absent",
            StepChange::SetAside { direction: Direction::Action | Direction::Query, .. } => {
                "set aside"
            }
            StepChange::SetAside { direction: Direction::Compensation, .. } => "undo set aside",
            StepChange::Undone => "undone",
            StepChange::UndoRefused { .. } => "undo refused",
            StepChange::Rescued { verb, .. } => verb.as_str(),
        },
        Change::Saga(change) => match change {
            SagaChange::TurnedBack { .. } => "turned back",
            SagaChange::Started { .. } | SagaChange::Stuck | SagaChange::Resumed => change.as_str(),
            SagaChange::Completed | SagaChange::Compensated => change.as_str(),
        },
    }
}

/// Returns one change for each row of the document, in order.
fn samples() -> Vec<Change> {
    let name = Name::new("step").expect("a name");
    let of_step = |change| Change::Step { step: name.clone(), change };
    let refusal = || Refusal::new("no", "no");
    let now = Timestamp(0);
    let asked = |direction| of_step(StepChange::Asked { direction, attempt: 1, due: now });
    let faulted = |due| of_step(StepChange::Faulted { fault: String::new(), due });
    let silent = |due| of_step(StepChange::Silent { due });
    let set_aside = |direction| of_step(StepChange::SetAside { direction, reason: String::new() });
    let pending = |direction| of_step(StepChange::Pending { direction, due: now });
    let rescued = |verb| of_step(StepChange::Rescued { verb, reason: String::new(), output: None });
    vec![
        Change::Saga(SagaChange::Started { input: Body::empty() }),
        asked(Direction::Action),
        of_step(StepChange::Done { output: Body::empty() }),
        of_step(StepChange::Refused { refusal: refusal() }),
        faulted(Some(now)),
        faulted(None),
        silent(Some(now)),
        silent(None),
        pending(Direction::Action),
        asked(Direction::Query),
        pending(Direction::Query),
        of_step(StepChange::Absent { due: None }),
        set_aside(Direction::Action),
        Change::Saga(SagaChange::TurnedBack { cause: Cause::Cancelled, reason: None }),
        asked(Direction::Compensation),
        pending(Direction::Compensation),
        set_aside(Direction::Compensation),
        of_step(StepChange::Undone),
        of_step(StepChange::UndoRefused { refusal: refusal() }),
        rescued(Verb::Retry),
        rescued(Verb::Skip),
        rescued(Verb::Resolve),
        Change::Saga(SagaChange::Stuck),
        Change::Saga(SagaChange::Resumed),
        Change::Saga(SagaChange::Completed),
        Change::Saga(SagaChange::Compensated),
    ]
}
