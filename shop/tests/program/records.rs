//! The records that the program publishes: the trace of a request through all records of both
//! styles, and events of a later plan version.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use sagamore::core::message::Event;
use sagamore::core::{Body, Direction, StepKey, Timestamp};
use sagamore::transport::wire::{dead_letter_topic, encode_event};
use sagamore::transport::{Consumer, Record, Subscription};
use sagamore::{Running, StartOptions};
use serde_json::Value;

use crate::support::{an_order, an_unpayable_order};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STATE: &str = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
/// The time after which a missing record fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

/// The shop in this process, with a consumer of its records.
struct RecordedShop {
    running: Running,
    records: Box<dyn Consumer>,
    _data: tempfile::TempDir,
}

impl RecordedShop {
    async fn start(choreography: bool) -> RecordedShop {
        let data = tempfile::tempdir().expect("create a directory");
        let listen = Some("127.0.0.1:0".to_owned());
        let options = StartOptions { listen, choreography, ..StartOptions::of(data.path()) };
        let running = sagamore_shop::program().start(options).await.expect("start the shop");
        let topics: BTreeSet<String> = match choreography {
            true => {
                let services = sagamore_shop::choreographed();
                services
                    .iter()
                    .flat_map(|service| service.tells().map(str::to_owned).collect::<Vec<_>>())
                    .collect()
            }
            false => {
                let commands =
                    running.server().services.iter().map(|host| format!("{}.commands", host.name));
                commands.chain(["sagamore.replies".to_owned()]).collect()
            }
        };
        let topics = topics.into_iter().map(Into::into).collect();
        let subscription = Subscription { group: "watcher".into(), topics, partitions: None };
        let records = running.server().services[0]
            .transport
            .subscribe(subscription)
            .await
            .expect("subscribe");
        sagamore_shop::sample::load(
            &sagamore_shop::Databases::of(running.server()).expect("all services run here"),
        )
        .await
        .expect("load the samples");
        RecordedShop { running, records, _data: data }
    }

    /// Posts a body as part of the trace and waits for the outcome.
    async fn post(&self, path: &'static str, body: String) -> String {
        let address = self.running.address().expect("the server listens");
        tokio::task::spawn_blocking(move || post(address, path, &body)).await.expect("no panic")
    }

    /// Polls until `count` records of one business key have arrived.
    async fn records_of(&mut self, key: &str, count: usize) -> Vec<Record> {
        let (mut found, begun) = (Vec::new(), Instant::now());
        while found.len() < count {
            assert!(begun.elapsed() < PATIENCE, "{} of {count} records", found.len());
            let polled = self.records.poll(1_000).await.expect("poll");
            found.extend(
                polled
                    .into_iter()
                    .map(|polled| polled.record)
                    .filter(|record| *record.key == *key.as_bytes()),
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        found
    }
}

fn post(address: SocketAddr, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nprefer: wait=30\r\n\
         traceparent: {PARENT}\r\ntracestate: {STATE}\r\ncontent-length: {length}\r\n\r\n"
    );
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()))
        .expect("send the request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read the response");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

fn header<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    record.header(name).map(|value| std::str::from_utf8(value).expect("the header is UTF-8"))
}

#[track_caller]
fn is_of_the_trace(record: &Record) {
    let what = format!("{} {:?}", record.topic, header(record, "ce_id"));
    assert_eq!(header(record, "traceparent"), Some(PARENT), "{what}");
    assert_eq!(header(record, "tracestate"), Some(STATE), "{what}");
}

/// Maps each event's name to the name of its cause.
fn causes(records: &[Record]) -> BTreeMap<&str, Option<&str>> {
    let by_id = |id: &str| records.iter().find(|record| header(record, "ce_id") == Some(id));
    let name = |record| header(record, "ce_type").expect("the event has a type");
    let cause = |record| {
        header(record, "ce_causationid")
            .map(|id| name(by_id(id).unwrap_or_else(|| panic!("no event {id}"))))
    };
    records.iter().map(|record| (name(record), cause(record))).collect()
}

