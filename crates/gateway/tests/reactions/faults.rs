//! Faults of a row, of the store of plans, of the transport and of the service.

use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sagamore_core::Plan;
use sagamore_gateway::{PlanResult, PlanSource, StoredPlan};
use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Consumer, Error, Record};
use tokio::sync::watch;

use super::*;

/// Maximum bytes of a record of [`Wire`].
const RECORD_BYTES_MAX: usize = 300_000;
/// The lower bound of its broker, which a check does not know.
const BROKER_BYTES_MAX: usize = 200_000;

/// A log that rejects large records and counts subscriptions.
struct Wire {
    log: Log,
    subscriptions: AtomicUsize,
}

impl Wire {
    fn over(log: &Log) -> Arc<Wire> {
        Arc::new(Wire { log: log.clone(), subscriptions: AtomicUsize::new(0) })
    }
}

impl Transport for Wire {
    fn create_topic<'a>(
        &'a self,
        topic: &'a str,
        partitions: u32,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.log.create_topic(topic, partitions)
    }

    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>> {
        Box::pin(async move {
            let mut outcomes = Vec::new();
            for record in records {
                outcomes.push(match check(&record, BROKER_BYTES_MAX) {
                    Ok(()) => self.log.publish(vec![record]).await,
                    rejected => rejected,
                });
            }
            outcomes
        })
    }

    fn check_size(&self, record: &Record) -> Result<(), Error> {
        check(record, RECORD_BYTES_MAX)
    }

    fn synced(&self) -> BoxFuture<'static, Result<(), Error>> {
        self.log.synced()
    }

    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        self.subscriptions.fetch_add(1, Ordering::SeqCst);
        self.log.subscribe(subscription)
    }
}

fn check(record: &Record, bytes_max: usize) -> Result<(), Error> {
    let (topic, bytes) = (record.topic.to_string(), record.bytes());
    (bytes <= bytes_max).then_some(()).ok_or(Error::TooLarge { topic, bytes, bytes_max })
}

/// A store of plans in which a test decides what a read finds.
struct Store {
    result: Mutex<PlanResult>,
    reads: watch::Sender<usize>,
}

impl Store {
    fn of(result: PlanResult) -> Arc<Store> {
        Arc::new(Store { result: Mutex::new(result), reads: watch::Sender::new(0) })
    }

    fn set(&self, result: PlanResult) {
        *self.result.lock().expect("no panic") = result;
    }

    /// Waits for another read or two: the second has begun after this call.
    async fn until_read(&self) {
        let mut reads = self.reads.subscribe();
        let begun = *reads.borrow_and_update();
        let read = reads.wait_for(|reads| *reads >= begun + 2);
        drop(tokio::time::timeout(LIMIT, read).await.expect("read in time").expect("open"));
    }
}

impl PlanSource for Store {
    fn read(&self) -> Pin<Box<dyn Future<Output = PlanResult> + Send + '_>> {
        Box::pin(async {
            self.reads.send_modify(|reads| *reads += 1);
            self.result.lock().expect("no panic").clone()
        })
    }
}

fn stored(plan: Plan) -> StoredPlan {
    let (name, version) = (plan.name.clone(), plan.version);
    StoredPlan { name, version, plan: Some(Arc::new(plan)) }
}

/// The plan of the tests under another name or version.
fn variant(name: &str, version: u32) -> Plan {
    Plan { name: harness::name(name), version, ..plan() }
}

fn of_plan(plan: &str, version: u32, event: Event) -> Event {
    let saga = format!("{plan}:{}", event.key.saga.key()).parse().expect("a chain");
    Event { key: StepKey { saga, ..event.key }, version, ..event }
}

fn created(chain: usize) -> Event {
    event(chain, "create", "order.created", 0)
}

/// Serves a success to each reaction.
async fn succeeding() -> HttpParticipant {
    let body = r#"{"events":[{"type":"payment.success","data":{"id":"p-1"}}]}"#;
    HttpParticipant::answering(200, DONE, body).await
}

