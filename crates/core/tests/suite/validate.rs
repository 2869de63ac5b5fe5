//! Every rule of definitions, as data: a valid definition with one change, and the reported
//! problems.
#![allow(missing_docs, reason = "a test has no readers of its docs")]

use sagamore_core::Definition;
use serde_json::{Value, json};

use crate::support::Changed;

const CHECKOUT: Changed = Changed(plan);

/// Returns two compensatable steps, the pivot and a retriable step.
fn plan() -> Value {
    json!({
        "name": "checkout", "version": 1, "input": ["orderId", "cents"],
        "steps": [
            {
                "name": "create", "kind": "compensatable", "yields": ["total"],
                "action": {"participant": "order", "message": "order.create",
                    "fields": {"orderId": "input.orderId"}},
                "compensation": {"participant": "order", "message": "order.cancel",
                    "fields": {"orderId": "input.orderId"}}
            },
            {
                "name": "charge", "kind": "compensatable", "yields": ["receipt"],
                "action": {"participant": "payment", "message": "payment.charge",
                    "fields": {"cents": "create.total"}},
                "compensation": {"participant": "payment", "message": "payment.refund",
                    "fields": {"cents": "create.total"}}
            },
            {"name": "ship", "kind": "pivot",
             "action": {"participant": "shipping", "message": "shipping.schedule"}},
            {"name": "confirm", "kind": "retriable",
             "action": {"participant": "order", "message": "order.confirm"}}
        ]
    })
}

#[test]
fn a_valid_definition_is_accepted_with_its_order() {
    let definition = Definition::check(CHECKOUT.with(&[])).unwrap();
    let graph = definition.graph();
    assert_eq!(format!("{:?}", graph.before), "[{}, {0}, {1}, {2}]");
    assert_eq!(format!("{:?}", graph.ancestors), "[{}, {0}, {0, 1}, {0, 1, 2}]");
    assert_eq!(format!("{:?}", graph.descendants), "[{1, 2, 3}, {2, 3}, {3}, {}]");
}

#[test]
fn steps_have_unique_names() {
    CHECKOUT.check(&[("/steps", json!([]))], &["the definition has no steps: add at least one"]);
    CHECKOUT.check(
        &[("/steps/1/name", json!("create"))],
        &["two steps are named 'create': rename one of them"],
    );
    CHECKOUT.check(
        &[("/steps/3/name", json!("input"))],
        &["a step is named 'input', which in references means the saga's input: rename the step"],
    );
    let many = (0..65).map(|number| {
        let action = json!({"participant": "order", "message": "order.create"});
        let undo = json!({"participant": "order", "message": "order.cancel"});
        json!({
            "name": format!("s{number}"), "kind": "compensatable", "action": action,
            "compensation": undo
        })
    });
    let many = many.collect::<Vec<_>>();
    Definition::check(CHECKOUT.with(&[("/steps", json!(many[..64]))])).unwrap();
    CHECKOUT.check(
        &[("/steps", json!(many))],
        &["the definition has 65 steps, but at most 64 are allowed: split it, or join steps of \
         one participant"],
    );
}

#[test]
fn steps_come_after_known_steps_and_never_after_themselves() {
    CHECKOUT.check(
        &[("/steps/1/after", json!(["creation"]))],
        &["step 'charge' comes after 'creation', but no step has that name: name a step of this \
         definition"],
    );
    CHECKOUT.check(
        &[("/steps/0/after", json!(["ship"]))],
        &["steps wait for one another: 'create' -> 'charge' -> 'ship': remove one of these \
         'after' entries"],
    );
    CHECKOUT.check(
        &[("/steps/0/after", json!(["create"]))],
        &["steps wait for one another: 'create': remove one of these 'after' entries"],
    );
}

