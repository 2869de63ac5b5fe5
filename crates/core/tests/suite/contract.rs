//! The rules for participants and schemas, as data: a valid definition with one change, and the
//! reported problems.
#![allow(missing_docs, reason = "a test has no readers of its docs")]

use sagamore_core::definition::{Draft, Repeat, Schemas};
use sagamore_core::{Definition, Name};
use serde_json::{Value, json};

use crate::support::Changed;
use crate::support::cards::{ChargeFrom, Order, RefundFrom, Ship};

const SHOP: Changed = Changed(plan);

/// Returns a charge at a participant that deduplicates by key, and the pivot.
fn plan() -> Value {
    json!({
        "name": "shop", "version": 1, "input": ["cents"],
        "steps": [
            {
                "name": "charge", "kind": "compensatable", "yields": ["receipt"],
                "action": {"participant": "cards", "message": "card.charge",
                    "fields": {"cents": "input.cents"}},
                "compensation": {"participant": "cards", "message": "card.refund",
                    "fields": {"receipt": "charge.receipt"}}
            },
            {"name": "ship", "kind": "pivot",
             "action": {"participant": "goods", "message": "goods.ship"}},
        ],
        "participants": {
            "cards": {"repeat": "by-key", "query": "card.status",
                      "refusals": {"402": "not-enough-money"}}
        },
        "schemas": {
            "input": {"type": "object"},
            "messages": {"card.charge": {"type": "object", "properties": {}}, "card.status": {}},
            "outputs": {"card.charge": {"type": "object"}}
        }
    })
}

#[test]
fn participants_and_schemas_are_read() {
    let definition = Definition::check(SHOP.with(&[])).unwrap();
    let cards = definition.contract(&Name::new("cards").unwrap());
    assert_eq!(cards.repeat, Repeat::ByKey);
    assert_eq!(cards.query.as_ref().map(Name::as_str), Some("card.status"));
    assert_eq!(cards.refusals[&402].as_str(), "not-enough-money");
    assert!(definition.contract(&Name::new("goods").unwrap()).repeat.is_barrier());
    assert_eq!(definition.schemas.input, Some(json!({"type": "object"})));
    let text = serde_json::to_string(&definition).unwrap();
    assert_eq!(serde_json::from_str::<Definition>(&text).unwrap(), definition);
}

#[test]
fn unknown_keys_and_values_are_rejected() {
    for (pointer, value) in [
        ("/participants/cards", json!({"retry": true})),
        ("/participants/cards", json!({"repeat": "sometimes"})),
        ("/participants/cards", json!({"refusals": {"400": "Not A Code"}})),
        ("/participants/cards", json!({"refusals": {"66000": "conflict"}})),
        ("/schemas", json!({"events": {}})),
    ] {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut plan = plan();
        plan.pointer_mut(parent).unwrap()[key] = value.clone();
        assert!(serde_json::from_value::<Draft>(plan).is_err(), "{value}");
    }
}

#[test]
fn a_contract_belongs_to_a_participant_of_a_step() {
    SHOP.check(
        &[("/participants/card", json!({"repeat": "never"}))],
        &["'participants' has an entry for 'card', which executes no step: use one of cards, \
           goods, or remove the entry"],
    );
}

#[test]
fn only_participants_without_a_barrier_are_queried() {
    SHOP.check(
        &[("/participants/goods", json!({"query": "goods.status"}))],
        &["participant 'goods' has a query, but also a barrier, which answers a resent command: \
           remove the query, or write 'repeat: by-key' or 'repeat: never'"],
    );
    SHOP.check(
        &[("/participants/cards/query", json!("card.refund")), ("/schemas", json!({}))],
        &["participant 'cards' is queried by 'card.refund', which a step sends as a command: \
             name \
           another message"],
    );
}

#[test]
fn a_refusal_has_a_status_of_an_error_and_a_code_of_its_own() {
    SHOP.check(
        &[(
            "/participants/cards/refusals",
            json!({"200": "odd", "399": "odd", "400": "bad", "599": "worse", "600": "odd"}),
        )],
        &[
            "participant 'cards' refuses by the HTTP status 200: use a status from 400 to 599",
            "participant 'cards' refuses by the HTTP status 399: use a status from 400 to 599",
            "participant 'cards' refuses by the HTTP status 600: use a status from 400 to 599",
        ],
    );
    SHOP.check(
        &[("/participants/cards/refusals", json!({"409": "already-compensated"}))],
        &["participant 'cards' refuses by the HTTP status 409 with 'already-compensated', a code \
           of Sagamore itself: use another code"],
    );
}

