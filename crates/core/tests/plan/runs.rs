//! Problems of timing: every interleaving, and the shortest run to each problem.

use std::collections::BTreeSet;

use sagamore_core::Plan;
use sagamore_core::plan::{Problem, check as problems_of, explored};
use serde_json::{Value, json};

use crate::fixture::{name, shop, shop_with, visit};

#[track_caller]
fn check(changes: &[(&str, Value)], expected: &[&str]) {
    let problems: Vec<_> =
        problems_of(&shop_with(changes)).iter().map(ToString::to_string).collect();
    assert_eq!(problems, expected);
}

#[test]
fn the_exploration_of_a_valid_plan_is_returned() {
    let visit = explored(&visit()).unwrap();
    // initial; rung; opened or unanswered; gone
    assert_eq!(visit.states, 5);
    assert_eq!(visit.ends, BTreeSet::from([vec![], vec![name("nobody.home")]]));

    let ends = explored(&shop()).unwrap().ends;
    let one = |failure: &str| vec![name(failure)];
    // the deadline may fail the pivot even after another failure
    let both = |failure: &str| vec![name(failure), name("shipping.failed")];
    let failures = ["payment.failed", "inventory.failed"];
    let mut expected = BTreeSet::from([vec![], one("shipping.failed")]);
    expected.extend(failures.map(one).into_iter().chain(failures.map(both)));
    assert_eq!(ends, expected);
    let wrong = shop_with(&[("/begins/undo", json!(null))]);
    assert_eq!(explored(&wrong), Err(problems_of(&wrong)));
    for problem in problems_of(&wrong) {
        let run = problem.run().unwrap_or_else(|| panic!("{problem}")).to_string();
        assert!(problem.to_string().ends_with(&format!(" ({run})")), "{problem}");
    }
}

#[test]
fn a_missing_undo_is_found_with_the_shortest_run() {
    check(
        &[("/begins/undo", json!(null)), ("/overdue", json!(null))],
        &[
            "'create' of order has no undo, so it stays done when 'charge' of payment fails with \
             'payment.failed': add an undo on 'payment.failed' (create (order) emits \
             order.created; charge (payment) fails and emits payment.failed; create (order) is \
             never undone)",
            "'create' of order has no undo, so it stays done when 'reserve' of inventory fails \
             with 'inventory.failed': add an undo on 'inventory.failed' (create (order) emits \
             order.created; charge (payment) emits payment.success; reserve (inventory) fails and \
             emits inventory.failed; charge (payment) is undone and emits payment.refunded; \
             create (order) is never undone)",
            "'create' of order has no undo, so it stays done when 'ship' of shipping fails with \
             'shipping.failed': add an undo on 'shipping.failed' (create (order) emits \
             order.created; charge (payment) emits payment.success; reserve (inventory) emits \
             inventory.updated; ship (shipping) fails and emits shipping.failed; charge (payment) \
             is undone and emits payment.refunded; reserve (inventory) is undone and emits \
             inventory.released; create (order) is never undone)",
        ],
    );
    check(
        &[("/reactions/0/undo", json!(null)), ("/overdue", json!(null))],
        &[
            "'charge' of payment has no undo, so it stays done when 'reserve' of inventory fails \
             with 'inventory.failed': add an undo on 'inventory.failed' (create (order) emits \
             order.created; charge (payment) emits payment.success; reserve (inventory) fails and \
             emits inventory.failed; create (order) is undone and emits order.cancelled; charge \
             (payment) is never undone)",
            "'charge' of payment has no undo, so it stays done when 'ship' of shipping fails with \
             'shipping.failed': add an undo on 'shipping.failed' (create (order) emits \
             order.created; charge (payment) emits payment.success; reserve (inventory) emits \
             inventory.updated; ship (shipping) fails and emits shipping.failed; create (order) \
             is undone and emits order.cancelled; reserve (inventory) is undone and emits \
             inventory.released; charge (payment) is never undone)",
        ],
    );
    check(
        &[("/reactions/1/undo", json!(null)), ("/overdue", json!(null))],
        &["'reserve' of inventory has no undo, so it stays done when 'ship' of shipping fails \
             with 'shipping.failed': add an undo on 'shipping.failed' (create (order) emits \
             order.created; charge (payment) emits payment.success; reserve (inventory) emits \
             inventory.updated; ship (shipping) fails and emits shipping.failed; create (order) \
             is undone and emits order.cancelled; charge (payment) is undone and emits \
             payment.refunded; reserve (inventory) is never undone)"],
    );
}

