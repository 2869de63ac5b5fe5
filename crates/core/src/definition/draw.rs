//! Drawings of a definition: a Mermaid flowchart for pages, and plain text for terminals.

use crate::definition::{Definition, Kind};

/// Draws a Mermaid flowchart: a box per step (doubled for the pivot), a rounded box per undo, and
/// dashed lines for the way back. Node ids are numbers, because some names are not legal ids.
pub fn mermaid(definition: &Definition) -> String {
    let mut lines = vec!["flowchart LR".to_owned()];
    for (number, step) in definition.steps.iter().enumerate() {
        let (open, close) = if step.kind == Kind::Pivot { ("[[", "]]") } else { ("[", "]") };
        let participant = &step.action.participant;
        lines.push(format!("s{number}{open}\"{}<br/>{participant}\"{close}", step.name));
        if step.compensation.is_some() {
            lines.push(format!("u{number}([\"undo {}<br/>{participant}\"])", step.name));
        }
    }
    for (number, step) in definition.steps.iter().enumerate() {
        let before = || definition.graph().directly_before(number);
        lines.extend(
            before().map(|before| format!("s{before} -->|{}| s{number}", step.action.message)),
        );
        for before in before() {
            let Some(undo) = &definition.steps[before].compensation else { continue };
            match step.kind {
                Kind::Compensatable => {
                    lines.push(format!("s{number} -.->|refused: {}| u{before}", undo.message));
                    lines.push(format!("u{number} -.->|{}| u{before}", undo.message));
                }
                Kind::Pivot => {
                    lines.push(format!("s{number} -.->|refused: {}| u{before}", undo.message))
                }
                Kind::Retriable => {}
            }
        }
    }
    lines.join("\n    ") + "\n"
}

/// Describes each step in a paragraph: its predecessors, its message and its undo.
pub fn text(definition: &Definition) -> String {
    let mut lines = vec![format!("{}, version {}", definition.name, definition.version)];
    for (number, step) in definition.steps.iter().enumerate() {
        let before = definition.graph().directly_before(number);
        let before: Vec<&str> =
            before.map(|before| definition.steps[before].name.as_str()).collect();
        let mark = match step.kind {
            Kind::Compensatable => "",
            Kind::Pivot => ", the pivot",
            Kind::Retriable => ", repeated until it is done",
        };
        lines.extend([String::new(), format!("{} ({}){mark}", step.name, step.action.participant)]);
        match before.as_slice() {
            [] => lines.push("  begins".to_owned()),
            before => lines.push(format!("  after {}", before.join(" and "))),
        }
        lines.push(format!("  sends {}", step.action.message));
        if !step.yields.is_empty() {
            lines.push(format!("  yields {}", step.yields.join(", ")));
        }
        lines.extend(step.compensation.iter().map(|undo| format!("  undone by {}", undo.message)));
    }
    if let Some(deadline_ms) = definition.deadline_ms {
        lines.extend([
            String::new(),
            format!("compensates if its pivot is not sent within {deadline_ms} ms"),
        ]);
    }
    lines.join("\n") + "\n"
}