/// A compensatable step has a compensation, and every other step has none.
#[test]
fn exactly_the_compensatable_steps_have_a_compensation() {
    CHECKOUT.check(
        &[("/steps/0/compensation", Value::Null)],
        &["step 'create' is compensatable but has no compensation: add one, or make it the pivot \
         or retriable"],
    );
    let undo = json!({"participant": "shipping", "message": "shipping.recall"});
    CHECKOUT.check(
        &[("/steps/2/compensation", undo.clone()), ("/steps/3/compensation", undo)],
        &[
            "step 'ship' is pivot and never undone, but has a compensation: remove it, or make \
             the step compensatable",
            "step 'confirm' is retriable and never undone, but has a compensation: remove it, or \
             make the step compensatable",
        ],
    );
}

/// The barrier's row is at the participant that executes the action. Only that participant can undo
/// it.
#[test]
fn a_step_is_undone_by_the_participant_of_its_action() {
    CHECKOUT.check(
        &[("/steps/1/compensation/participant", json!("bank"))],
        &["step 'charge' is executed by 'payment' but undone by 'bank': only the executing \
             participant knows \
             whether there is something to undo, so let 'payment' undo it"],
    );
}

/// "Before" and "after" the pivot mean dependency, not the order of writing.
#[test]
fn the_pivot_follows_compensatable_steps_and_precedes_retriable_ones() {
    CHECKOUT.check(
        &[("/steps/3/kind", json!("pivot"))],
        &["'ship' and 'confirm' are both pivots: a definition has at most one, so change the \
             kind of one"],
    );
    CHECKOUT.check(
        &[("/steps/2/after", json!(["create"]))],
        &["step 'charge' is compensatable, but the pivot 'ship' does not wait for it: let 'ship' \
         come after it"],
    );
    CHECKOUT.check(
        &[("/steps/3/after", json!(["charge"]))],
        &["step 'confirm' is retriable but does not wait for the pivot 'ship': let it come after \
         'ship'"],
    );
    CHECKOUT.check(
        &[("/steps/2/kind", json!("retriable"))],
        &[
            "step 'ship' is retriable but the definition has no pivot: add one, or give 'ship' a \
             compensation",
            "step 'confirm' is retriable but the definition has no pivot: add one, or give \
             'confirm' a compensation",
        ],
    );
}

#[test]
fn references_name_earlier_steps() {
    CHECKOUT.check(
        &[("/steps/1/action/fields/cents", json!("creation.total"))],
        &["step 'charge' takes 'cents' from 'creation.total', but no step has that name: name a \
             step of this definition"],
    );
    CHECKOUT.check(
        &[("/steps/0/action/fields/orderId", json!("charge.receipt"))],
        &["step 'create' takes 'orderId' from 'charge.receipt' but does not wait for that step: \
             let it come after that step"],
    );
    CHECKOUT.check(
        &[("/steps/1/after", json!([])), ("/steps/2/after", json!(["create", "charge"]))],
        &[
            "step 'charge' takes 'cents' from 'create.total' but does not wait for that step: let \
             it come after that step",
            "step 'charge' takes 'cents' from 'create.total' but does not wait for that step: let \
             it come after that step",
        ],
    );
    CHECKOUT.check(
        &[("/steps/1/action/fields/cents", json!("create.sum"))],
        &["step 'charge' takes 'cents' from 'create.sum', which has only: total"],
    );
    CHECKOUT.check(
        &[("/steps/1/action/fields/cents", json!("input.total"))],
        &["step 'charge' takes 'cents' from 'input.total', which has only: orderId, cents"],
    );
    CHECKOUT.check(
        &[("/steps/1/compensation/fields/cents", json!("charge.receipt"))],
        &["the compensation of 'charge' takes 'cents' from its own action: remove it, because \
             the participant has stored that output"],
    );
}

