//! The port: what a transport has to promise. Adapters implement it, the simulator wraps it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::Error;
use crate::record::{Delivered, Mark, Record};

/// A boxed future, written out because there is one per batch, not per message.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A transport: topics with partitions.
pub trait Transport: Send + Sync {
    /// Makes sure that the topic is there with that many partitions; a topic that is there keeps its number.
    fn create_topic<'a>(&'a self, topic: &'a str, partitions: u32) -> BoxFuture<'a, Result<(), Error>>;

    /// Publishes records, each partition in the order given. Returns one outcome per record, in their order.
    ///
    /// `Ok` acknowledges the record: it is delivered at least once to every group, unless the machine itself dies
    /// (each adapter says what then). A rejected record holds up no other one; [`Error::scope`] says what its error
    /// means for the rest. With [`Scope::Transport`](crate::error::Scope::Transport) the record may have been published all the same: the caller
    /// publishes it again, or consumes again what caused it.
    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>>;

    /// Returns the error that the size of this record would be rejected with, without publishing it. A record that
    /// passes may still be rejected: brokers have limits of their own. By default every record passes.
    fn check_size(&self, _record: &Record) -> Result<(), Error> {
        Ok(())
    }

    /// Publishes records as [`Transport::publish_each`] does. Returns the error of the widest scope, if any record
    /// failed; the others may have been published.
    fn publish(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let errors = self.publish_each(records).await.into_iter().filter_map(Result::err);
            errors.max_by_key(Error::scope).map_or(Ok(()), Err)
        })
    }

    /// Resolves when everything that was acknowledged before this call survives the death of the machine, and fails when
    /// that will never be known. It is off the way of messages: whoever marks a record as sent, or removes what led to it,
    /// in a database that survives the machine, writes that mark after this.
    fn synced(&self) -> BoxFuture<'static, Result<(), Error>>;

    /// Begins to consume, from what the group has committed, from the earliest record where it has not.
    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>>;
}

/// What a consumer wants.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Whose offsets these are: the stable name of a service.
    pub group: Arc<str>,
    /// The topics.
    pub topics: Vec<Arc<str>>,
    /// These partitions of every topic; all when absent.
    pub partitions: Option<Vec<u32>>,
}

/// One consumer of a group.
pub trait Consumer: Send {
    /// Takes what is there, at most `max` records, without waiting; each partition in order. May be empty.
    fn poll(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivered>, Error>>;

    /// Waits until there may be something to take. Spurious wake-ups are fine; a missed one is not.
    fn ready(&mut self) -> BoxFuture<'_, ()>;

    /// Everything before the marks is done with, and will not be delivered to the group again once this is durable.
    /// Never lowers a mark. Durable no earlier than everything that was published before this call.
    fn commit(&mut self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), Error>>;

    /// Back to what is committed: whatever was taken since is delivered again.
    fn rewind(&mut self) -> BoxFuture<'_, Result<(), Error>>;

    /// How many records the group has not committed yet, over its partitions.
    fn lag(&self) -> u64;

    /// How far each partition that is this consumer's goes, and how far the group has come there. Asked for now: whatever was
    /// published before the call lies before the ends. To be asked between turns: nothing that was taken may be unfinished. None
    /// while it is not known which partitions are this consumer's.
    fn reaches(&mut self) -> BoxFuture<'_, Result<Option<Vec<Reach>>, Error>>;

    /// How far the group has come in the partitions that are this consumer's.
    fn marks(&self) -> Vec<Mark>;
}

/// Where a consumer stands in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// Everything before it is committed, or gone.
    pub mark: u64,
    /// Behind the last record.
    pub end: u64,
}

impl Reach {
    /// Whether both are of one partition.
    pub fn is_at(&self, mark: &Mark) -> bool {
        self.partition == mark.partition && self.topic == mark.topic
    }
}
