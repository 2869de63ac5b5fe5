//! Accepted and rejected data, and rejected schemas.

use sagamore_core::definition::{Draft, Schemas};
use serde_json::{Value, json};

use super::*;

fn input(schema: Value) -> Result<CompiledSchemas, Vec<InvalidSchema>> {
    CompiledSchemas::new(&Schemas { input: Some(schema), ..Schemas::default() })
}

#[track_caller]
fn rejected(schema: Value) -> String {
    input(schema).expect_err("an invalid schema")[0].to_string()
}

fn body(value: &Value) -> Body {
    Body::parse(&value.to_string()).expect("JSON")
}

#[test]
fn a_misfit_names_each_part_and_hides_its_value() {
    let schema = json!({
        "type": "object",
        "required": ["orderId"],
        "properties": {
            "lines": { "type": "array", "items": { "$ref": "#/$defs/line" } },
            "orderId": { "type": "string", "pattern": "^[0-9]+$" },
        },
        "$defs": { "line": { "type": "object", "properties": { "sku/id": { "type": "string" } } } },
    });
    let schemas = input(schema).expect("a schema");
    let fits = json!({ "orderId": "7", "lines": [{ "sku/id": "a" }], "more": 1 });
    assert_eq!(schemas.check_input(&body(&fits)), Ok(()));
    let wrong = json!({ "orderId": "secret", "lines": [{ "sku/id": 5 }, 6] });
    let Misfits(misfits) = schemas.check_input(&body(&wrong)).expect_err("a misfit");
    let mut pointers: Vec<&str> = misfits.iter().map(|one| one.pointer.as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/lines/0/sku~1id", "/lines/1", "/orderId"]);
    assert!(!Misfits(misfits).to_string().contains("secret"));
    let Misfits(missing) = schemas.check_input(&body(&json!({}))).expect_err("a misfit");
    assert_eq!(missing[0].to_string(), "/orderId: is missing");
}

#[test]
fn reports_are_bounded() {
    let schemas = input(json!({ "items": { "type": "string", "pattern": "^a" } })).expect("valid");
    let many = json!(vec!["b"; 10_000]);
    let Misfits(misfits) = schemas.check_input(&body(&many)).expect_err("a misfit");
    assert_eq!(misfits.len(), MISFITS_MAX);
}

#[test]
fn data_without_a_schema_is_not_checked() {
    let schemas = CompiledSchemas::new(&Schemas::default()).expect("no schemas");
    let name = Name::new("card.charge").expect("a name");
    assert_eq!(schemas.check_input(&body(&json!(1))), Ok(()));
    assert_eq!(schemas.check_message(&name, &body(&json!(1))), Ok(()));
    assert_eq!(schemas.check_output(&name, &body(&json!(1))), Ok(()));
}

#[test]
fn nothing_outside_of_a_schema_is_read() {
    for target in ["https://example.com/a.json", "file:///etc/passwd", "other.json", "#name"] {
        let why = rejected(json!({ "properties": { "a": { "$ref": target } } }));
        assert!(why.contains(target), "{why}");
    }
    assert!(rejected(json!({ "$ref": "#/$defs/a" })).contains("does not contain"));
    assert!(rejected(json!({ "items": { "$id": "a" } })).contains("$id"));
    assert!(input(json!({ "$id": "https://example.com/a", "type": "object" })).is_ok());
}

#[test]
fn references_are_bounded() {
    assert!(rejected(json!({ "$ref": "#" })).contains("refers to itself"));
    let circle = json!({ "$ref": "#/$defs/a", "$defs": {
        "a": { "anyOf": [{ "$ref": "#/$defs/b" }] }, "b": { "not": { "$ref": "#/$defs/a" } } } });
    assert!(rejected(circle).contains("refers to itself"));
    // lists of lists: a cycle of references is allowed if each round descends into the value
    let tree = json!({ "$ref": "#/$defs/a", "$defs": {
        "a": { "items": { "$ref": "#/$defs/b" } }, "b": { "allOf": [{ "$ref": "#/$defs/a" }] } } });
    let tree = input(tree).expect("a schema of trees");
    assert_eq!(tree.check_input(&body(&json!([[[]], []]))), Ok(()));
    let mut doubled = json!({ "$ref": "#/$defs/d0", "$defs": { "d40": {} } });
    for level in 0..40 {
        let next = json!({ "$ref": format!("#/$defs/d{}", level + 1) });
        // here, `default` is the name of a property and no keyword
        doubled["$defs"][format!("d{level}")] =
            json!({ "anyOf": [next, { "properties": { "default": next } }] });
    }
    assert!(rejected(doubled).contains("expand to more than"));
    let mut chain = json!({ "$ref": "#/$defs/d0", "$defs": { "d99": {} } });
    for level in 0..99 {
        chain["$defs"][format!("d{level}")] = json!({ "$ref": format!("#/$defs/d{}", level + 1) });
    }
    assert!(rejected(chain).contains("follow one another"));
}

/// Both references apply to the member `a`, so a search for all misfits would find 2^100.
#[test]
fn a_recursive_schema_is_checked_in_bounded_time() {
    let schema = json!({
        "properties": { "a": { "$ref": "#" }, "v": { "type": "integer" } },
        "patternProperties": { "^a$": { "$ref": "#" } },
    });
    let schema = CompiledSchema::new(&schema).expect("a schema");
    let nested =
        |value: Value| (0..100).fold(json!({ "v": value }), |inner, _| json!({ "a": inner }));
    assert_eq!(schema.check(&body(&nested(json!(1)))), Ok(()));
    let misfits = schema.check(&body(&nested(json!("x")))).expect_err("a text");
    let detail = "does not fit its schema, which refers to itself".to_owned();
    assert_eq!(misfits, Misfits(vec![Misfit::of_all(detail)]));
}

#[test]
fn patterns_run_in_linear_time() {
    let schemas = input(json!({ "pattern": "^(a+)+$" })).expect("a schema");
    assert!(schemas.check_input(&body(&json!(format!("{}b", "a".repeat(100_000))))).is_err());
    let why = rejected(json!({ "pattern": "(?=a)b" }));
    assert!(why.contains("schemas.input is not a valid JSON Schema"), "{why}");
    rejected(json!({ "pattern": "(((a{100}){100}){100}){100}" }));
    assert!(rejected(json!({ "type": "text" })).contains("/type"));
}

#[test]
fn a_definition_is_compiled_once() {
    let draft: Draft = serde_json::from_value(json!({
        "name": "trip", "version": 1, "input": ["city"],
        "steps": [
            { "name": "a", "kind": "pivot", "action": { "participant": "p", "message": "m" } },
        ],
        "schemas": {
            "input": { "properties": { "city": { "type": "string" } } },
            "outputs": { "m": { "type": "object" } },
        },
    }))
    .expect("a draft");
    let definition = Definition::check(draft).expect("a definition");
    assert!(!definition.checks_schemas());
    assert_eq!(definition.check_output(0, &body(&json!([]))), Ok(()), "nothing is attached");
    let definition = attach(definition).expect("valid schemas");
    assert!(definition.checks_schemas());
    assert!(definition.check_output(0, &body(&json!([]))).is_err());
    assert_eq!(definition.check_output(0, &body(&json!({}))), Ok(()));
    let wrong = definition.check_start("1", &body(&json!({ "city": 5 }))).expect_err("a misfit");
    assert_eq!(wrong.misfits().0[0].pointer, "/city");
    assert!(attach(definition.clone()).is_ok_and(|attached| attached == definition));
}

#[test]
fn the_texts_of_a_misfit_are_short_and_storable() {
    let schemas = input(json!({ "additionalProperties": { "type": "string" } })).expect("valid");
    let wrong = json!({ format!("a\u{0}{}", "b".repeat(10_000)): 5 });
    let Misfits(misfits) = schemas.check_input(&body(&wrong)).expect_err("a misfit");
    assert!(misfits[0].pointer.len() < 400 && !misfits[0].to_string().contains('\0'));
    let twenty = Misfits(vec![misfits[0].clone(); MISFITS_MAX]).to_string();
    assert!(twenty.ends_with("; and 15 more") && twenty.len() < 4_000);
}
