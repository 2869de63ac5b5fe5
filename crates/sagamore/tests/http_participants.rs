//! HTTP participants in Python, called by the embedded stack: a saga that completes, one that is
//! compensated, and kills of the process with the gateway.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use sagamore::prelude::*;
use sagamore::server::Client;
use sagamore::{HttpParticipants, Program, StartOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The variable with the arguments of the process that is killed: data directory, address and URL.
const CHILD: &str = "SAGAMORE_TEST_CHILD";
const SAGAS: usize = 200;
const KILLS: usize = 20;
/// Each fifth saga is refused.
const REFUSED_EVERY: usize = 5;
const CLIENTS: usize = 8;
/// Time limit of the whole campaign.
const LIMIT: Duration = Duration::from_secs(180);

/// The input of the saga.
#[derive(Message)]
struct Trip {
    cents: i64,
    seat: String,
}

#[derive(Message)]
#[message(to = "cards", name = "card.charge", yields = Charged)]
struct Charge {
    cents: i64,
}

#[derive(Message)]
struct Charged {
    charged: i64,
}

#[derive(Message)]
#[message(to = "cards", name = "card.refund", undoes = Charge)]
struct Refund;

#[derive(Message)]
#[message(to = "seats", name = "seat.reserve")]
struct Reserve {
    seat: String,
    cents: i64,
}

fn trip() -> Result<Definition, definition::Error> {
    let mut saga = Definition::named("trip").version(1);
    let input = saga.input::<Trip>();
    let charged =
        saga.step("charge").sends(ChargeFrom { cents: input.cents }).undone_by::<Refund>().yields();
    saga.pivot("reserve").sends(ReserveFrom { seat: input.seat, cents: charged.charged });
    saga.build()
}

/// The participants in a process of their own.
struct Python {
    process: Child,
    url: String,
    _data: TempDir,
}

impl Python {
    fn start() -> Python {
        let data = TempDir::new().expect("a directory");
        let script =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http_participants/participants.py");
        let started = Command::new("python3")
            .args([script.as_ref(), data.path().join("participants.sqlite").as_os_str()])
            .stdout(Stdio::piped())
            .spawn();
        let mut process = started.expect("python3 is installed");
        let mut port = String::new();
        let output = process.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut port).expect("a port");
        Python { process, url: format!("http://127.0.0.1:{}", port.trim()), _data: data }
    }

    fn participants(url: &str) -> HttpParticipants {
        let bound = HttpParticipants::default().bind("cards", &format!("{url}/cards"));
        bound.and_then(|bound| bound.bind("seats", &format!("{url}/seats"))).expect("valid URLs")
    }

    async fn figures(&self) -> Value {
        let client = Client::new(&self.url).expect("an address");
        client.read(&client.get("/").await.expect("figures")).expect("JSON")
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Starts a saga, and waits for its outcome however often the process is killed.
async fn outcome(client: &Client, key: usize, seat: &str) -> String {
    let body =
        format!(r#"{{"definition":"trip","key":"{key}","input":{{"cents":100,"seat":"{seat}"}}}}"#);
    loop {
        let answered = client.post("/api/v1/sagas", body.clone(), Some(5)).await;
        let standing = answered.ok().and_then(|answer| client.read::<Value>(&answer).ok());
        match standing.as_ref().and_then(|standing| standing["status"].as_str()) {
            Some(status @ ("completed" | "compensated")) => return status.to_owned(),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

#[tokio::test]
async fn a_saga_completes_or_is_compensated_over_http() {
    let (python, data) = (Python::start(), TempDir::new().expect("a directory"));
    let options = StartOptions {
        listen: Some("127.0.0.1:0".into()),
        participants: Python::participants(&python.url),
        ..StartOptions::of(data.path())
    };
    let running = Program::named("trips").saga(trip).start(options).await.expect("started");
    let address = running.address().expect("an address");
    let client = Client::new(&format!("http://{address}")).expect("an address");
    assert_eq!(outcome(&client, 1, "12A").await, "completed");
    assert_eq!(outcome(&client, 2, "none").await, "compensated");
    let figures = python.figures().await;
    assert_eq!(figures["card.charge"], 2, "{figures}");
    assert_eq!(figures["card.refund"], 1, "{figures}");
    assert_eq!(figures["seat.reserve"], 1, "{figures}");
    running.stop().await.expect("stopped");
}

/// Serves a participant that answers each action with *pending*. Returns its URL and the tokens.
async fn slow_participant() -> (String, mpsc::UnboundedReceiver<String>) {
    let (sender, tokens) = mpsc::unbounded_channel();
    let respond = move |headers: HeaderMap| {
        let token = headers["sagamore-reply-token"].to_str().expect("a text").to_owned();
        let is_action = headers["ce-sagakind"] == "action";
        let sent = sender.send(token);
        async move {
            sent.expect("the test runs");
            ([("sagamore-outcome", if is_action { "pending" } else { "done" })], "{}")
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = axum::Router::new().route("/{participant}", axum::routing::post(respond));
    tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
    (url, tokens)
}

/// Sends a late reply. Returns the status and the whole response.
async fn reply(
    address: SocketAddr,
    token: &str,
    outcome: &str,
    (media, body): (&str, &str),
) -> (u16, String) {
    let mut connection = TcpStream::connect(address).await.expect("connected");
    let request = format!(
        "POST /api/v1/replies HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\nsagamore-outcome: {outcome}\r\n\
         content-type: {media}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).await.expect("sent");
    let mut response = String::new();
    connection.read_to_string(&mut response).await.expect("a response");
    let status = response.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), response)
}

const JSON: &str = "application/json";

#[tokio::test]
async fn a_pending_command_is_completed_by_a_later_reply() {
    let data = TempDir::new().expect("a directory");
    let (url, mut tokens) = slow_participant().await;
    let options = StartOptions {
        listen: Some("127.0.0.1:0".into()),
        participants: Python::participants(&url),
        ..StartOptions::of(data.path())
    };
    let running = Program::named("trips").saga(trip).start(options).await.expect("started");
    let address = running.address().expect("an address");
    let client = Client::new(&format!("http://{address}")).expect("an address");
    for (key, end, status) in [(1, "done", "completed"), (2, "refused", "compensated")] {
        let ended = tokio::spawn({
            let client = client.clone();
            async move { outcome(&client, key, "12A").await }
        });
        let charge = tokens.recv().await.expect("a call");
        let (code, text) = reply(address, &charge, "done", (JSON, "{\"charged\":100}")).await;
        assert!(code == 202 && text.contains("/charge/action/1"), "{text}");
        let reserve = tokens.recv().await.expect("a call");
        // a repeated reply changes nothing, and other tokens and outcomes are rejected
        assert_eq!(reply(address, &charge, "fault", ("text/plain", "late")).await.0, 202);
        let (forged, _) = reserve.split_once('.').expect("two parts");
        let forged = format!("{forged}.{}", charge.split_once('.').expect("two parts").1);
        for token in ["", "a.b", forged.as_str()] {
            let (code, text) = reply(address, token, "done", (JSON, "{}")).await;
            let is_named = text.contains("SAGA-0113") && text.contains("www-authenticate: Bearer");
            assert!(code == 401 && is_named, "{text}");
        }
        let (code, text) = reply(address, &reserve, "pending", (JSON, "{}")).await;
        assert!(code == 400 && text.contains("is not an outcome"), "{text}");
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20));
        assert_eq!(reply(address, &reserve, "done", (JSON, &large)).await.0, 413);
        assert_eq!(reply(address, &reserve, end, (JSON, "{\"code\":\"no\"}")).await.0, 202);
        assert_eq!(ended.await.expect("no panic"), status);
    }
    running.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_built_in_service_cannot_be_bound() {
    let data = TempDir::new().expect("a directory");
    let participants = HttpParticipants::default().bind("cards", "http://127.0.0.1:9/");
    let options = StartOptions {
        participants: participants.expect("a URL"),
        ..StartOptions::of(data.path())
    };
    let program = Program::named("trips").saga(trip).service(|| Service::named("cards"));
    let why = program.start(options).await.err().expect("refused").to_string();
    assert!(why.contains("cards is a built-in service"), "{why}");
}

/// Runs the embedded stack with its gateways, if this process is the one to kill.
#[tokio::test]
async fn the_process_that_is_killed() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let [data, listen, url] = *arguments.split('|').collect::<Vec<_>>() else {
        panic!("{arguments}")
    };
    let options = StartOptions {
        listen: Some(listen.into()),
        participants: Python::participants(url),
        ..StartOptions::of(data)
    };
    let _running = Program::named("trips").saga(trip).start(options).await.expect("started");
    std::future::pending::<()>().await;
}

/// A process of this test program that only runs the embedded stack.
fn child(arguments: &str) -> Child {
    let program = std::env::current_exe().expect("this program");
    let started = Command::new(program)
        .args(["the_process_that_is_killed", "--exact", "--quiet"])
        .env(CHILD, arguments)
        .stdout(Stdio::null())
        .spawn();
    started.expect("this program starts")
}

#[tokio::test]
async fn figures_stay_exact_when_the_gateway_is_killed() {
    let (python, data) = (Python::start(), TempDir::new().expect("a directory"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let arguments = format!("{}|{address}|{}", data.path().display(), python.url);
    let client = Arc::new(Client::new(&format!("http://{address}")).expect("an address"));
    let (next, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (client, next, ended) = (client.clone(), next.clone(), ended.clone());
        clients.spawn(async move {
            loop {
                let key = next.fetch_add(1, Ordering::SeqCst);
                if key >= SAGAS {
                    return;
                }
                let is_refused = key % REFUSED_EVERY == 0;
                let status = outcome(&client, key, if is_refused { "none" } else { "12A" }).await;
                assert_eq!(status, if is_refused { "compensated" } else { "completed" });
                ended.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let mut process = child(&arguments);
    let campaign = async {
        for kill in 1..=KILLS {
            while ended.load(Ordering::SeqCst) < kill * (SAGAS - CLIENTS) / (KILLS + 1) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            process.kill().expect("SIGKILL");
            process.wait().expect("ended");
            process = child(&arguments);
        }
        while let Some(client) = clients.join_next().await {
            client.expect("the expected outcome");
        }
    };
    let in_time = tokio::time::timeout(LIMIT, campaign).await;
    process.kill().expect("SIGKILL");
    process.wait().expect("ended");
    let figures = python.figures().await;
    in_time.unwrap_or_else(|_| {
        panic!("{} of {SAGAS} sagas ended: {figures}", ended.load(Ordering::SeqCst))
    });
    let refused = SAGAS.div_ceil(REFUSED_EVERY);
    assert_eq!(figures["card.charge"], SAGAS, "{figures}");
    assert_eq!(figures["card.refund"], refused, "{figures}");
    assert_eq!(figures["seat.reserve"], SAGAS - refused, "{figures}");
    println!("{KILLS} kills, {figures}");
}
