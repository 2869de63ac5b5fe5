//! A transport that loses, doubles, delays and fails on purpose, over the real log.

use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::FutureExt;
use sagamore_transport::log::{self, Log, MemoryDisk};
use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Consumer, Delivered, Error, Mark, Reach, Record, Subscription, Transport};

use crate::checker::Ledger;
use crate::faults::Fault;
use crate::world::Shared;

/// Records kept to be sent once more when everything is over.
const SENT_MAX: usize = 2_000;

/// The log, its disk, and the records that are late. Clones share it.
#[derive(Clone)]
pub struct Hub {
    world: Shared,
    /// Whether what was acknowledged is lost only with the machine, and only before it is synced.
    keeps: bool,
    disk: MemoryDisk,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    /// None for a moment, while the machine dies.
    log: Option<Log>,
    /// When, and what.
    late: Vec<(i64, Record)>,
    sent: Vec<Record>,
    /// How many batches were acknowledged, and how many of them survive the machine.
    acknowledged: u64,
    synced: u64,
    /// How often the machine has died.
    deaths: u64,
}

/// The hub in the hands of one process.
pub struct Line {
    hub: Hub,
    ledger: Arc<Mutex<Ledger>>,
}

struct Reader {
    hub: Hub,
    inner: Box<dyn Consumer>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Hub {
    /// An empty log on an empty disk. With `keeps` it loses of what it has acknowledged only the tail that was not synced
    /// when the machine dies: choreographies rest on that.
    pub fn new(world: &Shared, keeps: bool) -> Hub {
        let disk = MemoryDisk::new();
        let inner =
            Inner { log: Some(open(&disk)), late: Vec::new(), sent: Vec::new(), acknowledged: 0, synced: 0, deaths: 0 };
        Hub { world: world.clone(), keeps, disk, inner: Arc::new(Mutex::new(inner)) }
    }

    /// The transport that a process gets, whose clock is off by so much.
    pub fn for_process(&self, who: &Arc<str>, skew: i64) -> Arc<dyn Transport> {
        Arc::new(Line { hub: self.clone(), ledger: Arc::new(Mutex::new(Ledger::new(who, skew))) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while the hub is held")
    }

    fn log(&self) -> Log {
        self.inner().log.clone().expect("there is a log but while the machine dies")
    }

    /// The log's tail becomes durable.
    pub fn sync(&self) {
        self.log().sync().expect("a disk in memory does not fail");
        let mut inner = self.inner();
        inner.synced = inner.acknowledged;
    }

    /// How often the machine has died.
    pub fn deaths(&self) -> u64 {
        self.inner().deaths
    }

    /// The machine dies: a part of what was not synced is lost. Everything that used the log has to be gone.
    pub fn die(&self) {
        let unsynced = self.disk.unsynced_bytes();
        let keep = self.world.below(unsynced + 1);
        self.inner().log = None;
        self.disk.lose_unsynced_tail(keep);
        let log = open(&self.disk);
        let cut = log.repair().bytes_cut;
        if keep < unsynced {
            self.world.count("log tail lost");
        }
        if cut > 0 {
            self.world.count("log tail torn");
        }
        self.world.tell(|| format!("log loses {} of {unsynced} bytes, {cut} torn", unsynced - keep));
        let mut inner = self.inner();
        inner.log = Some(log);
        inner.synced = inner.acknowledged; // what is left of it
        inner.deaths += 1;
    }

    /// When the next late record is to come.
    pub fn next_late(&self) -> Option<i64> {
        self.inner().late.iter().map(|(at, _)| *at).min()
    }

    /// Delivers the late records whose time has come; all of them when `all`.
    pub fn release(&self, all: bool) {
        let now = self.world.now();
        let due: Vec<Record> =
            self.inner().late.extract_if(.., |(at, _)| all || *at <= now).map(|(_, record)| record).collect();
        if !due.is_empty() {
            self.world.tell(|| format!("{} late records", due.len()));
            for record in due {
                // Its topic may have been lost with the log's tail.
                if self.deliver(vec![record]).is_err() {
                    self.world.count("late message lost with its topic");
                }
            }
            if self.keeps {
                self.sync(); // it was acknowledged long ago, and may count as synced since
            }
        }
    }

    /// What was sent so far is older than any topic keeps: nobody will ever send it once more.
    pub fn expire(&self) {
        self.inner().sent.clear();
    }

    /// Makes a group known to the log: from now on the log retains the events of these topics until the group has read them.
    pub fn introduce(&self, group: &str, topics: Vec<Arc<str>>) {
        let log = self.log();
        for topic in &topics {
            let created = log.create_topic(topic, 2).now_or_never().expect("the log answers at once");
            created.expect("a disk in memory does not fail");
        }
        let subscription = Subscription { group: group.into(), topics, partitions: None };
        let consumer = log.subscribe(subscription).now_or_never().expect("the log answers at once");
        drop(consumer.expect("the topics exist"));
    }

    /// Sends everything that was ever sent, and has not expired, once more.
    pub fn repeat(&self) {
        let mut sent = self.inner().sent.clone();
        self.world.fork().shuffle(&mut sent);
        self.world.tell(|| format!("{} records once more", sent.len()));
        if let Err(error) = self.deliver(sent) {
            self.world.violate("transport-failed", error.to_string());
        }
    }

    /// Delivers a record that nobody here has sent.
    pub fn foreign(&self, record: Record) {
        if let Err(error) = self.deliver(vec![record]) {
            self.world.violate("transport-failed", error.to_string());
        }
    }

    fn deliver(&self, records: Vec<Record>) -> Result<(), Error> {
        self.world.nudge();
        self.log().publish(records).now_or_never().expect("the log answers at once")
    }

    /// What becomes of each record of a batch on its way. A record that is lost or late is acknowledged all the same.
    fn carry(&self, records: Vec<Record>) -> Vec<Result<(), Error>> {
        let mut outcomes = vec![Ok(()); records.len()];
        let (mut places, mut prompt) = (Vec::with_capacity(records.len()), Vec::with_capacity(records.len()));
        for (place, record) in records.into_iter().enumerate() {
            {
                let mut inner = self.inner();
                if inner.sent.len() < SENT_MAX {
                    inner.sent.push(record.clone());
                }
            }
            if self.world.strikes(Fault::Duplicate) {
                self.later(record.clone(), 5_000);
            }
            if !self.keeps && self.world.strikes(Fault::Drop) {
                continue;
            }
            if self.world.strikes(Fault::Delay) {
                self.later(record, 45_000);
            } else {
                places.push(place);
                prompt.push(record);
            }
        }
        self.world.nudge();
        let published = self.log().publish_each(prompt).now_or_never().expect("the log answers at once");
        places.into_iter().zip(published).for_each(|(place, outcome)| outcomes[place] = outcome);
        outcomes
    }

    /// Mostly a little later, or after a deadline or two; sometimes much later.
    fn later(&self, record: Record, most: i64) {
        let longest = [50, most / 8, most / 8, most][self.world.below(4) as usize];
        let at = self.world.now() + self.world.between(1, longest);
        self.inner().late.push((at, record));
    }
}

fn open(disk: &MemoryDisk) -> Log {
    let options = log::Options { segment_bytes: 64 << 10, recent_bytes_max: 16 << 10, ..log::Options::default() };
    Log::on(Arc::new(disk.clone()), options).expect("open the log")
}

fn failed() -> Error {
    Error::Unavailable("as the simulator wants it".into())
}

impl Line {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nothing panics while the ledger is held")
    }
}

impl Transport for Line {
    fn create_topic<'a>(&'a self, topic: &'a str, partitions: u32) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.hub.world.pause().await;
            if self.hub.world.strikes(Fault::PublishFailed) {
                return Err(failed());
            }
            self.hub.log().create_topic(topic, partitions).await
        })
    }

    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>> {
        Box::pin(async move {
            let world = &self.hub.world;
            world.pause().await;
            if world.strikes(Fault::PublishFailed) {
                return vec![Err(failed()); records.len()];
            }
            world.checker().leaves(world, &records);
            let outcomes = self.hub.carry(records.clone());
            world.pause().await;
            if world.strikes(Fault::PublishTimedOut) {
                return vec![Err(failed()); records.len()];
            }
            self.hub.inner().acknowledged += 1;
            let acknowledged =
                records.into_iter().zip(&outcomes).filter_map(|(record, outcome)| outcome.is_ok().then_some(record));
            let acknowledged: Vec<Record> = acknowledged.collect();
            world.checker().acknowledged(world, &acknowledged);
            self.ledger().answered(&acknowledged);
            outcomes
        })
    }

    /// When somebody syncs: nobody is asked to.
    fn synced(&self) -> BoxFuture<'static, Result<(), Error>> {
        let hub = self.hub.clone();
        let acknowledged = hub.inner().acknowledged;
        Box::pin(async move {
            while hub.inner().synced < acknowledged {
                hub.world.sleep(5).await;
            }
            Ok(())
        })
    }

    fn check_size(&self, record: &Record) -> Result<(), Error> {
        self.hub.log().check_size(record)
    }

    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        Box::pin(async move {
            self.hub.world.pause().await;
            let inner = self.hub.log().subscribe(subscription).await?;
            let reader = Reader { hub: self.hub.clone(), inner, ledger: self.ledger.clone() };
            Ok(Box::new(reader) as Box<dyn Consumer>)
        })
    }
}

