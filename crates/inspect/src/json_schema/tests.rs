//! The JSON Schemas describe each key, and their patterns agree with core.

use sagamore_core::Name;
use sagamore_core::definition::Reference;
use serde_json::Value;

use super::{definition, plan};

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
    // the patterns of `text_schema`, in words
    let is_name = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.len() <= 100
            && text.chars().all(|each| matches!(each, 'a'..='z' | '0'..='9' | '.' | '-'))
    };
    let texts =
        ["a", "a.b", "A", "1a", "a_b", "a-", "", "a.", ".a", "input.x", "a.b.x", "a.é", "a b.x"];
    for text in texts {
        assert_eq!(Name::new(text).is_ok(), is_name(text), "{text}");
        let is_reference = text
            .rsplit_once('.')
            .is_some_and(|(source, field)| is_name(source) && !field.is_empty());
        assert_eq!(Reference::try_from(text.to_owned()).is_ok(), is_reference, "{text}");
    }
    let long = "a".repeat(101);
    assert!(Name::new(&long).is_err() && Name::new(&long[1..]).is_ok());
}
