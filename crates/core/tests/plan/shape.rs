//! What can be read off a plan, as data: the shop's plan with one thing changed, and what is said about it.

use sagamore_core::Plan;
use sagamore_core::plan::{Problem, check as problems_of};
use serde_json::{Value, json};

use crate::fixture::{shop, shop_with, visit};

#[track_caller]
fn check(changes: &[(&str, Value)], expected: &[&str]) {
    let problems: Vec<_> = problems_of(&shop_with(changes)).iter().map(ToString::to_string).collect();
    assert_eq!(problems, expected);
}

#[test]
fn good_plans_have_no_problems() {
    assert_eq!(problems_of(&shop()), []);
    assert_eq!(problems_of(&visit()), []);
    check(&[("/overdue", json!(null))], &[]);
}

#[test]
fn somebody_reacts_and_not_too_many() {
    check(
        &[("/reactions", json!([])), ("/overdue", json!(null)), ("/begins/undo", json!(null))],
        &["nobody reacts to 'order.created' of 'create' of order: write at least one reaction"],
    );
    let crowd: Vec<Value> = (0..64)
        .map(|index| json!({"name": format!("r{index}"), "service": "crowd", "on": ["order.created"]}))
        .collect();
    check(
        &[("/reactions", json!(crowd)), ("/overdue", json!(null)), ("/begins/undo", json!(null))],
        &["there are 65 reactions with 1 events, and 64 with 128 is the most: split the plan"],
    );
}

#[test]
fn each_reaction_has_a_name_of_its_own() {
    check(
        &[("/reactions/3/name", json!("create"))],
        &[
            "'create' of order and 'create' of order have one name, which is the key of what they do: give each a name of its own",
        ],
    );
}

#[test]
fn each_event_has_one_origin() {
    check(
        &[("/reactions/3/emits", json!(["order.created"]))],
        &[
            "'order.created' is emitted by 'create' of order and by 'confirm' of order: let each event have one origin",
            "events lead to one another without an end: 'payment.success' -> 'inventory.updated' -> 'shipping.scheduled' -> 'order.created': let one not wait for the other",
        ],
    );
    check(
        &[("/reactions/0/fails", json!(["payment.failed", "payment.success"]))],
        &[
            "'payment.success' is emitted by 'charge' of payment and by 'charge' of payment: let each event have one origin",
        ],
    );
    check(
        &[("/reactions/1/undo/emits", json!("payment.refunded"))],
        &[
            "'payment.refunded' is emitted by 'charge' of payment and by 'reserve' of inventory: let each event have one origin",
        ],
    );
}

#[test]
fn whatever_waits_waits_for_what_somebody_emits() {
    check(
        &[("/reactions/1/on/0", json!("payment.succes"))],
        &[
            "'reserve' of inventory waits for 'payment.succes', but nobody emits it: name an event of this plan, or let one emit it",
        ],
    );
    check(
        &[("/begins/undo/on/0", json!("payment.fialed"))],
        &[
            "'create' of order waits for 'payment.fialed', but nobody emits it: name an event of this plan, or let one emit it",
        ],
    );
    check(
        &[("/reactions/3/on", json!([]))],
        &["'confirm' of order waits for no event: say on which it reacts, for only the start begins by itself"],
    );
    check(
        &[("/reactions/1/undo/on", json!([]))],
        &[
            "nothing triggers the undo of 'reserve' of inventory that emits 'inventory.released': say on which failures, or leave it out",
        ],
    );
}

#[test]
fn before_the_pivot_no_success_leads_nowhere() {
    check(
        &[("/reactions/2/on", json!(["order.created", "payment.success"]))],
        &[
            "nobody reacts to 'inventory.updated' of 'reserve' of inventory, and it is no end before 'ship' of shipping: let a reaction wait for it",
            "'reserve' of inventory may fail with 'inventory.failed' when the pivot 'ship' of shipping has acted: let the pivot wait for it (create (order) emits order.created; charge (payment) emits payment.success; reserve (inventory) fails and emits inventory.failed; create (order) is undone and emits order.cancelled; charge (payment) is undone and emits payment.refunded; ship (shipping) emits shipping.scheduled; confirm (order) emits order.confirmed)",
        ],
    );
}

#[test]
fn no_event_leads_to_itself() {
    check(
        &[("/reactions/0/on", json!(["order.created", "inventory.updated"]))],
        &[
            "events lead to one another without an end: 'payment.success' -> 'inventory.updated': let one not wait for the other",
        ],
    );
    check(
        &[
            ("/reactions/0/undo/on/-", json!("inventory.released")),
            ("/reactions/1/undo/on/-", json!("payment.refunded")),
        ],
        &[
            "events lead to one another without an end: 'inventory.released' -> 'payment.refunded': let one not wait for the other",
        ],
    );
}

