//! A consumer, as its tasks see it. Its thread takes records from the brokers and keeps its place in the group however
//! long the handlers take.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Sender, channel};

use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Consumer, Delivered, Error, Mark, Reach, Subscription};
use tokio::sync::oneshot;

use crate::intake::Shared;
use crate::names::Names;
use crate::options::Options;
use crate::taker::{Answer, Order, Taker};

/// One consumer of a group, for the tasks.
pub(crate) struct GroupConsumer {
    shared: Arc<Shared>,
    /// Dropped, the thread ends.
    orders: Sender<Order>,
}

impl GroupConsumer {
    /// Joins the group, or takes the partitions that are named without being a member of it. Whose name in the group another
    /// one takes is `nameless` from then on.
    pub async fn open(
        options: Options,
        names: Names,
        subscription: Subscription,
        nameless: Arc<AtomicBool>,
        shared: Arc<Shared>,
    ) -> Result<GroupConsumer, Error> {
        let (orders, received) = channel();
        let (opened, told) = oneshot::channel();
        let of_thread = shared.clone();
        let name = format!("kafka-{}", subscription.group);
        let spawned = std::thread::Builder::new().name(name).spawn(move || {
            match Taker::open(options, names, subscription, of_thread, nameless) {
                Ok(taker) => {
                    if opened.send(Ok(())).is_ok() {
                        taker.run(&received);
                    }
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
        spawned.map_err(|error| Error::Unavailable(format!("start a thread: {error}")))?;
        told.await.map_err(|_| Error::Unavailable("the consumer's thread has ended".to_owned()))??;
        Ok(GroupConsumer { shared, orders })
    }
}

impl GroupConsumer {
    /// Has the thread do something, and waits for what comes of it.
    async fn order<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Result<T, Error> {
        let gone = || Error::Unavailable("the consumer's thread has ended".to_owned());
        if let Some(error) = &self.shared.intake().dead {
            return Err(error.clone());
        }
        let (done, told) = oneshot::channel();
        self.orders.send(order(done)).map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

impl Consumer for GroupConsumer {
    fn poll(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivered>, Error>> {
        Box::pin(async move {
            let mut intake = self.shared.intake();
            match &intake.dead {
                Some(error) => Err(error.clone()),
                None => Ok(intake.take(max)),
            }
        })
    }

    fn ready(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _waits = Waits::on(&self.shared);
            loop {
                let woken = self.shared.ready.notified();
                if !self.shared.intake().is_empty() || self.shared.intake().dead.is_some() {
                    return;
                }
                woken.await;
            }
        })
    }

    /// The brokers are told by and by, and when the consumer is dropped.
    fn commit(&mut self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let strange = self.shared.intake().mark(marks);
            if strange > 0 {
                metrics::counter!("sagamore_kafka_marks_of_others_total").increment(strange as u64);
            }
            Ok(())
        })
    }

    fn rewind(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.order(Order::Rewind).await })
    }

    fn lag(&self) -> u64 {
        self.shared.intake().lag()
    }

    fn reaches(&mut self) -> BoxFuture<'_, Result<Option<Vec<Reach>>, Error>> {
        Box::pin(async move { self.order(Order::Reaches).await })
    }

    fn marks(&self) -> Vec<Mark> {
        self.shared.intake().marks()
    }
}

/// Counts a waiting task for as long as it lives.
struct Waits<'a>(&'a Shared);

impl Waits<'_> {
    fn on(shared: &Shared) -> Waits<'_> {
        shared.intake().waiting += 1;
        Waits(shared)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.intake().waiting -= 1;
    }
}
