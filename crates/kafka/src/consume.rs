//! The consumer as seen by its tasks. Its thread fetches records and stays in the group while
//! handlers run, however long they take.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Consumer, Delivery, Error, Mark, Reach, Subscription};
use tokio::sync::oneshot;

use crate::intake::Shared;
use crate::names::Names;
use crate::options::Options;
use crate::taker::{Answer, Order, Taker};
use crate::watchdog::Watchdog;

/// Time limit of opening a consumer, in time limits of one request.
const OPEN_LIMITS: u32 = 4;
/// Time without a round or an answer after which the thread counts as hung. A round may send a
/// dozen requests. The client's threads wait by the machine's clock, so a clock that is set back
/// delays them.
const HUNG_AFTER: Duration = Duration::from_secs(20);
/// The interval between checks of the thread while a task waits for a record.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// One consumer of a group, used by the tasks.
pub(crate) struct GroupConsumer {
    shared: Arc<Shared>,
    /// Dropping it ends the thread.
    orders: Sender<Order>,
    watchdog: Watchdog,
}

impl GroupConsumer {
    /// Joins the group, or takes the named partitions without being a member. `nameless` is set
    /// once another member takes this one's name.
    ///
    /// # Errors
    /// [`Error::Unavailable`] also when the client library does not return in time.
    pub async fn open(
        options: Options,
        names: Names,
        subscription: Subscription,
        nameless: Arc<AtomicBool>,
        shared: Arc<Shared>,
    ) -> Result<GroupConsumer, Error> {
        let limit = options.answered_within * OPEN_LIMITS;
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
        let opened = tokio::time::timeout(limit, told).await.map_err(|_| hung("open", limit))?;
        opened.map_err(|_| ended())??;
        let watchdog = Watchdog::new(HUNG_AFTER, Instant::now());
        Ok(GroupConsumer { shared, orders, watchdog })
    }

    /// Sends an order to the thread and waits for its answer. A thread that does not answer in time
    /// ends the consumer, and its successor continues.
    async fn order<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Result<T, Error> {
        if let Some(error) = &self.shared.intake().dead {
            return Err(error.clone());
        }
        let (done, told) = oneshot::channel();
        self.orders.send(order(done)).map_err(|_| ended())?;
        match tokio::time::timeout(HUNG_AFTER, told).await {
            Ok(answer) => answer.map_err(|_| ended())?,
            Err(_) => Err(self.end("answer")),
        }
    }

    /// Ends the consumer, because its thread has not finished `work` in time.
    fn end(&self, work: &str) -> Error {
        let error = hung(work, HUNG_AFTER);
        tracing::warn!(%error, "reopening the consumer");
        metrics::counter!("sagamore_kafka_consumers_reopened_total").increment(1);
        self.shared.end(error.clone());
        error
    }
}

fn hung(work: &str, limit: Duration) -> Error {
    Error::Unavailable(format!("the Kafka client of a consumer did not {work} within {limit:?}"))
}

fn ended() -> Error {
    Error::Unavailable("the consumer's thread has ended".to_owned())
}

impl Consumer for GroupConsumer {
    fn poll(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>, Error>> {
        Box::pin(async move {
            let rounds = self.shared.intake().rounds;
            if self.watchdog.is_hung(rounds, Instant::now()) {
                return Err(self.end("fetch"));
            }
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
                if tokio::time::timeout(CHECK_INTERVAL, woken).await.is_err() {
                    let rounds = self.shared.intake().rounds;
                    if self.watchdog.is_hung(rounds, Instant::now()) {
                        self.end("fetch");
                    }
                }
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
