//! Helpers for a log on a memory disk without a runtime, whose futures are ready at once.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use sagamore_transport::log::{Disk, Options};
use sagamore_transport::{
    Consumer, Delivery, Error, Log, Mark, MemoryDisk, Record, Subscription, Transport,
};

pub fn open(disk: &MemoryDisk, options: &Options) -> Result<Log, Error> {
    Log::on(Arc::new(disk.clone()), options.clone())
}

/// Small segments, without records in memory, so that all reads are from disk.
pub fn small() -> Options {
    Options { segment_bytes: 400, recent_bytes_max: 0, ..Options::default() }
}

pub fn create(log: &Log, topic: &str) {
    log.create_topic(topic, 1).now_or_never().expect("at once").expect("create");
}

pub fn try_publish(log: &Log, topic: &str, body: &str) -> Result<(), Error> {
    let record = Record {
        topic: topic.into(),
        partition: None,
        key: Bytes::from_static(b"10248"),
        headers: vec![("h".into(), Bytes::from_static(b"v"))],
        body: Bytes::from(body.to_owned()),
    };
    log.publish(vec![record]).now_or_never().expect("at once")
}

pub fn publish(log: &Log, topic: &str, body: impl ToString) {
    try_publish(log, topic, &body.to_string()).expect("publish");
}

pub fn subscribe(log: &Log, group: &str, topic: &str) -> Box<dyn Consumer> {
    let subscription =
        Subscription { group: group.into(), topics: vec![topic.into()], partitions: None };
    log.subscribe(subscription).now_or_never().expect("at once").expect("subscribe")
}

pub fn poll(consumer: &mut Box<dyn Consumer>, max: usize) -> Vec<Delivery> {
    consumer.poll(max).now_or_never().expect("at once").expect("poll")
}

/// Takes all available records.
pub fn drain(consumer: &mut Box<dyn Consumer>) -> Vec<Delivery> {
    let mut all = Vec::new();
    loop {
        let taken = poll(consumer, 100);
        if taken.is_empty() {
            return all;
        }
        all.extend(taken);
    }
}

pub fn commit(consumer: &mut Box<dyn Consumer>, topic: &str, next: u64) {
    let mark = Mark { topic: topic.into(), partition: 0, next };
    consumer.commit(vec![mark]).now_or_never().expect("at once").expect("commit");
}

/// Returns the bodies, which the tests write as numbers.
pub fn numbers(taken: &[Delivery]) -> Vec<u64> {
    taken
        .iter()
        .map(|delivery| std::str::from_utf8(&delivery.record.body).unwrap().parse().unwrap())
        .collect()
}

pub fn files(disk: &MemoryDisk) -> Vec<u32> {
    disk.list().expect("list")
}
