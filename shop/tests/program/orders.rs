//! Orders over HTTP: placed once, readable at once, locked while their saga runs.

use serde_json::json;

use crate::support::{Server, an_order, an_unpayable_order, change, data_with_failing_charges};

#[test]
fn an_order_is_placed_and_its_outcome_returned() {
    let server = Server::ephemeral();
    let placed = server.post("/orders", &[("prefer", "wait=10")], &an_order("1", 3).to_string());
    assert_eq!((placed.status, placed.header("location")), (200, Some("/orders/1")));
    assert_eq!(placed.header("preference-applied"), Some("wait=10"));
    assert_eq!(placed.json()["status"], "completed");
    let order = server.get("/orders/1").json();
    assert_eq!((&order["status"], &order["totalCents"]), (&json!("confirmed"), &json!(750)));
    assert_eq!(order["saga"]["status"], "completed");
    assert_eq!(server.get("/stock/SAMPLE").json()["reserved"], 3);
}

#[test]
fn an_accepted_order_is_readable_at_once() {
    let data = data_with_failing_charges();
    let server = Server::on(data.path());
    for id in 0..20 {
        let placed = server.post("/orders", &[], &an_order(&id.to_string(), 1).to_string());
        assert_eq!(
            (placed.status, placed.header("location")),
            (202, Some(format!("/orders/{id}").as_str()))
        );
        let order = server.get(&format!("/orders/{id}"));
        assert_eq!(order.status, 200, "{}", order.body);
        assert_eq!(order.json()["saga"]["status"], "running");
    }
    server.get("/orders/99").is_problem(404, "SAGA-0300");
}

#[test]
fn a_refused_order_costs_nothing() {
    let server = Server::ephemeral();
    let before = server.get("/stock/SAMPLE").json();
    let placed =
        server.post("/orders", &[("prefer", "wait=10")], &an_unpayable_order("2").to_string());
    assert_eq!((placed.status, &placed.json()["status"]), (200, &json!("compensated")));
    assert_eq!(server.get("/orders/2").json()["status"], "cancelled");
    assert_eq!(server.get("/stock/SAMPLE").json(), before);
}

/// A business key has one saga. The same body finds it, another body is a conflict.
#[test]
fn a_repeated_order_is_one_saga_and_another_body_a_conflict() {
    let server = Server::ephemeral();
    let order = an_order("3", 1).to_string();
    let first = server.post("/orders", &[("prefer", "wait=10")], &order);
    let again = server.post("/orders", &[("prefer", "wait=10")], &order);
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    server.post("/orders", &[], &an_order("3", 2).to_string()).is_problem(409, "SAGA-0203");
    assert_eq!(server.get("/stock/SAMPLE").json()["reserved"], 1);
}

/// A client may retry with its idempotency key, which belongs to one body.
#[test]
fn an_idempotency_key_belongs_to_one_request() {
    let server = Server::ephemeral();
    let key = [("idempotency-key", "k-1"), ("prefer", "wait=10")];
    let first = server.post("/orders", &key, &an_order("4", 1).to_string());
    let again = server.post("/orders", &key, &an_order("4", 1).to_string());
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    server.post("/orders", &key, &an_order("5", 1).to_string()).is_problem(422, "SAGA-0204");
    server.get("/orders/5").is_problem(404, "SAGA-0300");
}

/// The lock is visible, and only the saga settles the order.
#[test]
fn a_pending_order_cannot_be_cancelled_from_outside() {
    let data = data_with_failing_charges();
    let server = Server::on(data.path());
    assert_eq!(server.post("/orders", &[], &an_order("6", 1).to_string()).status, 202);
    server.post("/orders/6/cancel", &[], "").is_problem(409, "SAGA-0301");
    assert_eq!(server.get("/orders/6").json()["saga"]["status"], "running");
    server.post("/orders/nothing/cancel", &[], "").is_problem(404, "SAGA-0300");
}

#[test]
fn only_an_unlock_removes_the_lock_of_a_saga_at_rest() {
    let data = tempfile::tempdir().expect("create a directory");
    let server = Server::on(data.path());
    server.post("/orders", &[("prefer", "wait=10")], &an_order("9", 1).to_string());
    // the order is not locked
    server.post("/orders/9/unlock", &[], "").is_problem(409, "SAGA-0306");
    assert!(server.terminate().success());
    change(data.path(), "order", "UPDATE orders SET status = 'pending', locked_by = 'checkout:9'");
    let server = Server::on(data.path());
    server.post("/orders/9/cancel", &[], "").is_problem(409, "SAGA-0301");
    assert_eq!(server.post("/orders/9/unlock", &[], "").status, 200);
    assert_eq!(server.post("/orders/9/cancel", &[], "").json()["status"], "cancelled");
    server.post("/orders/nothing/unlock", &[], "").is_problem(404, "SAGA-0300");
    assert!(server.terminate().success());
    change(
        data.path(),
        "order",
        "UPDATE orders SET status = 'pending', locked_by = 'checkout:gone'",
    );
    let server = Server::on(data.path());
    server.post("/orders/9/unlock", &[], "").is_problem(409, "SAGA-0307"); // that saga is unknown
    assert_eq!(server.post("/orders/9/unlock?force=true", &[], "").status, 200);

    let data = data_with_failing_charges();
    let server = Server::on(data.path());
    assert_eq!(server.post("/orders", &[], &an_order("6", 1).to_string()).status, 202);
    server.post("/orders/6/unlock", &[], "").is_problem(409, "SAGA-0301"); // its saga is running
    server.post("/orders/6/unlock?force=true", &[], "").is_problem(409, "SAGA-0301");
}

#[test]
fn a_confirmed_order_cannot_be_cancelled() {
    let server = Server::ephemeral();
    server.post("/orders", &[("prefer", "wait=10")], &an_order("7", 1).to_string());
    server.post("/orders/7/cancel", &[], "").is_problem(409, "SAGA-0302");
    assert_eq!(server.get("/orders/7").json()["status"], "confirmed");
}

#[test]
fn lines_of_one_sku_are_summed_before_the_check() {
    let server = Server::ephemeral();
    let mut order = an_order("8", 600_000_000_000);
    order["lines"][0]["unitPriceCents"] = json!(1);
    order["lines"] = json!([order["lines"][0], order["lines"][0]]);
    let placed = server.post("/orders", &[("prefer", "wait=10")], &order.to_string());
    assert_eq!(
        placed.json()["status"],
        "compensated",
        "the stock suffices for each line, but not for both"
    );
    assert_eq!(server.get("/stock/SAMPLE").json()["reserved"], 0);
}

#[test]
fn an_invalid_order_starts_no_saga() {
    let server = Server::ephemeral();
    server.post("/orders", &[], &an_order("9", 0).to_string()).is_problem(422, "SAGA-0305");
    server.get("/orders/9").is_problem(404, "SAGA-0300");
}
