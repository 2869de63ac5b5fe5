//! The services and a minimal orchestrator, which sends the definition's next commands round by
//! round.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagamore::core::decide::decide;
use sagamore::core::saga::{Input, Rescue, Saga, Status, Verb};
use sagamore::core::{Body, Definition, ReplyTo, SagaId, Timestamp};
use sagamore::sdk::{Options, Participant};
use sagamore::transport::wire::{decode_reply, encode_command};
use sagamore::transport::{Consumer, Log, MemoryDisk, Subscription, Transport, log};
use sagamore_shop::{Databases, Order, checkout, services};

const REPLIES: &str = "sagamore.replies";
const NOW: Timestamp = Timestamp(1_000_000);

pub struct Market {
    pub shop: Databases,
    plan: Arc<Definition>,
    log: Log,
    participants: Vec<Participant>,
    replies: Box<dyn Consumer>,
    sagas: BTreeMap<SagaId, Saga>,
    rng: fastrand::Rng,
}

impl Market {
    /// Starts all services with empty tables.
    pub async fn open() -> Market {
        let shop = Databases::of_tests();
        shop.prepare().await.expect("the tables are created");
        let log = Log::on(Arc::new(MemoryDisk::new()), log::Options::default())
            .expect("the disk is empty");
        log.create_topic(REPLIES, 1).await.expect("create topic");
        let group =
            Subscription { group: "market".into(), topics: vec![REPLIES.into()], partitions: None };
        let replies = log.subscribe(group).await.expect("subscribe");
        let transport: Arc<dyn Transport> = Arc::new(log.clone());
        let up = services().into_iter().zip(shop.all()).map(|(service, (name, database))| {
            assert_eq!(service.name().as_str(), name);
            Participant::new(service, database.clone(), transport.clone(), Options::default())
        });
        let participants = up.collect();
        let plan = Arc::new(checkout().expect("the definition is valid"));
        let rng = fastrand::Rng::with_seed(7);
        let mut market =
            Market { shop, plan, log, participants, replies, sagas: BTreeMap::new(), rng };
        market.turns().await;
        market
    }

    /// Starts a saga for each order.
    pub async fn start(&mut self, orders: impl IntoIterator<Item = Order>) {
        let mut started = Vec::new();
        for order in orders {
            let id = SagaId::new(&self.plan.name, &order.order_id).expect("the id is valid");
            let reply_to = ReplyTo { topic: REPLIES.into(), partition: 0 };
            let saga = Saga::begin(
                id.clone(),
                self.plan.clone(),
                reply_to,
                Body::of(&order).expect("JSON"),
                NOW,
            );
            self.sagas.insert(id.clone(), saga);
            self.feed(&id, &Input::Start);
            started.push(id);
        }
        self.send(&started).await;
    }

    /// Runs a turn of every service, and sends the commands that follow from their replies. Returns
    /// whether there were any.
    pub async fn round(&mut self) -> bool {
        self.turns().await;
        let records = self.replies.poll(10_000).await.expect("poll replies");
        let mut answered = Vec::new();
        for delivered in records {
            let reply = decode_reply(&delivered.record).expect("a reply");
            let id = reply.key.saga.clone();
            self.feed(&id, &Input::Reply(reply));
            answered.push(id);
        }
        self.send(&answered).await;
        !answered.is_empty()
    }

    /// Runs rounds until there are no more replies.
    pub async fn settle(&mut self) {
        while self.round().await {}
    }

    /// Resolves a step, like an operator who has undone it by hand.
    pub async fn resolve(&mut self, order_id: &str, step: &str) {
        let id = SagaId::new(&self.plan.name, order_id).expect("the id is valid");
        let reason = "refunded by hand".to_owned();
        self.feed(
            &id,
            &Input::Rescue(Rescue::new(step.parse().expect("a step"), Verb::Resolve, reason)),
        );
        self.send(&[id]).await;
    }

    pub fn status(&self, order_id: &str) -> Status {
        self.sagas[&SagaId::new(&self.plan.name, order_id).expect("the id is valid")].status
    }

    fn feed(&mut self, id: &SagaId, input: &Input) {
        let saga = self.sagas.remove(id).expect("the saga was started");
        let decided = decide(saga, input, NOW, &mut self.rng);
        let decision =
            decided.unwrap_or_else(|(_, ignored)| panic!("{id}: {input:?} was ignored: {ignored}"));
        self.sagas.insert(id.clone(), decision.saga);
    }

    async fn send(&self, ids: &[SagaId]) {
        let sagas = ids.iter().map(|id| &self.sagas[id]);
        let commands = sagas.flat_map(|saga| {
            saga.outstanding().into_iter().map(|(step, way)| saga.command(step, way))
        });
        self.log
            .publish(
                commands
                    .map(|command| encode_command(&command, sagamore::core::Timestamp(0)))
                    .collect(),
            )
            .await
            .expect("publish");
    }

    async fn turns(&mut self) {
        for participant in &mut self.participants {
            participant.turn(NOW, &mut self.rng).await.expect("turn");
        }
    }
}