#[test]
fn there_is_one_point_of_no_return_and_nothing_takes_it_back() {
    check(
        &[("/reactions/1/pivot", json!(true))],
        &[
            "'reserve' of inventory and 'ship' of shipping are both pivots: there is one point of no return",
            "'reserve' of inventory is the pivot, but 'inventory.released' takes it back: remove its undo, or let it not be the pivot",
        ],
    );
    let undo = json!({"on": ["inventory.failed"], "emits": "shipping.cancelled"});
    check(
        &[("/reactions/2/undo", undo.clone())],
        &[
            "'ship' of shipping is the pivot, but 'shipping.cancelled' takes it back: remove its undo, or let it not be the pivot",
        ],
    );
    check(
        &[("/reactions/3/undo", undo)],
        &[
            "'confirm' of order comes after the pivot 'ship' of shipping, but 'shipping.cancelled' takes it back: remove its undo",
        ],
    );
}

#[test]
fn reactions_go_forward_and_undos_back() {
    check(
        &[("/reactions/0/undo/on/-", json!("payment.failed"))],
        &[
            "'charge' of payment fails with 'payment.failed' and would undo itself on it: nothing was done, so take 'payment.failed' from its undo",
        ],
    );
    check(
        &[("/reactions/3/on", json!(["shipping.failed"]))],
        &[
            "'confirm' of order goes forward on 'shipping.failed', by which 'ship' of shipping goes back: let only undos react to it",
        ],
    );
    check(
        &[("/reactions/3/on", json!(["order.cancelled"]))],
        &[
            "'confirm' of order goes forward on 'order.cancelled', by which 'create' of order goes back: let only undos react to it",
        ],
    );
    check(
        &[("/reactions/0/undo/on/-", json!("inventory.updated"))],
        &[
            "'charge' of payment is undone on 'inventory.updated', which says that 'reserve' of inventory went well: undo on failures only",
        ],
    );
}

#[test]
fn the_deadlines_event_is_for_the_pivots_owner_alone() {
    check(
        &[("/overdue", json!("order.confirmed"))],
        &["'order.confirmed' is the deadline's, but 'confirm' of order emits it too: give that one another name"],
    );
    check(
        &[("/reactions/0/undo/on/-", json!("shop.overdue"))],
        &[
            "'charge' of payment reacts to 'shop.overdue', which is for the owner of the pivot alone, 'ship' of shipping: else money goes back and the goods go out; let it react to the failure that the pivot emits then",
        ],
    );
    check(
        &[("/reactions/3/on/-", json!("shop.overdue"))],
        &[
            "'confirm' of order reacts to 'shop.overdue', which is for the owner of the pivot alone, 'ship' of shipping: else money goes back and the goods go out; let it react to the failure that the pivot emits then",
        ],
    );
    check(
        &[("/reactions/2/pivot", json!(false))],
        &[
            "nobody answers 'shop.overdue' when a chain that 'create' of order began is overdue: make one reaction the pivot",
        ],
    );
    check(
        &[("/deadlineMs", json!(null))],
        &["'shop.overdue' for 'ship' of shipping is never emitted, because the plan has no deadline: give it one"],
    );
    check(
        &[
            ("/reactions/2/fails", json!([])),
            ("/reactions/0/undo/on", json!(["inventory.failed"])),
            ("/reactions/1/undo", json!(null)),
            ("/begins/undo/on", json!(["payment.failed", "inventory.failed"])),
        ],
        &[
            "'ship' of shipping answers 'shop.overdue' with its success or its failure, but has no failure: let it emit one",
        ],
    );
}

#[test]
fn a_reaction_that_is_let_go_is_so_after_a_failure_or_an_undo() {
    let never_after = |events: &[&str]| ("/reactions/1/neverAfter", json!(events));
    check(&[never_after(&["payment.failed", "order.cancelled"])], &[]);
    let told = |event: &str| {
        format!(
            "'reserve' of inventory never runs after '{event}', by which nobody says that it failed or was undone: name such an event"
        )
    };
    check(&[never_after(&["payment.success"])], &[&told("payment.success")]);
    check(&[never_after(&["nobody.home"])], &[&told("nobody.home")]);
    check(
        &[never_after(&["shop.overdue"])],
        &[
            &told("shop.overdue"),
            "'reserve' of inventory reacts to 'shop.overdue', which is for the owner of the pivot alone, 'ship' of shipping: else money goes back and the goods go out; let it react to the failure that the pivot emits then",
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
fn a_version_and_a_deadline_are_those_of_a_chain_that_can_run() {
    check(&[("/version", json!(0))], &["the version is 0: write 1 for the first one"]);
    check(
        &[("/deadlineMs", json!(0))],
        &["the deadline is 0 ms, and every chain would be overdue at once: lengthen it, or leave it out for none"],
    );
}