/// Without a barrier, the participant stores no output for the undo to read.
#[test]
fn an_undo_without_a_barrier_takes_its_fields_by_reference() {
    SHOP.check(
        &[("/steps/0/compensation/fields", json!({}))],
        &["the compensation of 'charge' has no fields, but 'cards' (repeat: by-key) has no \
           barrier that stores the action's output: add fields from the input, or from the \
           action's output as charge.FIELD"],
    );
    SHOP.check(
        &[("/steps/0/compensation/fields", json!({"receipt": "charge.number"}))],
        &["step 'charge' takes 'receipt' from 'charge.number', which has only: receipt"],
    );
    SHOP.check(
        &[("/participants", json!({})), ("/schemas/messages", json!({}))],
        &["the compensation of 'charge' takes 'receipt' from its own action: remove it, because \
           the participant has stored that output"],
    );
}

#[test]
fn a_schema_belongs_to_a_message_and_is_an_object() {
    SHOP.check(
        &[
            ("/schemas/messages", json!({"card.change": {}})),
            ("/schemas/outputs", json!({"card.refund": {}})),
        ],
        &[
            "schemas.messages has 'card.change', which no step sends: use one of card.charge, \
             goods.ship, card.refund, card.status, or remove the schema",
            "schemas.outputs has 'card.refund', which is the action of no step: use one of \
             card.charge, goods.ship, or remove the schema",
        ],
    );
    SHOP.check(
        &[("/schemas/input", json!(true)), ("/schemas/outputs/card.charge", json!([]))],
        &[
            "schemas.input is a boolean: write a JSON Schema as an object",
            "schemas.outputs.card.charge is a list: write a JSON Schema as an object",
        ],
    );
}

#[test]
fn schemas_are_bounded_in_bytes() {
    let of_bytes = |bytes: usize| json!({"title": "x".repeat(bytes - r#"{"title":""}"#.len())});
    Definition::check(SHOP.with(&[("/schemas/input", of_bytes(65_536))])).unwrap();
    SHOP.check(
        &[("/schemas/input", of_bytes(65_537))],
        &["schemas.input has 65537 bytes as JSON, but at most 65536 are allowed: shorten it"],
    );
    let messages = ["card.charge", "card.refund", "card.status", "goods.ship"];
    let messages: Value =
        messages.iter().map(|name| ((*name).to_owned(), of_bytes(65_536))).collect();
    SHOP.check(
        &[("/schemas", json!({"messages": messages, "input": {}}))],
        &["the schemas have 262146 bytes as JSON, but at most 262144 are allowed together: \
           shorten them"],
    );
}

#[test]
fn the_hash_covers_participants_and_schemas() {
    let plain = [("/participants/cards", json!({"repeat": "by-key"})), ("/schemas", json!({}))];
    assert_ne!(SHOP.hash(&[]), SHOP.hash(&plain));
    let never = [("/participants/cards", json!({"repeat": "never"})), ("/schemas", json!({}))];
    assert_ne!(SHOP.hash(&plain), SHOP.hash(&never));
    let mut default = plain.to_vec();
    default.push(("/participants/goods", json!({"repeat": "barrier"})));
    assert_eq!(SHOP.hash(&plain), SHOP.hash(&default), "the default says nothing");
}

/// Stored sagas refer to this hash. A changed hash would be another definition.
#[test]
fn the_hash_is_stable() {
    assert_eq!(SHOP.hash(&[]), "19cbbcbcb426120cabb2ba20e2476579bb83dcb1d09c992387899a446fbd93dd");
}

#[test]
fn the_builder_writes_the_same_definition() {
    let mut saga = Definition::named("shop").version(1);
    let order = saga.input::<Order>();
    saga.participant("cards").by_key().query("card.status").refusal(402, "not-enough-money");
    saga.step("charge")
        .sends(ChargeFrom { cents: order.cents })
        .undone_by_output(|charged| RefundFrom { receipt: charged.receipt });
    saga.pivot("ship").sends(Ship);
    let schemas: Schemas = serde_json::from_value(plan()["schemas"].clone()).unwrap();
    saga.schemas(schemas);
    assert_eq!(saga.build().unwrap().hash(), SHOP.hash(&[]));
}

#[test]
fn the_builder_reports_malformed_names() {
    let mut saga = Definition::named("shop");
    saga.participant("Cards").never().query("Status?").refusal(402, "No Money");
    saga.pivot("ship").sends(Ship);
    let problems = saga.build().unwrap_err().problems;
    assert_eq!(problems.len(), 3, "{problems:?}");
}
