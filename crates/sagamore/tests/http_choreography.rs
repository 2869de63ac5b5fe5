//! A choreography in the stand-alone program: a plan that is registered at run time, chains that
//! begin over HTTP, and services in Python that react to events.

#[allow(dead_code, reason = "the test on Kafka uses the rest")]
#[path = "http_choreography/shop.rs"]
mod shop;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use sagamore::core::Body;
use sagamore::prelude::*;
use sagamore::server::Client;
use sagamore::server::client::{ClientEvent, Error};
use sagamore::{Program, Running, StartOptions};
use sagamore_database::Database;
use serde_json::{Value, json};
use tempfile::TempDir;

use shop::{Python, apply, created, faulted, order, outcome, plan, shown};

/// Starts the stack without any definition or plan.
async fn start(data: &Path, python: &Python) -> (Running, Client) {
    started(data, python, || Program::named("shop")).await
}

async fn started(data: &Path, python: &Python, program: impl Fn() -> Program) -> (Running, Client) {
    let options = StartOptions {
        listen: Some("127.0.0.1:0".into()),
        participants: python.participants(),
        ..StartOptions::of(data)
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    let running = loop {
        match program().start(options.clone()).await {
            Ok(running) => break running,
            // the tasks of a stack that was dropped hold its data until they are aborted
            Err(_) if Instant::now() < deadline => tokio::task::yield_now().await,
            Err(error) => panic!("{error:#}"),
        }
    };
    let address = running.address().expect("an address");
    (running, Client::new(&format!("http://{address}")).expect("an address"))
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

/// The input of a saga of the program.
#[derive(Message)]
struct Visit {
    guest: String,
}

#[derive(Message)]
#[message(to = "host")]
struct Open {
    guest: String,
}

fn visit() -> Result<Definition, definition::Error> {
    let mut saga = Definition::named("visit");
    let input = saga.input::<Visit>();
    saga.pivot("open").sends(OpenFrom { guest: input.guest });
    saga.build()
}

async fn open(_: Tx, _: Open) -> Decided<(), Never> {
    done(())
}

#[tokio::test]
async fn a_program_of_sagas_takes_a_plan_at_run_time() {
    let (python, data) = (Python::start(), TempDir::new().expect("a directory"));
    let program =
        || Program::named("visit").saga(visit).service(|| Service::named("host").action(open));
    let (running, client) = started(data.path(), &python, program).await;
    apply(&client, plan(1)).await;
    let order = order("1", 500, "TEA");
    client.begin(&created("1", &order), None).await.expect("begun");
    assert_eq!(outcome(&client, "shop:1").await.0, "completed");
    running.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_chain_shows_the_faults_of_an_http_service() {
    let (python, data) = (Python::start(), TempDir::new().expect("a directory"));
    python.be_away("payment", true).await;
    let (running, client) = start(data.path(), &python).await;
    apply(&client, plan(1)).await;
    let order = order("1", 500, "TEA");
    client.begin(&created("1", &order), None).await.expect("begun");
    let charge = faulted(&client, "shop:1").await;
    let why = charge["fault"].as_str().unwrap_or_default();
    assert!(why.contains("503 Service Unavailable"), "{charge}");
    assert!(charge["due"].is_string() && charge["backingOff"] == true, "{charge}");
    python.be_away("payment", false).await;
    assert_eq!(outcome(&client, "shop:1").await.0, "completed");
    let view = shown(&client, "shop:1").await.expect("shown");
    assert!(view["steps"][1]["fault"].is_null(), "{view}");
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
