//! The JSON Schemas describe each key, and their patterns agree with core.

use sagamore_core::definition::{Reference, SchemaCheck, Schemas};
use sagamore_core::{Body, Name};
use sagamore_schema::CompiledSchemas;
use serde_json::{Value, json};

use super::{definition, plan};
use crate::files::check_text;
use crate::files::testing::{DEFINITION, PLAN};
use crate::shape::Text;

/// A definition with every key.
const MAXIMAL: &str = "
name: trip
version: 2
deadlineMs: 600000
key: tripId
input: [tripId, city]
steps:
  - name: book
    kind: compensatable
    after: []
    action: { participant: hotel, message: hotel.book, fields: { city: input.city } }
    compensation: { participant: hotel, message: hotel.unbook, fields: { room: book.room } }
    yields: [room]
    patience: { timeoutMs: 5, attemptsMax: 3, backoffMsMin: 1, backoffMsMax: 2 }
participants:
  hotel: { repeat: never, query: hotel.status, refusals: { \"409\": full } }
schemas:
  input: { type: object }
  messages: { hotel.book: {} }
  outputs: { hotel.book: {} }
";

/// Reads a YAML file as JSON, without regard to its shape.
fn json_of(text: &str) -> Body {
    let value: Value = serde_saphyr::from_str(text).expect("YAML");
    Body::parse(&value.to_string()).expect("JSON")
}

fn validator(document: &str) -> CompiledSchemas {
    let input = Some(serde_json::from_str(document).expect("JSON"));
    CompiledSchemas::new(&Schemas { input, ..Schemas::default() }).expect("a valid schema")
}

#[test]
fn saga_files_fit_their_schema_and_wrong_ones_do_not() {
    let (definition, plan) = (validator(&definition()), validator(&plan()));
    let check = |of: &CompiledSchemas, text: &str| {
        check_text(text).unwrap_or_else(|why| panic!("{why:?}"));
        assert_eq!(of.check_input(&json_of(text)), Ok(()));
    };
    check(&definition, DEFINITION);
    check(&definition, MAXIMAL);
    check(&plan, PLAN);
    let wrong = |of: &CompiledSchemas, text: &str, from: &str, to: &str| {
        let text = text.replacen(from, to, 1);
        assert!(check_text(&text).is_err(), "{to}");
        assert!(of.check_input(&json_of(&text)).is_err(), "{to}");
    };
    wrong(&definition, DEFINITION, "kind: pivot", "kind: pivotal");
    wrong(&definition, DEFINITION, "version: 1", "version: -1");
    wrong(&definition, DEFINITION, "yields:", "yield:");
    wrong(&definition, DEFINITION, "input.orderId", "orderId");
    wrong(&definition, DEFINITION, "message: order.create", "message: Order");
    wrong(&definition, DEFINITION, "participant: payment,", "");
    wrong(&definition, MAXIMAL, "repeat: never", "repeat: twice");
    wrong(&definition, MAXIMAL, "409", "4o9");
    wrong(&definition, MAXIMAL, "input: { type: object }", "input: 7");
    wrong(&plan, PLAN, "pivot: true", "pivot: 1");
    wrong(&plan, PLAN, "on: [order.created]", "on: order.created");
}

#[test]
fn the_maximal_definition_has_every_key() {
    let text = json_of(MAXIMAL).as_str().to_owned();
    let schema: Value = serde_json::from_str(&definition()).expect("JSON");
    each(&schema, &mut |name, _| assert!(text.contains(&format!("\"{name}\":")), "{name}"));
}

/// Calls `check` for each schema within a schema.
fn each(schema: &Value, check: &mut dyn FnMut(&str, &Value)) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        check(name, property);
        each(property, check);
    }
    let nested = ["items", "additionalProperties", "propertyNames"];
    nested.iter().filter_map(|key| schema.get(key)).for_each(|nested| each(nested, check));
}

#[test]
fn the_stored_documents_are_current() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema");
    for (name, document) in [("definition.json", definition()), ("plan.json", plan())] {
        let path = folder.join(name);
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(stored == document, "docs/schema/{name} is stale: run `cargo xtask docs`");
    }
}

#[test]
fn each_key_has_a_description_and_a_type() {
    let mut count = 0;
    for document in [definition(), plan()] {
        let schema: Value = serde_json::from_str(&document).expect("JSON");
        each(&schema, &mut |name, property| {
            let about = property["description"].as_str().unwrap_or_default();
            assert!(about.ends_with('.'), "{name} has no description: {property}");
            assert!(property["type"].is_string(), "{name} has no type");
            count += 1;
        });
    }
    assert!(count > 40, "{count}");
}

#[test]
fn the_patterns_agree_with_core() {
    let fits = |kind, text: &str| {
        let schemas = Schemas { input: Some(super::text_schema(kind)), ..Schemas::default() };
        let validator = CompiledSchemas::new(&schemas).expect("a valid schema");
        validator.check_input(&Body::parse(&json!(text).to_string()).expect("JSON")).is_ok()
    };
    let texts =
        ["a", "a.b", "A", "1a", "a_b", "a-", "", "a.", ".a", "input.x", "a.b.x", "a.é", "a b.x"];
    for text in texts {
        assert_eq!(Name::new(text).is_ok(), fits(Text::Name, text), "{text}");
        let is_reference = Reference::try_from(text.to_owned()).is_ok();
        assert_eq!(is_reference, fits(Text::Reference, text), "{text}");
    }
    for length in [100, 101] {
        let text = "a".repeat(length);
        assert_eq!(Name::new(&text).is_ok(), fits(Text::Name, &text), "{length}");
    }
}
