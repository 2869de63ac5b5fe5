//! An observer detects failed chains. Each fault is planted in the shop, over the log in one
//! process and over Kafka if `SAGAMORE_TEST_KAFKA` names brokers (`cargo xtask services env`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use sagamore::core::message::Event;
use sagamore::core::plan::Wait;
use sagamore::core::{Body, Direction, Name, SagaId, StepKey, Timestamp};
use sagamore::database::testing::skipped;
use sagamore::engine::{ChainStatus, Chains, Observer, ObserverOptions};
use sagamore::kafka::{Kafka, Options};
use sagamore::sdk::{
    Decided, Never, Outbox, Participant, Reaction, Service, StartRequest, Tx, done, start_alone,
};
use sagamore::transport::wire::encode_event;
use sagamore::transport::{Log, MemoryDisk, Transport, log};
use sagamore_shop::choreography::{self, OrderCreated, PaymentFailed, PaymentSuccess};
use sagamore_shop::inventory::{self, Delivery};
use sagamore_shop::payment::{self, Account};
use sagamore_shop::shipping::{self, Destination};
use sagamore_shop::{Databases, Line, Order, ShipTo, order};

/// Longer than the plan's deadline.
const LATE: Duration = Duration::from_secs(61);
/// The time after which a missing status fails the test.
const PATIENCE: Duration = Duration::from_secs(60);
const NOW: Timestamp = Timestamp(1_000_000);

/// The shop with some of its services, and an observer.
struct Street {
    shop: Databases,
    transport: Arc<dyn Transport>,
    participants: Vec<Participant>,
    outbox: Outbox,
    observer: Observer,
    chains: Chains,
    now: Timestamp,
}

impl Street {
    async fn of(
        transport: Arc<dyn Transport>,
        services: impl IntoIterator<Item = Service>,
    ) -> Street {
        let shop = Databases::of_tests();
        shop.prepare().await.expect("the tables are created");
        let account =
            Account { customer_id: "VINET".into(), name: "Vins".into(), balance_cents: 1_000 };
        payment::load(&shop.payment, &[account]).await.expect("load");
        let chai = Delivery { sku: "chai".into(), name: "Chai".into(), on_hand: 5 };
        inventory::load(&shop.inventory, &[chai]).await.expect("load");
        let france = Destination { country: "France".into(), served: true };
        shipping::load(&shop.shipping, &[france]).await.expect("load");
        let plan = choreography::plan().expect("the plan is valid");
        let options = ObserverOptions { partitions: 1, ..ObserverOptions::default() };
        let database = sagamore::database::testing::database();
        let (observer, chains) = Observer::open(options, database, transport.clone(), vec![plan])
            .await
            .expect("the observer opens");
        let (participants, outbox) = (Vec::new(), Outbox::default());
        let mut street =
            Street { shop, transport, participants, outbox, observer, chains, now: NOW };
        services.into_iter().for_each(|service| street.start(service));
        street
    }

    fn start(&mut self, service: Service) {
        let all = self.shop.all();
        let database = all
            .into_iter()
            .find(|(name, _)| *name == service.name().as_str())
            .expect("the service exists")
            .1
            .clone();
        let options = sagamore::sdk::Options { partitions: 1, ..sagamore::sdk::Options::default() };
        let begins = service.name().as_str() == order::SERVICE;
        let participant = Participant::new(service, database, self.transport.clone(), options);
        if begins {
            self.outbox = participant.outbox();
        }
        self.participants.push(participant);
    }

    async fn place(&mut self, id: &str, quantity: i64) {
        self.turn().await; // creates the tables of the outbox
        let ship_to = ShipTo {
            name: "Vins et alcools".into(),
            address: "59 rue de l'Abbaye".into(),
            city: "Reims".into(),
            region: None,
            postal_code: None,
            country: "France".into(),
        };
        let lines = vec![Line { sku: "chai".into(), quantity, unit_price_cents: 100 }];
        let order = Order { order_id: id.into(), customer_id: "VINET".into(), lines, ship_to };
        let placed =
            start_alone(&self.shop.order, &self.outbox, StartRequest::new(order, self.now)).await;
        placed.expect("no fault").expect("the order is valid");
    }

    async fn turn(&mut self) {
        let mut rng = fastrand::Rng::with_seed(7);
        for participant in &mut self.participants {
            participant.turn(self.now, &mut rng).await.expect("turn");
        }
        self.observer.turn(self.now).await.expect("observe");
    }

