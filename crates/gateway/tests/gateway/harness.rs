//! A participant whose responses a test decides, and the gateway in front of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use sagamore_core::definition::ParticipantContract;
use sagamore_core::message::{Command, Outcome, Reply, ReplyOutcome, ReplyTo};
use sagamore_core::{Body, Direction, Name, StepKey, Timestamp, TraceContext};
use sagamore_database::Database;
use sagamore_gateway::{Binding, Egress, Endpoint, Gateway, KnownContracts, Options};
use sagamore_transport::log::Options as LogOptions;
use sagamore_transport::wire::{decode_reply, encode_command};
use sagamore_transport::{Consumer, Log, MemoryDisk, Record, Subscription, Transport};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const REPLIES: &str = "sagamore.replies";
pub const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// Time limit of everything that a test waits for.
const LIMIT: Duration = Duration::from_secs(30);

/// A received request.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a text"))
    }
}

type Calls = Arc<Mutex<Vec<Call>>>;

/// A participant in this process.
pub struct HttpParticipant {
    pub address: String,
    calls: Calls,
    /// The requests for announcements, which are not calls.
    queries: Calls,
    server: JoinHandle<()>,
}

impl HttpParticipant {
    /// Serves this function of the call and its number, from 1. The participant is not announced.
    pub async fn of<F, R>(respond: F) -> HttpParticipant
    where
        F: Fn(usize, Call) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response> + Send,
    {
        HttpParticipant::with(respond, || answer(405, &[], "")).await
    }

    /// Serves this announcement, and no calls.
    pub async fn announcing(status: u16, body: &str) -> HttpParticipant {
        let body = body.to_owned();
        let called = |_, _| async { answer(500, &[], "") };
        HttpParticipant::with(called, move || answer(status, &[], &body)).await
    }

