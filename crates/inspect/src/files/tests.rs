//! The errors of saga files, with their places.

use super::testing::{DEFINITION, PLAN};
use super::*;

#[track_caller]
fn check(text: &str, from: &str, to: &str, expected: &str) {
    assert!(text.contains(from), "the file does not contain {from}");
    let violations = check_text(&text.replacen(from, to, 1)).expect_err(to);
    let lines: Vec<String> = violations.iter().map(Violation::to_string).collect();
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn an_invalid_plan_is_reported_with_its_position_and_the_fix() {
    let plan = |from, to, expected| check(PLAN, from, to, expected);
    plan(
        "    fails:",
        "    failz:",
        "22:5: unknown key 'failz': use one of name, service, on, emits, fails, undo, \
         neverAfter, pivot",
    );
    plan("pivot: true", "pivot: yes", "39:12: expected a boolean: write true or false");
    plan("version: 1", "version: one", "5:10: expected a whole number of at least 0: write 1");
    plan("version: 1", "version: -1", "5:10: expected a whole number of at least 0: write 1");
    plan("    service: payment\n", "", "18:5: the key 'service' is missing here: add it");
    plan("on: [order.created]", "on: order.created", "20:9: expected a list: write [ONE, ANOTHER]");
    plan(
        "begins:",
        "begins: []\nends:",
        "9:1: expected keys and values: write KEY: VALUE\n10:1: unknown key 'ends': use one of \
         name, version, deadlineMs, overdue, begins, reactions, schemas",
    );
    plan(
        "event: order.created",
        "event: Order.Created",
        "12:10: 'Order.Created' is not a name: use a-z, 0-9, '-' and '.', a letter first, at \
         most 100 bytes",
    );
    plan("event: order.created", "event:", "12:8: the value is missing: write a text");
    plan("name: create\n", "name: create\n  name: a\n", "11:3: duplicate key 'name': remove one");
}

#[test]
fn invalid_yaml_is_reported_with_its_position() {
    let error =
        |what: &str| format!("{what}): check indentation, brackets and quotes up to this position");
    let open = error("21:10: not valid YAML (illegal placement of ':' indicator");
    check(PLAN, "on: [order.created]", "on: [order.created", &open);
    let tab = error("19:14: not valid YAML (while scanning a plain scalar, found a tab");
    check(PLAN, "on: [order.created]", "\ton: [order.created]", &tab);
    let escape = error("6:1: not valid YAML (unexpected character: `\\u{1b}'");
    check(PLAN, "deadlineMs", "\u{1b}[31m", &escape);
    let twice = "10:1: second YAML document: write one plan or definition per file";
    check(PLAN, "begins:", "---\nbegins:", twice);
    let violations = text(b"name: a\nversion: \xff").expect_err("no UTF-8");
    assert_eq!((violations[0].line, violations[0].column), (2, 10));
}

#[test]
fn an_invalid_definition_is_reported_with_its_position_and_the_fix() {
    let definition = |from, to, expected| check(DEFINITION, from, to, expected);
    definition(
        "kind: pivot",
        "kind: pivotal",
        "46:11: unknown value 'pivotal': use one of compensatable, pivot, retriable",
    );
    definition(
        "input.orderId",
        "input",
        "16:18: 'input' is not a reference: write input.FIELD or STEP.FIELD",
    );
    definition(
        "input.orderId",
        "[input.orderId]",
        "16:9: expected a single text: write it without [ ] or { }",
    );
    definition(
        "name: create-order",
        "patience: { timeoutMs: 1.5 }\n    name: create-order",
        "10:28: expected a whole number of at least 0: write 1",
    );
}

#[test]
fn a_file_with_keys_of_neither_kind_or_of_both_is_rejected() {
    let error = |text: &str| check_text(text).expect_err(text).remove(0).detail;
    for text in ["", "# nothing", "name: lonely"] {
        assert!(
            error(text).starts_with("the file is neither a plan nor a definition: write name, "),
            "{text}"
        );
    }
    for text in ["[1, 2]", "just words"] {
        assert_eq!(error(text), "expected keys and values: write KEY: VALUE");
    }
    let both = PLAN.replace("reactions:", "steps: []\nreactions:");
    assert!(
        error(&both)
            .starts_with("the file has keys of a plan (begins, reactions) and of a definition")
    );
    let deep = format!("a: {}", "{a: ".repeat(1_000));
    assert!(error(&deep).starts_with("nested too deeply"), "{}", error(&deep));
    assert!(error("a: &x [*x]").starts_with("unsupported YAML ("), "{}", error("a: &x [*x]"));
}

/// Returns the violations as `LINE:COLUMN POINTER`.
#[track_caller]
fn places(text: &str) -> Vec<String> {
    let violations = check_text(text).expect_err("violations");
    violations.iter().map(|one| format!("{}:{} {}", one.line, one.column, one.pointer)).collect()
}

#[test]
fn all_violations_of_a_file_are_reported_at_once() {
    let shape = DEFINITION
        .replace("version: 1", "version: first")
        .replace("kind: pivot", "kind: pivotal")
        .replace("    yields: [tracking]\n", "    yield: [tracking]\n")
        .replace("name: confirm-order", "named: confirm-order")
        .replace("create-order.totalCents", "totalCents");
    assert_eq!(
        places(&shape),
        [
            "5:10 /version",
            "30:22 /steps/1/action/fields/amountCents",
            "46:11 /steps/3/kind",
            "53:5 /steps/3/yield",
            "55:5 /steps/4/named",
            "55:5 /steps/4/name",
        ]
    );
    let meaning = DEFINITION
        .replace("version: 1", "version: 0")
        .replace("create-order.totalCents", "create-order.total")
        .replace("participant: payment, message: payment.refund", "participant: bank, message: a")
        .replace("kind: pivot #", "kind: compensatable #");
    assert_eq!(
        places(&meaning),
        [
            "5:10 /version",
            "31:34 /steps/1/compensation/participant",
            "45:5 /steps/3",
            "55:5 /steps/4",
            "30:22 /steps/1/action/fields/amountCents",
        ]
    );
}

#[test]
fn the_places_in_a_plan_are_exact() {
    let check = |from: &str, to: &str, expected: &[&str]| {
        assert!(PLAN.contains(from), "{from}");
        assert_eq!(places(&PLAN.replacen(from, to, 1)), expected, "{from}");
    };
    check("on: [payment.success, ", "on: [payment.done, ", &["29:10 /reactions/1/on/0"]);
    check("name: confirm", "name: charge", &["45:11 /reactions/3/name"]);
    check(
        "fails: [shipping.failed]",
        "fails: [payment.failed]",
        &[
            "42:13 /reactions/2/fails/0",
            "14:44 /begins/undo/on/2",
            "24:30 /reactions/0/undo/on/1",
            "33:12 /reactions/1/undo/on/0",
        ],
    );
    check(
        "neverAfter: [order.cancelled]",
        "neverAfter: [order.created]",
        &["35:18 /reactions/1/neverAfter/0"],
    );
    check(
        "[inventory.failed, shipping.failed]",
        "[shipping.failed]",
        &["24:7 /reactions/0/undo/on"],
    );
    check("pivot: true", "pivot: false", &["7:10 /overdue"]);
}

#[test]
fn flow_style_anchors_merges_and_comments_have_exact_places() {
    let text = "\
# a comment
{name: a, version: 0, input: [é, é.x], # another
  steps: [
    {name: b, kind: pivot, action: &act {participant: p, message: m, fields: {x: input.é}},
     patience: {timeoutMs: 0}},
    {name: c, kind: retriable, action: *act, patience: {<<: &p {timeoutMs: 0}, backoffMsMin: 9}},
    {name: d, kind: retriable, action: {<<: *act, fields: {x: c.y}}, patience: *p}]}
";
    assert_eq!(
        places(text),
        [
            "2:20 /version",
            "2:34 /input/1",
            "5:28 /steps/0/patience/timeoutMs",
            "6:64 /steps/1/patience/timeoutMs",
            "7:80 /steps/2/patience/timeoutMs",
            "7:63 /steps/2/action/fields/x",
        ]
    );
}

#[test]
fn json_has_places_too() {
    let text = "{\"name\": \"a\", \"version\": 1.5,\n \"input\": [], \"steps\": [\n  \
                {\"name\": \"b\", \"kind\": \"pivot\", \"pátience\": {}}]}";
    let expected = ["1:26 /version", "3:34 /steps/0/pátience", "3:3 /steps/0/action"];
    assert_eq!(places(text), expected);
    let why = |text: &str| {
        let violation = check_json(text).expect_err(text).remove(0);
        format!("{violation} {}", violation.pointer)
    };
    assert_eq!(
        why("{\"name\":\n \"a\", \"na\\u006de\": \"b\"}"),
        "2:7: duplicate key 'name': remove one /name"
    );
    assert_eq!(
        why("{\"name\": }"),
        "1:10: not valid JSON (unexpected character): check brackets, commas and quotes up to here "
    );
    assert!(why("{\"name\": ").contains("(unexpected end)"));
    assert!(why("name: a").contains("not valid JSON"));
    assert!(why("{\"steps\": \"\\ud83d\"}").contains("half of a surrogate pair /steps"));
    let deep = format!("{{\"steps\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(why(&deep).contains("nested too deeply"));
    // an escape that YAML reads differently
    let emoji = "{\"name\": \"\\ud83d\\ude00\", \"input\": []}";
    assert!(why(emoji).contains("'\u{1f600}' is not a name"), "{}", why(emoji));
    assert_eq!(check_text(emoji).unwrap_err(), check_json(emoji).unwrap_err());
}

#[test]
fn the_texts_of_scalars_are_read_as_they_are_spelled() {
    let text = DEFINITION.replace("name: checkout", "name: 1.10");
    let why = check_text(&text).expect_err("a name begins with a letter").remove(0).detail;
    assert!(why.starts_with("'1.10' is not a name"), "{why}");
    let fields = DEFINITION.replace("input: [", "input: [1.10, true, ");
    let error = check_text(&fields).expect_err("no reference can name 1.10").remove(0);
    assert!(error.detail.contains("the field '1.10' of the input"), "{error}");
}

#[test]
fn reports_are_bounded() {
    let keys: String = (0..200).map(|key| format!("k{key}: 1\n")).collect();
    let violations = check_text(&format!("{DEFINITION}{keys}")).expect_err("unknown keys");
    assert_eq!(violations.len(), crate::VIOLATIONS_MAX);
    let last = &violations[violations.len() - 1].detail;
    assert_eq!(last, "and 2 more violations: fix the others first");
    let long = check_text(&format!("{DEFINITION}? {}\n: 1\n", "k".repeat(100_000)));
    assert!(long.expect_err("an unknown key")[0].detail.len() < 2_100);
}

#[test]
fn participants_and_schemas_have_places() {
    let with = |keys: &str| DEFINITION.replacen("version: 1", &format!("version: 1\n{keys}"), 1);
    let valid = "participants:\n  shipping: { repeat: by-key, refusals: { 409: full } }\nschemas:\n\
                 \x20 \
                 messages: { shipping.schedule: { maxProperties: 9 } }\n  input: {}";
    let Ok(SagaFile::Definition(definition)) = check_text(&with(valid)) else {
        panic!("{:?}", check_text(&with(valid)))
    };
    let json = serde_json::to_string(&definition).expect("JSON");
    assert_eq!(check_json(&json), Ok(SagaFile::Definition(definition)));
    let places = |keys: &str| places(&with(keys));
    assert_eq!(
        places("participants: { shipping: { repeat: twice, refusals: { 4x: full } } }"),
        ["6:37 /participants/shipping/repeat", "6:56 /participants/shipping/refusals/4x",]
    );
    assert_eq!(
        places(
            "participants: { cards: {}, shipping: { refusals: { 200: full } } }\nschemas: { \
             input: 7, messages: { a: {} } }"
        ),
        [
            "6:17 /participants/cards",
            "6:57 /participants/shipping/refusals/200",
            "7:19 /schemas/input",
            "7:34 /schemas/messages/a",
        ]
    );
}

#[test]
fn a_schema_that_cannot_be_compiled_has_a_place() {
    let schemas = "version: 1\nschemas:\n  input: { $ref: \"https://example.com/a\" }\n  outputs: { \
                   order.create: { type: text } }";
    let text = DEFINITION.replacen("version: 1", schemas, 1);
    assert_eq!(places(&text), ["7:3 /schemas/input", "8:14 /schemas/outputs/order.create"]);
    let report = Parsed::parse(&text).expect("the shape is right").report(None);
    assert_eq!(report.problems, check_text(&text).expect_err("violations"));
}

#[test]
fn the_schemas_of_events_are_checked_with_their_places() {
    let check = |schemas: &str, pointer: &str, detail: &str| {
        let to = format!("version: 1\nschemas: {{ events: {{ {schemas} }} }}");
        let violations = check_text(&PLAN.replacen("version: 1", &to, 1)).expect_err(schemas);
        let found = &violations[0];
        assert_eq!((found.pointer.as_str(), found.line, violations.len()), (pointer, 6, 1));
        assert!(found.detail.contains(detail), "{found}");
    };
    let success = "/schemas/events/payment.success";
    check("order.changed: {}", "/schemas/events/order.changed", "which no reaction emits");
    check("payment.success: { type: whole }", success, "is not a valid JSON Schema: /type");
    check("payment.success: { $ref: other.json }", success, "it refers to 'other.json'");
    let long = format!("payment.success: {{ title: {} }}", "a".repeat(70_000));
    check(&long, success, "more than the limit of 65536");
}

#[test]
fn violations_have_the_places_of_their_pointers() {
    let of = |pointer: &str| vec![(pointer.to_owned(), "why".to_owned())];
    let places = |pointer| {
        let violations = violations_at(PLAN, of(pointer));
        violations.iter().map(Violation::to_string).collect::<Vec<_>>()
    };
    assert_eq!(places("/version"), ["5:10: why"]);
    assert_eq!(places("/begins/event"), ["12:10: why"]);
}

/// Texts that YAML would read as other types are in quotes.
#[test]
fn a_stored_version_is_written_as_yaml_that_can_be_applied_again() {
    for text in [PLAN, DEFINITION] {
        let file = check_text(text).expect("a valid file");
        let stored = match &file {
            SagaFile::Plan(plan) => serde_json::to_string(plan),
            SagaFile::Definition(definition) => serde_json::to_string(definition),
        };
        let written = yaml(&stored.expect("JSON")).expect("YAML");
        assert!(written.starts_with("name: "), "{written}");
        assert_eq!(check_text(&written).expect("a valid file"), file, "{written}");
    }
    let texts = ["yes", "on", "1", "~", "a: b", "a #b", "- a", "ä\n\t\"b\"", "", "2026-01-01"];
    let schema = serde_json::json!({ "enum": texts, "minimum": 0.5, "maximum": 1e300 });
    let mut plan: Value = serde_saphyr::from_str(PLAN).expect("YAML");
    plan["schemas"] = serde_json::json!({ "events": { "order.created": schema } });
    let stored = plan.to_string();
    let written = yaml(&stored).expect("YAML");
    let read = check_text(&written).expect("a valid file");
    assert_eq!(read, check_json(&stored).expect("a valid file"), "{written}");
}
