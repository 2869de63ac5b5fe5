//! Draws a saga as text: one line per step with its state, and future steps dimmed.

use std::fmt::Write as _;

use owo_colors::{OwoColorize, Style as Paint};
use sagamore_core::definition::Kind;
use sagamore_core::saga::StepStatus;
use sagamore_engine::ChainStatus;

use crate::clock::from_rfc3339;
use crate::plain;
use crate::view::{RESOLVE, SagaView, StepView, Style, WaitView};

/// The verbs that apply to a step.
const VERBS: [&str; 4] = ["retry", "skip", "resolve", "compensate"];
/// The mark of a step that needs an operator's decision.
const DECIDE: &str = "!";

/// Draws a saga. The text always has colours, which the output removes if unwanted.
pub fn saga(view: &SagaView, program: &str) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}  {}{}", view.line.id.bold(), status(view.line.status), took(view));
    let width = view.steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    for (index, step) in view.steps.iter().enumerate() {
        let last = index + 1 == view.steps.len();
        let _ = writeln!(text, "{}", line(step, width, last));
    }
    if let Some(cause) = &view.cause {
        let at = cause.step.as_ref().map(|step| format!(" at {step}")).unwrap_or_default();
        let why = cause
            .reason
            .as_ref()
            .map(|reason| format!(": {}", reason.replace(['\n', '\t'], " ")))
            .unwrap_or_default();
        let _ = writeln!(text, "  compensation: {}{at}{why}", words(&cause.kind));
    }
    decisions(view, &mut text);
    for wait in &view.waits_for {
        let WaitView { service, step, messages, since, why } = wait;
        let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let _ = writeln!(
            text,
            "  waits for {service} ({step}): {}, since {since}{why}",
            messages.join(" or ")
        );
    }
    for warning in &view.warnings {
        let _ = writeln!(text, "  {} {warning}", "warning:".yellow());
    }
    if let Some(why) = &view.line.why {
        let _ = writeln!(text, "  {}", why.red());
    }
    for event in &view.events {
        let _ =
            writeln!(text, "  {}{} {}", "   ".repeat(event.depth), event.name, event.at.dimmed());
    }
    let verbs: Vec<&str> =
        VERBS.into_iter().filter(|verb| view.steps.iter().any(|step| takes(step, verb))).collect();
    let id = plain::quoted(&view.line.id);
    if view.line.status == ChainStatus::Unreadable {
        let _ = writeln!(
            text,
            "  set aside: update the orchestrator if its version cannot read the saga, or repair \
             the saga's data: {program} retry {id} --reason WHY"
        );
    }
    if view.line.style == Style::Choreography
        && view.allowed_actions.iter().any(|allowed| allowed == RESOLVE)
    {
        let _ = writeln!(text, "  after a repair by hand: {program} resolve {id} --reason WHY");
    }
    if !verbs.is_empty() {
        let verbs = verbs.join("|");
        let _ = writeln!(
            text,
            "  needs an operator, for the step marked {DECIDE}: {program} {verbs} {id} --reason WHY"
        );
    }
    text
}

/// Lists the operators' decisions with their time and reason.
fn decisions(view: &SagaView, text: &mut String) {
    for entry in &view.journal {
        for change in entry.changes.iter().filter(|change| change.kind == "rescued") {
            let [verb, step, reason] =
                [&change.verb, &change.step, &change.reason].map(|part| part.as_deref());
            let (verb, step) = (verb.unwrap_or_default(), step.unwrap_or_default());
            let _ = writeln!(
                text,
                "  decided: {verb} {step}, {}: {}",
                entry.at,
                reason.unwrap_or_default()
            );
        }
    }
}

/// Returns a status in its colour.
pub fn status(status: ChainStatus) -> String {
    let style = match status {
        ChainStatus::Running => Paint::new().cyan(),
        ChainStatus::Compensating => Paint::new().yellow(),
        ChainStatus::Completed => Paint::new().green(),
        ChainStatus::Compensated => Paint::new().magenta(),
        ChainStatus::Stuck | ChainStatus::HalfCompensated => Paint::new().red().bold(),
        ChainStatus::Anomalous | ChainStatus::UnknownVersion | ChainStatus::Unreadable => {
            Paint::new().red().bold()
        }
        ChainStatus::Resolved => Paint::new().blue(),
    };
    status.as_str().style(style).to_string()
}

