//! `--choreography`: the same orders and messages without an orchestrator.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::replay::{figures, replay, report};
use crate::support::{Server, an_order, an_unpayable_order, northwind};

#[test]
fn the_articles_route_uses_the_articles_words_in_a_choreography() {
    let server = Server::choreographed();
    let first = server.get("/saga/start/12345?wait=10");
    assert_eq!(
        (first.status, first.message()),
        (200, "Saga completed successfully for order 12345".into())
    );
    let again = server.get("/saga/start/12345?wait=10");
    assert_eq!(again.message(), "Saga completed successfully for order 12345");
    assert!(server.get("/").body.contains("/api/v1/sagas/{id}"), "the front page lists the routes");
}

#[test]
fn a_failed_order_ends_with_its_last_undo_and_shows_the_cause() {
    let server = Server::choreographed();
    let order = an_unpayable_order("1").to_string();
    let placed = server.post("/orders", &[("prefer", "wait=10")], &order);
    assert_eq!(
        (placed.status, placed.json()),
        (200, json!({ "id": "fulfilment:1", "status": "compensated" }))
    );
    assert_eq!(server.get("/orders/1").json()["status"], "cancelled");
    let chain = server.get("/api/v1/sagas/1").json();
    let events: Vec<(&str, u64)> =
        chain["events"].as_array().expect("events").iter().map(name_and_depth).collect();
    assert_eq!(events, [("order.created", 0), ("payment.failed", 1), ("order.cancelled", 2)]);
    assert_eq!((&chain["style"], &chain["failedAt"]), (&json!("choreography"), &json!("payment")));

    assert_eq!(server.post("/orders", &[], &order).status, 202, "a repetition");
    server.post("/orders", &[], &an_order("1", 7).to_string()).is_problem(409, "SAGA-0203");
    let listed = server.get("/api/v1/sagas?status=compensated").json();
    assert_eq!(listed["sagas"].as_array().map(Vec::len), Some(1));
}

/// Commands and output are the same in both styles.
#[test]
fn a_chain_is_listed_shown_and_watched_like_a_saga() {
    let server = Server::choreographed();
    server.post("/orders", &[("prefer", "wait=10")], &an_unpayable_order("2").to_string());
    assert_eq!(server.get("/saga/start/3?wait=10").status, 200);
    let run = |arguments: &[&str]| {
        let output = server.cli(arguments);
        let run = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), run)
    };
    let (_, listed) = run(&["list"]);
    assert!(listed.contains("fulfilment:2  choreography  compensated  payment"), "{listed}");
    assert!(listed.contains("fulfilment:3  choreography  completed    -"), "{listed}");
    assert_eq!(run(&["list", "--style", "orchestration"]).1, "");
    assert!(!run(&["list", "--status", "completed"]).1.contains("fulfilment:2"));
    assert!(!run(&["list", "--definition", "fulfilment", "--key", "3"]).1.contains("fulfilment:2"));
    let (code, watched) = run(&["watch", "2"]);
    assert_eq!(code, Some(3), "{watched}");
    for line in [
        "fulfilment:2  compensated",
        "├─ ↶ create    undone",
        "├─ ✗ charge    refused: ",
        "├─ · reserve   waiting",
        "├─ · schedule  waiting (pivot)",
        "└─ · confirm   waiting (retriable)",
        "compensation: refused at charge",
        "\n     payment.failed ",
        "\n        order.cancelled ",
    ] {
        assert!(watched.contains(line), "'{line}' is not in\n{watched}");
    }
    let shown = server.get("/api/v1/sagas/fulfilment:3").json();
    assert_eq!(
        (&shown["waitsFor"], &shown["steps"][0]["participant"]),
        (&json!([]), &json!("order"))
    );
    assert_eq!(shown["input"]["orderId"], "3");
}

