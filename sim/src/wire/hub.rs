//! The log, its disk, and the records that the transport withholds.

use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::FutureExt;
use sagamore_transport::log::{self, Log, MemoryDisk};
use sagamore_transport::wire;
use sagamore_transport::{Error, Record, Subscription, Transport};

use super::groups::Groups;
use crate::faults::Fault;
use crate::style::Style;
use crate::watched::Shared;

/// The brokers' limit for a command, in bytes.
const BROKER_BYTES_MAX: usize = 84 * 1024;
/// The longest loss of one topic's commands.
const DARK_MS_MAX: i64 = 50_000;
/// Maximum records that are stored for the repeated delivery at the end.
const SENT_MAX: usize = 2_000;

/// The log, its disk, and the delayed records. Clones share it.
#[derive(Clone)]
pub struct Hub {
    pub(super) world: Shared,
    /// Whether acknowledged records are lost only with the machine, and only before they are
    /// synced.
    pub(super) keeps: bool,
    /// Whether the members of a group share the partitions. Otherwise a new member takes all
    /// partitions.
    pub(super) shares: bool,
    pub(super) disk: MemoryDisk,
    pub(super) inner: Arc<Mutex<Inner>>,
}

pub(super) struct Inner {
    /// `None` only while the machine crashes.
    pub log: Option<Log>,
    /// The delayed records with their delivery times.
    pub late: Vec<(i64, Record)>,
    pub sent: Vec<Record>,
    /// The number of acknowledged batches, and of those that survive a crash of the machine.
    pub acknowledged: u64,
    pub synced: u64,
    /// The number of crashes of the machine.
    pub deaths: u64,
    /// Whether a sync has failed. Until the log is opened again, it accepts nothing.
    pub failing: bool,
    pub groups: Groups,
    /// The topic whose commands are lost, and the end of that loss.
    pub dark: Option<(Arc<str>, i64)>,
    /// The time until which an orchestrator cannot publish.
    pub mute_until: i64,
}

impl Hub {
    /// Creates an empty log on an empty disk. In choreographed runs, acknowledged records are lost
    /// only from the unsynced tail when the machine crashes, because choreographies depend on this.
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

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("the hub's mutex is not poisoned")
    }

    pub(super) fn log(&self) -> Log {
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

    pub(super) fn deliver(&self, records: Vec<Record>) -> Result<(), Error> {
        self.world.nudge();
        self.log().publish(records).now_or_never().expect("the log never blocks")
    }

    /// Sends a batch and returns the result of each record. Lost and delayed records are
    /// acknowledged too.
    pub(super) fn send(&self, records: Vec<Record>) -> Vec<Result<(), Error>> {
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
    pub(super) fn redrive(&self, acknowledged: &[Record]) {
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
    pub(super) fn is_dark(&self, record: &Record) -> bool {
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
    pub(super) fn deliver_later(&self, record: Record, most: i64) {
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
pub(super) fn check(record: &Record, bytes_max: usize) -> Result<(), Error> {
    let bytes = record.body.len();
    if bytes <= bytes_max || !record.topic.ends_with(".commands") {
        return Ok(());
    }
    Err(Error::TooLarge { topic: record.topic.to_string(), bytes, bytes_max })
}
