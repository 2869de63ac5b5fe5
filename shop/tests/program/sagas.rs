//! Sagas over HTTP: start, list, show, cancel and rescue.

use serde_json::json;

use crate::support::{
    Server, an_order, an_unpayable_order, data_with_failing_charges, data_with_stolen_locks,
};

const WAIT: [(&str, &str); 1] = [("prefer", "wait=30")];

#[test]
fn a_saga_is_started_and_shown_with_steps_and_journal() {
    let server = Server::ephemeral();
    let started = server.start("1", &an_order("1", 1), &WAIT);
    assert_eq!(
        (started.status, started.header("location")),
        (200, Some("/api/v1/sagas/checkout:1"))
    );
    let saga = server.get("/api/v1/sagas/checkout:1");
    assert_eq!((saga.header("etag"), started.header("etag")), (None, None));
    let saga = saga.json();
    assert_eq!(saga["revision"], started.json()["revision"]);
    assert_eq!((&saga["status"], &saga["allowedActions"]), (&json!("completed"), &json!([])));
    let steps = saga["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 5);
    assert!(steps.iter().all(|step| step["status"] == "done" && step["attempts"] == 1));
    assert_eq!(steps[0]["output"], json!({ "orderId": "1", "totalCents": 250 }));
    let revisions: Vec<_> = saga["journal"]
        .as_array()
        .expect("journal")
        .iter()
        .map(|e| e["revision"].as_u64())
        .collect();
    assert_eq!(
        revisions,
        (1..=revisions.len() as u64).map(Some).collect::<Vec<_>>(),
        "the journal has no gap"
    );
    assert!(saga["startedAt"].as_str().is_some_and(|at| at.ends_with('Z')), "RFC 3339");
}

#[test]
fn a_start_without_a_wait_is_accepted_at_once() {
    let server = Server::ephemeral();
    let started = server.start("2", &an_order("2", 1), &[]);
    assert_eq!((started.status, &started.json()["revision"]), (202, &json!(1)));
    assert_eq!(server.start("2", &an_order("2", 1), &WAIT).json()["status"], "completed");
}

/// The same key and input return the existing saga. Another input is a conflict, and an idempotency
/// key belongs to one request.
#[test]
fn a_repeated_start_is_one_saga() {
    let server = Server::ephemeral();
    let first = server.start("3", &an_order("3", 1), &WAIT);
    let again = server.start("3", &an_order("3", 1), &WAIT);
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    server.start("3", &an_order("3", 2), &[]).is_problem(409, "SAGA-0203");
    let keyed = [("idempotency-key", "abc"), ("prefer", "wait=30")];
    let first = server.start("4", &an_order("4", 1), &keyed);
    assert_eq!(first.body, server.start("4", &an_order("4", 1), &keyed).body);
    server.start("5", &an_order("5", 1), &keyed).is_problem(422, "SAGA-0204");
}

#[test]
fn a_list_is_filtered_and_paged_by_cursors() {
    let server = Server::ephemeral();
    for key in ["a", "b", "c"] {
        server.start(key, &an_order(key, 1), &WAIT);
    }
    server.start("d", &an_unpayable_order("d"), &WAIT);
    let ids = |path: &str| -> (Vec<String>, Option<String>) {
        let page = server.get(path).json();
        let sagas = page["sagas"].as_array().expect("sagas");
        let ids =
            sagas.iter().map(|saga| saga["key"].as_str().unwrap_or_default().to_owned()).collect();
        (ids, page["next"].as_str().map(str::to_owned))
    };
    assert_eq!(ids("/api/v1/sagas?status=compensated").0, ["d"]);
    assert_eq!(ids("/api/v1/sagas?definition=checkout&key=b").0, ["b"]);
    let (first, next) = ids("/api/v1/sagas?limit=3");
    assert_eq!(first, ["d", "c", "b"]);
    let (second, end) =
        ids(&format!("/api/v1/sagas?limit=3&cursor={}", next.expect("the page has a cursor")));
    assert_eq!((second.as_slice(), end), (["a".to_owned()].as_slice(), None));
    assert_eq!(server.get("/api/v1/sagas?key=d").json()["sagas"][0]["failedAt"], "charge-payment");
}

/// A cancel before the pivot is accepted, and the saga reports its outcome.
#[test]
fn a_running_saga_is_cancelled_and_undone() {
    let data = data_with_failing_charges();
    let server = Server::on(data.path());
    server.start("6", &an_order("6", 1), &[]);
    assert_eq!(server.get("/api/v1/sagas/checkout:6").json()["allowedActions"], json!(["cancel"]));
    let cancelled =
        server.post("/api/v1/sagas/checkout:6/cancel", &[], r#"{"reason":"ann: ordered twice"}"#);
    assert_eq!((cancelled.status, &cancelled.json()["message"]), (202, &json!("cancel requested")));
    assert_eq!(server.start("6", &an_order("6", 1), &WAIT).json()["status"], "compensated");
    server.post("/api/v1/sagas/checkout:6/cancel", &[], "").is_problem(409, "SAGA-0206");
    assert_eq!(server.get("/orders/6").json()["status"], "cancelled");
    let saga = server.get("/api/v1/sagas/checkout:6").json();
    assert_eq!(saga["cause"], json!({ "kind": "cancelled", "reason": "ann: ordered twice" }));
    assert!(
        saga["journal"].to_string().contains("ann: ordered twice"),
        "the journal has the reason: {saga}"
    );
    let drawn = String::from_utf8(server.cli(&["show", "6"]).stdout).expect("the output is UTF-8");
    assert!(drawn.contains("compensation: cancelled: ann: ordered twice"), "{drawn}");
}

/// A stuck saga takes verbs for its step instead, past the pivot and while it is compensating.
#[test]
fn a_cancel_of_a_stuck_saga_is_refused_with_the_reason() {
    let data = data_with_stolen_locks();
    let server = Server::on(data.path());
    server.start("1", &an_unpayable_order("1"), &WAIT); // its order cannot be cancelled
    assert_eq!(server.get("/api/v1/sagas/checkout:1").json()["status"], "stuck");
    let refused = server.post("/api/v1/sagas/checkout:1/cancel", &[], "");
    refused.is_problem(409, "SAGA-0208");
    assert!(
        refused.json()["detail"].to_string().contains("use retry, skip or resolve"),
        "{}",
        refused.body
    );
}

/// After an expired wait, the response has the current status and revision.
#[test]
fn an_expired_wait_returns_the_current_status() {
    let data = data_with_failing_charges();
    let server = Server::on(data.path());
    let waited = server.start("1", &an_order("1", 1), &[("prefer", "wait=1")]);
    let revision = waited.json()["revision"].as_u64().expect("the body has a revision");
    let journal = server.get("/api/v1/sagas/checkout:1").json()["journal"].clone();
    let entry =
        journal.as_array().expect("entries").iter().position(|entry| entry["revision"] == revision);
    assert_eq!(
        (waited.status, revision > 1, entry.is_some()),
        (202, true, true),
        "{} {journal}",
        waited.body
    );
}

#[test]
fn a_cancel_after_the_pivot_is_refused() {
    let server = Server::ephemeral();
    server.start("7", &an_order("7", 1), &WAIT);
    server.post("/api/v1/sagas/checkout:7/cancel", &[], "").is_problem(409, "SAGA-0205");
}

#[test]
fn a_start_after_its_cancel_returns_the_cancelled_saga() {
    let server = Server::ephemeral();
    assert_eq!(server.post("/api/v1/sagas/checkout:8/cancel", &[], "").status, 202);
    let started = server.start("8", &an_order("8", 1), &WAIT);
    assert_eq!((started.status, &started.json()["status"]), (200, &json!("compensated")));
    assert_eq!(server.get("/stock/SAMPLE").json()["reserved"], 0);
}

#[test]
fn a_stuck_step_is_settled_by_an_operator() {
    let data = data_with_stolen_locks();
    let server = Server::on(data.path());
    let stuck = server.start("9", &an_order("9", 1), &WAIT);
    assert_eq!((stuck.status, &stuck.json()["status"]), (200, &json!("stuck")));
    let saga = server.get("/api/v1/sagas/checkout:9").json();
    assert_eq!(saga["steps"][4]["allowedActions"], json!(["retry", "skip", "resolve"]));
    let verb = |verb: &str, body: &str| {
        server.post(&format!("/api/v1/sagas/checkout:9/{verb}"), &[], body)
    };
    verb("resolve", r#"{"step":"confirm-order","reason":" "}"#).is_problem(400, "SAGA-0103");
    verb("resolve", r#"{"step":"nothing","reason":"ann"}"#).is_problem(404, "SAGA-0207");
    verb("skip", r#"{"step":"create-order","reason":"ann"}"#).is_problem(409, "SAGA-0208");
    assert_eq!(verb("retry", r#"{"step":"confirm-order","reason":"ann: once more"}"#).status, 202);
    assert_eq!(
        server.start("9", &an_order("9", 1), &WAIT).json()["status"],
        "stuck",
        "refused again"
    );
    assert_eq!(
        verb("resolve", r#"{"step":"confirm-order","reason":"ann: confirmed by hand"}"#).status,
        202
    );
    assert_eq!(server.start("9", &an_order("9", 1), &WAIT).json()["status"], "completed");
    verb("resolve", r#"{"step":"confirm-order","reason":"ann"}"#).is_problem(409, "SAGA-0206");
    let journal = server.get("/api/v1/sagas/checkout:9").json()["journal"].to_string();
    assert!(
        journal.contains("confirmed by hand"),
        "the journal has the operator and the reason: {journal}"
    );
}

#[test]
fn the_metrics_report_sagas_lag_and_batches() {
    let data = data_with_failing_charges();
    let server = Server::on(data.path());
    server.start("10", &an_order("10", 1), &[]);
    let metrics = server.get("/metrics").body;
    for name in [
        "sagamore_sagas{state=\"running\"} 1",
        "sagamore_sagas{state=\"stuck\"} 0",
        "sagamore_replies_lag",
        "sagamore_participant_lag{service=\"order\"}",
        "sagamore_oldest_outstanding_step_seconds",
        "sagamore_turn_inputs",
        "sagamore_sagas_in_flight 1",
        "sagamore_log_bytes",
    ] {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }
}

/// Too many sagas are running: the start is refused with a retry time, and has no effect.
#[test]
fn a_start_beyond_the_bound_is_refused_with_retry_after() {
    let data = data_with_failing_charges();
    let server = Server::small(data.path(), "2");
    let refused = (0..100)
        .map(|key| (key, server.start(&key.to_string(), &an_order(&key.to_string(), 1), &[])));
    let (key, refused) =
        refused.into_iter().find(|(_, answer)| answer.status != 202).expect("the bound is reached");
    refused.is_problem(429, "SAGA-0400");
    assert_eq!(refused.header("retry-after"), Some("1"));
    server.get(&format!("/api/v1/sagas/checkout:{key}")).is_problem(404, "SAGA-0200");
    assert_eq!(server.get("/readyz").status, 200);
}