    /// Runs turns until a chain has this status and waits for this service, if any.
    async fn until(&mut self, id: &str, status: ChainStatus, waits_for: Option<&str>) {
        let (chain, begun): (SagaId, Instant) =
            (format!("fulfilment:{id}").parse().expect("the id is valid"), Instant::now());
        let mut seen = None;
        while seen.as_ref() != Some(&(status, waits_for.map(str::to_owned))) {
            assert!(
                begun.elapsed() < PATIENCE,
                "chain {id} is {seen:?} instead of {status:?} waiting for {waits_for:?}"
            );
            self.turn().await;
            tokio::task::yield_now().await;
            let detail = self.chains.show(&chain).await.expect("read");
            seen = detail.map(|detail| {
                let first = |waits: Vec<Wait>| waits.first().map(|wait| wait.service.to_string());
                (
                    detail.header.status,
                    first(detail.chain.waits_for()).filter(|_| waits_for.is_some()),
                )
            });
        }
    }

    /// Publishes an event that no service has emitted.
    async fn publish(
        &self,
        id: &str,
        step: &str,
        direction: Direction,
        name: &str,
        causation: &str,
    ) {
        let saga = format!("fulfilment:{id}").parse().expect("the id is valid");
        let key = StepKey {
            saga,
            step: step.parse().expect("the name is valid"),
            direction,
            generation: 1,
        };
        let name: Name = name.parse().expect("the name is valid");
        let (causation, body) = (Some(causation.to_owned()), Body::empty());
        let event =
            Event { key, version: 1, name, causation, hop: 2, at: self.now, body, trace: None };
        let producer = "stranger".parse().expect("the name is valid");
        self.transport.publish(vec![encode_event(&event, &producer)]).await.expect("publish");
    }
}

fn all() -> Vec<Service> {
    sagamore_shop::choreographed().into_iter().collect()
}

fn but(name: &str) -> Vec<Service> {
    all().into_iter().filter(|service| service.name().as_str() != name).collect()
}

/// Runs a test over the log, and over Kafka if it is available.
async fn on_each<F: Future<Output = ()>>(fault: impl Fn(Arc<dyn Transport>) -> F) {
    let log =
        Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).expect("the disk is empty");
    fault(Arc::new(log)).await;
    let Ok(brokers) = std::env::var("SAGAMORE_TEST_KAFKA") else {
        return skipped("on Kafka: SAGAMORE_TEST_KAFKA is not set (cargo xtask services env)");
    };
    let namespace = Some(format!("observed-{}-{:x}", std::process::id(), fastrand::u32(..)));
    let kafka =
        Kafka::connect(Options { namespace, replication: Some(1), ..Options::new(brokers) })
            .expect("connect");
    fault(Arc::new(kafka.clone())).await;
    let topics = kafka.topics().await.expect("the topics");
    kafka
        .delete_topics(&topics.iter().map(|topic| &*topic.name).collect::<Vec<_>>())
        .await
        .expect("remove the topics");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_service_leaves_a_chain_stuck_until_it_starts() {
    on_each(async |transport| {
        let mut street = Street::of(transport, but(shipping::SERVICE)).await;
        street.place("1", 3).await;
        street.until("1", ChainStatus::Running, Some("shipping")).await;
        street.now = street.now.plus(LATE);
        street.until("1", ChainStatus::Stuck, Some("shipping")).await;
        let shipping = all().pop().expect("there are four services");
        street.start(shipping);
        street.until("1", ChainStatus::Completed, None).await;
    })
    .await;
}

/// `sagamore check` rejects such a plan before it runs. This test bypasses the check.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_compensation_leaves_a_chain_half_compensated() {
    async fn charge(_: Tx, order: OrderCreated) -> Decided<PaymentSuccess, Never> {
        let OrderCreated { order_id, customer_id, total_cents, .. } = order;
        done(PaymentSuccess { order_id, customer_id, amount_cents: total_cents })
    }
    on_each(async |transport| {
        let forgetful = Service::named(payment::SERVICE)
            .reaction(Reaction::named("charge").to(charge).fails::<PaymentFailed>());
        let services = but(payment::SERVICE).into_iter().chain([forgetful]);
        let mut street = Street::of(transport, services).await;
        street.place("1", 9).await; // five are on hand
        street.until("1", ChainStatus::Compensating, Some("payment")).await;
        street.now = street.now.plus(LATE);
        street.until("1", ChainStatus::HalfCompensated, Some("payment")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_another_reaction_moves_no_chain_and_one_without_its_cause_is_anomalous() {
    on_each(async |transport| {
        let mut street = Street::of(transport, all()).await;
        for id in ["1", "2"] {
            street.place(id, 1).await;
            street.until(id, ChainStatus::Completed, None).await;
        }
        let scheduled = "fulfilment:1/schedule/action/1/shipping.scheduled";
        street.publish("1", "again", Direction::Action, "order.confirmed", scheduled).await;
        let nothing = "fulfilment:2/reserve/action/1/nothing.happened";
        street
            .publish("2", "reserve", Direction::Compensation, "inventory.released", nothing)
            .await;
        street.now = street.now.plus(LATE);
        street.until("2", ChainStatus::Anomalous, None).await;
        // the observer has read all events by now
        street.until("1", ChainStatus::Completed, None).await;
    })
    .await;
}
