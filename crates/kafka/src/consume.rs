//! The consumer as seen by its tasks. Its thread fetches records and stays in the group while
//! handlers run, however long they take.

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

/// One consumer of a group, used by the tasks.
pub(crate) struct GroupConsumer {
    shared: Arc<Shared>,
    /// Dropping it ends the thread.
    orders: Sender<Order>,
}

impl GroupConsumer {
    /// Joins the group, or takes the named partitions without being a member. `nameless` is set
    /// once another member takes this one's name.
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
        spawned.map_err(|error| {
            Error::Unavailable(format!("cannot start the consumer's thread: {error}"))
        })?;
        told.await
            .map_err(|_| Error::Unavailable("the consumer's thread has ended".to_owned()))??;
        Ok(GroupConsumer { shared, orders })
    }
}

impl GroupConsumer {
    /// Sends an order to the thread and waits for its answer.
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

    /// The brokers receive the offsets later, periodically and at the end of the consumer.
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

/// Counts a waiting task during its lifetime.
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