#[test]
fn a_failure_that_does_not_reach_an_undo_is_found_with_the_shortest_run() {
    check(
        &[("/reactions/0/undo/on", json!(["shipping.failed"])), ("/overdue", json!(null))],
        &["'charge' of payment stays done when 'reserve' of inventory fails with \
             'inventory.failed': let its undo react to 'inventory.failed' (create (order) emits \
             order.created; charge (payment) emits payment.success; reserve (inventory) fails and \
             emits inventory.failed; create (order) is undone and emits order.cancelled; charge \
             (payment) is never undone)"],
    );
    check(
        &[
            ("/begins/undo/on", json!(["payment.failed", "inventory.failed"])),
            ("/overdue", json!(null)),
        ],
        &["'create' of order stays done when 'ship' of shipping fails with 'shipping.failed': \
             let its undo react to 'shipping.failed' (create (order) emits order.created; charge \
             (payment) emits payment.success; reserve (inventory) emits inventory.updated; ship \
             (shipping) fails and emits shipping.failed; charge (payment) is undone and emits \
             payment.refunded; reserve (inventory) is undone and emits inventory.released; create \
             (order) is never undone)"],
    );
    check(
        &[("/begins/undo/on", json!(["payment.failed", "inventory.failed"]))],
        &["'create' of order stays done when 'ship' of shipping fails with 'shipping.failed': \
             let its undo react to 'shipping.failed' (create (order) emits order.created; the \
             chain is overdue: ship (shipping) gives up and emits shipping.failed; charge \
             (payment) has nothing to undo and emits payment.refunded; reserve (inventory) has \
             nothing to undo and emits inventory.released; create (order) is never undone)"],
    );
}

#[test]
fn every_undo_and_everything_that_triggers_it_is_needed() {
    let plan = shop();
    for (pointer, undo) in [
        ("/begins/undo", &plan.begins.undo),
        ("/reactions/0/undo", &plan.reactions[0].undo),
        ("/reactions/1/undo", &plan.reactions[1].undo),
    ] {
        let undo = undo.as_ref().unwrap();
        for left_out in &undo.on {
            let rest: BTreeSet<_> = undo.on.iter().filter(|event| *event != left_out).collect();
            let change = if rest.is_empty() {
                json!(null)
            } else {
                json!({"on": rest, "emits": undo.emits})
            };
            let problems = problems_of(&shop_with(&[(pointer, change)]));
            let found = problems.iter().any(|problem| match problem {
                Problem::NotUndone { failure, run, .. } | Problem::NoUndo { failure, run, .. } => {
                    failure == left_out && run.0.len() > 2
                }
                _ => false,
            });
            assert!(found, "{pointer} without {left_out}: {problems:?}");
        }
    }
}

#[test]
fn parallel_branches_must_react_to_each_others_failures() {
    let side_by_side = ("/reactions/1/on", json!(["order.created"]));
    let joined = ("/reactions/2/on", json!(["payment.success", "inventory.updated"]));
    let heard = ("/reactions/1/undo/on", json!(["shipping.failed", "payment.failed"]));
    check(&[side_by_side.clone(), joined.clone(), heard.clone()], &[]);
    check(
        &[side_by_side.clone(), joined],
        &["'reserve' of inventory stays done when 'charge' of payment fails with \
             'payment.failed': let its undo react to 'payment.failed' (create (order) emits \
             order.created; charge (payment) fails and emits payment.failed; create (order) is \
             undone and emits order.cancelled; reserve (inventory) emits inventory.updated; \
             reserve (inventory) is never undone)"],
    );
    check(
        &[side_by_side, heard, ("/overdue", json!(null))],
        &[
            "no reaction waits for 'payment.success' of 'charge' of payment, but the chain must \
             go on to 'ship' of shipping: let a reaction wait for it",
            "'charge' of payment may fail with 'payment.failed' after the pivot 'ship' of \
             shipping has acted: let the pivot wait for it (create (order) emits order.created; \
             charge (payment) fails and emits payment.failed; create (order) is undone and emits \
             order.cancelled; reserve (inventory) emits inventory.updated; reserve (inventory) is \
             undone and emits inventory.released; ship (shipping) emits shipping.scheduled; \
             confirm (order) emits order.confirmed)",
        ],
    );
}

