//! The picture of a definition: the orchestrator's commands level by level, and the compensations
//! below.

use sagamore_core::definition::{CommandTemplate, Definition, Kind, Step};

use super::picture::{
    Arrow, Card, Lanes, Look, Picture, Row, Way, levels, side_by_side, words, wrapped,
};

/// The orchestrator's lane.
const ORCHESTRATOR: usize = 0;

const LEGEND: &[(Way, &str)] =
    &[(Way::Forward, "command and reply"), (Way::Back, "compensation and reply")];

/// Returns the picture of a definition.
pub fn of_definition(definition: &Definition) -> Picture {
    let mut participants = Lanes::default();
    let lane = |step: &Step| ORCHESTRATOR + 1 + participants.of(&step.action.participant);
    let lanes = definition.steps.iter().map(lane).collect();
    let levels = levels(definition.steps.len(), |step| definition.graph().directly_before(step));
    let drawing = Drawing { definition, lanes, levels };
    let mut rows = drawing.forward();
    let back = drawing.back();
    if !back.is_empty() {
        rows.push(Row::Rule(failing(definition)));
        rows.extend(back);
    }
    Picture {
        title: format!("{}, version {}", definition.name, definition.version),
        lanes: std::iter::once("orchestrator".to_owned()).chain(participants.0).collect(),
        rows,
        legend: LEGEND,
    }
}

struct Drawing<'a> {
    definition: &'a Definition,
    /// The lane of each step.
    lanes: Vec<usize>,
    levels: Vec<usize>,
}

impl Drawing<'_> {
    fn forward(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for level in 0..=self.last() {
            rows.extend(
                self.at(level)
                    .map(|step| self.command(step, &self.step(step).action, Way::Forward)),
            );
            rows.extend(side_by_side(self.at(level).map(|step| self.card(step)).collect()));
        }
        rows
    }

    fn back(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for level in (0..=self.last()).rev() {
            let undos = self
                .at(level)
                .filter_map(|step| self.step(step).compensation.as_ref().map(|undo| (step, undo)));
            let (arrows, cards): (Vec<Row>, Vec<Card>) = undos
                .map(|(step, undo)| (self.command(step, undo, Way::Back), self.undo(step)))
                .unzip();
            rows.extend(arrows);
            rows.extend(side_by_side(cards));
        }
        rows
    }

    fn step(&self, index: usize) -> &Step {
        &self.definition.steps[index]
    }

    fn last(&self) -> usize {
        self.levels.iter().copied().max().unwrap_or(0)
    }

    fn at(&self, level: usize) -> impl Iterator<Item = usize> {
        (0..self.levels.len()).filter(move |step| self.levels[*step] == level)
    }

    fn command(&self, step: usize, template: &CommandTemplate, way: Way) -> Row {
        let (to, label) = (vec![self.lanes[step]], template.message.to_string());
        Row::Arrow(Arrow { from: ORCHESTRATOR, to, label, way })
    }

    fn undo(&self, step: usize) -> Card {
        let title = format!("undo {}", self.step(step).name);
        Card { lane: self.lanes[step], title, notes: Vec::new(), look: Look::Undo }
    }

    fn card(&self, index: usize) -> Card {
        let step = self.step(index);
        let mut notes = Vec::new();
        let before: Vec<usize> = self.definition.graph().directly_before(index).collect();
        let above: Vec<usize> = index.checked_sub(1).into_iter().collect();
        if before != above {
            notes.extend(words(
                "after",
                before.iter().map(|before| &self.step(*before).name),
                "and",
            ));
        }
        if !step.yields.is_empty() {
            notes.extend(wrapped("yields", &step.yields));
        }
        let (look, note) = match step.kind {
            Kind::Compensatable => (Look::Plain, None),
            Kind::Pivot => (Look::Pivot, Some("no way back")),
            Kind::Retriable => (Look::Retriable, Some("retried until done")),
        };
        notes.extend(note.map(str::to_owned));
        Card { lane: self.lanes[index], title: step.name.to_string(), notes, look }
    }
}

fn failing(definition: &Definition) -> String {
    let has_pivot = definition.steps.iter().any(|step| step.kind == Kind::Pivot);
    let refusing = if has_pivot { "a step up to the pivot" } else { "a step" };
    let late = definition
        .deadline_ms
        .map(|deadline_ms| format!(", or after {deadline_ms} ms"))
        .unwrap_or_default();
    format!("when {refusing} is refused{late}: completed steps are undone in reverse order")
}
