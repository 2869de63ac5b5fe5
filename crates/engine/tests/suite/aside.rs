//! Stored rows that an observer cannot read: each sets one chain aside, visibly, and all others
//! continue.

use std::sync::Arc;
use std::time::Duration;

use sagamore_core::message::Event;
use sagamore_core::plan::Plan;
use sagamore_core::{Body, Direction, SagaId, StepKey, Timestamp};
use sagamore_database::Database;
use sagamore_database::testing::database;
use sagamore_engine::{ChainStatus, Chains, Filter, Observer, ObserverOptions};
use sagamore_transport::wire::encode_event;
use sagamore_transport::{Log, MemoryDisk, Transport, log};

const DEADLINE: Duration = Duration::from_secs(60);

fn call() -> Plan {
    Plan::named("call")
        .begins("caller", "ring", "bell.rung")
        .pivot("host", "answer")
        .on(["bell.rung"])
        .emits(["call.answered"])
        .deadline(DEADLINE)
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}

struct Rig {
    log: Log,
    database: Database,
    observer: Observer,
    chains: Chains,
    now: Timestamp,
}

impl Rig {
    async fn new() -> Rig {
        let log =
            Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).expect("an empty disk");
        let (database, transport): (_, Arc<dyn Transport>) = (database(), Arc::new(log.clone()));
        let opened =
            Observer::open(ObserverOptions::default(), database.clone(), transport, vec![call()])
                .await;
        let (observer, chains) = opened.expect("open");
        let mut rig = Rig { log, database, observer, chains, now: Timestamp(1_000_000) };
        rig.passes(Duration::ZERO).await;
        rig.passes(Duration::from_secs(10)).await; // an observer judges no chain in its first 10 s
        rig
    }

    async fn passes(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        for _ in 0..3 {
            self.observer.turn(self.now).await.expect("turn");
        }
    }

    async fn ring(&mut self, keys: &[&str]) {
        let caller = "caller".parse().expect("a name");
        let records = keys.iter().map(|key| encode_event(&rung(key, self.now), &caller)).collect();
        self.log.publish(records).await.expect("publish");
        self.passes(Duration::ZERO).await;
    }

    async fn execute(&self, sql: &str) {
        let open = self.database.begin().await.expect("begin");
        open.tx().batch(sql).await.expect("execute");
        open.commit().await.expect("commit");
    }

    async fn status(&self, key: &str) -> (ChainStatus, Option<String>) {
        let detail =
            self.chains.show(&chain(key)).await.expect("read").expect("the chain was seen");
        (detail.header.status, detail.header.why)
    }
}

fn chain(key: &str) -> SagaId {
    format!("call:{key}").parse().expect("a chain")
}

fn rung(key: &str, at: Timestamp) -> Event {
    let step = "ring".parse().expect("a name");
    Event {
        key: StepKey { saga: chain(key), step, direction: Direction::Action, generation: 1 },
        version: 1,
        name: "bell.rung".parse().expect("a name"),
        causation: None,
        hop: 0,
        at,
        body: Body::empty(),
        trace: None,
    }
}

const OF_TWO: &str = "WHERE chain = (SELECT seq FROM chain WHERE id = 'call:2')";

#[tokio::test]
async fn an_unreadable_event_sets_its_chain_aside_until_it_is_readable() {
    let mut rig = Rig::new().await;
    rig.ring(&["1", "2", "3"]).await;
    rig.execute(&format!("UPDATE chain_event SET name = 'Bell rung!' {OF_TWO}")).await;
    rig.passes(DEADLINE + Duration::from_secs(1)).await;
    assert_eq!(rig.status("1").await.0, ChainStatus::Stuck);
    assert_eq!(rig.status("3").await.0, ChainStatus::Stuck);
    let (status, why) = rig.status("2").await;
    assert_eq!(status, ChainStatus::UnknownVersion);
    assert!(why.expect("the reason").contains("Bell rung!"));

    rig.execute(&format!("UPDATE chain_event SET name = 'bell.rung' {OF_TWO}")).await;
    rig.passes(Duration::from_secs(601)).await;
    assert_eq!(
        rig.status("2").await,
        (ChainStatus::Stuck, None),
        "a readable chain is judged again"
    );
}

#[tokio::test]
async fn a_chain_with_the_status_of_a_newer_program_is_listed_and_shown_with_the_reason() {
    let mut rig = Rig::new().await;
    rig.ring(&["1", "2"]).await;
    rig.execute("UPDATE chain SET status = 'paused', failed_at = 'No name!' WHERE id = 'call:2'")
        .await;
    let list = rig.chains.list(&Filter::default()).await.expect("list");
    assert_eq!(list.len(), 2);
    let (status, why) = rig.status("2").await;
    assert_eq!(status, ChainStatus::UnknownVersion);
    assert!(why.expect("the reason").contains("'paused'"));
    rig.chains.resolve(&chain("2"), "ann: done by hand").await.expect("resolved");
    assert_eq!(rig.status("2").await.0, ChainStatus::Resolved);
}

#[tokio::test]
async fn an_unreadable_chain_does_not_block_others() {
    let mut rig = Rig::new().await;
    rig.ring(&["1", "2", "3"]).await;
    rig.execute("UPDATE chain SET id = 'no chain', due_at = 0 WHERE id = 'call:2'").await;
    rig.passes(DEADLINE + Duration::from_secs(1)).await;
    assert_eq!(rig.status("1").await.0, ChainStatus::Stuck);
    assert_eq!(rig.status("3").await.0, ChainStatus::Stuck);
    assert_eq!(rig.chains.list(&Filter::default()).await.expect("list").len(), 2);
}