impl Rig {
    /// Runs a reactor that knows the plan of the tests, with this store of plans.
    fn run_stored(&self, transport: Arc<dyn Transport>, store: &Arc<Store>) -> JoinHandle<()> {
        let plans = Plans::default();
        plans.add(Arc::new(plan()));
        plans.connect(store.clone());
        self.run_with(transport, plans)
    }

    /// Waits for dead letters of a topic, and returns their reasons.
    async fn letters(&self, topic: &str, count: usize) -> Vec<String> {
        let topic: Arc<str> = format!("{topic}-dlt").into();
        self.log.create_topic(&topic, 4).await.expect("created");
        let asked = Subscription { group: "letters".into(), topics: vec![topic], partitions: None };
        let mut consumer = self.log.subscribe(asked).await.expect("subscribed");
        let mut reasons = Vec::new();
        let wait = async {
            while reasons.len() < count {
                consumer.ready().await;
                for letter in consumer.poll(100).await.expect("polled") {
                    let reason = letter.record.header("sagamore-dlt-reason").expect("a reason");
                    reasons.push(String::from_utf8(reason.to_vec()).expect("a text"));
                }
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("letters in time");
        reasons
    }

    async fn execute(&self, sql: &str) -> u64 {
        let open = self.database.begin().await.expect("open");
        let rows = open.tx().execute(sql, ()).await.expect("executed");
        open.commit().await.expect("committed");
        rows
    }

    /// Waits until a reaction has failed calls.
    async fn until_called(&self) {
        self.until_stored("attempts > 0").await;
    }

    /// Waits until a reaction has no work.
    async fn until_rested(&self) {
        self.until_stored("due_at IS NULL").await;
    }

    async fn until_stored(&self, condition: &str) {
        let sql = &format!("SELECT 1 FROM gateway_reaction WHERE {condition}");
        let wait = async {
            while self.database.query(sql, ()).await.map_or(0, |rows| rows.len()) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("stored in time");
    }
}

#[tokio::test]
async fn an_event_of_a_plan_that_only_the_store_knows_is_not_dropped() {
    let participant = succeeding().await;
    let rig = Rig::new(participant.url()).await;
    let store = Store::of(Ok(vec![stored(plan())]));
    let running = rig.run_stored(Arc::new(rig.log.clone()), &store);
    rig.publish(vec![created(1)]).await;
    rig.until(|events| events.len() == 1).await;
    store.set(Ok(vec![stored(plan()), stored(variant("gift", 1))]));
    rig.publish(vec![of_plan("gift", 1, created(2)), of_plan("lost", 1, created(3))]).await;
    let events = rig.until(|events| events.len() == 2).await;
    assert!(events.iter().any(|event| event.key.saga.as_str() == "gift:2"), "{events:?}");
    assert_eq!(participant.calls().len(), 2, "the third event has no plan");
    running.abort();
}

#[tokio::test]
async fn an_event_of_an_unreadable_plan_is_a_dead_letter() {
    let participant = succeeding().await;
    let rig = Rig::new(participant.url()).await;
    let newer = StoredPlan { name: name("gift"), version: 1, plan: None };
    let store = Store::of(Ok(vec![stored(plan()), newer]));
    let running = rig.run_stored(Arc::new(rig.log.clone()), &store);
    rig.publish(vec![of_plan("gift", 1, created(1)), of_plan("shop", 2, created(2))]).await;
    let mut letters = rig.letters("order.created", 2).await;
    letters.sort();
    assert!(letters[0].contains("shop@2") && letters[0].contains("apply"), "{letters:?}");
    assert!(letters[1].contains("gift@1") && letters[1].contains("upgrade"), "{letters:?}");
    running.abort();
}

/// While the store cannot be read, the reactor keeps its subscriptions.
#[tokio::test]
async fn an_event_of_an_unknown_version_waits_for_a_read_of_the_store() {
    let participant = succeeding().await;
    let rig = Rig::new(participant.url()).await;
    let store = Store::of(Err("connection refused".to_owned()));
    let wire = Wire::over(&rig.log);
    let running = rig.run_stored(wire.clone(), &store);
    rig.publish(vec![of_plan("shop", 2, created(1))]).await;
    store.until_read().await;
    store.set(Ok(vec![stored(plan()), stored(variant("shop", 2))]));
    rig.until(|events| events.len() == 1).await;
    assert_eq!(wire.subscriptions.load(Ordering::SeqCst), 2, "events and horizons");
    running.abort();
}

#[tokio::test]
async fn an_unreadable_reaction_makes_its_events_dead_letters_and_delays_no_other() {
    let participant = succeeding().await;
    let rig = Rig::new(participant.url()).await;
    let running = rig.run();
    rig.publish(vec![created(1)]).await;
    rig.until(|events| !events.is_empty()).await;
    assert_eq!(rig.execute(r#"UPDATE gateway_reaction SET state = '{"action":"newer"}'"#).await, 1);
    rig.publish(vec![created(1), created(2)]).await;
    rig.until(|events| events.iter().any(|event| event.key.saga.key() == "2")).await;
    let letters = rig.letters("order.created", 1).await;
    assert!(letters[0].contains("reaction 'charge'"), "{letters:?}");
    assert!(!running.is_finished());
    running.abort();
}

/// The broker rejects the event of a recorded answer. A repeat of the trigger finds it recorded.
#[tokio::test]
async fn an_event_that_the_broker_rejects_is_a_dead_letter_and_rests() {
    let participant = HttpParticipant::of(|_, _| async move {
        let text = "x".repeat(250_000);
        let body =
            format!(r#"{{"events":[{{"type":"payment.success","data":{{"text":"{text}"}}}}]}}"#);
        answer(200, DONE, &body)
    })
    .await;
    let rig = Rig::new(participant.url()).await;
    let plans = Plans::default();
    plans.add(Arc::new(plan()));
    let running = rig.run_with(Wire::over(&rig.log), plans);
    rig.publish(vec![created(1)]).await;
    let letters = rig.letters("payment.success", 1).await;
    assert!(letters[0].contains("cannot be published"), "{letters:?}");
    rig.until_rested().await;
    assert_eq!(participant.calls().len(), 1);
    running.abort();
}

/// The address refuses connections, before and after the deadline's event.
#[tokio::test]
async fn the_deadline_gives_up_a_pivot_that_was_never_called() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let rig = Rig::new(format!("http://{address}/sagas")).await;
    rig.log.create_topic("order.overdue", 2).await.expect("created");
    let pivot = Plan::named("shop")
        .begins("order", "create", "order.created")
        .deadline(Duration::from_secs(60))
        .overdue("order.overdue")
        .undone_on(["payment.failed"], "order.cancelled")
        .pivot("payment", "charge")
        .on(["order.created"])
        .emits(["payment.success"])
        .fails(["payment.failed"])
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    let plans = Plans::default();
    plans.add(Arc::new(pivot));
    let running = rig.run_with(Arc::new(rig.log.clone()), plans);
    rig.publish(vec![created(1)]).await;
    rig.until_called().await;
    rig.publish(vec![event(1, "order.overdue", "order.overdue", 1)]).await;
    let events = rig.until(|events| !events.is_empty()).await;
    assert_eq!(events[0].id(), "shop:1/charge/action/1/payment.failed");
    assert!(events[0].body.as_str().contains("overdue"), "{:?}", events[0].body);
    running.abort();
}

/// The first answer exceeds the bound of a result, the second the bound of a record.
#[tokio::test]
async fn a_result_that_is_too_large_is_not_recorded() {
    let participant = HttpParticipant::of(|number, _| async move {
        let bytes = [600_000, 400_000].get(number - 1).copied().unwrap_or(1);
        let text = "x".repeat(bytes);
        let body =
            format!(r#"{{"events":[{{"type":"payment.success","data":{{"text":"{text}"}}}}]}}"#);
        answer(200, DONE, &body)
    })
    .await;
    let rig = Rig::new(participant.url()).await;
    let plans = Plans::default();
    plans.add(Arc::new(plan()));
    let running = rig.run_with(Wire::over(&rig.log), plans);
    rig.publish(vec![created(1)]).await;
    let events = rig.until(|events| !events.is_empty()).await;
    assert_eq!(events[0].body.as_str(), r#"{"text":"x"}"#);
    running.abort();
}
