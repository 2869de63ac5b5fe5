//! A transport that loses, duplicates, delays and fails on purpose, on top of the real log.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::FutureExt;
use sagamore_transport::log::{self, Log, MemoryDisk};
use sagamore_transport::port::BoxFuture;
use sagamore_transport::wire;
use sagamore_transport::{Consumer, Delivery, Error, Mark, Reach, Record, Subscription, Transport};

use crate::clocks::ProcessClock;
use crate::faults::Fault;
use crate::style::Style;
use crate::watched::Shared;
use group::{Groups, Seat};
use ledger::Ledger;
use outage::Outages;

mod group;
mod ledger;
pub(crate) mod outage;

/// The brokers' limit for a command, in bytes.
const BROKER_BYTES_MAX: usize = 84 * 1024;
/// The client's limit, in bytes. It is configured independently of the brokers.
const CLIENT_BYTES_MAX: usize = 100 * 1024;
/// The longest loss of one topic's commands.
const DARK_MS_MAX: i64 = 50_000;
/// The longest time in which an orchestrator cannot publish.
const MUTE_MS_MAX: i64 = 40_000;

/// Maximum records that are stored for the repeated delivery at the end.
const SENT_MAX: usize = 2_000;

/// The log, its disk, and the delayed records. Clones share it.
#[derive(Clone)]
pub struct Hub {
    world: Shared,
    /// Whether acknowledged records are lost only with the machine, and only before they are
    /// synced.
    keeps: bool,
    /// Whether the members of a group share the partitions. Otherwise a new
    /// member takes all partitions.
    shares: bool,
    disk: MemoryDisk,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    /// `None` only while the machine crashes.
    log: Option<Log>,
    /// The delayed records with their delivery times.
    late: Vec<(i64, Record)>,
    sent: Vec<Record>,
    /// The number of acknowledged batches, and of those that survive a crash of the machine.
    acknowledged: u64,
    synced: u64,
    /// The number of crashes of the machine.
    deaths: u64,
    /// Whether a sync has failed. Until the log is opened again, it accepts nothing.
    failing: bool,
    groups: Groups,
    /// The topic whose commands are lost, and the end of that loss.
    dark: Option<(Arc<str>, i64)>,
    /// The time until which an orchestrator cannot publish.
    mute_until: i64,
}

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
    /// Creates an empty log on an empty disk. In choreographed runs, which depend on it,
    /// acknowledged records are lost only from the unsynced tail when the machine crashes.
    pub fn new(world: &Shared, style: Style, shares: bool) -> Hub {
        let disk = MemoryDisk::new();
        let inner = Inner {
            log: Some(open(&disk)),
            late: Vec::new(),
            sent: Vec::new(),
            acknowledged: 0,
            synced: 0,
            deaths: 0,
            failing: false,
            groups: Groups::default(),
            dark: None,
            mute_until: 0,
        };
        let keeps = style == Style::Choreographed;
        Hub { world: world.clone(), keeps, shares, disk, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Whether the members of a group share the partitions.
    pub fn shares(&self) -> bool {
        self.shares
    }

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

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("the hub's mutex is not poisoned")
    }

    fn log(&self) -> Log {
        self.inner().log.clone().expect("the log exists except during a crash")
    }

    /// Syncs the log. The sync may fail, or report success without syncing.
    pub fn sync(&self) {
        if self.is_failing() {
            return;
        }
        if self.world.strikes(Fault::SyncFailed) {
            self.disk.fail_syncs(true);
        }
        let lies = !self.keeps && self.world.strikes(Fault::SyncLies);
        let synced = if lies { Ok(()) } else { self.log().sync() };
        let mut inner = self.inner();
        match synced {
            Ok(()) => {
                self.disk.fail_syncs(false); // a sync without data cannot fail
                inner.synced = inner.acknowledged;
            }
            Err(_) => inner.failing = true,
        }
    }

    /// Whether a sync has failed, so that all processes must restart.
    pub fn is_failing(&self) -> bool {
        self.inner().failing
    }

    /// Returns the number of crashes of the machine.
    pub fn deaths(&self) -> u64 {
        self.inner().deaths
    }

    /// Crashes the machine: a part of the unsynced data is lost. No process may use the log.
    pub fn die(&self) {
        let unsynced = self.disk.unsynced_bytes();
        let keep = self.world.below(unsynced + 1);
        self.inner().log = None;
        self.disk.fail_syncs(false);
        self.disk.lose_unsynced_tail(keep);
        let log = open(&self.disk);
        let cut = log.repair().bytes_cut;
        if keep < unsynced {
            self.world.count("log tail lost");
        }
        if cut > 0 {
            self.world.count("log tail torn");
        }
        self.world.log(|| format!("log loses {} of {unsynced} bytes, {cut} torn", unsynced - keep));
        let mut inner = self.inner();
        inner.log = Some(log);
        inner.synced = inner.acknowledged; // of the remaining records
        inner.deaths += 1;
        inner.failing = false;
        inner.groups = Groups::default();
    }

    /// Returns the next delivery time of a delayed record.
    pub fn next_late(&self) -> Option<i64> {
        let inner = self.inner();
        inner.late.iter().map(|(at, _)| *at).min().filter(|_| !inner.failing)
    }

    /// Delivers the due delayed records, or all of them.
    pub fn release(&self, all: bool) {
        if self.is_failing() {
            return;
        }
        let now = self.world.now();
        let due: Vec<Record> = self
            .inner()
            .late
            .extract_if(.., |(at, _)| all || *at <= now)
            .map(|(_, record)| record)
            .collect();
        if !due.is_empty() {
            self.world.log(|| format!("{} late records", due.len()));
            for record in due {
                // the topic may have been lost with the log's tail
                if self.deliver(vec![record]).is_err() {
                    self.world.count("late message lost with its topic");
                }
            }
            if self.keeps {
                // acknowledged long ago, so it may count as synced
                self.log().sync().expect("only the fault makes a sync fail");
                let mut inner = self.inner();
                inner.synced = inner.acknowledged;
            }
        }
    }

    /// Expires all records so far: topics no longer retain them, so none is delivered again.
    pub fn expire(&self) {
        self.inner().sent.clear();
    }

    /// Registers a group at the log, durably. The log then retains the events of these topics until
    /// the group has read them.
    pub fn introduce(&self, group: &str, topics: Vec<Arc<str>>) {
        let log = self.log();
        for topic in &topics {
            let created = log.create_topic(topic, 2).now_or_never().expect("the log never blocks");
            created.expect("a disk in memory never fails");
        }
        let subscription = Subscription { group: group.into(), topics, partitions: None };
        let consumer = log.subscribe(subscription).now_or_never().expect("the log never blocks");
        drop(consumer.expect("the topics exist"));
        log.sync().expect("only the fault makes a sync fail");
    }

    /// Delivers all records again that have not expired.
    pub fn repeat(&self) {
        let mut sent = self.inner().sent.clone();
        self.world.fork().shuffle(&mut sent);
        self.world.log(|| format!("{} records once more", sent.len()));
        if let Err(error) = self.deliver(sent) {
            self.world.violate("transport-failed", error.to_string());
        }
    }

    /// Delivers a record of an unknown producer.
    pub fn foreign(&self, record: Record) {
        if let Err(error) = self.deliver(vec![record]) {
            self.world.violate("transport-failed", error.to_string());
        }
    }

    fn deliver(&self, records: Vec<Record>) -> Result<(), Error> {
        self.world.nudge();
        self.log().publish(records).now_or_never().expect("the log never blocks")
    }

    /// Sends a batch and returns the result of each record. Lost and delayed records are
    /// acknowledged too.
    fn send(&self, records: Vec<Record>) -> Vec<Result<(), Error>> {
        let mut outcomes = vec![Ok(()); records.len()];
        let (mut places, mut prompt) =
            (Vec::with_capacity(records.len()), Vec::with_capacity(records.len()));
        for (place, record) in records.into_iter().enumerate() {
            if let Err(error) = check(&record, BROKER_BYTES_MAX) {
                self.world.checker().rejected(&self.world, &record);
                outcomes[place] = Err(error);
                continue;
            }
            {
                let mut inner = self.inner();
                if inner.sent.len() < SENT_MAX {
                    inner.sent.push(record.clone());
                }
            }
            if self.world.strikes(Fault::Duplicate) {
                self.deliver_later(record.clone(), 5_000);
            }
            if self.is_dark(&record) {
                continue;
            }
            if !self.keeps && self.world.strikes(Fault::Drop) {
                continue;
            }
            if self.world.strikes(Fault::Delay) {
                self.deliver_later(record, 45_000);
            } else {
                places.push(place);
                prompt.push(record);
            }
        }
        self.world.nudge();
        let published =
            self.log().publish_each(prompt).now_or_never().expect("the log never blocks");
        places.into_iter().zip(published).for_each(|(place, outcome)| outcomes[place] = outcome);
        outcomes
    }

    /// Redrives dead letters of undeliverable commands, like an operator after a repair.
    fn redrive(&self, acknowledged: &[Record]) {
        let undelivered = acknowledged.iter().filter(|record| {
            let reason =
                record.header("sagamore-dlt-reason").map(|reason| String::from_utf8_lossy(reason));
            reason.is_some_and(|reason| reason.contains("cannot be delivered"))
        });
        for record in undelivered.filter_map(wire::redrive) {
            self.world.count("dead letter redriven");
            let at = self.world.now() + self.world.between(1_000, 60_000);
            self.inner().late.push((at, record));
        }
    }

    /// Whether the commands of this topic are lost now.
    fn is_dark(&self, record: &Record) -> bool {
        if self.keeps || self.world.is_healed() || !record.topic.ends_with(".commands") {
            return false;
        }
        let until = self
            .world
            .strikes(Fault::Blackout)
            .then(|| self.world.now() + self.world.between(5_000, DARK_MS_MAX));
        let mut inner = self.inner();
        if let Some(until) = until {
            inner.dark = Some((record.topic.clone(), until));
        }
        inner
            .dark
            .as_ref()
            .is_some_and(|(topic, until)| *topic == record.topic && self.world.now() < *until)
    }

    /// Delays a record, usually by little or by a deadline or two, sometimes by much more.
    fn deliver_later(&self, record: Record, most: i64) {
        let longest = [50, most / 8, most / 8, most][self.world.below(4) as usize];
        let at = self.world.now() + self.world.between(1, longest);
        self.inner().late.push((at, record));
    }
}

fn open(disk: &MemoryDisk) -> Log {
    let options = log::Options {
        segment_bytes: 64 << 10,
        recent_bytes_max: 16 << 10,
        ..log::Options::default()
    };
    Log::on(Arc::new(disk.clone()), options).expect("open the log")
}

/// Checks the limit for the size of commands.
fn check(record: &Record, bytes_max: usize) -> Result<(), Error> {
    let bytes = record.body.len();
    if bytes <= bytes_max || !record.topic.ends_with(".commands") {
        return Ok(());
    }
    Err(Error::TooLarge { topic: record.topic.to_string(), bytes, bytes_max })
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
