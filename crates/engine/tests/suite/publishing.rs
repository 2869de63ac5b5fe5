//! A transport that fails: undelivered records are published again, and replies are acknowledged
//! only afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{booklet, nothing, wish, written};
use sagamore_core::saga::Status;
use sagamore_core::{Command, Outcome, Reply, Timestamp};
use sagamore_database::Database;
use sagamore_engine::{Options, Orchestrator};
use sagamore_transport::log::{self, Log, MemoryDisk};
use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Consumer, Error, Record, Subscription, Transport, wire};

/// Fails a number of publishes, before or after the records are delivered.
struct Flaky {
    log: Log,
    lost: AtomicUsize,
    delivered: AtomicUsize,
}

impl Transport for Flaky {
    fn create_topic<'a>(
        &'a self,
        topic: &'a str,
        partitions: u32,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.log.create_topic(topic, partitions)
    }

    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>> {
        Box::pin(async move {
            let count = records.len();
            let take = |left: &AtomicUsize| {
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
            };
            if take(&self.lost) {
                return vec![Err(Error::Unavailable("lost before the delivery".into())); count];
            }
            let outcomes = self.log.publish_each(records).await;
            if take(&self.delivered) {
                return vec![
                    Err(Error::Unavailable(
                        "delivered, but the acknowledgement was lost".into()
                    ));
                    count
                ];
            }
            outcomes
        })
    }

    fn synced(&self) -> BoxFuture<'static, Result<(), Error>> {
        self.log.synced()
    }

    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        self.log.subscribe(subscription)
    }
}

/// Runs one saga whose every publish fails this often before it succeeds. Returns the delivered
/// commands.
async fn run(lost: usize, delivered: usize) -> Vec<String> {
    let log = Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).expect("open the log");
    let flaky = Arc::new(Flaky { log: log.clone(), lost: 0.into(), delivered: 0.into() });
    let (database, mut rng) = (Database::memory(), fastrand::Rng::with_seed(1));
    let (mut orchestrator, handle) =
        Orchestrator::open(Options::default(), database, flaky.clone(), vec![booklet(1)])
            .await
            .expect("open");
    let topics = ["alpha.commands", "beta.commands"].map(Arc::from).to_vec();
    let subscription = Subscription { group: "participants".into(), topics, partitions: None };
    let mut participants = log.subscribe(subscription).await.expect("subscribe");
    let (mut ids, mut failures) = (Vec::new(), 0);
    let start = tokio::spawn({
        let handle = handle.clone();
        async move { handle.start_and_wait(wish("1", "a"), Duration::from_secs(60)).await }
    });
    tokio::task::yield_now().await;
    for _ in 0..20 {
        flaky.lost.store(lost, Ordering::Relaxed);
        flaky.delivered.store(delivered, Ordering::Relaxed);
        while orchestrator.turn(Timestamp(1), &mut rng).await.is_err() {
            failures += 1;
        }
        for delivered in participants.poll(100).await.expect("poll") {
            let command: Command = wire::decode_command(&delivered.record).expect("a command");
            let outcome =
                if command.name.as_str() == "alpha.write" { written(1) } else { nothing() };
            answer(&log, &command, outcome).await;
            ids.push(command.id());
        }
    }
    assert!(failures >= lost + delivered, "the transport failed {failures} times");
    let (started, summary) =
        start.await.expect("no panic").expect("a stored start is accepted, sent or not");
    assert!(!started.existed);
    assert_eq!(summary.expect("the waiter gets the outcome").status, Status::Completed);
    let detail = handle.show(&crate::common::id("1")).await.expect("show").expect("stored");
    assert_eq!((detail.header.status, detail.header.revision), (Status::Completed, 3));
    ids
}

async fn answer(log: &Log, command: &Command, outcome: Outcome) {
    let reply = Reply { key: command.key.clone(), outcome: outcome.into(), trace: None };
    log.publish(vec![wire::encode_reply(
        &reply,
        &command.reply_to,
        &command.participant,
        sagamore_core::Timestamp(0),
    )])
    .await
    .expect("publish");
}

#[tokio::test]
async fn undelivered_commands_are_published_again() {
    assert_eq!(run(2, 0).await, ["booklet:1/write/action/1", "booklet:1/print/action/1"]);
}

#[tokio::test]
async fn delivered_but_unacknowledged_commands_are_published_again_with_the_same_id() {
    let mut ids = run(0, 2).await;
    assert!(ids.len() > 2, "{ids:?}");
    ids.dedup();
    assert_eq!(ids, ["booklet:1/write/action/1", "booklet:1/print/action/1"]);
}
