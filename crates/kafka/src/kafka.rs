//! The adapter itself.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sagamore_transport::limits::ExternalName;
use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Consumer, Error, Record, Subscription, Transport};

use crate::consume::GroupConsumer;
use crate::groups::{self, Group};
use crate::intake::Shared;
use crate::names::Names;
use crate::options::Options;
use crate::produce::Producer;
use crate::stall::Stall;
use crate::topics::{Broker, Topic, Topics};

/// A Kafka cluster as a transport. Clones share the producer.
///
/// It connects on first use, so an error of [`Kafka::connect`] concerns the options. It requires a
/// tokio runtime.
#[derive(Clone)]
pub struct Kafka {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    names: Names,
    topics: Topics,
    producer: Producer,
    /// Whether another member has taken this process's name in a group.
    nameless: Arc<AtomicBool>,
    /// The live consumers, for their diagnostics.
    consumers: Mutex<Vec<Weak<Shared>>>,
}

impl Kafka {
    /// Creates the transport for a cluster.
    pub fn connect(options: Options) -> Result<Kafka, Error> {
        ExternalName::Client.check(&options.client)?;
        options
            .instance
            .as_deref()
            .map_or(Ok(()), |instance| ExternalName::Member.check(instance))?;
        let names = Names::in_namespace(options.namespace.as_deref());
        // rejects a namespace that is too long for any topic
        ExternalName::Topic.check(&names.there("t"))?;
        let topics = Topics::new(options.clone(), names.clone())?;
        let producer = Producer::new(options.clone(), names.clone());
        let nameless = Arc::default();
        let consumers = Mutex::default();
        Ok(Kafka {
            inner: Arc::new(Inner { options, names, topics, producer, nameless, consumers }),
        })
    }

    /// Returns a group's progress in these topics, without those that do not exist.
    pub async fn group(&self, group: &str, topics: &[String]) -> Result<Group, Error> {
        let mut divided = Vec::with_capacity(topics.len());
        for topic in topics {
            divided.extend(
                self.inner
                    .topics
                    .partitions(topic)
                    .await?
                    .map(|partitions| (topic.clone(), partitions)),
            );
        }
        let (kafka, group) = (self.clone(), group.to_owned());
        let group = tokio::task::spawn_blocking(move || {
            groups::query(&kafka.inner.options, &kafka.inner.names, &group, &divided)
        });
        group.await.map_err(|error| Error::Unavailable(error.to_string()))?
    }

    /// Returns the partitions of this client's consumers that do not advance although they are
    /// polled and lag.
    pub fn stalls(&self) -> Vec<Stall> {
        self.inner.consumers().iter().flat_map(|shared| shared.intake().stalled.clone()).collect()
    }

    /// Returns the permissions that this client's consumers lack.
    pub fn denials(&self) -> Vec<Error> {
        let denied = |shared: &Arc<Shared>| {
            let intake = shared.intake();
            let dead = intake.dead.clone().filter(|error| matches!(error, Error::Denied { .. }));
            intake.denied.clone().or(dead)
        };
        self.inner.consumers().iter().filter_map(denied).collect()
    }

    /// Returns the topics of the namespace, by name.
    pub async fn topics(&self) -> Result<Vec<Topic>, Error> {
        self.inner.topics.all().await
    }

    /// Makes the brokers stamp the records of a topic, so that producers' clocks do not matter.
    pub async fn stamp_by_brokers(&self, topic: &str) -> Result<(), Error> {
        self.inner.topics.stamp_by_brokers(topic).await
    }

    /// Removes topics with all their records.
    pub async fn delete_topics(&self, topics: &[&str]) -> Result<(), Error> {
        self.inner.topics.delete(topics).await
    }

    /// Returns the brokers of the cluster.
    pub async fn brokers(&self) -> Result<Vec<Broker>, Error> {
        self.inner.topics.brokers().await
    }
}

