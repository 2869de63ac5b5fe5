//! Drawings of a plan: a Mermaid flowchart for web pages, and plain text for terminals.

use crate::id::Name;
use crate::plan::{Part, Plan, Role};

/// Draws a Mermaid flowchart: a box per reaction (doubled for the pivot), a rounded box per undo
/// and per end, and dashed lines for failures. Node ids are numbers, because some names are not
/// legal ids.
pub fn mermaid(plan: &Plan) -> String {
    let parts: Vec<Part> = plan.parts().collect();
    let mut lines = vec!["flowchart LR".to_owned()];
    for (number, part) in parts.iter().enumerate() {
        let (open, close) = if part.pivot { ("[[", "]]") } else { ("[", "]") };
        lines.push(format!("r{number}{open}\"{}<br/>{}\"{close}", part.name, part.service));
        if part.undo.is_some() {
            lines.push(format!("u{number}([\"undo {}<br/>{}\"])", part.name, part.service));
        }
    }
    let mut ends = 0;
    for (number, part) in parts.iter().enumerate() {
        for (event, role) in part.events() {
            let from = match role {
                Role::Success => format!("r{number} -->"),
                Role::Failure => format!("r{number} -.->"),
                Role::Undone => format!("u{number} -.->"),
            };
            let heard = nodes(&parts, event);
            if heard.is_empty() {
                lines.push(format!("{from} e{ends}([\"{event}\"])"));
                ends += 1;
            }
            lines.extend(heard.into_iter().map(|to| format!("{from}|{event}| {to}")));
        }
    }
    let pivot = parts.iter().position(|part| part.pivot);
    lines.extend(
        plan.overdue
            .iter()
            .zip(pivot)
            .map(|(event, pivot)| format!("d((\"deadline\")) -.->|{event}| r{pivot}")),
    );
    lines.join("\n    ") + "\n"
}

/// Describes each reaction in a paragraph: the events that it waits for and emits, and the parts
/// that consume the emitted ones.
pub fn text(plan: &Plan) -> String {
    let mut lines = vec![format!("{}, version {}", plan.name, plan.version)];
    let parts: Vec<Part> = plan.parts().collect();
    for (index, part) in parts.iter().enumerate() {
        let mark = if part.pivot { ", the pivot" } else { "" };
        lines.extend([String::new(), format!("{} ({}){mark}", part.name, part.service)]);
        lines.push(if index == 0 {
            "  begins".to_owned()
        } else {
            format!("  on {}", all(part.on, " and "))
        });
        for (event, role) in part.events() {
            let heard = consumers(&parts, event);
            let heard =
                if heard.is_empty() { String::new() } else { format!(" => {}", heard.join(", ")) };
            match role {
                Role::Success => lines.push(format!("  emits {event}{heard}")),
                Role::Failure => lines.push(format!("  fails with {event}{heard}")),
                Role::Undone => {
                    lines.push(format!("  undone on {}", all(part.undone_on(), " or ")));
                    lines.push(format!("    emits {event}{heard}"));
                }
            }
        }
        if !part.never_after.is_empty() {
            lines.push(format!("  never after {}", all(part.never_after, " or ")));
        }
        if let Some(event) = plan.overdue.as_ref().filter(|_| part.pivot) {
            let failure = part
                .fails
                .first()
                .map(|failure| format!(", fails with {failure}"))
                .unwrap_or_default();
            lines.push(format!("  given up on {event}{failure}"));
        }
    }
    if let Some(deadline_ms) = plan.deadline_ms {
        lines.extend([String::new(), format!("overdue after {deadline_ms} ms")]);
    }
    lines.join("\n") + "\n"
}

/// Returns the ids of the boxes to which an event leads.
fn nodes(parts: &[Part], event: &Name) -> Vec<String> {
    let forward = parts.iter().enumerate().filter(|(_, part)| part.on.contains(event));
    let back = parts.iter().enumerate().filter(|(_, part)| part.undone_on().contains(event));
    forward
        .map(|(number, _)| format!("r{number}"))
        .chain(back.map(|(number, _)| format!("u{number}")))
        .collect()
}

/// Names the parts that react to an event.
fn consumers(parts: &[Part], event: &Name) -> Vec<String> {
    let forward =
        parts.iter().filter(|part| part.on.contains(event)).map(|part| part.name.to_string());
    let back = parts.iter().filter(|part| part.undone_on().contains(event));
    forward.chain(back.map(|part| format!("undo {}", part.name))).collect()
}

fn all(names: &[Name], between: &str) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(between)
}
