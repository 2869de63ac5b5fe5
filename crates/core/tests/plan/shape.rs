//! The static checks of a plan, as data: the shop's plan with one change, and the reported
//! problems.

use sagamore_core::Plan;
use sagamore_core::plan::{Problem, check as problems_of};
use serde_json::{Value, json};

use crate::fixture::{shop, shop_with, visit};

#[track_caller]
fn check(changes: &[(&str, Value)], expected: &[&str]) {
    let problems: Vec<_> =
        problems_of(&shop_with(changes)).iter().map(ToString::to_string).collect();
    assert_eq!(problems, expected);
}

#[test]
fn good_plans_have_no_problems() {
    assert_eq!(problems_of(&shop()), []);
    assert_eq!(problems_of(&visit()), []);
    check(&[("/overdue", json!(null))], &[]);
}

#[test]
fn a_plan_has_reactions_and_not_too_many() {
    check(
        &[("/reactions", json!([])), ("/overdue", json!(null)), ("/begins/undo", json!(null))],
        &["no reaction waits for 'order.created' of 'create' of order: add at least one reaction"],
    );
    let crowd: Vec<Value> = (0..64)
        .map(|index| {
            json!({"name": format!("r{index}"), "service": "crowd", "on": ["order.created"]})
        })
        .collect();
    check(
        &[("/reactions", json!(crowd)), ("/overdue", json!(null)), ("/begins/undo", json!(null))],
        &["the plan has 65 reactions with 1 events, but at most 64 with 128 are allowed: split \
         the plan"],
    );
}

#[test]
fn reactions_have_unique_names() {
    check(
        &[("/reactions/3/name", json!("create"))],
        &["'create' of order and 'create' of order have the same name: rename one \
         of them"],
    );
}

#[test]
fn each_event_has_one_emitter() {
    check(
        &[("/reactions/3/emits", json!(["order.created"]))],
        &[
            "'order.created' is emitted by 'create' of order and by 'confirm' of order: give each \
             event one emitter",
            "events cause one another in a cycle: 'payment.success' -> 'inventory.updated' -> \
             'shipping.scheduled' -> 'order.created': remove one of these dependencies",
        ],
    );
    check(
        &[("/reactions/0/fails", json!(["payment.failed", "payment.success"]))],
        &["'payment.success' is emitted by 'charge' of payment and by 'charge' of payment: give \
             each event one emitter"],
    );
    check(
        &[("/reactions/1/undo/emits", json!("payment.refunded"))],
        &["'payment.refunded' is emitted by 'charge' of payment and by 'reserve' of inventory: \
             give each event one emitter"],
    );
}

#[test]
fn every_awaited_event_has_an_emitter() {
    check(
        &[("/reactions/1/on/0", json!("payment.succes"))],
        &["'reserve' of inventory waits for 'payment.succes', but no reaction emits it: name an \
             event of this plan, or let a reaction emit it"],
    );
    check(
        &[("/begins/undo/on/0", json!("payment.fialed"))],
        &["'create' of order waits for 'payment.fialed', but no reaction emits it: name an \
             event of this plan, or let a reaction emit it"],
    );
    check(
        &[("/reactions/3/on", json!([]))],
        &["'confirm' of order waits for no event, but only the start begins without one: name \
             the events that it reacts to"],
    );
    check(
        &[("/reactions/1/undo/on", json!([]))],
        &["no event triggers the undo of 'reserve' of inventory that emits \
             'inventory.released': name the failures that do, or remove it"],
    );
}

#[test]
fn before_the_pivot_every_success_is_awaited() {
    check(
        &[("/reactions/2/on", json!(["order.created", "payment.success"]))],
        &[
            "no reaction waits for 'inventory.updated' of 'reserve' of inventory, but the chain \
             must go on to 'ship' of shipping: let a reaction wait for it",
            "'reserve' of inventory may fail with 'inventory.failed' after the pivot 'ship' of \
             shipping has acted: let the pivot wait for it (create (order) emits order.created; \
             charge (payment) emits payment.success; reserve (inventory) fails and emits \
             inventory.failed; create (order) is undone and emits order.cancelled; charge \
             (payment) is undone and emits payment.refunded; ship (shipping) emits \
             shipping.scheduled; confirm (order) emits order.confirmed)",
        ],
    );
}

#[test]
fn no_event_causes_itself() {
    check(
        &[("/reactions/0/on", json!(["order.created", "inventory.updated"]))],
        &["events cause one another in a cycle: 'payment.success' -> 'inventory.updated': \
             remove one of these dependencies"],
    );
    check(
        &[
            ("/reactions/0/undo/on/-", json!("inventory.released")),
            ("/reactions/1/undo/on/-", json!("payment.refunded")),
        ],
        &["events cause one another in a cycle: 'inventory.released' -> 'payment.refunded': \
             remove one of these dependencies"],
    );
}

