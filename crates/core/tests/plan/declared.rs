//! Compares a service's declarations with the plan.

use sagamore_core::plan::{Declared, declared};
use serde_json::{Value, json};

use crate::fixture::{name, shop};

/// Returns the order service's declarations, with the value at each pointer replaced.
fn order_with(changes: &[(&str, Value)]) -> Vec<Declared> {
    let mut declared = json!([
        {
            "reaction": "create", "emits": ["order.created"],
            "undo": {
                "on": ["shipping.failed", "inventory.failed", "payment.failed"],
                "emits": "order.cancelled"
            }
        },
        {"reaction": "confirm", "on": ["shipping.scheduled"], "emits": ["order.confirmed"]}
    ]);
    for (pointer, value) in changes {
        *declared.pointer_mut(pointer).unwrap() = value.clone();
    }
    serde_json::from_value(declared).unwrap()
}

#[track_caller]
fn check(changes: &[(&str, Value)], expected: &[&str]) {
    let differences: Vec<_> = declared(&shop(), &name("order"), &order_with(changes))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(differences, expected);
}

#[test]
fn a_service_that_matches_the_plan_has_no_difference_in_any_order() {
    check(&[], &[]);
}

#[test]
fn a_service_has_the_reactions_of_the_plan_and_no_others() {
    check(
        &[("/1/reaction", json!("conform"))],
        &[
            "the service declares 'conform' of order, which plan 'shop' does not have: remove it, \
             or add it to the plan",
            "plan 'shop' has 'confirm' of order, which the service does not declare: implement \
             it, or remove it from the plan",
        ],
    );
    check(
        &[("/1/reaction", json!("create"))],
        &[
            "the service declares 'create' of order twice, and plan 'shop' has it once: remove one",
            "plan 'shop' has 'confirm' of order, which the service does not declare: implement \
             it, or remove it from the plan",
        ],
    );
}

#[test]
fn a_reaction_of_another_service_is_not_its_own() {
    check(
        &[("/1/reaction", json!("ship"))],
        &[
            "the service declares 'ship' of order, which in plan 'shop' is 'ship' of shipping: \
             declare it in one service only",
            "plan 'shop' has 'confirm' of order, which the service does not declare: implement \
             it, or remove it from the plan",
        ],
    );
}

#[test]
fn never_after_is_compared() {
    let mut declared_by_order = order_with(&[]);
    declared_by_order[1].never_after = vec![name("order.cancelled")];
    let differences = declared(&shop(), &name("order"), &declared_by_order);
    assert_eq!(
        differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["'confirm' of order never runs after nothing in plan 'shop' and 'order.cancelled' in \
             the service: make them agree"]
    );
}

#[test]
fn a_difference_names_both_sides() {
    check(
        &[("/1/on", json!(["payment.success", "shipping.scheduled"]))],
        &["'confirm' of order waits for 'shipping.scheduled' in plan 'shop' and \
             'payment.success', 'shipping.scheduled' in the service: make them agree"],
    );
    check(
        &[("/1/emits", json!([]))],
        &["'confirm' of order emits 'order.confirmed' in plan 'shop' and nothing in the service: \
         make them agree"],
    );
    check(
        &[("/0/undo/on", json!(["payment.failed"]))],
        &["'create' of order is undone on 'inventory.failed', 'payment.failed', \
             'shipping.failed' in plan 'shop' and 'payment.failed' in the service: make them \
         agree"],
    );
    check(
        &[("/0/undo/emits", json!("order.dropped"))],
        &["'create' of order emits on undo 'order.cancelled' in plan 'shop' and 'order.dropped' \
             in the service: make them agree"],
    );
    check(
        &[("/0/undo", json!(null))],
        &[
            "'create' of order is undone on 'inventory.failed', 'payment.failed', \
             'shipping.failed' in plan 'shop' and nothing in the service: make them agree",
            "'create' of order emits on undo 'order.cancelled' in plan 'shop' and nothing in the \
             service: make them agree",
        ],
    );
    let fails = json!({
        "reaction": "confirm", "on": ["shipping.scheduled"], "emits": ["order.confirmed"],
        "fails": ["order.lost"]
    });
    check(
        &[("/1", fails)],
        &["'confirm' of order fails with nothing in plan 'shop' and 'order.lost' in the service: \
         make them agree"],
    );
}