    async fn with<F, R>(
        respond: F,
        announce: impl Fn() -> Response + Clone + Send + Sync + 'static,
    ) -> HttpParticipant
    where
        F: Fn(usize, Call) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response> + Send,
    {
        let (calls, queries) = (Calls::default(), Calls::default());
        let (received, queried) = (calls.clone(), queries.clone());
        let handler = move |method: axum::http::Method, headers: HeaderMap, body: Bytes| {
            let (respond, received) = (respond.clone(), received.clone());
            let (announce, queried) = (announce.clone(), queried.clone());
            async move {
                let call = Call { method: method.to_string(), headers, body };
                if call.method == "GET" {
                    queried.lock().expect("no panic").push(call);
                    return announce();
                }
                let number = {
                    let mut received = received.lock().expect("no panic");
                    received.push(call.clone());
                    received.len()
                };
                respond(number, call).await
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let router = Router::new().route("/sagas", any(handler));
        let server =
            tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        HttpParticipant { address, calls, queries, server }
    }

    /// Serves one response to every call.
    pub async fn answering(
        status: u16,
        headers: &'static [(&'static str, &'static str)],
        body: &'static str,
    ) -> HttpParticipant {
        HttpParticipant::of(move |_, _| async move { answer(status, headers, body) }).await
    }

    pub fn url(&self) -> String {
        format!("http://{}/sagas", self.address)
    }

    pub fn queries(&self) -> Vec<Call> {
        self.queries.lock().expect("no panic").clone()
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no panic").clone()
    }
}

impl Drop for HttpParticipant {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Builds a response.
pub fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    let mut response = (status, body.to_owned()).into_response();
    for (name, value) in headers {
        response.headers_mut().append(*name, value.parse().expect("a header value"));
    }
    response
}

pub const DONE: &[(&str, &str)] = &[("sagamore-outcome", "done")];

/// A running gateway on a log in memory.
pub struct Rig {
    pub log: Log,
    replies: Box<dyn Consumer>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Rig {
    /// Runs a gateway with this contract.
    pub async fn new(url: &str, contract: ParticipantContract) -> Rig {
        Rig::with(url, contract, |binding| binding, None).await
    }

    pub async fn with(
        url: &str,
        contract: ParticipantContract,
        bound: impl FnOnce(Binding) -> Binding,
        database: Option<Database>,
    ) -> Rig {
        let log = Rig::log().await;
        let gateway = gateway(&log, url, contract, bound, database);
        Rig::run(log, gateway).await
    }

    /// Runs a gateway with these options.
    pub async fn running(url: &str, contract: ParticipantContract, options: Options) -> Rig {
        let log = Rig::log().await;
        let gateway = gateway_with(&log, url, contract, |binding| binding, None, options);
        Rig::run(log, gateway).await
    }

    pub async fn log() -> Log {
        let disk = Arc::new(MemoryDisk::new());
        let log = Log::on(disk, LogOptions::default()).expect("an empty disk");
        log.create_topic(REPLIES, 2).await.expect("created");
        log
    }

    pub async fn run(log: Log, mut gateway: Gateway) -> Rig {
        let topics = vec![REPLIES.into()];
        let asked = Subscription { group: "test".into(), topics, partitions: None };
        let replies = log.subscribe(asked).await.expect("subscribed");
        gateway.subscribe().await.expect("subscribed");
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(async move {
            gateway.run(async { drop(stopped.await) }).await.expect("no permanent error");
        });
        Rig { log, replies, stop: Some(stop), running }
    }

    /// Sends commands to the gateway.
    pub async fn send(&self, commands: &[Command]) {
        let records = commands.iter().map(|command| encode_command(command, Timestamp(0)));
        self.publish(records.collect()).await;
    }

    pub async fn publish(&self, records: Vec<Record>) {
        self.log.publish(records).await.expect("published");
    }

    /// Waits for the next replies, with the record of each.
    pub async fn replies(&mut self, count: usize) -> Vec<(Reply, Record)> {
        let mut replies = Vec::new();
        let wait = async {
            while replies.len() < count {
                self.replies.ready().await;
                let taken = self.replies.poll(count - replies.len()).await.expect("polled");
                for delivery in taken {
                    assert_eq!(delivery.record.header("ce_source").expect("a source"), "/cards");
                    replies
                        .push((decode_reply(&delivery.record).expect("a reply"), delivery.record));
                }
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("replies in time");
        replies
    }

    /// Waits for the next record on the replies' topic.
    pub async fn record(&mut self) -> Record {
        let wait = async {
            loop {
                self.replies.ready().await;
                if let Some(delivery) = self.replies.poll(1).await.expect("polled").pop() {
                    return delivery.record;
                }
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("a record in time")
    }

    /// Waits for the reply to one command.
    pub async fn reply(&mut self) -> ReplyOutcome {
        self.replies(1).await.remove(0).0.outcome
    }

    /// Waits for the result of one command.
    pub async fn outcome(&mut self) -> Outcome {
        self.reply().await.result().expect("a result")
    }

    /// Waits until every command is finished and committed. Returns whether there is no further
    /// reply.
    pub async fn is_silent(&mut self) -> bool {
        self.until_committed().await;
        self.replies.poll(1).await.expect("polled").is_empty()
    }

    /// Waits until the gateway has committed every command.
    pub async fn until_committed(&mut self) {
        self.stop().await;
        assert_eq!(self.uncommitted().await, 0);
    }

    /// Returns the number of commands whose offsets are not committed, with the gateway stopped.
    pub async fn uncommitted(&self) -> u64 {
        let topics = vec!["cards.commands".into()];
        let asked = Subscription { group: "cards".into(), topics, partitions: None };
        self.log.subscribe(asked).await.expect("subscribed").lag()
    }

    /// Returns the reasons of the dead letters.
    pub async fn dead_letters(&self) -> Vec<String> {
        let topics = vec!["cards.commands-dlt".into()];
        let asked = Subscription { group: "letters".into(), topics, partitions: None };
        let mut letters = self.log.subscribe(asked).await.expect("subscribed");
        let taken = letters.poll(100).await.expect("polled");
        let reason = |record: &Record| {
            let reason = record.header("sagamore-dlt-reason").expect("a reason");
            String::from_utf8(reason.to_vec()).expect("a text")
        };
        taken.iter().map(|delivery| reason(&delivery.record)).collect()
    }

    /// Stops the gateway, which finishes its calls.
    pub async fn stop(&mut self) {
        drop(self.stop.take());
        let ended = tokio::time::timeout(LIMIT, &mut self.running).await;
        ended.expect("stopped in time").expect("no panic");
    }

    /// Ends the gateway like a crash.
    pub async fn crash(self) -> Log {
        self.running.abort();
        drop(self.running.await);
        self.log
    }
}

pub fn gateway(
    log: &Log,
    url: &str,
    contract: ParticipantContract,
    bound: impl FnOnce(Binding) -> Binding,
    database: Option<Database>,
) -> Gateway {
    gateway_with(log, url, contract, bound, database, Options::default())
}

fn gateway_with(
    log: &Log,
    url: &str,
    contract: ParticipantContract,
    bound: impl FnOnce(Binding) -> Binding,
    database: Option<Database>,
    options: Options,
) -> Gateway {
    let endpoint = Endpoint::parse(url).expect("a URL");
    let egress = Egress::of([&endpoint]);
    let (binding, transport) = (bound(Binding::of(endpoint)), Arc::new(log.clone()));
    let contracts = KnownContracts::default();
    contracts.add(&name("trip"), 3, &[(name("cards"), contract)].into());
    Gateway::new(name("cards"), binding, &egress, transport, Arc::new(contracts), database, options)
        .expect("the address is permitted")
}

pub fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub fn key(saga: &str, direction: Direction) -> StepKey {
    let saga = format!("trip:{saga}").parse().expect("a saga");
    StepKey { saga, step: name("pay"), direction, generation: 1 }
}

/// A command of the step `pay` of a saga.
pub fn command(saga: &str, direction: Direction) -> Command {
    let text = match direction {
        Direction::Action => "card.charge",
        Direction::Compensation => "card.refund",
        Direction::Query => "card.status",
    };
    Command {
        key: key(saga, direction),
        version: 3,
        attempt: 1,
        participant: name("cards"),
        name: name(text),
        body: Body::parse("{\"cents\":44000}").expect("JSON"),
        reply_to: ReplyTo { topic: REPLIES.into(), partition: 1 },
        expires_at: None,
        trace: TraceContext::of(TRACE, Some("vendor=1")),
    }
}

pub fn action(saga: &str) -> Command {
    command(saga, Direction::Action)
}

/// Returns a gateway on another transport, with these options.
pub fn gateway_on(transport: Arc<dyn Transport>, url: &str, options: Options) -> Gateway {
    let endpoint = Endpoint::parse(url).expect("a URL");
    let egress = Egress::of([&endpoint]);
    let contracts = KnownContracts::default();
    contracts.add(&name("trip"), 3, &[(name("cards"), ParticipantContract::default())].into());
    let (binding, contracts) = (Binding::of(endpoint), Arc::new(contracts));
    Gateway::new(name("cards"), binding, &egress, transport, contracts, None, options)
        .expect("the address is permitted")
}
