//! The checks that all routes have in common, in both styles: texts, methods, media types, foreign
//! pages, keys.

use serde_json::{Value, json};

use crate::support::{Answer, Server, an_order};

/// Starts one server of each style.
fn both() -> [Server; 2] {
    [Server::ephemeral(), Server::choreographed()]
}

/// Returns the routes of a server with their methods and operations, from its OpenAPI document.
fn addresses(server: &Server) -> Vec<(String, String, Value)> {
    let document = server.get("/openapi.json").json();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            all.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    assert!(all.len() > 15, "{all:?}");
    all
}

/// Replaces the parameters of a path by this text.
fn with(path: &str, text: &str) -> String {
    path.split('/')
        .map(|part| if part.starts_with('{') { text } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

#[test]
fn invalid_text_in_a_url_is_a_client_error() {
    for server in both() {
        for (method, path, operation) in addresses(&server) {
            for text in ["%00", "%FF", "a%00b"] {
                if path.contains('{') {
                    server.send(&method, &with(&path, text), &[], "").is_problem(400, "SAGA-0106");
                }
                for parameter in operation["parameters"].as_array().expect("parameters") {
                    if parameter["in"] == "query" {
                        let name = parameter["name"].as_str().expect("the parameter has a name");
                        let target = format!("{}?{name}={text}", with(&path, "1"));
                        server.send(&method, &target, &[], "").is_problem(400, "SAGA-0106");
                    }
                }
            }
        }
    }
}

#[test]
fn every_route_lists_its_methods_and_refuses_others() {
    for server in both() {
        for (method, path, _) in addresses(&server) {
            let path = with(&path, "1");
            let options = server.send("OPTIONS", &path, &[], "");
            let allow = options.header("allow").unwrap_or_default().to_owned();
            assert_eq!((options.status, allow.contains(&method)), (204, true), "{path}: {allow}");
            let other = server.send("PUT", &path, &[], "");
            other.is_problem(405, "SAGA-0101");
            assert_eq!(other.header("allow"), Some(allow.as_str()));
            let head = server.send("HEAD", &path, &[], "");
            assert_eq!(head.body, "");
            assert_eq!(head.status == 405, !allow.contains("HEAD"), "{path}: {allow}");
        }
        for path in ["/orders//unlock", "/orders/", "/nothing", "/orders/1/nothing"] {
            server.send("OPTIONS", path, &[], "").is_problem(404, "SAGA-0100");
            server.send("POST", path, &[], "").is_problem(404, "SAGA-0100");
        }
        assert_eq!(
            server.send("HEAD", "/saga/start/1", &[], "").status,
            405,
            "a HEAD starts no saga"
        );
        server.get("/orders/1").is_problem(404, "SAGA-0300");
    }
}

#[test]
fn media_types_other_than_json_are_refused() {
    for server in both() {
        let order = |id: &str, headers: &[(&str, &str)]| {
            server.post("/orders", headers, &an_order(id, 1).to_string())
        };
        for kind in
            ["text/plain", "text/plain;charset=UTF-8", "multipart/form-data", "application/xml"]
        {
            order("1", &[("content-type", kind)]).is_problem(415, "SAGA-0109");
        }
        order("1", &[("content-encoding", "gzip")]).is_problem(415, "SAGA-0109");
        for accept in ["text/html", "application/json;q=0", "application/xml, text/*"] {
            order("1", &[("accept", accept)]).is_problem(406, "SAGA-0108");
            server.send("GET", "/accounts", &[("accept", accept)], "").is_problem(406, "SAGA-0108");
        }
        server.get("/orders/1").is_problem(404, "SAGA-0300");
        for kind in [
            "application/json",
            "application/json; charset=utf-8",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(
                order("2", &[("content-type", kind), ("prefer", "wait=30")]).status,
                200,
                "{kind}"
            );
        }
        for accept in ["*/*", "application/json", "text/html, application/*;q=0.1"] {
            assert_eq!(
                server.send("GET", "/orders/2", &[("accept", accept)], "").status,
                200,
                "{accept}"
            );
        }
        assert_eq!(server.send("GET", "/metrics", &[("accept", "text/plain")], "").status, 200);
    }
}

#[test]
fn requests_from_foreign_web_pages_are_refused() {
    for server in both() {
        let own = server.url();
        let order = |headers: &[(&str, &str)]| {
            server.post("/orders", headers, &an_order("1", 1).to_string())
        };
        for foreign in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:1"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            order(&[foreign]).is_problem(403, "SAGA-0110");
            server.send("GET", "/saga/start/1", &[foreign], "").is_problem(403, "SAGA-0110");
            assert_eq!(
                server.send("GET", "/accounts", &[foreign], "").status,
                200,
                "a read is allowed"
            );
        }
        server.get("/orders/1").is_problem(404, "SAGA-0300");
        assert_eq!(
            order(&[("origin", &own), ("sec-fetch-site", "same-origin"), ("prefer", "wait=30")])
                .status,
            200
        );
        assert_eq!(
            server.send("GET", "/saga/start/2", &[("sec-fetch-site", "none")], "").status,
            200
        );
    }
}

#[test]
fn only_loopback_names_are_accepted_on_loopback() {
    for server in both() {
        let of = |host: &str| server.named(host, "/livez");
        for host in ["evil.example", "evil.example:3000", "127.0.0.1.evil.example", "192.168.0.1"] {
            of(host).is_problem(421, "SAGA-0111");
        }
        for host in ["localhost", "127.0.0.1", "[::1]:3000", "LOCALHOST:3000"] {
            assert_eq!(of(host).status, 200, "{host}");
        }
    }
}

/// Both styles compare a repeated key with the order of its first request.
#[test]
fn an_idempotency_key_belongs_to_one_order_in_both_styles() {
    for server in both() {
        let place = |order: &Value, key: &str| {
            server.post(
                "/orders",
                &[("idempotency-key", key), ("prefer", "wait=30")],
                &order.to_string(),
            )
        };
        let first = place(&an_order("k1", 1), "same");
        assert_eq!(first.status, 200);
        assert_eq!(place(&an_order("k1", 1), "same").json()["id"], first.json()["id"]);
        place(&an_order("k2", 1), "same").is_problem(422, "SAGA-0204");
        place(&an_order("k1", 2), "same").is_problem(422, "SAGA-0204");
        server.get("/orders/k2").is_problem(404, "SAGA-0300");
        place(&an_order("k1", 2), "other").is_problem(409, "SAGA-0203");
        assert_eq!(place(&an_order("k1", 1), "second").status, 200, "an order may have two keys");
        place(&an_order("k3", 1), "second").is_problem(422, "SAGA-0204");
        for bad in [String::new(), "k".repeat(256)] {
            place(&an_order("k4", 1), &bad).is_problem(400, "SAGA-0106");
        }
        assert_eq!(place(&an_order("k4", 1), &"k".repeat(255)).status, 200);
    }
    let started = Server::ephemeral().start(
        "k5",
        &an_order("k5", 1),
        &[("idempotency-key", &"k".repeat(255))],
    );
    assert_eq!(started.status, 202, "sagas and orders share the limit: {}", started.body);
}

#[test]
fn a_wait_in_the_query_of_a_post_is_applied() {
    for server in both() {
        let body = an_order("1", 1).to_string();
        let placed = server.post("/orders?wait=30", &[], &body);
        assert_eq!((placed.status, placed.header("preference-applied")), (200, Some("wait=30")));
        server.post("/orders?wait=x", &[], &body).is_problem(400, "SAGA-0106");
        server.post("/orders/1/cancel?wait=1", &[], "").is_problem(400, "SAGA-0106");
    }
    let body =
        json!({ "definition": "checkout", "key": "2", "input": an_order("2", 1) }).to_string();
    assert_eq!(Server::ephemeral().post("/api/v1/sagas?wait=30", &[], &body).status, 200);
}

/// A path cannot name such an order.
#[test]
fn dots_are_rejected_as_keys() {
    for server in both() {
        for dots in [".", ".."] {
            let refused = server.post("/orders", &[], &an_order(dots, 1).to_string());
            assert_eq!(
                (refused.status, refused.header("location")),
                (422, None),
                "{}",
                refused.body
            );
            let path = format!("/orders/{}", dots.replace('.', "%2E"));
            server.get(&path).is_problem(400, "SAGA-0107");
        }
        assert_eq!(server.post("/orders", &[], &an_order("...", 1).to_string()).status, 202);
    }
    let server = Server::ephemeral();
    server.start("..", &an_order("..", 1), &[]).is_problem(400, "SAGA-0107");
}

#[test]
fn etag_conditions_on_writes_are_refused() {
    for server in both() {
        let order =
            |header: (&str, &str)| server.post("/orders", &[header], &an_order("1", 1).to_string());
        order(("if-match", "\"1\"")).is_problem(412, "SAGA-0112");
        order(("if-none-match", "*")).is_problem(412, "SAGA-0112");
        server.get("/orders/1").is_problem(404, "SAGA-0300");
        assert_eq!(server.get("/accounts/SAMPLE").header("etag"), None);
        assert_eq!(
            server.send("GET", "/accounts/SAMPLE", &[("if-none-match", "\"1\"")], "").status,
            200
        );
    }
}

#[test]
fn a_limit_out_of_range_and_a_truncated_body_are_reported() {
    for server in both() {
        for limit in ["0", "501", "-1", "1.5", "4294967296", ""] {
            server.get(&format!("/api/v1/sagas?limit={limit}")).is_problem(400, "SAGA-0106");
        }
        assert_eq!(server.get("/api/v1/sagas?limit=500").status, 200);
        let order = an_order("1", 1).to_string();
        for end in 0..order.len() {
            server.post("/orders", &[], &order[..end]).is_problem(400, "SAGA-0102");
        }
    }
}

/// A body with a wrong shape is reported with its field, in the server's own words.
#[test]
fn problems_never_quote_a_deserializer() {
    for server in both() {
        let check = |body: String, pointer: &str, detail: &str| {
            let refused: Answer = server.post("/orders", &[], &body);
            refused.is_problem(400, "SAGA-0103");
            let problem = refused.json();
            assert_eq!(
                (&problem["pointer"], &problem["detail"]),
                (&json!(pointer), &json!(detail)),
                "{body}"
            );
        };
        let mut order = an_order("1", 1);
        order["lines"][0]["quantity"] = json!("1");
        let whole =
            "/lines/0/quantity must be a 64-bit integer without a decimal point or an exponent";
        check(order.to_string(), "/lines/0/quantity", whole);
        let mut order = an_order("1", 1);
        order["shipTo"].as_object_mut().expect("shipTo is an object").remove("city");
        check(order.to_string(), "/shipTo/city", "/shipTo/city is missing");
        check("[]".to_owned(), "", "the body must be an object");
    }
}
