//! A transport with damaged records, for tests of consumers.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::Error;
use crate::port::{BoxFuture, Consumer, Reach, Subscription, Transport};
use crate::record::{Delivery, Mark, Record};

/// The body that makes a published record unreadable.
pub const TORN: &[u8] = b"(torn)";

/// Forwards everything. Records with the body [`TORN`] are delivered as unreadable.
pub struct Torn(pub Arc<dyn Transport>);

struct Reader(Box<dyn Consumer>);

impl Transport for Torn {
    fn create_topic<'a>(
        &'a self,
        topic: &'a str,
        partitions: u32,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.0.create_topic(topic, partitions)
    }

    fn topic_exists<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        self.0.topic_exists(topic)
    }

    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>> {
        self.0.publish_each(records)
    }

    fn synced(&self) -> BoxFuture<'static, Result<(), Error>> {
        self.0.synced()
    }

    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        Box::pin(async move {
            Ok(Box::new(Reader(self.0.subscribe(subscription).await?)) as Box<dyn Consumer>)
        })
    }
}

impl Consumer for Reader {
    fn poll(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>, Error>> {
        Box::pin(async move {
            let mut taken = self.0.poll(max).await?;
            for delivery in taken.iter_mut().filter(|delivery| delivery.record.body == TORN) {
                let Delivery { record, unreadable, .. } = delivery;
                *unreadable = Some("its checksum is wrong".into());
                (record.key, record.body) = (Bytes::new(), Bytes::new());
                record.headers.clear();
            }
            Ok(taken)
        })
    }

    fn ready(&mut self) -> BoxFuture<'_, ()> {
        self.0.ready()
    }

    fn commit(&mut self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), Error>> {
        self.0.commit(marks)
    }

    fn rewind(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        self.0.rewind()
    }

    fn lag(&self) -> u64 {
        self.0.lag()
    }

    fn reaches(&mut self) -> BoxFuture<'_, Result<Option<Vec<Reach>>, Error>> {
        self.0.reaches()
    }

    fn marks(&self) -> Vec<Mark> {
        self.0.marks()
    }
}
