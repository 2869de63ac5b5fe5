//! Differences in words.

use serde_json::{Value, json};

use super::*;
use crate::files::testing::{DEFINITION, PLAN};
use crate::files::{SagaFile, check_text};

/// Returns the differences between a definition of the docs and a changed one.
#[track_caller]
fn changed(changes: &[(&str, &str)]) -> Vec<String> {
    let text = changes.iter().fold(DEFINITION.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    of_texts(DEFINITION, &text)
}

#[track_caller]
fn of_texts(old: &str, new: &str) -> Vec<String> {
    let differences = match (check_text(old), check_text(new)) {
        (Ok(SagaFile::Definition(old)), Ok(SagaFile::Definition(new))) => {
            of_definitions(&old, &new)
        }
        (Ok(SagaFile::Plan(old)), Ok(SagaFile::Plan(new))) => of_plans(&old, &new),
        other => panic!("{other:?}"),
    };
    let text = Text(&differences).to_string();
    text.lines().map(str::to_owned).collect()
}

const COMPATIBLE: &str = "all messages stay compatible";

#[test]
fn equal_definitions_have_no_difference() {
    assert_eq!(changed(&[]), ["no difference"]);
    assert_eq!(of_texts(PLAN, PLAN), ["no difference"]);
}

#[test]
fn each_part_of_a_definition_is_compared() {
    let check = |from: &str, to: &str, expected: &[&str]| {
        let mut expected = expected.to_vec();
        expected.push(COMPATIBLE);
        assert_eq!(changed(&[(from, to)]), expected, "{to}");
    };
    check(
        "version: 1",
        "version: 1\ndeadlineMs: 90000",
        &["the saga's deadline is 90000 ms, was none"],
    );
    check(
        "version: 1",
        "version: 1\nkey: orderId",
        &["the business key is the field 'orderId', was in no field"],
    );
    check("input: [", "input: [note, ", &["the input gains the field 'note'"]);
    check(
        "amountCents: create-order.totalCents",
        "amountCents: input.lines",
        &["step 'charge-payment' fills 'amountCents' of 'payment.charge' from input.lines, was \
         create-order.totalCents"],
    );
    check(
        "message: payment.refund",
        "message: payment.return",
        &["the compensation of 'charge-payment' sends 'payment.return', was 'payment.refund'"],
    );
    check(
        "yields: [tracking]",
        "yields: [tracking, carrier]",
        &["step 'schedule-shipment' yields the new field 'carrier': shipping must return it first"],
    );
    check(
        "kind: pivot #",
        "kind: pivot\n    patience: { timeoutMs: 500 } #",
        &["step 'schedule-shipment' waits for a reply for 500 ms, was 30000 ms"],
    );
    check(
        "kind: retriable #",
        "kind: retriable\n    after: [create-order, schedule-shipment] #",
        &["step 'confirm-order' comes after 'create-order' and 'schedule-shipment', was \
         'schedule-shipment'"],
    );
    check(
        "version: 1",
        "version: 1\nparticipants: {shipping: {repeat: by-key, query: s.status, \
        refusals: {409: full}}}",
        &[
            "participant 'shipping' repeats commands as by-key, was barrier",
            "participant 'shipping' is queried by 's.status', was nothing",
            "participant 'shipping' means by status 409 'full', was an unknown outcome",
        ],
    );
}

#[test]
fn a_removed_step_and_a_new_one_are_reported() {
    let without = DEFINITION.split("\n  - name: reserve-stock").next().expect("a start").to_owned()
        + "\n  - name: insure\n    kind: pivot\n    action: { participant: insurance, message: \
           insurance.sell }\n";
    assert_eq!(
        of_texts(DEFINITION, &without),
        [
            "step 'reserve-stock' is removed",
            "step 'schedule-shipment' is removed",
            "step 'confirm-order' is removed",
            "step 'insure' is added after 'charge-payment': the pivot, sends 'insurance.sell' to \
             insurance",
            COMPATIBLE,
        ]
    );
}

#[test]
fn a_message_that_loses_a_field_is_incompatible() {
    assert_eq!(
        changed(&[(
            "        customerId: input.customerId\n        amountCents",
            "        amountCents"
        )]),
        [
            "step 'charge-payment' no longer sends 'customerId' in 'payment.charge'",
            "incompatible: message 'payment.charge' loses the field 'customerId', which its \
             participant may require",
            "1 change of a message is incompatible",
        ]
    );
    let gains =
        changed(&[("        amountCents", "        note: input.shipTo\n        amountCents")]);
    assert!(gains[1].starts_with("message 'payment.charge' gains the field 'note': it must be"));
    assert_eq!(gains[2], COMPATIBLE);
}

#[test]
fn schemas_may_gain_optional_properties_only() {
    let old = json!({
        "type": "object",
        "title": "A charge",
        "properties": {
            "amount": { "$ref": "#/$defs/cents" },
            "lines": { "items": { "type": "object", "properties": { "sku": {} } } },
            "note": { "type": "string" },
        },
        "required": ["amount"],
        "$defs": { "cents": { "type": "integer", "minimum": 0 } },
    });
    let check = |pointer: &str, value: Value, expected: &[(&str, bool)]| {
        let mut new = old.clone();
        *new.pointer_mut(pointer).expect(pointer) = value;
        let found = sagamore_schema::compare("message 'a'", &old, &new);
        let found: Vec<(&str, bool)> =
            found.iter().map(|one| (one.detail.as_str(), one.incompatible)).collect();
        assert_eq!(found, expected, "{pointer}");
    };
    check("/title", json!("Another"), &[]);
    check("/properties/amount", json!({ "minimum": 0, "type": "integer" }), &[]);
    check(
        "/properties/lines/items/properties",
        json!({ "sku": {}, "count": {} }),
        &[("message 'a' gains the optional property 'lines[].count'", false)],
    );
    check(
        "/properties/lines/items/properties",
        json!({}),
        &[("message 'a': 'lines[].sku' is removed, and may be required", true)],
    );
    check(
        "/required",
        json!(["amount", "note", "tip"]),
        &[
            ("message 'a': 'note' becomes required, and the old version may omit it", true),
            ("message 'a': 'tip' is new and required, and the old version does not send it", true),
        ],
    );
    check(
        "/required",
        json!([]),
        &[("message 'a': 'amount' becomes optional, and participants may require it", true)],
    );
    check(
        "/$defs/cents",
        json!({ "type": "string", "minimum": 0 }),
        &[("message 'a': 'amount' has the type string, was integer", true)],
    );
    check(
        "/$defs/cents",
        json!({ "type": "integer", "minimum": 1 }),
        &[("message 'a': 'amount' has minimum 1, was 0", true)],
    );
    check(
        "/properties/note",
        json!(false),
        &[("message 'a': 'note' changes from {\"type\":\"string\"} to false", true)],
    );
}

#[test]
fn the_schemas_of_a_definition_are_compared() {
    let with = |schema: &str| {
        let schemas = format!("version: 1\nschemas: {{messages: {{payment.charge: {schema}}}}}");
        DEFINITION.replacen("version: 1", &schemas, 1)
    };
    let found = of_texts(&with("{required: [orderId]}"), &with("{required: [orderId, x]}"));
    assert_eq!(
        found,
        [
            "incompatible: message 'payment.charge': 'x' is new and required, and the old version \
             does not send it",
            "1 change of a message is incompatible",
        ]
    );
    assert_eq!(
        of_texts(DEFINITION, &with("{}")),
        ["message 'payment.charge' gains a schema", COMPATIBLE]
    );
}

#[test]
fn each_part_of_a_plan_is_compared() {
    let check = |from: &str, to: &str, expected: &str| {
        assert!(PLAN.contains(from), "{from}");
        let found = of_texts(PLAN, &PLAN.replacen(from, to, 1));
        assert_eq!(found, [expected, COMPATIBLE], "{to}");
    };
    check("deadlineMs: 60000", "deadlineMs: 5", "a chain's deadline is 5 ms, was 60000 ms");
    check("service: payment", "service: bank", "'charge' belongs to bank, was payment");
    check(
        "on: [order.created]\n",
        "on: [order.created]\n    neverAfter: [order.cancelled]\n",
        "'charge' of payment gains the event after which it never runs 'order.cancelled'",
    );
    check(
        "emits: payment.refunded",
        "emits: payment.returned",
        "the undo of 'charge' of payment emits payment.returned, was payment.refunded",
    );
    check(
        "emits: [order.confirmed]",
        "emits: [order.confirmed, order.noted]",
        "'confirm' of order gains the success 'order.noted'",
    );
}
