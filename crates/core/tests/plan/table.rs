//! Plans as tables of events and their causes.

use crate::fixture::{shop, visit};

fn rows(plan: &sagamore_core::Plan) -> Vec<String> {
    let name =
        |name: Option<&sagamore_core::Name>| name.map_or("-".to_owned(), ToString::to_string);
    plan.rows()
        .iter()
        .map(|row| format!("{}: {} -> {}", name(row.part), name(row.on), row.emits))
        .collect()
}

#[test]
fn every_event_has_a_row_per_possible_cause() {
    let expected = [
        "ring: - -> bell.rung",
        "ring: nobody.home -> guest.gone",
        "open: bell.rung -> door.opened",
        "open: bell.rung -> nobody.home",
    ];
    assert_eq!(rows(&visit()), expected);
}

#[test]
fn the_deadline_has_a_row_and_causes_only_the_pivots_first_failure() {
    let of_deadline: Vec<String> =
        rows(&shop()).into_iter().filter(|row| row.contains("shop.overdue")).collect();
    assert_eq!(
        of_deadline,
        ["ship: shop.overdue -> shipping.failed", "-: order.created -> shop.overdue"]
    );
}
