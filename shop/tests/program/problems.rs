//! Every error of the API is a problem document with a stable code.

use crate::support::{Server, an_order};

#[test]
fn every_client_error_is_a_problem() {
    let server = Server::ephemeral();
    server.get("/nope").is_problem(404, "SAGA-0100");
    server.send("DELETE", "/orders", &[], "").is_problem(405, "SAGA-0101");
    server.post("/orders", &[], "{\"orderId\": ").is_problem(400, "SAGA-0102");
    server.post("/orders", &[], "{\"orderId\": 7}").is_problem(400, "SAGA-0103");
    server.post("/orders", &[], "").is_problem(400, "SAGA-0102");
    server.post("/orders", &[("prefer", "wait=x")], "{}").is_problem(400, "SAGA-0106");
    server.get("/api/v1/sagas?limit=x").is_problem(400, "SAGA-0106");
    server.get("/api/v1/sagas?cursor=x").is_problem(400, "SAGA-0106");
    server.get("/api/v1/sagas?colour=red").is_problem(400, "SAGA-0106");
    server.get("/api/v1/sagas/%FF").is_problem(400, "SAGA-0106");
    // a key that contains a colon
    server.get("/api/v1/sagas/No:colon").is_problem(404, "SAGA-0200");
    server.get("/api/v1/sagas/a%01b").is_problem(400, "SAGA-0107");
    server.get("/api/v1/sagas/checkout:none").is_problem(404, "SAGA-0200");
    server.post("/api/v1/sagas/none:1/cancel", &[], "").is_problem(404, "SAGA-0200");
    server
        .post("/api/v1/sagas", &[], r#"{"definition":"nope","key":"1","input":{}}"#)
        .is_problem(422, "SAGA-0201");
    server
        .post("/api/v1/sagas", &[], r#"{"definition":"NO","key":"1","input":{}}"#)
        .is_problem(400, "SAGA-0107");
    server
        .post("/api/v1/sagas", &[], r#"{"definition":"checkout","key":"","input":{}}"#)
        .is_problem(400, "SAGA-0107");
    server
        .post("/api/v1/sagas", &[], r#"{"definition":"checkout","key":"1","input":{}}"#)
        .is_problem(422, "SAGA-0202");
    server.get("/accounts/none").is_problem(404, "SAGA-0303");
    server.get("/stock/none").is_problem(404, "SAGA-0304");
    assert_eq!(server.get("/livez").status, 200);
}

#[test]
fn a_wrong_method_is_answered_with_the_allowed_ones() {
    let server = Server::ephemeral();
    let answer = server.send("PUT", "/api/v1/sagas", &[], "");
    let allow = answer.header("allow").unwrap_or_default();
    assert!(allow.contains("POST") && allow.contains("GET"), "{allow:?}");
}

#[test]
fn invalid_json_is_reported_with_its_place() {
    let server = Server::ephemeral();
    let problem = server.post("/orders", &[], "{\n  \"orderId\": oops\n}").json();
    assert_eq!((&problem["at"]["line"], &problem["at"]["column"]), (&2.into(), &14.into()));
}

/// An oversized start is rejected as a whole.
#[test]
fn an_oversized_payload_is_refused() {
    let server = Server::ephemeral();
    let body = format!("\"{}\"", "x".repeat(1024 * 1024));
    server.post("/orders", &[], &body).is_problem(413, "SAGA-0104");
    let mut input = an_order("1", 1);
    input["shipTo"]["name"] = "x".repeat(300 * 1024).into();
    let answer = server.start("1", &input, &[]);
    answer.is_problem(413, "SAGA-0104");
    server.get("/api/v1/sagas/checkout:1").is_problem(404, "SAGA-0200");
}

#[test]
fn a_problem_links_to_its_page() {
    let server = Server::ephemeral();
    let page = server.get("/docs/errors");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("id=\"saga-0203\""), "the page has an anchor for every code");
}
