//! `shop replay`: a folder of orders, each a saga, on persistent data.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{an_order, northwind, sagamore};

/// Builds the command that replays a folder on a data directory.
pub fn replay(folder: &Path, data: &Path, args: &[&str]) -> Command {
    let mut command = sagamore(&["replay", "-o", "json"]);
    command.args(args).arg(folder).arg("--data").arg(data);
    command
}

/// Parses the report and removes its duration.
pub fn report(output: &Output) -> Value {
    let mut report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    report
        .as_object_mut()
        .expect("the report is an object")
        .remove("seconds")
        .expect("the report has a duration");
    report
}

/// Returns the expected figures of a sequential replay of the real orders.
pub fn figures() -> Value {
    json!({
        "orders": 830, "completed": 629, "compensated": 201, "stuck": 0,
        "failedAt": { "charge-payment": 113, "reserve-stock": 29, "schedule-shipment": 59 },
        "balanceCents": 17_975_404, "stockPieces": 6_255
    })
}

fn folder_of(accounts: &str, orders: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("create a directory");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("write the file")
    };
    write("accounts.jsonl", accounts);
    write("stock.jsonl", "{\"sku\":\"tea\",\"name\":\"Tea\",\"onHand\":5}\n");
    write("destinations.jsonl", "{\"country\":\"France\",\"served\":true}\n");
    write("orders.jsonl", orders);
    folder
}

fn a_line(id: &str, quantity: i64) -> Value {
    let mut order = an_order(id, quantity);
    order["customerId"] = json!("ANN");
    order["lines"][0]["sku"] = json!("tea");
    order["shipTo"]["country"] = json!("France");
    order
}

#[test]
fn bad_lines_are_reported_with_their_place_and_have_no_effect() {
    let orders = format!(
        "{}\n\n{{\"orderId\": \n{}\n{}\n{}\n",
        a_line("1", 2),
        a_line("2", 0),
        a_line("3", 1),
        a_line("1", 1) // the first order's id with another content
    );
    let accounts = "{\"customerId\":\"ANN\",\"name\":\"Ann\",\"balanceCents\":10000}\nnonsense\n";
    let (folder, data) =
        (folder_of(accounts, &orders), tempfile::tempdir().expect("create a directory"));
    for _ in 0..2 {
        let output =
            replay(folder.path(), data.path(), &[]).arg("--sequential").output().expect("run shop");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        for place in
            ["accounts.jsonl:2: ", "orders.jsonl:3: ", "orders.jsonl:4: ", "orders.jsonl:6: "]
        {
            assert!(stderr.contains(place), "{place} is missing in\n{stderr}");
        }
        assert_eq!(
            report(&output),
            json!({
                "orders": 2, "completed": 2, "compensated": 0, "stuck": 0, "failedAt": {},
                "balanceCents": 10_000 - 3 * 250, "stockPieces": 2
            })
        );
    }
}

#[test]
fn a_folder_without_its_files_is_explained() {
    let (folder, data) = (
        tempfile::tempdir().expect("create a directory"),
        tempfile::tempdir().expect("create a directory"),
    );
    let output = replay(folder.path(), data.path(), &[]).output().expect("run shop");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("accounts.jsonl"));
}

#[test]
fn a_sequential_replay_of_the_real_orders_has_the_expected_figures() {
    let Some(folder) = northwind() else { return };
    let data = tempfile::tempdir().expect("create a directory");
    let first = replay(&folder, data.path(), &["--sequential"]).output().expect("run shop");
    assert_eq!(report(&first), figures());
    let again = replay(&folder, data.path(), &["--sequential"]).output().expect("run shop");
    assert_eq!(report(&again), figures(), "a repeated run changes nothing");
}

#[test]
fn a_concurrent_replay_of_the_real_orders_balances() {
    let Some(folder) = northwind() else { return };
    let data = tempfile::tempdir().expect("create a directory");
    let output =
        replay(&folder, data.path(), &["--concurrency", "100"]).output().expect("run shop");
    crate::killed::assert_balanced(&folder, data.path(), &report(&output));
}
