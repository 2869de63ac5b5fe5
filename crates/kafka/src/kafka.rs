//! The adapter itself.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Consumer, Error, Record, Subscription, Transport};

use crate::consume::GroupConsumer;
use crate::names::Names;
use crate::options::Options;
use crate::produce::Producer;
use crate::topics::{Broker, Topic, Topics};

/// A Kafka cluster as a transport. Clones share the producer.
///
/// It connects when it is needed first: an error of [`Kafka::connect`] is one of the options. Runs inside a tokio runtime.
#[derive(Clone)]
pub struct Kafka {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    names: Names,
    topics: Topics,
    producer: Producer,
    /// Whether another member of a group has the name of this process's.
    nameless: Arc<AtomicBool>,
}

impl Kafka {
    /// The cluster at these addresses.
    pub fn connect(options: Options) -> Result<Kafka, Error> {
        let names = Names::in_namespace(options.namespace.as_deref());
        let topics = Topics::new(options.clone(), names.clone())?;
        let producer = Producer::new(options.clone(), names.clone());
        let nameless = Arc::default();
        Ok(Kafka { inner: Arc::new(Inner { options, names, topics, producer, nameless }) })
    }

    /// The topics of the namespace, by name.
    pub async fn topics(&self) -> Result<Vec<Topic>, Error> {
        self.inner.topics.all().await
    }

    /// Removes topics with all that is in them.
    pub async fn delete_topics(&self, topics: &[&str]) -> Result<(), Error> {
        self.inner.topics.delete(topics).await
    }

    /// The brokers of the cluster.
    pub async fn brokers(&self) -> Result<Vec<Broker>, Error> {
        self.inner.topics.brokers().await
    }
}

impl Transport for Kafka {
    fn create_topic<'a>(&'a self, topic: &'a str, partitions: u32) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.inner.topics.create(topic, partitions))
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

    /// At once: a record is acknowledged by all replicas that are in sync, which is what survives the death of a machine here.
    fn synced(&self) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        Box::pin(async move {
            let Inner { options, names, topics, nameless, .. } = &*self.inner;
            let mut partitions = Vec::with_capacity(subscription.topics.len());
            for topic in &subscription.topics {
                let count = topics.partitions(topic).await?;
                partitions.push(count.ok_or_else(|| Error::no_topic(topic))?);
            }
            let consumer = GroupConsumer::open(options.clone(), names.clone(), subscription, nameless.clone()).await?;
            Ok(Box::new(consumer) as Box<dyn Consumer>)
        })
    }
}
