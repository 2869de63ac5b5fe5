//! The choreographed services over one log, and a consumer of all their events.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::halting::YieldingTransport;
use futures_util::future::{join_all, join3};
use sagamore::core::message::Event;
use sagamore::core::{Name, StepKey};
use sagamore::sdk::{
    Database, Decided, Options, Outbox, Participant, StartOutcome, StartRequest, Timestamp,
    start_alone,
};
use sagamore::transport::wire::{decode_event, encode_event};
use sagamore::transport::{Consumer, Log, MemoryDisk, Subscription, Transport, log};
use sagamore_shop::inventory::{self, Delivery};
use sagamore_shop::order::{self, Rejected, Status};
use sagamore_shop::payment::{self, Account};
use sagamore_shop::shipping::{self, Destination};
use sagamore_shop::{Databases, Order};

const NOW: Timestamp = Timestamp(1_000_000);

pub struct Street {
    pub shop: Databases,
    log: Log,
    participants: Vec<Participant>,
    outbox: Outbox,
    listener: Box<dyn Consumer>,
    /// By id, so redelivered events count once.
    heard: BTreeMap<String, Event>,
    rng: fastrand::Rng,
    now: Timestamp,
}

impl Street {
    pub async fn empty() -> Street {
        Street::on(Databases::of_tests()).await
    }

    async fn on(shop: Databases) -> Street {
        let log = Log::on(Arc::new(MemoryDisk::new()), log::Options::default())
            .expect("the disk is empty");
        shop.prepare().await.expect("the tables are created");
        let transport: Arc<dyn Transport> = Arc::new(YieldingTransport(log.clone()));
        let mut topics: Vec<Arc<str>> = Vec::new();
        for service in sagamore_shop::choreographed() {
            for topic in service.tells() {
                log.create_topic(topic, 1).await.expect("create topic");
                topics.push(topic.into());
            }
        }
        log.create_topic("fulfilment.overdue", 1).await.expect("create topic");
        let participants: Vec<_> =
            (0..4).map(|number| participant(&shop, &transport, number)).collect();
        let outbox = participants[0].outbox();
        let subscription = Subscription { group: "listener".into(), topics, partitions: None };
        let listener = log.subscribe(subscription).await.expect("subscribe");
        let (heard, rng) = (BTreeMap::new(), fastrand::Rng::with_seed(7));
        let mut street = Street { shop, log, participants, outbox, listener, heard, rng, now: NOW };
        street.settle().await;
        street
    }

    /// VINET has 1,000 cents and TOMSP 50. There are 10 pieces of chai. France is served, Ireland
    /// is not.
    pub async fn small() -> Street {
        Street::empty().await.filled().await
    }

    /// Like [`Street::small`] but always in memory, so that turns never wait for a server and can
    /// be dropped by hand.
    pub async fn small_in_memory() -> Street {
        let [order, payment, inventory, shipping] = std::array::from_fn(|_| Database::memory());
        Street::on(Databases { order, payment, inventory, shipping }).await.filled().await
    }

    async fn filled(self) -> Street {
        let street = self;
        street.open("VINET", 1_000).await;
        street.open("TOMSP", 50).await;
        let chai = Delivery { sku: "chai".into(), name: "Chai".into(), on_hand: 10 };
        inventory::load(&street.shop.inventory, &[chai]).await.expect("load");
        let places = [("France", true), ("Ireland", false)];
        let places =
            places.map(|(country, served)| Destination { country: country.into(), served });
        shipping::load(&street.shop.shipping, &places).await.expect("load");
        street
    }

    async fn open(&self, customer_id: &str, balance_cents: i64) {
        let account =
            Account { customer_id: customer_id.into(), name: customer_id.into(), balance_cents };
        payment::load(&self.shop.payment, &[account]).await.expect("load");
    }

    /// Opens an account with a balance.
    pub async fn add_customer(&self, customer_id: &str, cents: i64) {
        self.open(customer_id, cents).await;
    }

    pub async fn place(&mut self, order: Order) -> Result<StartOutcome, Rejected> {
        let placed =
            start_alone(&self.shop.order, &self.outbox, StartRequest::new(order, self.now)).await;
        placed.expect("no fault")
    }

    pub async fn place_each(&mut self, orders: Vec<Order>) -> Vec<Result<StartOutcome, Rejected>> {
        let placed =
            order::choreographed::place_each(&self.shop.order, &self.outbox, orders, self.now)
                .await;
        placed.into_iter().map(|placed| placed.expect("no fault")).collect()
    }

    /// Places orders concurrently in transactions that share one commit, which fails. Returns each
    /// result. Requires a database in memory.
    pub async fn place_and_lose(
        &mut self,
        orders: Vec<Order>,
    ) -> Vec<Decided<StartOutcome, Rejected>> {
        let (database, outbox, now) = (&self.shop.order, &self.outbox, self.now);
        let open = database.begin().await.expect("begin");
        let orphan = "CREATE TABLE orphan (of TEXT REFERENCES orders (order_id) DEFERRABLE \
            INITIALLY DEFERRED)";
        open.tx().batch(orphan).await.expect("create the table");
        open.commit().await.expect("commit");
        let first = database.begin().await.expect("begin"); // the others queue up after this one
        let placed = join_all(
            orders
                .into_iter()
                .map(|order| start_alone(database, outbox, StartRequest::new(order, now))),
        );
        let loss = async {
            let open = database.begin().await.expect("begin");
            open.tx()
                .execute("INSERT INTO orphan (of) VALUES ('nothing')", ())
                .await
                .expect("checked at the commit");
            open.commit().await
        };
        let (placed, lost, _) = join3(placed, loss, first.commit()).await;
        assert!(lost.is_err());
        placed
    }

