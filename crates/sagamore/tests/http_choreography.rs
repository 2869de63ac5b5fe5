//! A choreography in the stand-alone program: a plan that is registered at run time, chains that
//! begin over HTTP, and services in Python that react to events.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sagamore::core::Body;
use sagamore::server::Client;
use sagamore::server::client::{ClientEvent, Error};
use sagamore::{HttpParticipants, Program, Running, StartOptions};
use sagamore_database::Database;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A version of the plan: an order is charged and reserved, and then shipped.
fn plan(version: u32) -> String {
    json!({
        "name": "shop",
        "version": version,
        "deadlineMs": 60_000,
        "begins": {
            "name": "create", "service": "order", "event": "order.created",
            "undo": {
                "on": ["payment.failed", "shipping.failed"], "emits": "order.cancelled",
            },
        },
        "reactions": [
            {
                "name": "charge", "service": "payment", "on": ["order.created"],
                "emits": ["payment.success"], "fails": ["payment.failed"],
                "undo": { "on": ["shipping.failed"], "emits": "payment.refunded" },
            },
            {
                "name": "reserve", "service": "stock", "on": ["order.created"],
                "emits": ["stock.reserved"],
                "undo": {
                    "on": ["payment.failed", "shipping.failed"], "emits": "stock.released",
                },
            },
            {
                "name": "ship", "service": "shipping", "on": ["payment.success", "stock.reserved"],
                "emits": ["shipping.success"], "fails": ["shipping.failed"], "pivot": true,
                "neverAfter": ["payment.failed"],
            },
        ],
    })
    .to_string()
}

/// The services in a process of their own.
struct Python {
    process: Child,
    url: String,
}