#[test]
fn patience_is_consistent() {
    CHECKOUT.check(
        &[(
            "/steps/0/patience",
            json!({"timeoutMs": 0, "attemptsMax": 0, "backoffMsMin": 20, "backoffMsMax": 10}),
        )],
        &[
            "step 'create' waits 0 ms for a reply: set a timeout",
            "step 'create' pauses for at least 20 ms and at most 10 ms: swap them",
            "step 'create' allows 0 attempts: allow at least 1, or remove the limit",
        ],
    );
    CHECKOUT.check(
        &[("/steps/3/patience", json!({"backoffMsMin": 0}))],
        &["step 'confirm' pauses 0 ms before a resend, and would resend without end: set a pause"],
    );
    CHECKOUT.check(
        &[
            ("/steps/2/patience", json!({"attemptsMax": 3})),
            ("/steps/3/patience", json!({"attemptsMax": 5})),
        ],
        &[
            "step 'ship' is pivot and repeated until it is done: remove the limit of 3 attempts",
            "step 'confirm' is retriable and repeated until it is done: remove the limit of 5 \
             attempts",
        ],
    );
}

/// A deadline that is shorter than timeouts or retries is found at `build`.
#[test]
fn the_deadline_leaves_time_for_the_timeouts_and_attempts() {
    CHECKOUT.check(
        &[("/deadlineMs", json!(20_000))],
        &[
            "the saga's deadline of 20000 ms is shorter than the 30000 ms that step 'create' may \
             take to reply: lengthen it, or shorten that timeout",
            "the saga's deadline of 20000 ms is shorter than the 30000 ms that step 'charge' may \
             take to reply: lengthen it, or shorten that timeout",
        ],
    );
    Definition::check(CHECKOUT.with(&[("/deadlineMs", json!(30_000))])).unwrap();

    let limited = ("/steps/1/patience", json!({"timeoutMs": 5_000, "attemptsMax": 3}));
    CHECKOUT.check(
        &[limited.clone(), ("/deadlineMs", json!(44_999))],
        &["the saga's deadline of 44999 ms is shorter than the 45000 ms that all attempts of \
             'create' -> 'charge' may take: \
           lengthen it, or lower the attempts or timeouts"],
    );
    Definition::check(CHECKOUT.with(&[limited, ("/deadlineMs", json!(45_000))])).unwrap();
}

#[test]
fn all_problems_are_reported_at_once() {
    let error = Definition::check(CHECKOUT.with(&[
        ("/steps/0/compensation", Value::Null),
        ("/steps/1/patience", json!({"timeoutMs": 0})),
        ("/steps/1/action/fields/cents", json!("create.sum")),
    ]));
    assert_eq!(
        error.unwrap_err().to_string(),
        "definition 'checkout' cannot run\n\
         - step 'create' is compensatable but has no compensation: add one, or make it the pivot \
         or retriable\n\
         - step 'charge' waits 0 ms for a reply: set a timeout\n\
         - step 'charge' takes 'cents' from 'create.sum', which has only: total"
    );
}

#[test]
fn the_hash_depends_on_meaning_and_not_on_notation() {
    let written_out = [
        ("/input", json!(["cents", "orderId"])),
        ("/steps/0/after", json!([])),
        ("/steps/1/after", json!(["create"])),
        ("/steps/2/after", json!(["charge"])),
        ("/steps/3/patience", json!({"timeoutMs": 30_000})),
    ];
    assert_eq!(CHECKOUT.hash(&[]), CHECKOUT.hash(&written_out));
    let both = |order: [&str; 2]| CHECKOUT.hash(&[("/steps/2/after", json!(order))]);
    assert_eq!(both(["create", "charge"]), both(["charge", "create"]));

    assert_ne!(CHECKOUT.hash(&[]), CHECKOUT.hash(&[("/version", json!(2))]));
    assert_ne!(
        CHECKOUT.hash(&[]),
        CHECKOUT.hash(&[("/steps/2/after", json!(["charge", "create"]))])
    );
}

#[test]
fn a_definition_survives_a_round_trip() {
    let definition = Definition::check(CHECKOUT.with(&[])).unwrap();
    let text = serde_json::to_string(&definition).unwrap();
    assert_eq!(serde_json::from_str::<Definition>(&text).unwrap(), definition);
}

/// Stored sagas refer to this hash. A changed hash would be another definition.
#[test]
fn the_hash_is_stable() {
    assert_eq!(
        CHECKOUT.hash(&[]),
        "5acd325f36ecfd1e8eaf46ff52eb72a760bac73c4a518f4c021ffb0289621b3a"
    );
}

