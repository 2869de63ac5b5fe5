//! A transport that loses, duplicates, delays and fails on purpose, on top of the real log.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Consumer, Delivery, Error, Mark, Reach, Record, Subscription, Transport};

use crate::clocks::ProcessClock;
use crate::faults::Fault;
use group::Seat;
pub use hub::Hub;
use hub::check;
use ledger::Ledger;
use outage::Outages;

mod group;
mod groups;
mod hub;
mod ledger;
pub(crate) mod outage;

/// The client's limit, in bytes. It is configured independently of the brokers.
const CLIENT_BYTES_MAX: usize = 100 * 1024;
/// The longest time in which an orchestrator cannot publish.
const MUTE_MS_MAX: i64 = 40_000;

/// The transport of one process.
pub struct ProcessTransport {
    hub: Hub,
    /// The time until which this orchestrator cannot publish. `None` for other processes.
    mute_until: Option<AtomicI64>,
    ledger: Arc<Mutex<Ledger>>,
    outages: Arc<Mutex<Outages>>,
}

struct Reader {
    hub: Hub,
    seat: Seat,
    ledger: Arc<Mutex<Ledger>>,
    outages: Arc<Mutex<Outages>>,
}

impl Hub {
    /// Returns the transport of a process with this clock.
    pub fn for_process(&self, who: &Arc<str>, clock: &ProcessClock) -> Arc<dyn Transport> {
        Arc::new(self.line(who, clock, None))
    }

    /// Returns the transport of an orchestrator, which may be unable to publish for a while.
    pub fn for_orchestrator(&self, who: &Arc<str>, clock: &ProcessClock) -> Arc<dyn Transport> {
        Arc::new(self.line(who, clock, Some(AtomicI64::new(0))))
    }

    fn line(
        &self,
        who: &Arc<str>,
        clock: &ProcessClock,
        mute_until: Option<AtomicI64>,
    ) -> ProcessTransport {
        let ledger = Arc::new(Mutex::new(Ledger::new(who, clock)));
        ProcessTransport { hub: self.clone(), mute_until, ledger, outages: Arc::default() }
    }
}

fn failed() -> Error {
    Error::Unavailable("injected by the simulator".into())
}

impl ProcessTransport {
    fn outages(&self) -> MutexGuard<'_, Outages> {
        self.outages.lock().expect("the outages' mutex is not poisoned")
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("the ledger's mutex is not poisoned")
    }

    /// Whether this process cannot publish now.
    fn is_mute(&self) -> bool {
        let Some(until) = &self.mute_until else { return false };
        let world = &self.hub.world;
        // one at a time, so that others prove that the brokers are available
        if world.now() >= self.hub.inner().mute_until && world.strikes(Fault::Mute) {
            let end = world.now() + world.between(MUTE_MS_MAX / 3, MUTE_MS_MAX);
            until.store(end, Ordering::Relaxed);
            self.hub.inner().mute_until = end;
        }
        world.now() < until.load(Ordering::Relaxed) && !world.is_healed()
    }

    /// Reports the result of an orchestrator's publish to the checker.
    fn note(&self, is_failed: bool) {
        if self.mute_until.is_some() {
            self.hub.world.checker().publishes(&self.ledger().who, is_failed);
        }
    }
}

