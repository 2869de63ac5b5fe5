//! The documents are consistent: every reference resolves.

use serde_json::Value;

use super::{of_definition, of_plan};
use crate::files::testing::{DEFINITION, checkout, fulfilment};
use crate::files::{SagaFile, check_text};

fn plan() -> Value {
    let plan = fulfilment();
    serde_json::from_str(&of_plan(&plan)).expect("JSON")
}

fn definition() -> Value {
    let definition = checkout();
    serde_json::from_str(&of_definition(&definition)).expect("JSON")
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(array) => array.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_reference_resolves() {
    for document in [plan(), definition()] {
        assert_eq!(document["asyncapi"], "3.0.0");
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').expect(reference);
            assert!(document.pointer(pointer).is_some(), "{reference} does not resolve");
        }
        for (name, operation) in document["operations"].as_object().expect("operations") {
            let channel = operation["channel"]["$ref"].as_str().expect(name);
            let messages = operation["messages"].as_array().expect(name);
            let within = |message: &Value| {
                message["$ref"].as_str().is_some_and(|of| of.starts_with(channel))
            };
            assert!(
                !messages.is_empty() && messages.iter().all(within),
                "{name} has messages of another topic"
            );
        }
    }
}

#[test]
fn a_plan_lists_the_sender_and_the_receivers_of_each_event() {
    let document = plan();
    assert_eq!(document["channels"]["payment.success"]["address"], "payment.success");
    let operations = &document["operations"];
    let sends = &operations["payment_send_payment.success"];
    assert_eq!((&sends["action"], &sends["tags"][0]["name"]), (&"send".into(), &"payment".into()));
    let receives = &operations["inventory_receive_payment.success"];
    assert_eq!(
        (&receives["action"], &receives["summary"]),
        (&"receive".into(), &"'reserve' waits for it".into())
    );
    assert_eq!(operations["payment_receive_inventory.failed"]["summary"], "it undoes 'charge'");
    // 11 events, each sent once. 6 are received on the way forward, and each undo receives each of
    // its failures.
    // The pivot's owner receives the overdue event, and two services receive the order's end.
    assert_eq!(operations.as_object().expect("operations").len(), 11 + 6 + (3 + 2 + 1) + 1 + 2);
    let headers = &document["components"]["schemas"]["eventHeaders"];
    assert_eq!(headers["properties"]["ce_sagahop"]["pattern"], "^[0-9]+$");
    let required = headers["required"].as_array().expect("a list");
    assert!(
        required.contains(&"ce_correlationid".into())
            && !required.contains(&"ce_causationid".into())
    );
}

#[test]
fn a_definition_lists_commands_and_their_replies() {
    let document = definition();
    let topic = &document["channels"]["payment.commands"];
    assert_eq!(topic["address"], "payment.commands");
    assert_eq!(topic["messages"].as_object().map(|messages| messages.len()), Some(2));
    let receives = &document["operations"]["payment_receive_payment.commands"];
    assert_eq!(receives["reply"]["channel"]["$ref"], "#/channels/sagamore.replies");
    assert_eq!(
        document["operations"]["sagamore_send_payment.commands"]["tags"][0]["name"],
        "sagamore"
    );
    let charge = &document["components"]["messages"]["payment.charge"];
    assert_eq!(
        charge["payload"]["properties"]["amountCents"]["description"],
        "From create-order.totalCents."
    );
    let answer = &document["components"]["messages"]["payment.charge_reply"];
    assert_eq!(answer["name"], "sagamore.reply");
    assert_eq!(answer["payload"]["oneOf"].as_array().map(Vec::len), Some(3));
}

#[test]
fn the_schemas_of_a_definition_are_part_of_the_document() {
    let schemas = "version: 1\nschemas: { messages: { payment.charge: { $ref: \"#/$defs/a\", \
                   $defs: { a: { maxProperties: 9 } } } }, outputs: { payment.charge: {} } }";
    let text = DEFINITION.replacen("version: 1", schemas, 1);
    let Ok(SagaFile::Definition(definition)) = check_text(&text) else { panic!("invalid") };
    let document: Value = serde_json::from_str(&of_definition(&definition)).expect("JSON");
    let messages = &document["components"]["messages"];
    let at = "#/components/schemas/payment.charge";
    assert_eq!(messages["payment.charge"]["payload"]["$ref"], at);
    let schema = &document["components"]["schemas"]["payment.charge"];
    assert_eq!(schema["$ref"], format!("{at}/$defs/a"));
    assert_eq!(
        messages["payment.charge_reply"]["payload"]["oneOf"][0]["$ref"],
        "#/components/schemas/payment.charge_output"
    );
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        let pointer = reference.strip_prefix('#').expect(reference);
        assert!(document.pointer(pointer).is_some(), "{reference} does not resolve");
    }
}
