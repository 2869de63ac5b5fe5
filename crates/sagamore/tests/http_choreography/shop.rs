//! The plan `shop`, its services in Python, and a client of the server.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sagamore::HttpParticipants;
use sagamore::core::Body;
use sagamore::server::Client;
use sagamore::server::client::{ClientEvent, Error};
use serde_json::{Value, json};

/// Time limit of everything that a test waits for.
const LIMIT: Duration = Duration::from_secs(60);

/// The services.
pub const SERVICES: [&str; 4] = ["order", "payment", "stock", "shipping"];

/// A version of the plan: an order is charged and reserved, and then shipped.
pub fn plan(version: u32) -> String {
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
pub struct Python {
    process: Child,
    pub url: String,
}

impl Python {
    pub fn start() -> Python {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http_choreography/services.py");
        let started = Command::new("python3").arg(script).stdout(Stdio::piped()).spawn();
        let mut process = started.expect("python3 is installed");
        let mut port = String::new();
        let output = process.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut port).expect("a port");
        Python { process, url: format!("http://127.0.0.1:{}", port.trim()) }
    }

    pub fn participants(&self) -> HttpParticipants {
        SERVICES.iter().fold(HttpParticipants::default(), |bound, name| {
            bound.bind(name, &format!("{}/{name}", self.url)).expect("a valid URL")
        })
    }

    pub fn client(&self) -> Client {
        Client::new(&self.url).expect("an address")
    }

    pub async fn figures(&self) -> Value {
        let client = self.client();
        client.read(&client.get("/").await.expect("figures")).expect("JSON")
    }

    pub async fn be_away(&self, service: &str, is_away: bool) {
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

pub async fn apply(client: &Client, plan: String) -> Value {
    client.read(&client.post("/api/v1/plans", plan, None).await.expect("applied")).expect("JSON")
}

pub fn order(id: &str, cents: i64, sku: &str) -> Body {
    Body::of(&json!({ "orderId": id, "cents": cents, "sku": sku })).expect("JSON")
}

pub fn created<'a>(id: &'a str, data: &'a Body) -> ClientEvent<'a> {
    ClientEvent { id, source: "/webshop", event: "order.created", key: None, data }
}

/// Returns the status at which a chain comes to rest, and the events that were seen.
pub async fn outcome(client: &Client, id: &str) -> (String, Vec<String>) {
    let deadline = Instant::now() + LIMIT;
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

pub async fn shown(client: &Client, id: &str) -> Result<Value, Error> {
    let answer = client.get(&format!("/api/v1/sagas/{id}")).await?;
    Ok(client.read(&answer).expect("JSON"))
}

/// Waits until the step `charge` of a chain shows its second fault.
pub async fn faulted(client: &Client, id: &str) -> Value {
    let deadline = Instant::now() + LIMIT;
    loop {
        let view = shown(client, id).await;
        let steps = view.as_ref().ok().and_then(|view| view["steps"].as_array());
        let charge = steps.and_then(|steps| steps.iter().find(|step| step["name"] == "charge"));
        if let Some(charge) = charge.filter(|step| step["attempts"].as_u64() >= Some(2)) {
            return charge.clone();
        }
        assert!(Instant::now() < deadline, "{view:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
