//! `check` and `graph` on the shop's files, and on files with errors.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::support::sagamore;

const PLAN: &str = "fulfilment.yaml";
const DEFINITION: &str = "checkout.yaml";

/// Returns the path of a file in the docs.
fn doc(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plans").join(file)
}

fn run(args: &[&str], file: &Path) -> Output {
    sagamore(&args[..1]).arg(file).args(&args[1..]).output().expect("run shop")
}

fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Replaces `from` in a file of the docs and returns the lines of `check`, without the place.
#[track_caller]
fn reported_problems(file: &str, from: &str, to: &str) -> Vec<String> {
    let text = std::fs::read_to_string(doc(file)).expect("read the file");
    assert!(text.contains(from), "{from} is not in {file}");
    let folder = tempfile::tempdir().expect("create a directory");
    let changed = folder.path().join(file);
    std::fs::write(&changed, text.replacen(from, to, 1)).expect("write the file");
    let output = run(&["check"], &changed);
    let (out, err) = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    let before = format!("{}:", changed.display());
    let problem = |line: &str| {
        let Some(placed) = line.strip_prefix(&before) else { return line.to_owned() };
        let mut parts = placed.splitn(3, ':');
        let place =
            [parts.next(), parts.next()].map(|part| part.and_then(|part| part.parse().ok()));
        assert!(place.iter().all(|at: &Option<u32>| at.is_some()), "no place: {line}");
        parts.next().unwrap_or_default().trim_start().to_owned()
    };
    out.lines().map(problem).collect()
}

/// Asserts the problems of a changed file, except its differences from the services.
#[track_caller]
fn check(file: &str, from: &str, to: &str, expected: &[&str]) {
    let mut reported = reported_problems(file, from, to);
    reported.retain(|problem| !problem.contains("in plan 'fulfilment' and"));
    assert_eq!(reported, expected);
}

#[test]
fn the_shops_own_files_are_valid() {
    let (out, err) = printed(&run(&["check"], &doc(PLAN)));
    let expected = "\
OK: plan 'fulfilment', version 1
  services  order, payment, inventory, shipping
  explored  48 states, in all orders of events
  ends      all done: order.confirmed
            all undone, after inventory.failed
            all undone, after inventory.failed and shipping.failed
            all undone, after payment.failed
            all undone, after payment.failed and shipping.failed
            all undone, after shipping.failed
  compared  no difference from the services of this program
";
    assert_eq!((out.as_str(), err.as_str()), (expected, ""));
    let output = run(&["check"], &doc(DEFINITION));
    assert_eq!(output.status.code(), Some(0));
    let (out, _) = printed(&output);
    assert!(out.starts_with("OK: definition 'checkout', version 1\n"), "{out}");
    let end = "compensated, when 'schedule-shipment' is refused; undone: create-order, \
        charge-payment, reserve-stock";
    assert!(out.contains(end), "{out}");
}

#[test]
fn a_plan_without_an_undo_is_refused_with_a_counterexample() {
    let undo = "    undo:\n      on: [shipping.failed]\n      emits: inventory.released\n";
    check(
        PLAN,
        undo,
        "",
        &[
            "'reserve' of inventory has no undo, so it stays done when 'schedule' of shipping \
             fails with \
             'shipping.failed': add an undo on 'shipping.failed'",
            "  1. create (order) emits order.created",
            "  2. charge (payment) emits payment.success",
            "  3. reserve (inventory) emits inventory.updated",
            "  4. schedule (shipping) fails and emits shipping.failed",
            "  5. create (order) is undone and emits order.cancelled",
            "  6. charge (payment) is undone and emits payment.refunded",
            "  7. reserve (inventory) is never undone",
        ],
    );
}

