//! The picture of a plan: the run without failure level by level, and the failures with their undos
//! below.

use sagamore_core::Name;
use sagamore_core::plan::{Part, Plan, Role};

use super::picture::{Arrow, Card, Lanes, Look, Picture, Row, Way, levels, side_by_side, words};

const LEGEND: &[(Way, &str)] = &[
    (Way::Forward, "goes well"),
    (Way::Failure, "failed"),
    (Way::Back, "undone, or there was nothing to undo"),
];

/// Returns the picture of a valid plan.
pub fn of_plan(plan: &Plan) -> Picture {
    let mut lanes = Lanes::default();
    let parts: Vec<(Part, usize)> =
        plan.parts().map(|part| (part, lanes.of(part.service))).collect();
    let drawing = Drawing { plan, parts };
    let mut rows = drawing.forward();
    let failures = drawing.failures();
    if !failures.is_empty() {
        rows.push(Row::Rule(drawing.failing()));
        rows.extend(failures);
        rows.extend(drawing.back());
    }
    Picture {
        title: format!("{}, version {}", plan.name, plan.version),
        lanes: lanes.0,
        rows,
        legend: LEGEND,
    }
}

struct Drawing<'a> {
    plan: &'a Plan,
    /// Each part with its lane.
    parts: Vec<(Part<'a>, usize)>,
}

impl Drawing<'_> {
    fn forward(&self) -> Vec<Row> {
        let levels = levels(self.parts.len(), |part| self.emitters(self.parts[part].0.on));
        self.by_level(&levels, |part| {
            let (part, lane) = self.parts[part];
            let look = if part.pivot { Look::Pivot } else { Look::Plain };
            Some((
                Card { lane, title: part.name.to_string(), notes: waits(&part), look },
                Role::Success,
            ))
        })
    }

    fn failing(&self) -> String {
        let overdue = self.plan.overdue.as_ref().zip(self.plan.pivot()).zip(self.plan.deadline_ms);
        let overdue = overdue.map(|((event, pivot), deadline_ms)| {
            format!(", or {event} lets {} give up after {deadline_ms} ms", pivot.name)
        });
        format!("when something fails{}", overdue.unwrap_or_default())
    }

    fn failures(&self) -> Vec<Row> {
        self.parts.iter().flat_map(|(part, lane)| self.arrows(part, *lane, Role::Failure)).collect()
    }

    fn back(&self) -> Vec<Row> {
        let undone = |part: usize| (0..self.parts.len()).filter(move |by| self.undoes(*by, part));
        let levels = levels(self.parts.len(), undone);
        self.by_level(&levels, |part| {
            let (part, lane) = self.parts[part];
            let undo = part.undo?;
            let notes = words("on", &undo.on, "or");
            Some((
                Card { lane, title: format!("undo {}", part.name), notes, look: Look::Undo },
                Role::Undone,
            ))
        })
    }

    /// Returns the cards of each level, followed by the events that they emit.
    fn by_level(&self, levels: &[usize], card: impl Fn(usize) -> Option<(Card, Role)>) -> Vec<Row> {
        let mut rows = Vec::new();
        for level in 0..=levels.iter().copied().max().unwrap_or(0) {
            let (mut cards, mut arrows) = (Vec::new(), Vec::new());
            for part in (0..levels.len()).filter(|part| levels[*part] == level) {
                let Some((card, role)) = card(part) else { continue };
                arrows.extend(self.arrows(&self.parts[part].0, card.lane, role));
                cards.push(card);
            }
            rows.extend(side_by_side(cards));
            rows.extend(arrows);
        }
        rows
    }

    /// Returns an arrow for each of the part's events with this role, to all its consumers.
    fn arrows(&self, part: &Part, from: usize, emitted: Role) -> Vec<Row> {
        let arrow = |event: &Name| {
            let consumes =
                |part: &Part| part.on.contains(event) || part.undone_on().contains(event);
            let mut to: Vec<usize> = self
                .parts
                .iter()
                .filter(|(part, _)| consumes(part))
                .map(|(_, lane)| *lane)
                .collect();
            to.sort_unstable();
            to.dedup();
            let way = match emitted {
                Role::Success => Way::Forward,
                Role::Failure => Way::Failure,
                Role::Undone => Way::Back,
            };
            Row::Arrow(Arrow { from, to, label: event.to_string(), way })
        };
        part.events().filter(|(_, role)| *role == emitted).map(|(event, _)| arrow(event)).collect()
    }

    /// Returns the parts that emit one of the events.
    fn emitters(&self, events: &[Name]) -> impl Iterator<Item = usize> {
        let emits = |part: &Part| events.iter().any(|event| part.role(event).is_some());
        (0..self.parts.len()).filter(move |part| emits(&self.parts[*part].0))
    }

    /// Whether the undo of `by` triggers the undo of `part`.
    fn undoes(&self, by: usize, part: usize) -> bool {
        let event = self.parts[by].0.undo.map(|undo| &undo.emits);
        event.is_some_and(|event| self.parts[part].0.undone_on().contains(event))
    }
}

fn waits(part: &Part) -> Vec<String> {
    let mut notes = words("on", part.on, "and");
    if notes.is_empty() {
        notes.push("begins".to_owned());
    }
    notes.extend(words("never after", part.never_after, "or"));
    if part.pivot {
        notes.push("no way back".to_owned());
    }
    notes
}
