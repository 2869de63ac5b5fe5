//! A choreographed service behind a reactor: requests, results and crashes at any moment.

mod faults;
#[allow(dead_code, reason = "the tests of the gateway use the rest")]
#[path = "../gateway/harness.rs"]
mod harness;
#[path = "../support/shop.rs"]
mod shop;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::{Body, Direction, Event, SagaId, StepKey, Timestamp};
use sagamore_database::Database;
use sagamore_gateway::{Binding, Egress, Endpoint, Options, Plans, Reactor};
use sagamore_transport::wire::{decode_event, encode_event};
use sagamore_transport::{Delivery, Log, MemoryDisk, Subscription, Transport};
use tokio::task::JoinHandle;

use crate::harness::{DONE, HttpParticipant, answer, name};
use crate::shop::plan;

/// Time limit of everything that a test waits for.
const LIMIT: Duration = Duration::from_secs(60);

fn event(chain: usize, step: &str, event: &str, hop: u32) -> Event {
    let saga: SagaId = format!("shop:{chain}").parse().expect("a chain");
    Event {
        key: StepKey { saga, step: name(step), direction: Direction::Action, generation: 1 },
        version: 1,
        name: name(event),
        causation: (hop > 0).then(|| format!("shop:{chain}/create/action/1/order.created")),
        hop,
        at: Timestamp(1),
        body: Body::parse("{\"cents\":5}").expect("JSON"),
        trace: None,
    }
}

/// A log with a database, on which reactors of the service `payment` run one after another.
struct Rig {
    log: Log,
    database: Database,
    url: String,
}

impl Rig {
    async fn new(url: String) -> Rig {
        let log = Log::on(Arc::new(MemoryDisk::new()), sagamore_transport::log::Options::default());
        let rig = Rig { log: log.expect("an empty disk"), database: Database::memory(), url };
        for part in plan().parts() {
            for (event, _) in part.events() {
                rig.log.create_topic(event.as_str(), 2).await.expect("created");
            }
        }
        rig
    }

    fn run(&self) -> JoinHandle<()> {
        let plans = Plans::default();
        plans.add(Arc::new(plan()));
        self.run_with(Arc::new(self.log.clone()), plans)
    }

    fn run_with(&self, transport: Arc<dyn Transport>, plans: Plans) -> JoinHandle<()> {
        let endpoint = Endpoint::parse(&self.url).expect("a URL");
        let egress = Egress::of([&endpoint]);
        let (binding, options) = (Binding::of(endpoint), Options::default());
        let database = self.database.clone();
        let payment = name("payment");
        let reactor = Reactor::new(payment, binding, &egress, transport, plans, database, options);
        let reactor = reactor.expect("the address is permitted");
        tokio::spawn(async move {
            reactor.run(std::future::pending()).await.expect("no permanent error");
        })
    }

    async fn publish(&self, events: Vec<Event>) {
        let source = name("source");
        let records = events.iter().map(|event| encode_event(event, &source)).collect();
        self.log.publish(records).await.expect("published");
    }

