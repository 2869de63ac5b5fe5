//! Points that a sweep must reach: the rows of core's transition tables and of the shop's plan, and
//! the cases of the barrier. They are derived from the tables, so that none is missing.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use sagamore_core::journal::Change;
use sagamore_core::plan::Row;
use sagamore_core::transitions::{Cell, cells, used};
use sagamore_core::{Event, Plan, Saga};
use sagamore_sdk::barrier::Case;
use sagamore_shop::choreography;

use crate::world::Counters;

/// Rows that no run can reach, with the reason. Reaching one is an error in the run or in the
/// reason.
const UNREACHABLE: &[(&str, &str)] = &[
    ("barrier: damaged", "no fault damages a row"),
    ("barrier: action-superseded", SUPERSEDED),
    ("barrier: compensation-superseded", SUPERSEDED),
    ("plan: reserve, order.created -> inventory.updated", NEARER),
    ("plan: reserve, order.created -> inventory.failed", NEARER),
    ("plan: schedule, order.created -> shipping.scheduled", NEARER),
    ("plan: schedule, order.created -> shipping.failed", NEARER),
];

/// Rows that a sweep may miss: they need a rare order of messages at participants without a
/// barrier. The tests of core reach each of them.
const RARE: &[&str] = &[
    "table: held step unknown, absent -> waiting",
    "table: saga compensating, absent -> compensating",
    "table: saga compensating, pending -> compensating",
    "table: saga compensating, query pending -> compensating",
    "table: step unknown, pending -> asked",
    "table: step waiting, silent for the last time -> waiting",
];

const NEARER: &str = "an event with several causes names the one with the highest hop";
const SUPERSEDED: &str = "a generation follows only a stored refusal of the previous one, which \
    answers a repeated command";

/// All points, with the reason if one is unreachable.
struct Points {
    cells: BTreeMap<Cell, &'static str>,
    rows: BTreeMap<String, &'static str>,
    all: BTreeMap<&'static str, Option<&'static str>>,
}

fn points() -> &'static Points {
    static POINTS: OnceLock<Points> = OnceLock::new();
    POINTS.get_or_init(|| {
        let plan = choreography::plan().expect("the plan is valid");
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

/// Returns the point of a cell. Called once per cell, because the name is leaked.
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

/// Returns the points of the rows that this change uses.
pub fn of_change(saga: &Saga, change: &Change) -> impl Iterator<Item = &'static str> {
    used(saga, change).into_iter().map(|cell| points().cells[&cell])
}

/// Returns the point of the plan's row by which an event follows from its cause, or `None` if the
/// plan has none.
pub fn of_event(plan: &Plan, event: &Event, cause: Option<&Event>) -> Option<&'static str> {
    let on = cause.map(|cause| &cause.name);
    let row = plan.rows().into_iter().find(|row| *row.emits == event.name && row.on == on)?;
    points().rows.get(&of_row(&row)).copied()
}

/// Returns the point of the barrier's case with this label.
pub fn of_label(label: &str) -> Option<&'static str> {
    Case::ALL.into_iter().find(|case| case.as_str() == label).map(of_case)
}

/// Returns points that were never reached, without rare ones, and unreachable ones that were
/// reached.
pub fn gaps(reached: &Counters) -> Vec<String> {
    let names = UNREACHABLE.iter().map(|(name, _)| *name).chain(RARE.iter().copied());
    let unknown = names.filter(|name| !points().all.contains_key(name));
    let unknown = unknown.map(|name| format!("no table has this row: {name}"));
    let missed =
        points().all.iter().filter_map(|(name, reason)| match (reached.get(name), reason) {
            (None, None) if RARE.contains(name) => None,
            (None, None) => Some(format!("never reached: {name}")),
            (Some(count), Some(reason)) => {
                Some(format!("reached {count} times: {name}, although {reason}"))
            }
            (Some(_), None) | (None, Some(_)) => None,
        });
    unknown.chain(missed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_distinct_point_and_a_missing_one_is_a_gap() {
        let plan = choreography::plan().expect("the plan is valid");
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