impl Reader {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nothing panics while the ledger is held")
    }
}

impl Consumer for Reader {
    fn poll(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Delivered>, Error>> {
        Box::pin(async move {
            let world = self.hub.world.clone();
            world.pause().await;
            if world.strikes(Fault::PollFailed) {
                return Err(failed());
            }
            let taken = match self.inner.poll(max).await {
                // As with partitions that are assigned: who is put out need not notice at once.
                Err(Error::Fenced(_)) if world.percent(80) => Vec::new(),
                other => other?,
            };
            self.ledger().delivered(&taken);
            world.checker().taken(&world, &taken);
            if !taken.is_empty() {
                world.tell(|| format!("takes {} records", taken.len()));
            }
            Ok(taken)
        })
    }

    fn ready(&mut self) -> BoxFuture<'_, ()> {
        self.inner.ready()
    }

    fn commit(&mut self, marks: Vec<Mark>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let world = self.hub.world.clone();
            world.pause().await;
            if world.strikes(Fault::OffsetsFailed) {
                return Err(failed());
            }
            self.inner.commit(marks.clone()).await?;
            let passed = self.ledger().marked(&marks, world.now());
            if let Some(id) = passed.unanswered {
                let who = self.ledger().who.clone();
                world.violate("offset-before-answer", format!("{who} passed {id} without an answer"));
            }
            world.checker().passed(&world, &passed.replies);
            world.pause().await;
            Ok(())
        })
    }

    fn rewind(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.hub.world.pause().await;
            self.inner.rewind().await
        })
    }

    fn lag(&self) -> u64 {
        self.inner.lag()
    }

    fn reaches(&mut self) -> BoxFuture<'_, Result<Option<Vec<Reach>>, Error>> {
        self.inner.reaches()
    }

    fn marks(&self) -> Vec<Mark> {
        self.inner.marks()
    }
}