#[test]
fn each_problem_of_a_plan_is_reported_with_its_fix() {
    check(
        PLAN,
        "on: [inventory.failed, shipping.failed]\n      emits: payment.refunded",
        "on: [shipping.failed]\n      emits: payment.refunded",
        &[
            "'charge' of payment stays done when 'reserve' of inventory fails with \
             'inventory.failed': let its undo \
             react to 'inventory.failed'",
            "  1. create (order) emits order.created",
            "  2. charge (payment) emits payment.success",
            "  3. reserve (inventory) fails and emits inventory.failed",
            "  4. create (order) is undone and emits order.cancelled",
            "  5. charge (payment) is never undone",
        ],
    );
    check(
        PLAN,
        "emits: [order.confirmed]",
        "emits: [order.confirmed]\n    fails: [order.refused]",
        &[
            "'confirm' of order may fail with 'order.refused' after the pivot 'schedule' of \
             shipping: remove its \
             failures",
            "  1. create (order) emits order.created",
            "  2. charge (payment) emits payment.success",
            "  3. reserve (inventory) emits inventory.updated",
            "  4. schedule (shipping) emits shipping.scheduled",
            "  5. confirm (order) fails and emits order.refused",
        ],
    );
    check(
        PLAN,
        "on: [order.created]",
        "on: [order.paid]",
        &["'charge' of payment waits for 'order.paid', but no reaction emits it: name an event \
             of this plan, or let a reaction emit it"],
    );
    check(
        PLAN,
        "on: [shipping.scheduled]",
        "on: [shipping.failed]",
        &["'confirm' of order acts on 'shipping.failed', with which 'schedule' of shipping fails \
             or is undone: let only undos react to it"],
    );
    check(
        PLAN,
        "name: charge\n",
        "name: charge\n    pivot: true\n",
        &[
            "'charge' of payment and 'schedule' of shipping are both pivots: a plan has at most \
             one, so remove one of the marks",
            "'charge' of payment is the pivot, but has an undo that emits 'payment.refunded': \
             remove the undo, or make another reaction the pivot",
        ],
    );
}

#[test]
fn each_problem_of_a_definition_is_reported_with_its_fix() {
    let refund = "    compensation: { participant: payment, message: payment.refund }\n";
    check(
        DEFINITION,
        refund,
        "",
        &["step 'charge-payment' is compensatable but has no compensation: add one, or make it \
             the pivot or \
           retriable"],
    );
    check(
        DEFINITION,
        "create-order.totalCents",
        "reserve-stock.orderId",
        &["step 'charge-payment' takes 'amountCents' from 'reserve-stock.orderId' but does not \
             wait for that step: let it come after that step"],
    );
    check(
        DEFINITION,
        "kind: retriable",
        "kind: pivot",
        &["'schedule-shipment' and 'confirm-order' are both pivots: a definition has at most \
             one, so change the kind of one"],
    );
}

#[test]
fn differences_from_the_services_are_reported() {
    let expected = "'charge' of payment emits 'payment.done' in plan 'fulfilment' and \
     'payment.success' in the service: \
                    make them agree";
    let changed = reported_problems(PLAN, "emits: [payment.success]", "emits: [payment.done]");
    assert!(changed.iter().any(|line| line == expected), "{changed:?}");
    let stranger = reported_problems(PLAN, "service: shipping", "service: carrier");
    let expected = "'schedule' belongs to carrier, which is no service of this program: use \
      order or payment or inventory \
                    or shipping";
    assert!(stranger.iter().any(|line| line == expected), "{stranger:?}");
    check(
        DEFINITION,
        "payment.charge",
        "payment.take",
        &["step 'charge-payment' sends 'payment.take', which payment does not handle: use \
             payment.charge or payment.refund"],
    );
}

#[test]
fn a_plan_of_another_name_is_compared_only_on_request() {
    let folder = tempfile::tempdir().expect("create a directory");
    let (file, text) = (
        folder.path().join("visit.yaml"),
        std::fs::read_to_string(doc(PLAN)).expect("read the file"),
    );
    let other =
        text.replace("name: fulfilment", "name: visit").replace("name: confirm", "name: nod");
    std::fs::write(&file, other).expect("write the file");
    assert_eq!(run(&["check"], &file).status.code(), Some(0));
    let output = run(&["check", "--compare", "-o", "json"], &file);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(
        (&report["name"], &report["kind"], &report["compared"]),
        (&"visit".into(), &"plan".into(), &true.into())
    );
    assert_eq!(report["problems"].as_array().map(Vec::len), Some(2), "{report}");
}

#[test]
fn an_unreadable_file_is_reported_with_its_place() {
    let folder = tempfile::tempdir().expect("create a directory");
    let file = folder.path().join("plan.yaml");
    let check = |contents: &[u8], expected: &[&str]| {
        std::fs::write(&file, contents).expect("write the file");
        let (out, err) = printed(&run(&["check"], &file));
        let expected: Vec<String> =
            expected.iter().map(|line| format!("{}:{line}", file.display())).collect();
        assert_eq!(
            (out.lines().collect::<Vec<&str>>(), err.as_str()),
            (expected.iter().map(String::as_str).collect(), "")
        );
        let drawn = run(&["graph"], &file);
        let (out, err) = printed(&drawn);
        assert_eq!((drawn.status.code(), out.as_str()), (Some(1), ""));
        assert!(err.starts_with("shop: ") && err.contains("`shop check "), "{err}");
    };
    check(
        b"name: a\nbegins: x\nreactions: []\n",
        &[
            "2:9: expected keys and values: write KEY: VALUE",
            "1:1: the key 'version' is missing here: add it",
        ],
    );
    check(b"name: \xff", &["1:7: not valid UTF-8: save the file as UTF-8"]);
    let report = run(&["check", "-o", "json"], &file);
    let report: Value = serde_json::from_slice(&report.stdout).expect("one JSON document");
    assert_eq!((&report["problems"][0]["line"], report.get("name")), (&1.into(), None));

    let refused = |file: &Path, expected: &str| {
        for command in ["check", "graph"] {
            let (out, err) = printed(&run(&[command], file));
            assert!(out.is_empty() && err.contains(expected), "{out}{err}");
        }
    };
    std::fs::write(&file, vec![b'#'; (1 << 20) + 1]).expect("write the file");
    refused(&file, "plan.yaml has more than 1048576 bytes");
    refused(&folder.path().join("nothing.yaml"), "nothing.yaml: No such file");
}

