//! Ids, inputs and orders are checked alike over HTTP and the command line, in both styles.

use serde_json::{Value, json};

use crate::support::{Server, an_order};

fn completed(output: &std::process::Output) -> Value {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    serde_json::from_slice(&output.stdout).expect("one JSON document on stdout")
}

/// Returns keys with every printable ASCII character, and some others.
fn keys() -> Vec<String> {
    let letters = (' '..='~').chain(['é', '日', '😀']);
    letters
        .map(|letter| format!("k{letter}9"))
        .chain([":".into(), "a:b".into(), "2024:17".into(), "::".into()])
        .collect()
}

#[test]
fn a_saga_is_found_by_id_and_key_with_any_characters() {
    let server = Server::ephemeral();
    for key in keys() {
        let id = format!("checkout:{key}");
        let started = completed(&server.cli(&["start", "-o", "json", "--wait", "30s", "--", &key]));
        assert_eq!(started["id"], id);
        for text in [&key, &id] {
            assert_eq!(
                completed(&server.cli(&["show", "-o", "json", "--", text]))["id"],
                id,
                "{text}"
            );
        }
    }
}

#[test]
fn a_chain_is_found_by_id_and_key_with_any_characters() {
    let server = Server::choreographed();
    for key in keys() {
        let id = format!("fulfilment:{key}");
        let placed =
            server.post("/orders", &[("prefer", "wait=10")], &an_order(&key, 1).to_string());
        assert_eq!(placed.json()["id"], id, "{}", placed.body);
        for text in [&key, &id] {
            assert_eq!(
                completed(&server.cli(&["show", "-o", "json", "--", text]))["id"],
                id,
                "{text}"
            );
        }
    }
}

#[test]
fn an_existing_id_takes_precedence_over_a_key() {
    let server = Server::ephemeral();
    completed(&server.cli(&["start", "checkout:5", "-o", "json", "--wait", "30s"]));
    let shown = |text: &str| completed(&server.cli(&["show", text, "-o", "json"]))["id"].clone();
    assert_eq!(shown("checkout:5"), "checkout:checkout:5", "no saga has this id yet");
    completed(&server.cli(&["start", "5", "-o", "json", "--wait", "30s"]));
    assert_eq!(shown("checkout:5"), "checkout:5");
    assert_eq!(shown("checkout:checkout:5"), "checkout:checkout:5");
}

#[test]
fn an_invalid_input_is_refused_and_leaves_the_key_free() {
    let server = Server::ephemeral();
    let refused = |key: &str, change: &dyn Fn(&mut Value)| {
        let mut input = an_order(key, 1);
        change(&mut input);
        server.start(key, &input, &[]).is_problem(422, "SAGA-0202");
        assert_eq!(server.get(&format!("/api/v1/sagas/checkout:{key}")).status, 404);
        assert_eq!(
            server.start(key, &an_order(key, 1), &[("prefer", "wait=10")]).status,
            200,
            "the key is free"
        );
    };
    refused("1", &|input| input["customerId"] = json!(2));
    refused("2", &|input| input["lines"] = json!("many"));
    refused("3", &|input| input["lines"] = json!([]));
    refused("4", &|input| input["lines"][0]["quantity"] = json!(0));
    refused("5", &|input| input["shipTo"]["country"] = json!(""));
    refused("6", &|input| input["orderId"] = json!("another"));
}

#[test]
fn the_key_of_a_saga_is_the_id_of_its_order() {
    let server = Server::ephemeral();
    server.start("a", &an_order("b", 1), &[]).is_problem(422, "SAGA-0202");
    assert_eq!(server.get("/orders/b").status, 404);
    assert_eq!(server.start("b", &an_order("b", 1), &[("prefer", "wait=10")]).status, 200);
    assert_eq!(server.get("/orders/b").json()["saga"]["id"], "checkout:b");
}

#[test]
fn an_unknown_field_of_an_order_is_an_error_in_both_styles() {
    for server in [Server::ephemeral(), Server::choreographed()] {
        let refused = |change: &dyn Fn(&mut Value), field: &str| {
            let mut order = an_order("1", 1);
            change(&mut order);
            let answer = server.post("/orders", &[], &order.to_string());
            answer.is_problem(400, "SAGA-0103");
            assert!(
                answer.json()["detail"].as_str().expect("the detail is a text").contains(field),
                "{}",
                answer.body
            );
        };
        refused(&|order| order["coupon"] = json!("X"), "coupon");
        refused(&|order| order["lines"][0]["discount"] = json!(1), "discount");
        refused(&|order| order["shipTo"]["planet"] = json!("Mars"), "planet");
        assert_eq!(server.get("/orders/1").status, 404);
    }
}

#[test]
fn inputs_beyond_json_parsers_are_compared_as_text() {
    let server = Server::ephemeral();
    let start = |key: &str, quantity: i64, extra: &str| {
        let mut order = an_order(key, quantity).to_string();
        order.truncate(order.len() - 1);
        let body =
            format!(r#"{{"definition":"checkout","key":"{key}","input":{order},"x":{extra}}}}}"#);
        server.post("/api/v1/sagas", &[("prefer", "wait=10")], &body)
    };
    let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
    for (key, extra) in [("1", r#""\ud83d""#), ("2", "1e999"), ("3", deep.as_str())] {
        assert_eq!(start(key, 1, extra).status, 200);
        assert_eq!(start(key, 1, extra).status, 200, "a repetition");
        start(key, 7, extra).is_problem(409, "SAGA-0203");
    }
}