fn took(view: &SagaView) -> String {
    let ended = view.line.ended_at.as_deref().and_then(from_rfc3339);
    // an observer may read the last event long after its emission
    let last = view.events.iter().filter_map(|event| from_rfc3339(&event.at)).max();
    // a resolved chain ends with the verb
    let last = last.filter(|_| view.line.status != ChainStatus::Resolved);
    let ended = ended.map(|ended| last.map_or(ended, |last| last.min(ended)));
    match (from_rfc3339(&view.line.started_at), ended) {
        (Some(started), Some(ended)) => format!("  in {} ms", ended.since(started).as_millis()),
        _ => String::new(),
    }
}

fn line(step: &StepView, width: usize, last: bool) -> String {
    let rail = if last { "└─" } else { "├─" };
    let (mark, style) = mark(step);
    let kind = match step.kind {
        Kind::Compensatable => "",
        Kind::Pivot => " (pivot)",
        Kind::Retriable => " (retriable)",
    };
    let player = if step.stand_in { " (stand-in)" } else { "" };
    let status = words(&format!("{:?}", step.status));
    let text = format!("{mark} {:width$}  {status}{kind}{player}", step.name);
    format!("  {rail} {}{}", text.style(style), remark(step))
}

fn takes(step: &StepView, verb: &str) -> bool {
    step.allowed_actions.iter().any(|allowed| allowed == verb)
}

fn mark(step: &StepView) -> (&'static str, Paint) {
    if !step.allowed_actions.is_empty() {
        return (DECIDE, Paint::new().red().bold());
    }
    match step.status {
        StepStatus::Waiting => ("·", Paint::new().dimmed()),
        StepStatus::Asked => ("»", Paint::new().cyan()),
        StepStatus::Done => ("✓", Paint::new().green()),
        StepStatus::Refused => ("✗", Paint::new().red()),
        StepStatus::Unknown => ("?", Paint::new().yellow()),
        StepStatus::Undoing => ("«", Paint::new().yellow()),
        StepStatus::Undone => ("↶", Paint::new().magenta()),
        StepStatus::UndoFailed => (DECIDE, Paint::new().red().bold()),
        StepStatus::Skipped => ("⇥", Paint::new().dimmed()),
    }
}

fn remark(step: &StepView) -> String {
    let mut text = String::new();
    if step.attempts > 1 {
        let _ = write!(text, ", attempt {}", step.attempts);
    }
    let is_refused = matches!(step.status, StepStatus::Refused | StepStatus::UndoFailed);
    if let Some(refusal) = step.refusal.as_ref().filter(|_| is_refused) {
        let _ = write!(text, ": {} ({})", refusal.message, refusal.code);
    } else if let Some(open) = &step.open_fault {
        let _ = write!(
            text,
            ": {} (open fault, {} attempts since {})",
            open.text, open.count, open.since
        );
    } else if let Some(fault) = step.fault.as_ref().filter(|_| step.backing_off) {
        let _ = write!(text, ": {fault}; next attempt {}", step.due.as_deref().unwrap_or("soon"));
    }
    text
}