impl Transport for ProcessTransport {
    fn create_topic<'a>(
        &'a self,
        topic: &'a str,
        partitions: u32,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.hub.world.pause().await;
            if self.hub.world.strikes(Fault::PublishFailed)
                || self.outages().holds_publish(&self.hub.world)
            {
                return Err(failed());
            }
            self.hub.log().create_topic(topic, partitions).await
        })
    }

    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>> {
        Box::pin(async move {
            let world = &self.hub.world;
            world.pause().await;
            if self.is_mute()
                || world.strikes(Fault::PublishFailed)
                || self.outages().holds_publish(world)
            {
                self.note(true);
                return vec![Err(failed()); records.len()];
            }
            let denied = self.outages().deny(world, self.hub.keeps, &records);
            let count = records.len();
            let with_denied = records.iter().zip(&denied);
            self.ledger()
                .denied(with_denied.filter_map(|(record, denied)| denied.as_ref().map(|_| record)));
            let with_denied = records.into_iter().zip(&denied);
            let records: Vec<Record> = with_denied
                .filter_map(|(record, denied)| denied.is_none().then_some(record))
                .collect();
            world.checker().publishing(world, &records);
            let outcomes = self.hub.send(records.clone());
            world.pause().await;
            let is_failed = world.strikes(Fault::PublishTimedOut);
            self.note(is_failed);
            if is_failed {
                return vec![Err(failed()); count];
            }
            self.hub.inner().acknowledged += 1;
            let acknowledged = records
                .into_iter()
                .zip(&outcomes)
                .filter_map(|(record, outcome)| outcome.is_ok().then_some(record));
            let acknowledged: Vec<Record> = acknowledged.collect();
            world.checker().acknowledged(world, &acknowledged);
            self.ledger().answered(&acknowledged);
            self.hub.redrive(&acknowledged);
            let mut outcomes = outcomes.into_iter();
            denied
                .into_iter()
                .map(|denied| denied.map_or_else(|| outcomes.next().unwrap_or(Ok(())), Err))
                .collect()
        })
    }

    /// Waits for the next sync, without requesting one.
    fn synced(&self) -> BoxFuture<'static, Result<(), Error>> {
        let hub = self.hub.clone();
        let acknowledged = hub.inner().acknowledged;
        Box::pin(async move {
            while hub.inner().synced < acknowledged {
                if hub.is_failing() {
                    return Err(failed());
                }
                hub.world.sleep(5).await;
            }
            Ok(())
        })
    }

    fn check_size(&self, record: &Record) -> Result<(), Error> {
        check(record, CLIENT_BYTES_MAX)?;
        self.hub.log().check_size(record)
    }

    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        Box::pin(async move {
            self.hub.world.pause().await;
            let topics = subscription.topics.clone();
            let seat = Seat::take(&self.hub, subscription).await?;
            self.ledger().resubscribed(&topics);
            let (hub, ledger, outages) =
                (self.hub.clone(), self.ledger.clone(), self.outages.clone());
            Ok(Box::new(Reader { hub, seat, ledger, outages }) as Box<dyn Consumer>)
        })
    }
}

impl Reader {
    fn outages(&self) -> MutexGuard<'_, Outages> {
        self.outages.lock().expect("the outages' mutex is not poisoned")
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("the ledger's mutex is not poisoned")
    }
}

impl Consumer for Reader {
    fn poll(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivery>, Error>> {
        Box::pin(async move {
            let world = self.hub.world.clone();
            world.pause().await;
            if world.strikes(Fault::PollFailed) || self.outages().holds_poll(&world) {
                return Err(failed());
            }
            let taken = match self.seat.poll(max).await {
                // As with assigned partitions: an evicted member may not notice at once.
                Err(Error::Fenced(_)) if world.percent(80) => Vec::new(),
                other => other?,
            };
            self.ledger().delivery(&taken);
            world.checker().delivery(&world, &taken);
            if !taken.is_empty() {
                world.log(|| format!("takes {} records", taken.len()));
            }
            Ok(taken)
        })
    }

    fn ready(&mut self) -> BoxFuture<'_, ()> {
        self.seat.inner.ready()
    }

    fn commit(&mut self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let world = self.hub.world.clone();
            world.pause().await;
            if world.strikes(Fault::OffsetsFailed) {
                return Err(failed());
            }
            self.seat.commit(marks.clone()).await?;
            let passed = self.ledger().marked(&marks, world.now());
            if let Some(id) = passed.unanswered {
                let who = self.ledger().who.clone();
                world.violate(
                    "offset-before-answer",
                    format!("{who} committed an offset past {id} without an answer"),
                );
            }
            world.checker().offsets_committed(&world, &passed.replies);
            world.pause().await;
            Ok(())
        })
    }

    fn rewind(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.hub.world.pause().await;
            self.seat.rewind().await?;
            self.ledger().rewound();
            Ok(())
        })
    }

    fn lag(&self) -> u64 {
        self.seat.inner.lag()
    }

    fn reaches(&mut self) -> BoxFuture<'_, Result<Option<Vec<Reach>>, Error>> {
        self.seat.inner.reaches()
    }

    fn marks(&self) -> Vec<Mark> {
        self.seat.inner.marks()
    }
}
