//! `sagamore reconcile` finds rows that were deleted from databases, or added to them, from
//! outside.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Server, an_unpayable_order};

/// Changes a database that no process has open.
fn tamper(file: &Path, sql: &str) {
    let database = rusqlite::Connection::open(file).expect("open");
    database.execute_batch(sql).expect("change the database");
}

/// Runs the command and returns the exit code and the report.
fn reconcile(server: &Server, more: &[&str]) -> (Option<i32>, Value) {
    let output = server.cli(&[&["reconcile", "-o", "json"], more].concat());
    let report = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))),
    )
}

fn inconsistencies(report: &Value) -> Vec<(&str, &str, &str)> {
    let found = report["inconsistent"].as_array().expect("the report has a list");
    let text = |value: &Value| {
        value["what"].as_str().expect("the entry has a text").to_owned().leak() as &str
    };
    found
        .iter()
        .map(|found| {
            (
                found["saga"].as_str().expect("the entry has an id"),
                found["service"].as_str().expect("the entry has a service"),
                text(found),
            )
        })
        .collect()
}

#[test]
fn contradictions_between_services_and_sagas_are_listed() {
    let data = tempfile::tempdir().expect("create a directory");
    let server = Server::on(data.path());
    for key in ["1", "2", "3"] {
        assert_eq!(server.get(&format!("/saga/start/{key}?wait=10")).status, 200);
    }
    let refused = an_unpayable_order("4").to_string();
    assert_eq!(server.post("/orders", &[("prefer", "wait=10")], &refused).status, 200);
    let (code, report) = reconcile(&server, &[]);
    assert_eq!((code, &report["inconsistent"], &report["open"]), (Some(0), &json!([]), &json!([])));
    assert_eq!((&report["sagas"], report["facts"].as_u64() > Some(15)), (&json!(4), true));
    drop(server);

    let file = |name: &str| data.path().join(format!("{name}.sqlite"));
    tamper(&file("shipping"), "DELETE FROM barrier WHERE saga = 'checkout:1'");
    tamper(&file("payment"), "UPDATE barrier SET status = 'refused' WHERE saga = 'checkout:2'");
    tamper(
        &file("order"),
        "DELETE FROM barrier WHERE saga = 'checkout:4' AND direction = 'compensation'",
    );
    tamper(
        &file("inventory"),
        "INSERT INTO barrier SELECT 'checkout:99', step, direction, generation, status, answer, 1
         FROM barrier WHERE saga = 'checkout:3'",
    );
    let server = Server::on(data.path());
    let (code, report) = reconcile(&server, &[]);
    let wanted = [
        ("checkout:1", "shipping", "done in the saga, but the service has no row of it"),
        ("checkout:2", "payment", "done in the saga, but never done at the service"),
        (
            "checkout:4",
            "order",
            "done at the service and never undone, although the saga has ended",
        ),
        ("checkout:99", "inventory", "done at the service, but the saga does not exist"),
    ];
    assert_eq!((code, inconsistencies(&report)), (Some(1), wanted.to_vec()));
    for page in ["1", "2", "3"] {
        let (_, by_pages) = reconcile(&server, &["--page", page]);
        assert_eq!(by_pages, report, "{page} at a time");
    }
    let listed = server.get("/api/v1/sagas?limit=2&after=checkout:1").json();
    let ids: Vec<&str> = listed["sagas"]
        .as_array()
        .expect("the page has a list")
        .iter()
        .filter_map(|saga| saga["id"].as_str())
        .collect();
    assert_eq!((ids, &listed["next"]), (vec!["checkout:2", "checkout:3"], &json!("checkout:3")));
    server.get("/api/v1/sagas?after=a&cursor=s1.1").is_problem(400, "SAGA-0106");
    let table = String::from_utf8(server.cli(&["reconcile"]).stdout).expect("the output is UTF-8");
    assert!(table.contains("4 sagas compared") && table.contains("4 inconsistent"), "{table}");
    let (code, report) = reconcile(&server, &["--since", "0s"]);
    assert_eq!((code, &report["sagas"]), (Some(0), &json!(0)));
}

/// The observer has lost a chain. Its events are published again, and have no second effect.
#[test]
fn reconcile_republishes_the_events_of_a_lost_chain() {
    let data = tempfile::tempdir().expect("create a directory");
    let server = Server::choreographed_on(data.path());
    for key in ["1", "2"] {
        assert_eq!(server.get(&format!("/saga/start/{key}?wait=10")).status, 200);
    }
    assert_eq!(reconcile(&server, &[]).0, Some(0));
    drop(server);
    let folder = data.path().join("choreography");
    let aged = |stored_at: &str| {
        for name in ["order", "payment", "inventory", "shipping"] {
            tamper(
                &folder.join(format!("{name}.sqlite")),
                &format!("UPDATE barrier SET stored_at = {stored_at}"),
            );
        }
    };
    aged("1");
    let observer = folder.join("observer.sqlite");
    let of_1 = "(SELECT seq FROM chain WHERE id = 'fulfilment:1')";
    tamper(
        &observer,
        &format!(
            "DELETE FROM chain_event WHERE chain = {of_1}; DELETE FROM chain WHERE seq = {of_1}"
        ),
    );
    let server = Server::choreographed_on(data.path());
    let (code, report) = reconcile(&server, &["--resend"]);
    assert_eq!(
        (code, inconsistencies(&report), &report["resent"]),
        (Some(0), vec![], &json!(0)),
        "a chain of this age may have been removed"
    );
    drop(server);
    aged("CAST(strftime('%s', 'now') AS INTEGER) * 1000 - 3600000");
    let server = Server::choreographed_on(data.path());
    let (code, report) = reconcile(&server, &["--resend"]);
    let unseen = "done at the service, but no event of its chain was ever seen";
    let services: Vec<&str> =
        inconsistencies(&report).iter().map(|(_, service, _)| *service).collect();
    assert_eq!(inconsistencies(&report)[0], ("fulfilment:1", "inventory", unseen));
    assert_eq!(
        (code, services),
        (Some(1), vec!["inventory", "order", "order", "payment", "shipping"])
    );
    assert_eq!(report["resent"], 5);
    server.send("GET", "/api/v1/sagas/1", &[("prefer", "wait=10")], "");
    let (code, report) = reconcile(&server, &["--resend"]);
    assert_eq!((code, &report["resent"]), (Some(0), &json!(0)));
    assert_eq!(server.get("/orders/1").json()["status"], "confirmed");
}
