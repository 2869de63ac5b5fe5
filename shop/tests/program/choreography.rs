//! `--choreography`: the same orders and the same words, and nobody who directs.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::replay::{figures, replay, report};
use crate::support::{Server, an_order, an_order_nobody_pays, northwind};

#[test]
fn the_articles_address_answers_in_the_articles_words() {
    let server = Server::choreographed();
    let asked = server.get("/saga/start/12345?wait=10");
    assert_eq!(
        (asked.status, asked.message()),
        (200, "Saga completed successfully for order 12345".into())
    );
    let again = server.get("/saga/start/12345?wait=10");
    assert_eq!(again.message(), "Saga completed successfully for order 12345");
    assert!(
        server.get("/").body.contains("/api/v1/sagas/{id}"),
        "the front page says what there is"
    );
}

#[test]
fn an_order_that_fails_is_over_only_when_all_undos_are_there_and_its_tree_says_why() {
    let server = Server::choreographed();
    let order = an_order_nobody_pays("1").to_string();
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

    assert_eq!(server.post("/orders", &[], &order).status, 202, "the same once more");
    server.post("/orders", &[], &an_order("1", 7).to_string()).is_problem(409, "SAGA-0203");
    let listed = server.get("/api/v1/sagas?status=compensated").json();
    assert_eq!(listed["sagas"].as_array().map(Vec::len), Some(1));
}

/// One view of both styles: the same commands, the same words.
#[test]
fn a_chain_is_listed_shown_and_watched_as_a_saga() {
    let server = Server::choreographed();
    server.post("/orders", &[("prefer", "wait=10")], &an_order_nobody_pays("2").to_string());
    assert_eq!(server.get("/saga/start/3?wait=10").status, 200);
    let said = |arguments: &[&str]| {
        let output = server.cli(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said)
    };
    let (_, listed) = said(&["list"]);
    assert!(listed.contains("fulfilment:2  choreography  compensated  payment"), "{listed}");
    assert!(listed.contains("fulfilment:3  choreography  completed    -"), "{listed}");
    assert_eq!(said(&["list", "--style", "orchestration"]).1, "");
    assert!(!said(&["list", "--status", "completed"]).1.contains("fulfilment:2"));
    assert!(
        !said(&["list", "--definition", "fulfilment", "--key", "3"]).1.contains("fulfilment:2")
    );
    let (code, watched) = said(&["watch", "2"]);
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

/// Who comes from orchestration learns what there is instead.
#[test]
fn nobody_directs_and_what_asks_for_it_says_so() {
    let server = Server::choreographed();
    server.post("/orders", &[("prefer", "wait=10")], &an_order_nobody_pays("4").to_string());
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
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(part), "{arguments:?}: {said}");
    };
    refused(&["cancel", "4", "--yes"], "fulfilment:4 is a choreography: it cannot be cancelled");
    refused(&["retry", "4", "--reason", "ann", "--yes"], "shop resolve fulfilment:4 --reason WHY");
    refused(&["resolve", "4", "--reason", "ann", "--yes"], "fulfilment:4 is compensated");
    refused(&["start", "5"], "SAGA-0209");
}

/// Nothing is reserved, so nothing is promised: the prompt of an orchestrator's cancel does not appear.
#[test]
fn a_cancel_of_a_chain_that_was_never_seen_reserves_nothing_and_says_what_to_do() {
    let server = Server::choreographed();
    let cancelled = server.post("/api/v1/sagas/typo/cancel", &[], "");
    cancelled.is_problem(409, "SAGA-0209");
    let detail = cancelled.json()["detail"].as_str().expect("a text").to_owned();
    for part in ["no event of the chain fulfilment:typo was ever seen", "reserves no key", "list"] {
        assert!(detail.contains(part), "'{part}' is not in {detail}");
    }
    server.post("/api/v1/sagas/%2E/cancel", &[], "").is_problem(400, "SAGA-0107");
    for arguments in [&["cancel", "typo"][..], &["cancel", "typo", "--yes"]] {
        let output = server.cli(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("no event of the chain fulfilment:typo was ever seen"), "{said}");
        assert!(said.contains("shop list") && !said.contains("reserves its key"), "{said}");
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

/// The counts by service, instead of by step.
fn by_service() -> Value {
    let mut figures = figures();
    figures["failedAt"] = json!({ "payment": 113, "inventory": 29, "shipping": 59 });
    figures
}

#[test]
fn the_real_orders_come_to_the_same_figures_also_when_it_is_killed_on_the_way() {
    let Some(folder) = northwind() else { return };
    let data = tempfile::tempdir().expect("a directory");
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
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("run it");
        while counted() < kill_at {
            assert!(
                child.try_wait().expect("ask for it").is_none(),
                "it ended before it could be killed"
            );
        }
        child.kill().expect("kill -9");
        child.wait().expect("it is gone");
    }
    let output =
        replay(&folder, data.path(), &["--choreography", "--sequential"]).output().expect("run it");
    assert_eq!(report(&output), by_service());
}
