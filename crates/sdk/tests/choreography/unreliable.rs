//! A transport that can stop publishing, as if the process died after its commit, or stop syncing,
//! as if the disk were slow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use sagamore_database::Database;
use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Consumer, Error, Log, Record, Subscription, Transport};
use tokio::sync::watch;

#[derive(Clone)]
pub struct Unreliable {
    log: Log,
    silent: Arc<AtomicBool>,
    unsynced: Arc<watch::Sender<bool>>,
    writer: Arc<Mutex<Option<Database>>>,
    unknown: Arc<Mutex<Option<String>>>,
    leaderless: Arc<Mutex<Option<String>>>,
}

impl Unreliable {
    pub fn over(log: &Log) -> Unreliable {
        Unreliable {
            log: log.clone(),
            silent: Arc::default(),
            unsynced: Arc::default(),
            writer: Arc::default(),
            unknown: Arc::default(),
            leaderless: Arc::default(),
        }
    }

    /// Suspends or resumes syncs. Resuming also ends the waiting ones.
    pub fn is_unsynced(&self, unsynced: bool) {
        self.unsynced.send_replace(unsynced);
    }

    /// Asserts from now on that no transaction of this database is open during a publish.
    pub fn publishes_outside_of(&self, database: &Database) {
        *self.writer.lock().expect("nothing panics while it is held") = Some(database.clone());
    }

    pub fn knows_no_topic(&self, topic: &str, unknown: bool) {
        *self.unknown.lock().expect("nothing panics while it is held") =
            unknown.then(|| topic.to_owned());
    }

    /// Sets the key whose partition rejects records, or `None` for no such partition.
    pub fn has_no_leader_for(&self, key: Option<&str>) {
        *self.leaderless.lock().expect("nothing panics while it is held") = key.map(str::to_owned);
    }

    pub fn falls_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }
}

impl Transport for Unreliable {
    fn create_topic<'a>(
        &'a self,
        topic: &'a str,
        partitions: u32,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.log.create_topic(topic, partitions)
    }

    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>> {
        if self.silent.load(Ordering::Relaxed) {
            return Box::pin(async move {
                vec![Err(Error::Unavailable("it is silent".into())); records.len()]
            });
        }
        let writer = self.writer.lock().expect("nothing panics while it is held").clone();
        assert!(
            writer.is_none_or(|writer| writer.begin().now_or_never().is_some()),
            "a transaction is open"
        );
        let unknown = self.unknown.lock().expect("nothing panics while it is held").clone();
        let is_unknown = move |record: &Record| unknown.as_deref() == Some(&*record.topic);
        let leaderless = self.leaderless.lock().expect("nothing panics while it is held").clone();
        let is_leaderless =
            move |record: &Record| leaderless.as_ref().is_some_and(|key| record.key == *key);
        Box::pin(async move {
            let is_taken = |record: &&Record| !is_unknown(record) && !is_leaderless(record);
            let known = records.iter().filter(is_taken).cloned().collect();
            let mut published = self.log.publish_each(known).await.into_iter();
            let outcome = |record: &Record| {
                if is_unknown(record) {
                    Err(Error::no_topic(&record.topic))
                } else if is_leaderless(record) {
                    Err(Error::Unavailable("its partition has no leader".into()))
                } else {
                    published.next().expect("an outcome")
                }
            };
            records.iter().map(outcome).collect()
        })
    }

    fn synced(&self) -> BoxFuture<'static, Result<(), Error>> {
        let (mut unsynced, log) = (self.unsynced.subscribe(), self.log.clone());
        if !*unsynced.borrow_and_update() {
            return self.log.synced();
        }
        Box::pin(async move {
            let ends = unsynced.wait_for(|unsynced| !unsynced).await.is_ok();
            if !ends {
                std::future::pending::<()>().await; // never synced
            }
            log.synced().await
        })
    }

    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        self.log.subscribe(subscription)
    }
}