#[test]
fn version_and_deadline_are_positive() {
    CHECKOUT.check(&[("/version", json!(0))], &["the version is 0: write 1 for the first one"]);
    CHECKOUT.check(
        &[("/deadlineMs", json!(0))],
        &[
            "the saga's deadline is 0 ms, so no step could complete: lengthen it, or remove it",
            "the saga's deadline of 0 ms is shorter than the 30000 ms that step 'create' may take \
             to reply: lengthen it, or \
             shorten that timeout",
            "the saga's deadline of 0 ms is shorter than the 30000 ms that step 'charge' may take \
             to reply: lengthen it, or \
             shorten that timeout",
        ],
    );
}

#[test]
fn a_compensation_differs_from_its_action() {
    CHECKOUT.check(
        &[("/steps/1/compensation/message", json!("payment.charge"))],
        &["step 'charge' is undone by 'payment.charge', which is also its action: the \
             participant would do it twice, so name the message that undoes it"],
    );
}

#[test]
fn a_field_name_is_usable_in_references() {
    for (pointer, of) in [("/input", "the input"), ("/steps/0/yields", "step 'create'")] {
        for field in ["order.id", "", ".", "a."] {
            let told = format!(
                "no reference can name the field '{field}' of {of}: use a name that is not empty \
                 and has no '.'"
            );
            CHECKOUT.check(&[(pointer, json!(["orderId", "cents", "total", field]))], &[&told]);
        }
    }
    assert!(
        serde_json::from_value::<sagamore_core::definition::Reference>(json!("input.")).is_err()
    );
}

#[test]
fn the_key_is_a_field_of_the_input_and_holds_the_business_key() {
    CHECKOUT.check(
        &[("/key", json!("orderNumber"))],
        &["the key is the field 'orderNumber' of the input, which has only: orderId, cents"],
    );
    let keyed = Definition::check(CHECKOUT.with(&[("/key", json!("orderId"))])).unwrap();
    assert_ne!(keyed.hash(), CHECKOUT.hash(&[]), "the key is part of the definition");
    let started = |key: &str, held: &str| {
        keyed.check_start(
            key,
            &sagamore_core::Body::parse(&format!(r#"{{"orderId":{held},"cents":1}}"#)).unwrap(),
        )
    };
    assert_eq!(started("7", r#""7""#), Ok(()));
    assert_eq!(started("é", r#""\u00e9""#), Ok(()));
    assert_eq!(started("7", "7"), Ok(()), "a number spelled like the key");
    for (key, held) in
        [("7", r#""8""#), ("7", "7.0"), ("null", "null"), ("7", r#"["7"]"#), ("?", r#""\ud83d""#)]
    {
        let why = started(key, held).expect_err(held).to_string();
        assert!(why.contains("'orderId'") && why.contains(held), "{why}");
    }
    let unkeyed = Definition::check(CHECKOUT.with(&[])).unwrap();
    let other = sagamore_core::Body::parse(r#"{"orderId":"8","cents":1}"#).unwrap();
    assert_eq!(unkeyed.check_start("7", &other), Ok(()));
}

/// Stored definitions continue to run. Only a registration applies newer rules.
#[test]
fn a_definition_that_an_older_program_stored_stays_readable() {
    for (pointer, value) in [
        ("/version", json!(0)),
        ("/input", json!(["orderId", "cents", "order.id"])),
        ("/steps/1/compensation/message", json!("payment.charge")),
    ] {
        let draft = CHECKOUT.with(&[(pointer, value)]);
        assert!(Definition::check(draft.clone()).is_err(), "{pointer}");
        let stored = serde_json::to_string(&draft).unwrap();
        serde_json::from_str::<Definition>(&stored)
            .unwrap_or_else(|why| panic!("{pointer}: {why}"));
    }
    let broken = serde_json::to_string(&CHECKOUT.with(&[("/steps", json!([]))])).unwrap();
    assert!(serde_json::from_str::<Definition>(&broken).is_err());
}
