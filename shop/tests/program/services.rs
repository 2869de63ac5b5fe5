//! Processes without Kafka and PostgreSQL: they wait, and report the missing server.

use crate::support::Server;

/// Addresses without a server.
const NOWHERE: &str = "[kafka]\nbrokers = \"127.0.0.1:1\"\n[postgres]\nurl = \
    \"postgres://nobody@127.0.0.1:1/nothing\"\n";

#[test]
fn a_service_is_not_ready_before_its_tables_exist() {
    let server = Server::configured(NOWHERE, &["service", "payment"]);
    assert_eq!(server.get("/livez").status, 200);
    for path in ["/readyz", "/accounts", "/accounts/ADA"] {
        let answer = server.get(path);
        answer.is_problem(503, "SAGA-0401");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(answer.body.contains("payment is not ready: "), "{}", answer.body);
    }
    server.post("/accounts", &[], "{}").is_problem(503, "SAGA-0401");
    server.get("/nope").is_problem(404, "SAGA-0100");
    assert_eq!(server.terminate_and_read(), "", "the service was never ready");
}

#[test]
fn a_waiting_orchestrator_or_observer_is_live_but_not_ready() {
    for role in ["orchestrator", "observer"] {
        let server =
            Server::configured(NOWHERE, &[if role == "observer" { "observe" } else { "serve" }]);
        assert_eq!(server.get("/livez").status, 200);
        let answer = server.get("/readyz");
        answer.is_problem(503, "SAGA-0401");
        assert!(answer.body.contains(&format!("{role} is not ready: ")), "{}", answer.body);
        server.post("/orders", &[], "{}").is_problem(503, "SAGA-0401");
        assert!(server.get("/docs/errors").body.contains("id=\"saga-0401\""));
        assert_eq!(server.terminate_and_read(), "", "the process was never ready");
    }
}

#[test]
fn every_service_has_a_front_page_and_the_pages_of_its_problems() {
    for (service, own) in [
        ("order", "/orders/{id}/unlock"),
        ("payment", "/accounts"),
        ("inventory", "/stock"),
        ("shipping", "/shipments"),
    ] {
        let server = Server::configured(NOWHERE, &["service", service]);
        let page = server.get("/");
        assert_eq!(page.status, 200);
        assert!(page.body.contains(service) && page.body.contains(own), "{}", page.body);
        assert!(server.get("/docs/errors").body.contains("id=\"saga-0401\""));
    }
}