#[test]
fn a_plan_has_one_pivot_and_no_undo_from_there() {
    check(
        &[("/reactions/1/pivot", json!(true))],
        &[
            "'reserve' of inventory and 'ship' of shipping are both pivots: a plan has at most \
             one, so remove one of the marks",
            "'reserve' of inventory is the pivot, but has an undo that emits \
             'inventory.released': remove the undo, or make another reaction the pivot",
        ],
    );
    let undo = json!({"on": ["inventory.failed"], "emits": "shipping.cancelled"});
    check(
        &[("/reactions/2/undo", undo.clone())],
        &["'ship' of shipping is the pivot, but has an undo that emits 'shipping.cancelled': \
             remove the undo, or make another reaction the pivot"],
    );
    check(
        &[("/reactions/3/undo", undo)],
        &["'confirm' of order comes after the pivot 'ship' of shipping, but has an undo that \
             emits 'shipping.cancelled': remove the undo"],
    );
}

#[test]
fn reactions_go_forward_and_undos_back() {
    check(
        &[("/reactions/0/undo/on/-", json!("payment.failed"))],
        &["'charge' of payment fails with 'payment.failed' and is undone on it, but a failed \
             reaction did nothing: remove 'payment.failed' from its undo"],
    );
    check(
        &[("/reactions/3/on", json!(["shipping.failed"]))],
        &["'confirm' of order acts on 'shipping.failed', with which 'ship' of shipping fails or \
             is undone: let only undos react to it"],
    );
    check(
        &[("/reactions/3/on", json!(["order.cancelled"]))],
        &["'confirm' of order acts on 'order.cancelled', with which 'create' of order fails or \
             is undone: let only undos react to it"],
    );
    check(
        &[("/reactions/0/undo/on/-", json!("inventory.updated"))],
        &["'charge' of payment is undone on 'inventory.updated', which is a success of \
             'reserve' of inventory: undo it on failures only"],
    );
}

#[test]
fn the_deadlines_event_is_for_the_pivots_owner_alone() {
    check(
        &[("/overdue", json!("order.confirmed"))],
        &["'order.confirmed' is the deadline's event, but 'confirm' of order emits it too: \
             rename \
         the event of 'confirm' of order"],
    );
    check(
        &[("/reactions/0/undo/on/-", json!("shop.overdue"))],
        &["'charge' of payment reacts to 'shop.overdue', which is for the owner of the pivot \
             alone, 'ship' of shipping: else money goes back and the goods go out; let it react \
             to the failure that the pivot emits then"],
    );
    check(
        &[("/reactions/3/on/-", json!("shop.overdue"))],
        &["'confirm' of order reacts to 'shop.overdue', which is for the owner of the pivot \
             alone, 'ship' of shipping: else money goes back and the goods go out; let it react \
             to the failure that the pivot emits then"],
    );
    check(
        &[("/reactions/2/pivot", json!(false))],
        &["no pivot answers 'shop.overdue' when a chain that 'create' of order began is \
             overdue: make one reaction the pivot"],
    );
    check(
        &[("/deadlineMs", json!(null))],
        &["'shop.overdue' for 'ship' of shipping is never emitted, because the plan has no \
         deadline: give it one"],
    );
    check(
        &[
            ("/reactions/2/fails", json!([])),
            ("/reactions/0/undo/on", json!(["inventory.failed"])),
            ("/reactions/1/undo", json!(null)),
            ("/begins/undo/on", json!(["payment.failed", "inventory.failed"])),
        ],
        &["'ship' of shipping answers 'shop.overdue' with its success or its failure, but has \
             no failure: let it emit one"],
    );
}

#[test]
fn never_after_names_a_failure_or_an_undo() {
    let never_after = |events: &[&str]| ("/reactions/1/neverAfter", json!(events));
    check(&[never_after(&["payment.failed", "order.cancelled"])], &[]);
    let told = |event: &str| {
        format!(
            "'reserve' of inventory never runs after '{event}', which no reaction emits as its \
             failure or undo: name such an event"
        )
    };
    check(&[never_after(&["payment.success"])], &[&told("payment.success")]);
    check(&[never_after(&["nobody.home"])], &[&told("nobody.home")]);
    check(
        &[never_after(&["shop.overdue"])],
        &[
            &told("shop.overdue"),
            "'reserve' of inventory reacts to 'shop.overdue', which is for the owner of the pivot \
             alone, 'ship' of shipping: else money goes back and the goods go out; let it react \
             to the failure that the pivot emits then",
        ],
    );
}

#[test]
fn every_problem_names_both_sides() {
    let plan: Plan = shop_with(&[("/reactions/0/undo/on", json!(["inventory.failed"]))]);
    let problems = problems_of(&plan);
    assert!(
        matches!(&problems[..], [Problem::NotUndone { by, failing, .. }]
        if by.service.as_str() == "payment" && failing.service.as_str() == "shipping"),
        "{problems:?}"
    );
}

#[test]
fn version_and_deadline_are_positive() {
    check(&[("/version", json!(0))], &["the version is 0: write 1 for the first one"]);
    check(
        &[("/deadlineMs", json!(0))],
        &["the deadline is 0 ms, so every chain would be overdue at once: lengthen it, or remove \
         it"],
    );
}
