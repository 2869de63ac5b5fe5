//! The article's own route, in the article's words.

use crate::support::{
    Server, an_order, an_order_nobody_pays, data_where_nobody_can_pay,
    data_where_orders_lose_their_lock,
};

#[test]
fn the_articles_route_answers_in_the_articles_words() {
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

/// An order id that was never placed gets a sample order, the same one each time.
#[test]
fn a_repeat_returns_the_saga_there_is() {
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
fn the_articles_route_refers_to_an_order_that_was_placed() {
    let server = Server::ephemeral();
    let placed =
        server.post("/orders", &[("prefer", "wait=10")], &an_order_nobody_pays("8").to_string());
    assert_eq!(placed.json()["status"], "compensated");
    let answer = server.get("/saga/start/8?wait=10");
    assert_eq!((answer.status, answer.message().as_str()), (200, "Saga failed for order 8"));
}

/// The answer to a client is the outcome, or says plainly that it is not known yet.
#[test]
fn a_saga_that_is_not_finished_is_told_as_running() {
    let data = data_where_nobody_can_pay();
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
fn a_stuck_saga_is_told_as_one_that_needs_an_operator() {
    let data = data_where_orders_lose_their_lock();
    let server = Server::on(data.path());
    let answer = server.get("/saga/start/11?wait=30");
    assert_eq!(
        (answer.status, answer.message().as_str()),
        (200, "Saga stuck for order 11: needs an operator")
    );
}

/// Waiting time is capped, and the cap is told.
#[test]
fn a_wait_is_capped_and_the_cap_is_told() {
    let server = Server::ephemeral();
    let answer = server.get("/saga/start/12?wait=3600");
    assert_eq!((answer.status, answer.header("preference-applied")), (200, Some("wait=30")));
    server.get("/saga/start/12?wait=soon").is_problem(400, "SAGA-0106");
}

#[test]
fn asking_with_head_starts_nothing() {
    let server = Server::ephemeral();
    assert_eq!(server.send("HEAD", "/saga/start/13", &[], "").status, 405);
    assert_eq!(server.get("/api/v1/sagas").json()["sagas"].as_array().map(Vec::len), Some(0));
}