impl Python {
    fn start() -> Python {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http_choreography/services.py");
        let started = Command::new("python3").arg(script).stdout(Stdio::piped()).spawn();
        let mut process = started.expect("python3 is installed");
        let mut port = String::new();
        let output = process.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut port).expect("a port");
        Python { process, url: format!("http://127.0.0.1:{}", port.trim()) }
    }

    fn participants(&self) -> HttpParticipants {
        let names = ["order", "payment", "stock", "shipping"];
        names.iter().fold(HttpParticipants::default(), |bound, name| {
            bound.bind(name, &format!("{}/{name}", self.url)).expect("a valid URL")
        })
    }

    fn client(&self) -> Client {
        Client::new(&self.url).expect("an address")
    }

    async fn figures(&self) -> Value {
        let client = self.client();
        client.read(&client.get("/").await.expect("figures")).expect("JSON")
    }

    async fn be_away(&self, service: &str, is_away: bool) {
        let (client, path) = (self.client(), format!("/away/{service}"));
        client.post(&path, is_away.to_string(), None).await.expect("posted");
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Starts the stack without any definition or plan.
async fn start(data: &Path, python: &Python) -> (Running, Client) {
    let options = StartOptions {
        listen: Some("127.0.0.1:0".into()),
        participants: python.participants(),
        ..StartOptions::of(data)
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    let running = loop {
        match Program::named("shop").start(options.clone()).await {
            Ok(running) => break running,
            // the tasks of a stack that was dropped hold its data until they are aborted
            Err(_) if Instant::now() < deadline => tokio::task::yield_now().await,
            Err(error) => panic!("{error:#}"),
        }
    };
    let address = running.address().expect("an address");
    (running, Client::new(&format!("http://{address}")).expect("an address"))
}

async fn apply(client: &Client, plan: String) -> Value {
    client.read(&client.post("/api/v1/plans", plan, None).await.expect("applied")).expect("JSON")
}

fn order(id: &str, cents: i64, sku: &str) -> Body {
    Body::of(&json!({ "orderId": id, "cents": cents, "sku": sku })).expect("JSON")
}

fn created<'a>(id: &'a str, data: &'a Body) -> ClientEvent<'a> {
    ClientEvent { id, source: "/webshop", event: "order.created", key: None, data }
}

/// Returns the code of a problem with its detail.
fn problem<T>(result: Result<T, Error>) -> (u16, String, String) {
    match result {
        Err(Error::Problem { problem, .. }) => {
            (problem.status, problem.code.clone(), problem.detail.clone())
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("no problem"),
    }
}

/// Returns the status at which a chain comes to rest, and the events that were seen.
async fn outcome(client: &Client, id: &str) -> (String, Vec<String>) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let path = format!("/api/v1/sagas/{id}");
        let shown: Value = match client.get_and_wait(&path, 5).await {
            Ok(answer) => client.read(&answer).expect("JSON"),
            Err(error) if Instant::now() < deadline => {
                drop(error); // no event was seen yet
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let status = shown["status"].as_str().unwrap_or_default().to_owned();
        let events = shown["events"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<String> = events
            .iter()
            .filter_map(|event| event["id"].as_str()?.rsplit('/').next().map(str::to_owned))
            .collect();
        names.sort();
        if matches!(status.as_str(), "running" | "compensating") && Instant::now() < deadline {
            continue;
        }
        return (status, names);
    }
}

#[tokio::test]
async fn an_event_begins_one_chain_however_often_it_is_sent() {
    let (python, data) = (Python::start(), TempDir::new().expect("a directory"));
    let (running, client) = start(data.path(), &python).await;
    let order = order("1", 500, "TEA");
    let (status, code, detail) = problem(client.begin(&created("1", &order), None).await);
    assert_eq!((status, code.as_str()), (422, "SAGA-0218"), "{detail}");
    assert_eq!(apply(&client, plan(1)).await["active"], true);

    let begun = client.begin(&created("1", &order), None).await.expect("begun");
    assert_eq!((begun.id.as_str(), begun.version), ("shop:1", 1));
    let again = client.begin(&created("1", &order), Some(10)).await.expect("begun before");
    assert_eq!(again.id, "shop:1");
    let other = Body::of(&json!({ "orderId": "1", "cents": 1, "sku": "TEA" })).expect("JSON");
    let (status, code, detail) = problem(client.begin(&created("1", &other), None).await);
    assert_eq!((status, code.as_str()), (409, "SAGA-0203"), "{detail}");
    let other_id = ClientEvent { key: Some("1"), ..created("another", &other) };
    let (status, _, detail) = problem(client.begin(&other_id, None).await);
    assert_eq!(status, 409, "the chain was begun by another event: {detail}");
    let unknown = ClientEvent { event: "order.lost", ..created("2", &order) };
    let (status, code, detail) = problem(client.begin(&unknown, None).await);
    assert_eq!((status, code.as_str()), (422, "SAGA-0218"));
    assert!(detail.contains("order.created of shop@1"), "{detail}");
    // binary mode without its headers
    let (status, code, detail) = problem(client.post("/api/v1/events", "{}", None).await);
    assert_eq!((status, code.as_str()), (400, "SAGA-0106"), "{detail}");
    assert!(detail.contains("ce-specversion"), "{detail}");

    assert_eq!(outcome(&client, "shop:1").await.0, "completed");
    let figures = python.figures().await;
    for reaction in ["charge", "reserve", "ship"] {
        assert_eq!(figures["effects"][format!("{reaction}/action")], 1, "{figures}");
    }
    running.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_failure_event_of_a_service_undoes_the_reactions_of_others() {
    let (python, data) = (Python::start(), TempDir::new().expect("a directory"));
    let (running, client) = start(data.path(), &python).await;
    apply(&client, plan(1)).await;
    let (lost, poor) = (order("1", 500, "LOST"), order("2", 5_000, "TEA"));
    client.begin(&created("1", &lost), None).await.expect("begun");
    client.begin(&created("2", &poor), None).await.expect("begun");

    let (status, events) = outcome(&client, "shop:1").await;
    assert_eq!(status, "compensated", "{events:?}");
    let expected = [
        "order.cancelled",
        "order.created",
        "payment.refunded",
        "payment.success",
        "shipping.failed",
        "stock.released",
        "stock.reserved",
    ];
    assert_eq!(events, expected);
    let (status, events) = outcome(&client, "shop:2").await;
    assert_eq!(status, "compensated", "{events:?}");
    assert!(!events.contains(&"payment.refunded".to_owned()), "{events:?}");
    let figures = python.figures().await;
    assert_eq!(figures["effects"]["charge/compensation"], 1, "{figures}");
    assert_eq!(figures["effects"]["reserve/compensation"], 2, "{figures}");
    running.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_chain_continues_after_a_crash_and_a_service_that_was_away() {
    let (python, data) = (Python::start(), TempDir::new().expect("a directory"));
    python.be_away("payment", true).await;
    let (running, client) = start(data.path(), &python).await;
    apply(&client, plan(1)).await;
    let order = order("1", 500, "TEA");
    client.begin(&created("1", &order), None).await.expect("begun");
    while python.figures().await["effects"]["reserve/action"] != 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(running); // like a crash
    python.be_away("payment", false).await;
    let (running, client) = start(data.path(), &python).await;
    assert_eq!(outcome(&client, "shop:1").await.0, "completed");
    let figures = python.figures().await;
    assert_eq!(figures["effects"]["charge/action"], 1, "{figures}");
    assert_eq!(figures["effects"]["reserve/action"], 1, "{figures}");
    running.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_plan_is_activated_at_run_time_and_chains_keep_their_version() {
    let (python, data) = (Python::start(), TempDir::new().expect("a directory"));
    python.be_away("payment", true).await;
    let (running, client) = start(data.path(), &python).await;
    apply(&client, plan(1)).await;
    let first = order("1", 500, "TEA");
    client.begin(&created("1", &first), None).await.expect("begun");
    assert_eq!(apply(&client, plan(2)).await["active"], false);
    let changed = plan(2).replace("60000", "70000");
    let (status, code, _) = problem(client.post("/api/v1/plans", changed, None).await);
    assert_eq!((status, code.as_str()), (409, "SAGA-0213"));
    client.post("/api/v1/plans/shop/2/activate", "", None).await.expect("activated");
    let second = order("2", 500, "TEA");
    let begun = client.begin(&created("2", &second), None).await.expect("begun");
    assert_eq!(begun.version, 2);
    python.be_away("payment", false).await;
    for id in ["shop:1", "shop:2"] {
        assert_eq!(outcome(&client, id).await.0, "completed", "{id}");
    }
    let listed: Value =
        client.read(&client.get("/api/v1/plans/shop").await.expect("listed")).expect("JSON");
    let active: Vec<_> = listed["plans"].as_array().expect("plans").iter().collect();
    assert_eq!(
        (active[0]["active"].clone(), active[1]["active"].clone()),
        (false.into(), true.into())
    );
    client.post("/api/v1/plans/shop/2/retire", "", None).await.expect("retired");
    let third = order("3", 500, "TEA");
    let (status, ..) = problem(client.begin(&created("3", &third), None).await);
    assert_eq!(status, 422, "no version is active");
    running.stop().await.expect("stopped");
}

/// Runs `reconcile --resend` without a configuration, and returns its report.
async fn resend(folder: &Path, server: &Client) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sagamore"));
    command.args(["reconcile", "--resend", "-o", "json", "--server", &server.to_string()]);
    command.current_dir(folder).env_remove("SAGAMORE_CONFIG").env_remove("SAGAMORE_SERVER");
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.expect("no panic").expect("reconcile runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {error}"))
}

#[tokio::test]
async fn reconcile_repairs_a_chain_whose_first_event_a_service_has_lost() {
    let (python, data) = (Python::start(), TempDir::new().expect("a directory"));
    python.be_away("payment", true).await;
    let (running, client) = start(data.path(), &python).await;
    apply(&client, plan(1).replace("60000", "500")).await;
    let order = order("1", 500, "TEA");
    client.begin(&created("1", &order), None).await.expect("begun");
    while python.figures().await["away"]["payment"].is_null() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.stop().await.expect("stopped");
    let gateway = Database::sqlite(&data.path().join("gateway.sqlite")).expect("a database");
    let open = gateway.begin().await.expect("begin");
    let lost = open.tx().execute("DELETE FROM gateway_reaction WHERE step = 'charge'", ()).await;
    assert_eq!(lost.expect("removed"), 1);
    open.commit().await.expect("commit");
    drop(gateway);
    python.be_away("payment", false).await;

    let (running, client) = start(data.path(), &python).await;
    assert_eq!(outcome(&client, "shop:1").await.0, "stuck");
    assert!(python.figures().await["calls"]["charge/action"].is_null(), "the event is lost");
    let report = resend(data.path(), &client).await;
    assert_eq!((&report["resent"], &report["open"][0]["saga"]), (&1.into(), &"shop:1".into()));
    while outcome(&client, "shop:1").await.0 != "completed" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let figures = python.figures().await;
    for reaction in ["charge", "reserve", "ship"] {
        assert_eq!(figures["effects"][format!("{reaction}/action")], 1, "{figures}");
    }
    running.stop().await.expect("stopped");
}