/// Splits `givenUp` and `UndoFailed` into words.
fn words(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Line;

    fn a_step(name: &str, status: StepStatus) -> StepView {
        StepView {
            name: name.into(),
            kind: Kind::Compensatable,
            status,
            participant: "payment".into(),
            stand_in: false,
            attempts: 1,
            generation: 1,
            due: None,
            backing_off: false,
            output: None,
            refusal: None,
            fault: None,
            open_fault: None,
            allowed_actions: Vec::new(),
        }
    }

    fn a_saga(status: ChainStatus, steps: Vec<StepView>) -> SagaView {
        let line = Line {
            id: "checkout:10248".into(),
            style: Style::Orchestration,
            definition: "checkout".into(),
            version: 1,
            key: "10248".into(),
            status,
            why: None,
            started_at: "2026-11-23T20:00:00.000Z".into(),
            changed_at: "2026-11-23T20:00:00.031Z".into(),
            ended_at: None,
            failed_at: None,
            open_fault_from: None,
            stand_in: false,
        };
        SagaView {
            line,
            revision: 5,
            cause: None,
            allowed_actions: Vec::new(),
            input: sagamore_core::Body::empty(),
            steps,
            waits_for: Vec::new(),
            warnings: Vec::new(),
            journal: Vec::new(),
            events: Vec::new(),
        }
    }

    #[test]
    fn a_step_that_needs_an_operator_is_marked_and_its_verbs_are_listed() {
        let waits = |status, verbs: &[&str]| StepView {
            allowed_actions: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            ..a_step("confirm-order", status)
        };
        let check = |step: StepView, line: &str, commands: &str| {
            let view =
                a_saga(ChainStatus::Stuck, vec![a_step("create-order", StepStatus::Done), step]);
            let drawn = anstream::adapter::strip_str(&saga(&view, "trip")).to_string();
            let expected = format!(
                "{line}\n  needs an operator, for the step marked !: trip {commands} \
                 checkout:10248 --reason WHY\n"
            );
            assert!(drawn.ends_with(&expected), "{drawn}");
        };
        let all = ["retry", "skip", "resolve"];
        check(
            waits(StepStatus::Refused, &all),
            "└─ ! confirm-order  refused",
            "retry|skip|resolve",
        );
        check(
            waits(StepStatus::UndoFailed, &all),
            "└─ ! confirm-order  undo failed",
            "retry|skip|resolve",
        );
        check(
            waits(StepStatus::Waiting, &["skip", "resolve"]),
            "└─ ! confirm-order  waiting",
            "skip|resolve",
        );
    }

    #[test]
    fn a_recovered_step_shows_no_failure_but_the_decision() {
        let refusal = Some(sagamore_core::Refusal::new("locked", "the order is locked"));
        let recovered =
            StepView { refusal, attempts: 2, ..a_step("confirm-order", StepStatus::Done) };
        let mut view = a_saga(ChainStatus::Completed, vec![recovered]);
        let rescued = crate::view::ChangeView {
            kind: "rescued".into(),
            step: Some("confirm-order".into()),
            verb: Some("retry".into()),
            reason: Some("ann: unlocked".into()),
            ..Default::default()
        };
        let at = "2026-11-23T20:00:00.000Z".to_owned();
        view.journal = vec![crate::view::EntryView { revision: 4, at, changes: vec![rescued] }];
        let drawn = anstream::adapter::strip_str(&saga(&view, "trip")).to_string();
        assert_eq!(
            drawn,
            "checkout:10248  completed\n\
             \x20 └─ ✓ confirm-order  done, attempt 2\n\
             \x20 decided: retry confirm-order, 2026-11-23T20:00:00.000Z: ann: unlocked\n"
        );
    }

    #[test]
    fn a_hint_quotes_an_id_with_special_characters() {
        let waits = StepView {
            allowed_actions: vec!["skip".into()],
            ..a_step("confirm-order", StepStatus::Waiting)
        };
        let mut view = a_saga(ChainStatus::Stuck, vec![waits]);
        view.line.id = "checkout:a b;rm".into();
        let drawn = anstream::adapter::strip_str(&saga(&view, "trip")).to_string();
        assert!(drawn.contains("trip skip 'checkout:a b;rm' --reason WHY"), "{drawn}");
    }

    #[test]
    fn a_drawing_shows_every_step_and_the_cause_of_the_compensation() {
        let steps = vec![
            a_step("create-order", StepStatus::Undone),
            StepView {
                refusal: Some(sagamore_core::Refusal::new(
                    "not-enough-money",
                    "the account holds too little",
                )),
                ..a_step("charge-payment", StepStatus::Refused)
            },
            a_step("reserve-stock", StepStatus::Waiting),
        ];
        let mut view = a_saga(ChainStatus::Compensated, steps);
        view.line.ended_at = Some("2026-11-23T20:00:00.031Z".into());
        view.cause = Some(crate::view::CauseView {
            kind: "refused".into(),
            step: Some("charge-payment".into()),
            reason: None,
        });
        let drawn = anstream::adapter::strip_str(&saga(&view, "trip")).to_string();
        assert_eq!(
            drawn,
            "checkout:10248  compensated  in 31 ms\n\
             \x20 ├─ ↶ create-order    undone\n\
             \x20 ├─ ✗ charge-payment  refused: the account holds too little (not-enough-money)\n\
             \x20 └─ · reserve-stock   waiting\n\
             \x20 compensation: refused at charge-payment\n"
        );
    }
}