impl Inner {
    fn consumers(&self) -> Vec<Arc<Shared>> {
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        consumers.retain(|shared| shared.strong_count() > 0);
        consumers.iter().filter_map(Weak::upgrade).collect()
    }

    /// Creates the shared state of a new consumer and its thread.
    fn enrol(&self) -> Arc<Shared> {
        let shared = Arc::new(Shared::default());
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        consumers.retain(|shared| shared.strong_count() > 0);
        consumers.push(Arc::downgrade(&shared));
        shared
    }
}

impl Transport for Kafka {
    fn create_topic<'a>(
        &'a self,
        topic: &'a str,
        partitions: u32,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            ExternalName::Topic.check(&self.inner.names.there(topic))?;
            self.inner.topics.create(topic, partitions).await?;
            self.inner.producer.refresh(topic).await;
            Ok(())
        })
    }

    fn topic_exists<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.inner.topics.exists(topic))
    }

    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>> {
        Box::pin(async move {
            let mut outcomes = self.inner.topics.check(&records).await;
            let (places, sent): (Vec<usize>, Vec<&Record>) =
                records.iter().enumerate().filter(|(place, _)| outcomes[*place].is_ok()).unzip();
            if sent.is_empty() {
                return outcomes;
            }
            let published = self.inner.producer.publish(&sent).await;
            if published.iter().any(|outcome| matches!(outcome, Err(Error::UnknownTopic(_)))) {
                self.inner.topics.forget();
            }
            for (place, outcome) in places.into_iter().zip(published) {
                outcomes[place] = outcome;
            }
            outcomes
        })
    }

    /// Resolves at once. A published record has been acknowledged by all in-sync replicas, so it
    /// survives the power loss of one broker.
    fn synced(&self) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn check_size(&self, record: &Record) -> Result<(), Error> {
        crate::produce::too_large(record).map_or(Ok(()), Err)
    }

    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        Box::pin(async move {
            let Inner { options, names, topics, nameless, .. } = &*self.inner;
            ExternalName::Group.check(&names.there(&subscription.group))?;
            let mut partitions = Vec::with_capacity(subscription.topics.len());
            for topic in &subscription.topics {
                ExternalName::Topic.check(&names.there(topic))?;
                let count = topics.partitions(topic).await?;
                partitions.push(count.ok_or_else(|| Error::no_topic(topic))?);
            }
            let (options, names, nameless) = (options.clone(), names.clone(), nameless.clone());
            let consumer =
                GroupConsumer::open(options, names, subscription, nameless, self.inner.enrol())
                    .await?;
            Ok(Box::new(consumer) as Box<dyn Consumer>)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address without a broker: names are checked before the first connection.
    fn options() -> Options {
        Options::new("127.0.0.1:1")
    }

    #[tokio::test]
    async fn an_illegal_name_is_rejected_before_connecting() {
        let refused = |error: Option<Error>, part: &str| {
            let error = error.expect("refused");
            assert!(matches!(error, Error::Name(_)) && error.to_string().contains(part), "{error}");
        };
        let long = Options { namespace: Some("n".repeat(249)), ..options() };
        refused(Kafka::connect(long).err(), "at most 249 bytes");
        let spaced = Options { namespace: Some("a b".into()), ..options() };
        refused(Kafka::connect(spaced).err(), "use a-z");
        let member = Options { instance: Some("m".repeat(250)), ..options() };
        refused(Kafka::connect(member).err(), "at most 249 bytes");
        let kafka = Kafka::connect(Options { namespace: Some("n".repeat(240)), ..options() })
            .expect("short topics fit");
        refused(kafka.create_topic("order.commands", 1).await.err(), "at most 249 bytes");
        let subscription = |group: &str, topic: &str| Subscription {
            group: group.into(),
            topics: vec![topic.into()],
            partitions: None,
        };
        refused(
            kafka.subscribe(subscription("g", "order.commands")).await.err(),
            "at most 249 bytes",
        );
        refused(kafka.subscribe(subscription("a\nb", "t")).await.err(), "control character");
    }
}