#[test]
fn a_failure_after_or_beside_the_pivot_is_found() {
    check(
        &[("/reactions/3/fails", json!(["order.unconfirmed"]))],
        &["'confirm' of order may fail with 'order.unconfirmed' after the pivot 'ship' of \
             shipping: remove its failures (create (order) emits order.created; charge (payment) \
             emits payment.success; reserve (inventory) emits inventory.updated; ship (shipping) \
             emits shipping.scheduled; confirm (order) fails and emits order.unconfirmed)"],
    );
}

#[test]
fn an_event_that_never_arrives_is_found() {
    let alternatives =
        ("/reactions/1/emits", json!(["inventory.updated", "inventory.backordered"]));
    check(
        &[
            alternatives.clone(),
            ("/reactions/2/on", json!(["inventory.updated", "inventory.backordered"])),
            ("/overdue", json!(null)),
        ],
        &[
            "'ship' of shipping waits indefinitely for 'inventory.backordered' of 'reserve' of \
             inventory: let it wait for an event that always arrives (create (order) emits \
             order.created; charge (payment) emits payment.success; reserve (inventory) emits \
             inventory.updated; inventory.backordered never arrives)",
            "'ship' of shipping waits indefinitely for 'inventory.updated' of 'reserve' of \
             inventory: let it wait for an event that always arrives (create (order) emits \
             order.created; charge (payment) emits payment.success; reserve (inventory) emits \
             inventory.backordered; inventory.updated never arrives)",
        ],
    );
    check(
        &[
            alternatives.clone(),
            ("/reactions/3/on", json!(["shipping.scheduled", "inventory.backordered"])),
            ("/overdue", json!(null)),
        ],
        &[
            "'ship' of shipping waits indefinitely for 'inventory.updated' of 'reserve' of \
             inventory: let it wait for an event that always arrives (create (order) emits \
             order.created; charge (payment) emits payment.success; reserve (inventory) emits \
             inventory.backordered; inventory.updated never arrives)",
            "'confirm' of order waits indefinitely for 'shipping.scheduled' of 'ship' of \
             shipping: let it wait for an event that always arrives (create (order) emits \
             order.created; charge (payment) emits payment.success; reserve (inventory) emits \
             inventory.backordered; shipping.scheduled never arrives)",
            "'confirm' of order waits indefinitely for 'inventory.backordered' of 'reserve' of \
             inventory: let it wait for an event that always arrives (create (order) emits \
             order.created; charge (payment) emits payment.success; reserve (inventory) emits \
             inventory.updated; ship (shipping) emits shipping.scheduled; inventory.backordered \
             never arrives)",
        ],
    );
}

#[test]
fn an_undo_may_wait_for_another_undo() {
    check(&[("/begins/undo/on", json!(["payment.failed", "payment.refunded"]))], &[]);
    check(
        &[("/begins/undo/on", json!(["payment.failed", "inventory.released"]))],
        &["'create' of order stays done when 'reserve' of inventory fails with \
             'inventory.failed': let its undo react to 'inventory.failed' (create (order) emits \
             order.created; charge (payment) emits payment.success; reserve (inventory) fails and \
             emits inventory.failed; charge (payment) is undone and emits payment.refunded; \
             create (order) is never undone)"],
    );
}

/// The sequential plan of 40 reactions has few distinct ends, because each undo reacts to every
/// failure.
#[test]
fn a_long_plan_is_explored_and_a_wide_one_is_rejected() {
    let long = plan_of(40, |index| vec![format!("done.{index}")]);
    assert_eq!(problems_of(&long), []);
    let wide = plan_of(20, |_| vec!["done.0".to_owned()]);
    let problems: Vec<_> = problems_of(&wide).iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        ["the 21 reactions from 'r0' of worker on lead to more than 300000 states, more than \
             are checked: let fewer reactions run in parallel"]
    );
}

fn plan_of(reactions: usize, on: impl Fn(usize) -> Vec<String>) -> Plan {
    let failures = |but: usize| {
        (1..=reactions)
            .filter(|index| *index != but)
            .map(|index| format!("failed.{index}"))
            .collect::<Vec<_>>()
    };
    let reaction = |index: usize| {
        json!({
            "name": format!("r{index}"), "service": "worker", "on": on(index - 1),
                "emits": [format!("done.{index}")],
            "fails": [format!("failed.{index}")],
                "undo": {"on": failures(index), "emits": format!("undone.{index}")}
        })
    };
    serde_json::from_value(json!({
        "name": "many", "version": 1,
        "begins": {
            "name": "r0", "service": "worker", "event": "done.0",
            "undo": {"on": failures(0), "emits": "undone.0"}
        },
        "reactions": (1..=reactions).map(reaction).collect::<Vec<_>>()
    }))
    .unwrap()
}