#[test]
fn a_file_is_drawn_in_every_format() {
    let drawn = |file: &str, form: &str| {
        let output = run(&["graph", "-o", form], &doc(file));
        let (out, err) = printed(&output);
        assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{out}");
        out
    };
    assert!(printed(&run(&["graph"], &doc(PLAN))).0.contains("schedule (shipping), the pivot\n"));
    assert!(
        drawn(DEFINITION, "text")
            .contains("charge-payment (payment)\n  after create-order\n  sends payment.charge\n")
    );
    for file in [PLAN, DEFINITION] {
        assert!(drawn(file, "mermaid").starts_with("flowchart LR\n"));
        let svg = drawn(file, "svg");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
        let document: Value = serde_json::from_str(&drawn(file, "asyncapi")).expect("JSON");
        assert_eq!(document["asyncapi"], "3.0.0");
    }
}

#[test]
fn an_invalid_plan_is_not_drawn() {
    let folder = tempfile::tempdir().expect("create a directory");
    let file = folder.path().join("plan.yaml");
    let text = std::fs::read_to_string(doc(PLAN)).expect("read the file");
    std::fs::write(&file, text.replace("on: [order.created]", "on: [order.paid]"))
        .expect("write the file");
    let (out, err) = printed(&run(&["graph", "-o", "svg"], &file));
    assert!(out.is_empty() && err.contains("`shop check "), "{out}{err}");
}

#[test]
fn invalid_definitions_and_plans_are_refused() {
    let define = |from: &str, to: &str, part: &str| {
        let problems = reported_problems(DEFINITION, from, to);
        assert!(problems.iter().any(|line| line.contains(part)), "{part} is not in {problems:?}");
    };
    define(
        "message: payment.refund",
        "message: payment.charge",
        "'charge-payment' is undone by 'payment.charge'",
    );
    define("version: 1", "version: 0", "version is 0");
    define("version: 1\n", "version: 1\ndeadlineMs: 0\n", "deadline is 0 ms");
    define("input: [", "input: [a.b, ", "'a.b'");
    define("version: 1\n", "version: 1\nkey: orderNumber\n", "'orderNumber'");
    let plan = |from: &str, to: &str, part: &str| {
        let problems = reported_problems(PLAN, from, to);
        assert!(problems.iter().any(|line| line.contains(part)), "{part} is not in {problems:?}");
    };
    plan("version: 1", "version: 0", "version is 0");
    plan("deadlineMs: ", "deadlineMs: 0 # ", "deadline is 0 ms");
}

#[test]
fn the_schemas_of_a_definition_are_written_to_a_folder() {
    let folder = tempfile::tempdir().expect("create a directory");
    let schemas = folder.path().join("new/schemas");
    let output = run(&["graph", "-o", "schemas", &schemas.display().to_string()], &doc(DEFINITION));
    let (out, err) = printed(&output);
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{out}");
    assert_eq!(out.lines().count(), 14, "{out}");
    let charge = std::fs::read(schemas.join("messages/payment.charge.json")).expect("a file");
    let charge: Value = serde_json::from_slice(&charge).expect("JSON");
    assert_eq!(charge["required"].as_array().map(Vec::len), Some(3), "{charge}");
    let (_, err) = printed(&run(&["graph", "-o", "schemas"], &doc(DEFINITION)));
    assert!(err.contains("<FOLDER>") || err.contains("[FOLDER]"), "{err}");
    let output = run(&["graph", "-o", "schemas", &schemas.display().to_string()], &doc(PLAN));
    let of_plan = (output.status.code(), printed(&output).0);
    assert_eq!(of_plan, (Some(0), String::new()), "this plan has no schemas of events");
}
