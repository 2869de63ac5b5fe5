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

    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>> {
        if self.silent.load(Ordering::Relaxed) {
            return Box::pin(async move { vec![Err(Error::Unavailable("it is silent".into())); records.len()] });
        }
        let unknown = self.unknown.lock().expect("nothing panics while it is held").clone();
        let is_unknown = move |record: &Record| unknown.as_deref() == Some(&*record.topic);
        Box::pin(async move {
            let known = records.iter().filter(|record| !is_unknown(record)).cloned().collect();
            let mut published = self.log.publish_each(known).await.into_iter();
            let outcome = |record: &Record| {
                if is_unknown(record) {
                    Err(Error::no_topic(&record.topic))
                } else {
                    published.next().expect("an outcome")
                }
            };
            records.iter().map(outcome).collect()
        })
    }

    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        self.log.subscribe(subscription)
    }
}
