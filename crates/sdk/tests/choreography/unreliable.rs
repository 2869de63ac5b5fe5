//! A transport that publishes nothing for a while: whoever wants to fares as if its process had died after its commit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Consumer, Error, Log, Record, Subscription, Transport};

#[derive(Clone)]
pub struct Unreliable {
    log: Log,
    silent: Arc<AtomicBool>,
    unknown: Arc<Mutex<Option<String>>>,
}

impl Unreliable {
    pub fn over(log: &Log) -> Unreliable {
        Unreliable { log: log.clone(), silent: Arc::default(), unknown: Arc::default() }
    }

    pub fn knows_no_topic(&self, topic: &str, unknown: bool) {
        *self.unknown.lock().expect("nothing panics while it is held") = unknown.then(|| topic.to_owned());
    }

    pub fn falls_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }
}

impl Transport for Unreliable {
    fn create_topic<'a>(&'a self, topic: &'a str, partitions: u32) -> BoxFuture<'a, Result<(), Error>> {
        self.log.create_topic(topic, partitions)
    }

    fn publish(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), Error>> {
        if self.silent.load(Ordering::Relaxed) {
            return Box::pin(async { Err(Error::Unavailable("it is silent".into())) });
        }
        let unknown = self.unknown.lock().expect("nothing panics while it is held").clone();
        if let Some(topic) = unknown.filter(|topic| records.iter().any(|record| *record.topic == **topic)) {
            return Box::pin(async move { Err(Error::no_topic(&topic)) });
        }
        self.log.publish(records)
    }

    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        self.log.subscribe(subscription)
    }
}
