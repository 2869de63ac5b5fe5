//! Points that a sweep has to reach: one for each row of core's transition tables and of the shop's plan, and one for
//! each case of the barrier. They are read off the tables, so that none can be forgotten.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use sagamore_core::plan::Row;
use sagamore_core::saga::Change;
use sagamore_core::transitions::{Cell, cells, used};
use sagamore_core::{Event, Plan, Saga};
use sagamore_sdk::barrier::Case;
use sagamore_shop::choreography;

use crate::world::Counters;

/// The rows that no run reaches, each with the reason. A run that reaches one is wrong, or the reason is.
const UNREACHABLE: &[(&str, &str)] = &[
    ("barrier: damaged", "nothing damages a row"),
    ("barrier: action-superseded", SUPERSEDED),
    ("barrier: compensation-superseded", SUPERSEDED),
    ("plan: reserve, order.created -> inventory.updated", NEARER),
    ("plan: reserve, order.created -> inventory.failed", NEARER),
    ("plan: schedule, order.created -> shipping.scheduled", NEARER),
    ("plan: schedule, order.created -> shipping.failed", NEARER),
    (
        "table: held step undoing, undone -> undone",
        "an undo is set aside because it is never sent, or because it was refused: this generation is never done",
    ),
];

const NEARER: &str = "of the events that it waits for, the one that is furthest from the start is named as its cause";
const SUPERSEDED: &str =
    "a generation follows only the stored refusal of the one before, which answers that one again";

/// All points, with the reason why one is unreachable.
struct Points {
    cells: BTreeMap<Cell, &'static str>,
    rows: BTreeMap<String, &'static str>,
    all: BTreeMap<&'static str, Option<&'static str>>,
}

fn points() -> &'static Points {
    static POINTS: OnceLock<Points> = OnceLock::new();
    POINTS.get_or_init(|| {
        let plan = choreography::plan().expect("the plan is sound");
        let cells: BTreeMap<Cell, &'static str> =
            cells().into_iter().map(|cell| (cell, of_cell(&cell))).collect();
        let rows =
            plan.rows().into_iter().map(|row| (of_row(&row), &*of_row(&row).leak())).collect();
        let cases = Case::ALL.map(of_case);
        let mut points = Points { cells, rows, all: BTreeMap::new() };
        let names = points.cells.values().chain(points.rows.values()).copied().chain(cases);
        points.all = names.map(|name| (name, reason(name))).collect();
        points
    })
}

fn reason(name: &str) -> Option<&'static str> {
    UNREACHABLE.iter().find(|(unreachable, _)| *unreachable == name).map(|(_, reason)| *reason)
}

/// Called once for each cell: the name lives as long as the program.
fn of_cell(cell: &Cell) -> &'static str {
    let Cell { subject, from, change, to } = cell;
    format!("table: {subject} {from}, {change} -> {to}").leak()
}

fn of_row(Row { part, on, emits }: &Row<'_>) -> String {
    let part = part.map_or("deadline", |part| part.as_str());
    let on = on.map_or("start", |on| on.as_str());
    format!("plan: {part}, {on} -> {emits}")
}

fn of_case(case: Case) -> &'static str {
    static NAMES: OnceLock<BTreeMap<&'static str, &'static str>> = OnceLock::new();
    let named = |case: Case| (case.as_str(), &*format!("barrier: {}", case.as_str()).leak());
    NAMES.get_or_init(|| Case::ALL.into_iter().map(named).collect())[case.as_str()]
}

/// The rows of core's tables that a change of this saga uses.
pub fn of_change(saga: &Saga, change: &Change) -> impl Iterator<Item = &'static str> {
    used(saga, change).into_iter().map(|cell| points().cells[&cell])
}

/// The row of the plan by which an event follows from its cause. None: the plan does not let it follow.
pub fn of_event(plan: &Plan, event: &Event, cause: Option<&Event>) -> Option<&'static str> {
    let on = cause.map(|cause| &cause.name);
    let row = plan.rows().into_iter().find(|row| *row.emits == event.name && row.on == on)?;
    points().rows.get(&of_row(&row)).copied()
}

/// The case of the barrier with this name.
pub fn of_label(label: &str) -> Option<&'static str> {
    Case::ALL.into_iter().find(|case| case.as_str() == label).map(of_case)
}

/// Returns the points that were never reached, and those that were reached against the reason why they cannot be.
pub fn gaps(reached: &Counters) -> Vec<String> {
    let names = UNREACHABLE.iter().map(|(name, _)| *name);
    let unknown = names.filter(|name| !points().all.contains_key(name));
    let unknown = unknown.map(|name| format!("no table has this row any more: {name}"));
    let missed =
        points().all.iter().filter_map(|(name, reason)| match (reached.get(name), reason) {
            (None, None) => Some(format!("never reached: {name}")),
            (Some(count), Some(reason)) => {
                Some(format!("reached {count} times: {name}, though {reason}"))
            }
            (Some(_), None) | (None, Some(_)) => None,
        });
    unknown.chain(missed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_point_of_its_own_and_a_sweep_without_it_has_a_gap() {
        let plan = choreography::plan().expect("the plan is sound");
        assert_eq!(
            points().all.len(),
            cells().len() + plan.rows().len() + Case::ALL.len(),
            "two rows have one name"
        );
        let mut reached: Counters = points()
            .all
            .iter()
            .filter(|(_, why)| why.is_none())
            .map(|(name, _)| (*name, 1))
            .collect();
        assert_eq!(gaps(&reached), [] as [String; 0]);
        let name = of_case(Case::CompensationFirst);
        reached.remove(name);
        assert_eq!(gaps(&reached), [format!("never reached: {name}")]);
        if let Some((unreachable, _)) = UNREACHABLE.first() {
            reached.insert(*unreachable, 2);
            assert!(gaps(&reached).iter().any(|gap| gap.starts_with("reached 2 times")));
        }
    }
}
