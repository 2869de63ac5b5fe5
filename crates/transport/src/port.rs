//! The port: the promises of a transport. Adapters implement it, and the simulator wraps it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::Error;
use crate::record::{Delivery, Mark, Record};

/// A boxed future. One allocation per batch is cheap enough.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A transport: topics with partitions.
pub trait Transport: Send + Sync {
    /// Creates the topic with this many partitions. An existing topic keeps its number.
    fn create_topic<'a>(
        &'a self,
        topic: &'a str,
        partitions: u32,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Returns whether a topic exists, or may exist because the process may not know it. By default
    /// it does.
    fn topic_exists<'a>(&'a self, _topic: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async { Ok(true) })
    }

    /// Publishes records, each partition in the order given. Returns one outcome per record, in
    /// order.
    ///
    /// `Ok` acknowledges the record: it is delivered at least once to every group. Each adapter
    /// states what a power loss means.
    ///
    /// A rejected record does not block the others. [`Error::scope`] returns the effect of its
    /// error on them. With [`Scope::Transport`](crate::error::Scope::Transport) the record may
    /// nevertheless have been published: the caller publishes it again, or consumes its cause
    /// again.
    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>>;

    /// Returns the error with which this record's size would be rejected, without publishing it. A
    /// record that passes may still be rejected by a broker's own limit. By default every record
    /// passes.
    fn check_size(&self, _record: &Record) -> Result<(), Error> {
        Ok(())
    }

    /// Publishes records like [`Transport::publish_each`]. Returns the error of the widest scope if
    /// any record failed; the others may have been published.
    fn publish(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let errors = self.publish_each(records).await.into_iter().filter_map(Result::err);
            errors.max_by_key(Error::scope).map_or(Ok(()), Err)
        })
    }

    /// Resolves once everything acknowledged before this call survives a power loss. Fails if that
    /// will never be known.
    ///
    /// Messages do not wait for it. A database row that marks a record as sent, or the removal of
    /// its cause, must be written only afterwards.
    fn synced(&self) -> BoxFuture<'static, Result<(), Error>>;

    /// Subscribes from the group's committed offsets, or from the earliest record where there is
    /// none.
    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>>;
}

/// A request for records.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The group whose offsets apply: the stable name of a service.
    pub group: Arc<str>,
    /// The topics to consume.
    pub topics: Vec<Arc<str>>,
    /// The partitions of every topic to consume; `None` for all.
    pub partitions: Option<Vec<u32>>,
}

/// One consumer of a group.
pub trait Consumer: Send {
    /// Takes at most `max` available records without waiting, each partition in order. May return
    /// none.
    fn poll(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>, Error>>;

    /// Waits until records may be available. Spurious wake-ups are allowed, missed ones are not.
    fn ready(&mut self) -> BoxFuture<'_, ()>;

    /// Commits offsets: everything before the marks is finished and will not be redelivered once
    /// the commit is durable.
    ///
    /// It never lowers an offset. It becomes durable no earlier than everything published before
    /// this call.
    fn commit(&mut self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), Error>>;

    /// Returns to the committed offsets: records taken since are redelivered.
    fn rewind(&mut self) -> BoxFuture<'_, Result<(), Error>>;

    /// Returns the number of uncommitted records in the consumer's partitions.
    fn lag(&self) -> u64;

    /// Returns the end of each of this consumer's partitions and the group's offset in it; `None`
    /// while the assignment is unknown.
    ///
    /// Records published before the call lie before the ends. Call it between turns, when no taken
    /// record is unfinished.
    fn reaches(&mut self) -> BoxFuture<'_, Result<Option<Vec<Reach>>, Error>>;

    /// Returns the group's offsets in this consumer's partitions.
    fn marks(&self) -> Vec<Mark>;
}

/// A group's progress in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Reach {
    pub topic: Arc<str>,
    pub partition: u32,
    /// The offset before which every record is committed or removed.
    pub mark: u64,
    /// The offset after the last record.
    pub end: u64,
}

impl Reach {
    /// Returns whether the mark is of the same partition.
    pub fn is_at(&self, mark: &Mark) -> bool {
        self.partition == mark.partition && self.topic == mark.topic
    }
}