    /// Waits until the published events of the service, in their order, fulfil a condition.
    async fn until(&self, is_done: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let topics = ["payment.success", "payment.failed", "payment.refunded"];
        let topics = topics.map(Arc::from).to_vec();
        let group = format!("reader-{}", fastrand::u64(..)).into();
        let asked = Subscription { group, topics, partitions: None };
        let mut consumer = self.log.subscribe(asked).await.expect("subscribed");
        let mut events = Vec::new();
        let wait = async {
            while !is_done(&events) {
                consumer.ready().await;
                let taken = consumer.poll(1_000).await.expect("polled");
                let decode = |one: &Delivery| decode_event(&one.record).expect("a valid event");
                events.extend(taken.iter().map(decode));
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("in time");
        events
    }
}

#[tokio::test]
async fn an_event_is_posted_with_the_key_of_its_reaction_and_answered_by_an_event() {
    let participant = HttpParticipant::of(|number, call| async move {
        match (number, call.header("sagamore-direction")) {
            (1, _) => answer(503, &[], ""),
            (_, "action") => {
                let body = r#"{"events":[{"type":"payment.success","data":{"id":"p-1"}}]}"#;
                answer(200, DONE, body)
            }
            (_, _) => answer(200, DONE, ""),
        }
    })
    .await;
    let rig = Rig::new(participant.url()).await;
    let running = rig.run();
    rig.publish(vec![event(7, "create", "order.created", 0)]).await;
    let events = rig.until(|events| !events.is_empty()).await;
    assert_eq!(events[0].id(), "shop:7/charge/action/1/payment.success");
    assert_eq!(events[0].body.as_str(), r#"{"id":"p-1"}"#);
    rig.publish(vec![event(7, "ship", "shipping.failed", 2)]).await;
    let events = rig.until(|events| events.len() == 2).await;
    let undone = events.iter().find(|event| event.key.direction == Direction::Compensation);
    let undone = undone.expect("an undo");
    assert_eq!(undone.id(), "shop:7/charge/compensation/1/payment.refunded");
    assert_eq!((undone.hop, undone.body.as_str()), (3, "{\"cents\":5}"));
    let calls = participant.calls();
    assert_eq!(calls.len(), 3, "one was repeated");
    let facts = |place: usize| {
        let call = &calls[place];
        ["idempotency-key", "sagamore-reaction", "ce-type"].map(|header| call.header(header))
    };
    assert_eq!(facts(0), ["shop:7/charge/action/1", "charge", "order.created"]);
    assert_eq!(facts(1), facts(0));
    assert_eq!(facts(2), ["shop:7/charge/compensation/1", "charge", "shipping.failed"]);
    running.abort();
}

/// The participant answers each call otherwise. A result that was published twice with different
/// contents, or a success beside a failure, shows that an answer was not recorded first.
#[tokio::test]
async fn a_crash_at_any_moment_publishes_no_second_result() {
    const CHAINS: usize = 60;
    const CRASHES: usize = 60;
    let participant = HttpParticipant::of(|number, call| async move {
        tokio::task::yield_now().await;
        match call.header("sagamore-direction") {
            "action" if number % 3 == 0 => {
                answer(200, &[("sagamore-outcome", "refused")], r#"{"code":"no-money"}"#)
            }
            "action" => {
                let body = format!(
                    r#"{{"events":[{{"type":"payment.success","data":{{"call":{number}}}}}]}}"#
                );
                answer(200, DONE, &body)
            }
            _ => answer(200, DONE, ""),
        }
    })
    .await;
    let rig = Rig::new(participant.url()).await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let failed: BTreeSet<usize> = (0..CHAINS).filter(|_| random.u8(..3) == 0).collect();
    for crash in 0..CRASHES {
        let running = rig.run();
        if crash % 2 == 0 {
            let mut events = Vec::new();
            for chain in (crash..CHAINS).take(2) {
                if failed.contains(&chain) && random.bool() {
                    events.push(event(chain, "ship", "shipping.failed", 2));
                }
                events.push(event(chain, "create", "order.created", 0));
            }
            rig.publish(events).await;
        }
        for _ in 0..random.usize(..400) {
            tokio::task::yield_now().await;
        }
        running.abort();
        drop(running.await);
    }
    let late = failed.iter().map(|chain| event(*chain, "ship", "shipping.failed", 2));
    rig.publish(late.collect()).await;
    let running = rig.run();
    let has = |events: &[Event], chain: usize, names: &[&str]| {
        events.iter().any(|event| {
            event.key.saga.key() == chain.to_string() && names.contains(&event.name.as_str())
        })
    };
    let all = ["payment.success", "payment.failed", "payment.refunded"];
    let events = rig
        .until(|events| {
            (0..CHAINS).all(|chain| has(events, chain, &all))
                && failed.iter().all(|chain| has(events, *chain, &["payment.refunded"]))
        })
        .await;
    running.abort();
    let mut by_id: BTreeMap<String, Event> = BTreeMap::new();
    for event in events {
        let known = by_id.entry(event.id()).or_insert_with(|| event.clone());
        assert_eq!(*known, event, "the same id with other contents");
    }
    let events: Vec<Event> = by_id.into_values().collect();
    for chain in 0..CHAINS {
        let both =
            has(&events, chain, &["payment.success"]) && has(&events, chain, &["payment.failed"]);
        assert!(!both, "chain {chain} has two results");
        let is_undone = has(&events, chain, &["payment.refunded"]);
        assert_eq!(is_undone, failed.contains(&chain), "chain {chain}");
    }
}