    /// Restarts the process of a service.
    pub fn restart(&mut self, number: usize) {
        let transport: Arc<dyn Transport> = Arc::new(YieldingTransport(self.log.clone()));
        self.participants[number] = participant(&self.shop, &transport, number);
        self.outbox = self.participants[0].outbox();
    }

    pub fn advance(&mut self, ms: u64) {
        self.now = self.now.plus(std::time::Duration::from_millis(ms));
    }

    /// Runs one turn of one service. The next turn retries failures.
    pub async fn turn_of(&mut self, number: usize) {
        let Street { participants, rng, now, .. } = self;
        participants[number].turn(*now, rng).await.expect("turn");
    }

    /// Publishes a random selection of earlier events again.
    pub async fn publish_again(&mut self, rng: &mut fastrand::Rng) {
        let mut events = self.events().await;
        rng.shuffle(&mut events);
        events.truncate(rng.usize(0..6));
        let producer = "another".parse().expect("the name is valid");
        self.log
            .publish(events.iter().map(|event| encode_event(event, &producer)).collect())
            .await
            .expect("publish");
    }

    /// Publishes the overdue event of an order, as an observer would, caused by its first event.
    pub async fn overdue(&mut self, order_id: &str) {
        let begun = self
            .events()
            .await
            .into_iter()
            .find(|event| event.hop == 0 && event.chain().key() == order_id);
        let Some(begun) = begun else { return };
        let name: Name = "fulfilment.overdue".parse().expect("the name is valid");
        let key = StepKey { step: name.clone(), ..begun.key.clone() };
        let causation = Some(begun.id());
        let overdue = Event { key, name, causation, hop: 1, at: self.now, ..begun };
        let observer = "observer".parse().expect("the name is valid");
        self.log.publish(vec![encode_event(&overdue, &observer)]).await.expect("publish");
    }

    /// Counts the events in all inboxes.
    pub async fn waiting(&self) -> i64 {
        let mut sum = 0;
        for (_, database) in self.shop.all() {
            let rows = database.query("SELECT count(*) FROM inbox", ()).await.expect("read");
            sum += rows[0].get::<i64>(0).expect("a count");
        }
        sum
    }

    pub async fn settle(&mut self) {
        let mut idle = 0;
        while idle < 2 {
            let mut taken = 0;
            for participant in &mut self.participants {
                taken += participant.turn(self.now, &mut self.rng).await.expect("turn").taken;
            }
            idle = if taken == 0 { idle + 1 } else { 0 };
        }
    }

    /// Returns all events so far.
    pub async fn events(&mut self) -> Vec<Event> {
        loop {
            let delivery = self.listener.poll(10_000).await.expect("poll");
            if delivery.is_empty() {
                return self.heard.values().cloned().collect();
            }
            for delivery in delivery {
                let event = decode_event(&delivery.record).expect("the record is an event");
                let before = self.heard.insert(event.id(), event.clone());
                assert!(
                    before.is_none_or(|before| before == event),
                    "two events with one id: {event:?}"
                );
            }
        }
    }

    /// Returns the names of an order's events, sorted by hop.
    pub async fn names_of(&mut self, order_id: &str) -> Vec<String> {
        let mut events = self.events().await;
        events.retain(|event| event.chain().key() == order_id);
        events.sort_by_key(|event| (event.hop, event.name.to_string()));
        events.into_iter().map(|event| event.name.to_string()).collect()
    }

    /// Publishes every event again, shuffled.
    pub async fn repeat(&mut self, seed: u64) {
        let mut events = self.events().await;
        fastrand::Rng::with_seed(seed).shuffle(&mut events);
        let producer = "another".parse().expect("the name is valid");
        self.log
            .publish(events.iter().map(|event| encode_event(event, &producer)).collect())
            .await
            .expect("publish");
    }

    pub async fn status(&self, order_id: &str) -> Status {
        order::order(&self.shop.order, order_id)
            .await
            .expect("read")
            .expect("the order exists")
            .status
    }

    pub async fn orders(&self) -> usize {
        order::orders(&self.shop.order, "", 10).await.expect("read").len()
    }

    /// Deletes the order service's rows, like a restored older database.
    pub async fn delete_orders(&self) {
        let open = self.shop.order.begin().await.expect("begin");
        for table in ["orders", "barrier", "emitted", "inbox"] {
            open.tx().execute(&format!("DELETE FROM {table}"), ()).await.expect("delete");
        }
        open.commit().await.expect("commit");
    }

    pub async fn cents(&self) -> i64 {
        payment::balance_cents(&self.shop.payment).await.expect("read")
    }

    pub async fn pieces(&self) -> i64 {
        inventory::pieces_on_hand(&self.shop.inventory).await.expect("read")
    }
}

fn participant(shop: &Databases, transport: &Arc<dyn Transport>, number: usize) -> Participant {
    let (service, (_, database)) = sagamore_shop::choreographed()
        .into_iter()
        .zip(shop.all())
        .nth(number)
        .expect("there are four services");
    let options = Options { partitions: 1, ..Options::default() };
    Participant::new(service, database.clone(), transport.clone(), options)
}
