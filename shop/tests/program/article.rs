//! The route `/saga/start` and its messages.

use crate::support::{
    Server, an_order, an_unpayable_order, data_with_failing_charges, data_with_stolen_locks,
};

#[test]
fn the_articles_route_uses_the_articles_words() {
    let server = Server::ephemeral();
    let started = server.get("/saga/start/12345");
    assert_eq!(
        (started.status, started.message().as_str()),
        (200, "Saga started for Order ID: 12345")
    );
    let ended = server.get("/saga/start/12345?wait=10");
    assert_eq!(
        (ended.status, ended.message().as_str()),
        (200, "Saga completed successfully for order 12345")
    );
}

/// An order that was never placed gets a sample order, the same one each time.
#[test]
fn a_repeated_start_returns_the_existing_saga() {
    let server = Server::ephemeral();
    for _ in 0..3 {
        let answer = server.get("/saga/start/7?wait=10");
        assert_eq!(answer.message(), "Saga completed successfully for order 7");
    }
    assert_eq!(server.get("/saga/start/7").message(), "Saga completed successfully for order 7");
    assert_eq!(server.get("/api/v1/sagas").json()["sagas"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        server.get("/accounts/SAMPLE").json()["balanceCents"],
        1_000_000_000_000_000_i64 - 100
    );
}

#[test]
fn the_articles_route_follows_a_placed_order() {
    let server = Server::ephemeral();
    let placed =
        server.post("/orders", &[("prefer", "wait=10")], &an_unpayable_order("8").to_string());
    assert_eq!(placed.json()["status"], "compensated");
    let answer = server.get("/saga/start/8?wait=10");
    assert_eq!((answer.status, answer.message().as_str()), (200, "Saga failed for order 8"));
}

/// A response has the outcome, or reports that it is not known yet.
#[test]
fn an_unfinished_saga_is_reported_as_running() {
    let data = data_with_failing_charges();
    let server = Server::on(data.path());
    let answer = server.get("/saga/start/9?wait=0");
    assert_eq!((answer.status, answer.message().as_str()), (202, "Saga still running for order 9"));
    let placed = server.post("/orders", &[], &an_order("10", 1).to_string());
    assert_eq!(placed.status, 202);
    let answer = server.get("/saga/start/10?wait=0");
    assert_eq!(
        (answer.status, answer.message().as_str()),
        (202, "Saga still running for order 10")
    );
}

#[test]
fn a_stuck_saga_is_reported_as_needing_an_operator() {
    let data = data_with_stolen_locks();
    let server = Server::on(data.path());
    let answer = server.get("/saga/start/11?wait=30");
    assert_eq!(
        (answer.status, answer.message().as_str()),
        (200, "Saga stuck for order 11: needs an operator")
    );
}

#[test]
fn a_wait_is_capped_and_the_cap_is_reported() {
    let server = Server::ephemeral();
    let answer = server.get("/saga/start/12?wait=3600");
    assert_eq!((answer.status, answer.header("preference-applied")), (200, Some("wait=30")));
    server.get("/saga/start/12?wait=soon").is_problem(400, "SAGA-0106");
}

#[test]
fn a_head_request_starts_no_saga() {
    let server = Server::ephemeral();
    assert_eq!(server.send("HEAD", "/saga/start/13", &[], "").status, 405);
    assert_eq!(server.get("/api/v1/sagas").json()["sagas"].as_array().map(Vec::len), Some(0));
}