/// The problems name the alternative in a choreography.
#[test]
fn verbs_of_orchestration_are_refused_for_a_chain() {
    let server = Server::choreographed();
    server.post("/orders", &[("prefer", "wait=10")], &an_unpayable_order("4").to_string());
    let start = json!({ "definition": "checkout", "key": "5" }).to_string();
    server.post("/api/v1/sagas", &[], &start).is_problem(409, "SAGA-0209");
    for verb in ["cancel", "retry", "skip"] {
        server
            .post(&format!("/api/v1/sagas/fulfilment:4/{verb}"), &[], "{}")
            .is_problem(409, "SAGA-0209");
    }
    let because = json!({ "reason": "ann: looked at" }).to_string();
    server.post("/api/v1/sagas/4/resolve", &[], &because).is_problem(409, "SAGA-0206");
    server.post("/api/v1/sagas/never/resolve", &[], &because).is_problem(404, "SAGA-0200");
    server
        .post("/api/v1/sagas/4/resolve", &[], &json!({ "reason": " " }).to_string())
        .is_problem(400, "SAGA-0103");
    let long = json!({ "reason": "a".repeat(1_001) }).to_string();
    server.post("/api/v1/sagas/4/resolve", &[], &long).is_problem(400, "SAGA-0103");
    server
        .post("/api/v1/sagas/4/resolve", &[], &json!({ "reason": "a\u{0}b" }).to_string())
        .is_problem(400, "SAGA-0103");
    server.post("/orders/4/cancel", &[], "").is_problem(409, "SAGA-0302");
    server.post("/orders/4/unlock", &[], "").is_problem(409, "SAGA-0306");
    let refused = |arguments: &[&str], part: &str| {
        let output = server.cli(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(1) && stderr.contains(part),
            "{arguments:?}: {stderr}"
        );
    };
    refused(&["cancel", "4", "--yes"], "fulfilment:4 is a choreography: it cannot be cancelled");
    refused(&["retry", "4", "--reason", "ann", "--yes"], "shop resolve fulfilment:4 --reason WHY");
    refused(&["resolve", "4", "--reason", "ann", "--yes"], "fulfilment:4 is compensated");
    refused(&["start", "5"], "SAGA-0209");
}

/// A cancel of an unknown chain reserves nothing, so the prompt of an orchestrator's cancel does
/// not appear.
#[test]
fn a_cancel_of_an_unknown_chain_reserves_no_key() {
    let server = Server::choreographed();
    let cancelled = server.post("/api/v1/sagas/typo/cancel", &[], "");
    cancelled.is_problem(409, "SAGA-0209");
    let detail = cancelled.json()["detail"].as_str().expect("the detail is a text").to_owned();
    for part in ["no event of the chain fulfilment:typo was ever seen", "reserves no key", "list"] {
        assert!(detail.contains(part), "'{part}' is not in {detail}");
    }
    server.post("/api/v1/sagas/%2E/cancel", &[], "").is_problem(400, "SAGA-0107");
    for arguments in [&["cancel", "typo"][..], &["cancel", "typo", "--yes"]] {
        let output = server.cli(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains("no event of the chain fulfilment:typo was ever seen"), "{stderr}");
        assert!(stderr.contains("shop list") && !stderr.contains("reserves its key"), "{stderr}");
    }
    let placed = server.post("/orders", &[("prefer", "wait=10")], &an_order("typo", 1).to_string());
    assert_eq!(placed.json()["status"], "completed", "the key is free");
    let known = server.post("/api/v1/sagas/typo/cancel", &[], "");
    known.is_problem(409, "SAGA-0209");
    assert!(known.json()["detail"].to_string().contains("fulfilment:typo"), "{}", known.body);
}

fn name_and_depth(event: &Value) -> (&str, u64) {
    (event["name"].as_str().expect("a name"), event["depth"].as_u64().expect("a depth"))
}

/// Returns the expected figures, with failures by service instead of by step.
fn by_service() -> Value {
    let mut figures = figures();
    figures["failedAt"] = json!({ "payment": 113, "inventory": 29, "shipping": 59 });
    figures
}

#[test]
fn a_killed_choreographed_replay_of_the_real_orders_has_the_same_figures() {
    let Some(folder) = northwind() else { return };
    let data = tempfile::tempdir().expect("create a directory");
    let orders = data.path().join("choreography/order.sqlite");
    let counted = || {
        let read = rusqlite::Connection::open(&orders).and_then(|database| {
            database.query_row("SELECT count(*) FROM orders WHERE status <> 'pending'", [], |row| {
                row.get::<_, i64>(0)
            })
        });
        read.unwrap_or(0)
    };
    for kill_at in [50, 300, 600] {
        let mut command = replay(&folder, data.path(), &["--choreography", "--sequential"]);
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("run shop");
        while counted() < kill_at {
            assert!(
                child.try_wait().expect("poll the process").is_none(),
                "the replay ended before it could be killed"
            );
        }
        child.kill().expect("kill -9");
        child.wait().expect("wait for the process");
    }
    let output = replay(&folder, data.path(), &["--choreography", "--sequential"])
        .output()
        .expect("run shop");
    assert_eq!(report(&output), by_service());
}
