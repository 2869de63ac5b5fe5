//! A transport that can be cut off, is slow to acknowledge, or rejects the topics that a test
//! names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use sagamore_transport::log::Log;
use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Consumer, Error, Record, Subscription, Transport};

/// A log in memory behind brokers that a test controls.
pub struct Brokers {
    log: Log,
    /// Whether every publish fails.
    pub unavailable: AtomicBool,
    /// Runs before each publish, for example to advance the clock.
    pub before: Mutex<Option<Box<dyn Fn() + Send>>>,
    /// Rejections by topic.
    pub rejected: Mutex<BTreeMap<String, Error>>,
}

impl Brokers {
    pub fn on(log: &Log) -> Arc<Brokers> {
        Arc::new(Brokers {
            log: log.clone(),
            unavailable: AtomicBool::new(false),
            before: Mutex::default(),
            rejected: Mutex::default(),
        })
    }

    pub fn fail(&self) {
        self.unavailable.store(true, Ordering::Relaxed);
    }

    pub fn recover(&self) {
        self.unavailable.store(false, Ordering::Relaxed);
    }

    /// Rejects every record of this topic.
    pub fn reject(&self, topic: &str, why: Error) {
        self.rejected.lock().expect("no panic").insert(topic.to_owned(), why);
    }

    /// Takes the topic's records again.
    pub fn accept(&self, topic: &str) {
        self.rejected.lock().expect("no panic").remove(topic);
    }
}

impl Transport for Brokers {
    fn create_topic<'a>(
        &'a self,
        topic: &'a str,
        partitions: u32,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.log.create_topic(topic, partitions)
    }

    fn check_size(&self, record: &Record) -> Result<(), Error> {
        self.log.check_size(record)
    }

    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>> {
        Box::pin(async move {
            if self.unavailable.load(Ordering::Relaxed) {
                let error = Error::Unavailable("simulated failure".into());
                return records.iter().map(|_| Err(error.clone())).collect();
            }
            if let Some(before) = &*self.before.lock().expect("no panic") {
                before();
            }
            let why = |record: &Record| {
                self.rejected.lock().expect("no panic").get(&*record.topic).cloned()
            };
            let mut outcomes: Vec<_> =
                records.iter().map(|record| why(record).map_or(Ok(()), Err)).collect();
            let taken =
                records.into_iter().zip(&mut outcomes).filter(|(_, outcome)| outcome.is_ok());
            let (taken, places): (Vec<Record>, Vec<_>) = taken.unzip();
            for (outcome, published) in places.into_iter().zip(self.log.publish_each(taken).await) {
                *outcome = published;
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