/// Completed and undone chains. No service exports spans, so the request's span is the parent of
/// all records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_of_an_order_reaches_every_event_of_its_chain_and_of_its_undos() {
    let mut shop = RecordedShop::start(true).await;
    shop.post("/orders", an_order("t1", 1).to_string()).await;
    let events = shop.records_of("t1", 5).await;
    events.iter().for_each(is_of_the_trace);
    let wanted = [
        ("inventory.updated", Some("payment.success")),
        ("order.confirmed", Some("shipping.scheduled")),
        ("order.created", None),
        ("payment.success", Some("order.created")),
        ("shipping.scheduled", Some("inventory.updated")),
    ];
    assert_eq!(causes(&events), BTreeMap::from(wanted));

    let mut unserved = an_order("t2", 1);
    unserved["shipTo"]["country"] = Value::from("Nowhere");
    shop.post("/orders", unserved.to_string()).await;
    let events = shop.records_of("t2", 7).await;
    events.iter().for_each(is_of_the_trace);
    let wanted = [
        ("inventory.released", Some("shipping.failed")),
        ("inventory.updated", Some("payment.success")),
        ("order.cancelled", Some("shipping.failed")),
        ("order.created", None),
        ("payment.refunded", Some("shipping.failed")),
        ("payment.success", Some("order.created")),
        ("shipping.failed", Some("inventory.updated")),
    ];
    assert_eq!(causes(&events), BTreeMap::from(wanted));
    shop.running.stop().await.expect("stop the shop");
}

/// Started by `POST /orders` and by `POST /api/v1/sagas`, including compensations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_of_a_request_reaches_every_command_and_reply_of_its_saga() {
    let mut shop = RecordedShop::start(false).await;
    shop.post("/orders", an_order("t1", 1).to_string()).await;
    shop.records_of("t1", 10).await.iter().for_each(is_of_the_trace);
    let input = an_unpayable_order("t2");
    let body = serde_json::json!({ "definition": "checkout", "key": "t2", "input": input });
    shop.post("/api/v1/sagas", body.to_string()).await;
    let records = shop.records_of("t2", 6).await;
    records.iter().for_each(is_of_the_trace);
    let undone = records
        .iter()
        .filter(|record| header(record, "ce_sagakind") == Some("compensation"))
        .count();
    assert_eq!(undone, 2, "a command and its reply");
    shop.running.stop().await.expect("stop the shop");
}

/// The services get the plan's version from the program, so the event triggers no charge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_a_later_version_than_the_programs_plan_is_a_dead_letter() {
    let mut shop = RecordedShop::start(true).await;
    let host = &shop.running.server().services[0];
    let letters = dead_letter_topic("order.created");
    let subscription =
        Subscription { group: "letters".into(), topics: vec![letters], partitions: None };
    shop.records = host.transport.subscribe(subscription).await.expect("subscribe");
    let key = StepKey {
        saga: "fulfilment:v9".parse().expect("the id is valid"),
        step: "create".parse().expect("the name is valid"),
        direction: Direction::Action,
        generation: 1,
    };
    let name = "order.created".parse().expect("the name is valid");
    let (at, body) = (Timestamp(1), Body::empty());
    let event = Event { key, version: 9, name, causation: None, hop: 0, at, body, trace: None };
    let record = encode_event(&event, &"order".parse().expect("the name is valid"));
    host.transport.publish(vec![record]).await.expect("publish");
    let letter = shop.records_of("v9", 1).await.remove(0);
    let reason = header(&letter, "sagamore-dlt-reason").expect("the dead letter has a reason");
    assert!(
        reason.starts_with("version: the event says version 9 of the plan 'fulfilment'"),
        "{reason}"
    );
    shop.running.stop().await.expect("stop the shop");
}
