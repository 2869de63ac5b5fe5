//! The state after a crash: always a prefix of the written log, at least up to the last sync,
//! without an offset beyond it.

mod common;

use common::*;
use futures_util::FutureExt;
use proptest::prelude::*;
use sagamore_transport::log::{Log, Options, Repair};
use sagamore_transport::{Consumer, Error, MemoryDisk, Transport};

/// Writes records and committed offsets of two topics alternately.
fn written(options: &Options) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let log = open(&disk, options).unwrap();
    create(&log, "a");
    create(&log, "b");
    let mut consumer = subscribe(&log, "group", "a");
    for n in 0..12 {
        publish(&log, "a", n);
        publish(&log, "b", n);
        if n % 3 == 2 {
            let taken = drain(&mut consumer);
            commit(&mut consumer, "a", taken.last().unwrap().offset);
        }
    }
    disk
}

/// Asserts that the surviving records have no gap, none is skipped, and later ones are delivered
/// after them.
fn check_survivors(disk: &MemoryDisk, options: &Options) {
    let log = open(disk, options).unwrap();
    create(&log, "a");
    create(&log, "b");
    for topic in ["a", "b"] {
        let mut group = subscribe(&log, "group", topic);
        publish(&log, topic, 100);
        let mut taken = numbers(&drain(&mut group));
        assert_eq!(taken.pop(), Some(100), "the group receives the next record");
        assert!(taken.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{taken:?}");
    }
    drop(log);
    assert_eq!(
        *open(disk, options).unwrap().repair(),
        Repair::default(),
        "no further repair is needed"
    );
}

/// The log's tail is cut at any byte, even within a record, while databases keep their commits.
#[test]
fn no_offset_is_ahead_of_a_surviving_prefix() {
    for options in [Options::default(), small()] {
        let whole = written(&options);
        let last = *files(&whole).last().unwrap();
        let mut length = 0;
        whole.tamper(last, |bytes| length = bytes.len());
        for kept in 0..=length {
            let disk = whole.copy();
            disk.tamper(last, |bytes| bytes.truncate(kept));
            check_survivors(&disk, &options);
        }
    }
}

/// The pages of an unsynced tail may reach the disk in any order.
#[test]
fn zeros_or_garbage_at_the_end_are_truncated() {
    for byte in [0, 0xff] {
        let disk = written(&Options::default()).copy();
        disk.tamper(1, |bytes| bytes.extend([byte; 100]));
        let log = open(&disk, &Options::default()).unwrap();
        assert_eq!(
            *log.repair(),
            Repair { file: Some("memory file 1".to_owned()), bytes_cut: 100 }
        );
        assert_eq!(
            numbers(&drain(&mut subscribe(&log, "late", "a"))),
            (0..12).collect::<Vec<u64>>()
        );
    }
}

/// The disk was full when a file was created, and the log continued in the previous one. Then the
/// power failed before the removal of the new file was durable.
#[test]
fn a_last_file_without_a_snapshot_is_removed_and_the_previous_may_be_torn() {
    use sagamore_transport::log::Disk;
    for begun in [0, 1, 7, 8, 20] {
        let disk = written(&small()).copy();
        let last = *files(&disk).last().unwrap();
        let mut beginning = Vec::new();
        disk.tamper(last, |bytes| {
            beginning.extend_from_slice(&bytes[..begun]);
            bytes.truncate(bytes.len() - 3);
        });
        disk.open(last + 1).unwrap();
        disk.tamper(last + 1, |bytes| *bytes = beginning);
        let log = open(&disk, &small()).unwrap();
        assert_eq!(log.repair().file, Some(format!("memory file {last}")));
        assert!(log.repair().bytes_cut > begun as u64);
        assert_eq!(files(&disk).last(), Some(&last));
        drop(log);
        check_survivors(&disk, &small());
    }
}

#[test]
fn a_killed_process_loses_no_published_record() {
    let disk = written(&small());
    disk.lose_unsynced_tail(u64::MAX);
    let log = open(&disk, &small()).unwrap();
    assert_eq!(numbers(&drain(&mut subscribe(&log, "group", "a"))), [11]);
    assert_eq!(numbers(&drain(&mut subscribe(&log, "group", "b"))), (0..12).collect::<Vec<u64>>());
}

#[test]
fn a_power_loss_loses_no_synced_record() {
    let disk = MemoryDisk::new();
    let log = open(&disk, &Options::default()).unwrap();
    create(&log, "a");
    publish(&log, "a", 0);
    log.sync().unwrap();
    publish(&log, "a", 1);
    assert!(log.stats().unsynced_bytes > 0);
    disk.lose_unsynced_tail(3);
    assert!(try_publish(&log, "a", "2").is_err(), "the log from before the crash cannot write");
    let log = open(&disk, &Options::default()).unwrap();
    assert_eq!(log.repair().bytes_cut, 3);
    assert_eq!(numbers(&drain(&mut subscribe(&log, "group", "a"))), [0]);
}

#[test]
fn damage_in_an_earlier_file_is_reported_with_its_place() {
    let disk = written(&small()).copy();
    let first = files(&disk)[0];
    disk.tamper(first, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let Err(Error::Damaged(text)) = open(&disk, &small()) else { panic!("opened a damaged log") };
    assert!(text.starts_with(&format!("memory file {first}: the frame at byte ")), "{text}");
    assert!(text.contains("Restore the file from a copy"), "{text}");
}

#[test]
fn a_removed_file_is_detected() {
    use sagamore_transport::log::Disk;
    let options = Options { segment_bytes: 100, ..small() };
    let disk = MemoryDisk::new();
    let log = open(&disk, &options).unwrap();
    create(&log, "a");
    drop(subscribe(&log, "group", "a"));
    (0..10).for_each(|n| publish(&log, "a", n));
    let disk = disk.copy();
    let files = files(&disk);
    disk.remove(files[files.len() / 2]).unwrap();
    let Err(Error::Damaged(text)) = open(&disk, &options) else {
        panic!("opened a log with a missing file")
    };
    assert!(text.contains("are missing"), "{text}");
}

#[derive(Clone, Debug)]
enum Act {
    Publish(u8),
    DeadLetter,
    Commit(u8),
    Sync,
    Crash(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => (1..6u8).prop_map(Act::Publish),
        2 => Just(Act::DeadLetter),
        4 => any::<u8>().prop_map(Act::Commit),
        1 => Just(Act::Sync),
        1 => any::<u8>().prop_map(Act::Crash),
    ]
}

/// The expected state of a log: the published and synced records, and the certain and the possible
/// offset of the group.
#[derive(Default)]
struct Model {
    published: [u64; 2],
    synced: [u64; 2],
    committed: u64,
    committed_synced: u64,
}

const TOPICS: [&str; 2] = ["a", "dead"];

struct Run {
    disk: MemoryDisk,
    log: Log,
    group: Box<dyn Consumer>,
    model: Model,
}

impl Run {
    fn new() -> Run {
        let disk = MemoryDisk::new();
        let log = open(&disk, &small()).unwrap();
        TOPICS.iter().for_each(|topic| create(&log, topic));
        let group = subscribe(&log, "group", "a");
        log.sync().unwrap();
        Run { disk, log, group, model: Model::default() }
    }

    fn act(&mut self, act: &Act) {
        let model = &mut self.model;
        match act {
            Act::Publish(count) => {
                for _ in 0..*count {
                    publish(&self.log, "a", model.published[0]);
                    model.published[0] += 1;
                }
            }
            Act::DeadLetter => {
                publish(&self.log, "dead", model.published[1]);
                model.published[1] += 1;
            }
            Act::Commit(share) => {
                let waiting = model.published[0] - model.committed;
                model.committed += waiting * u64::from(*share) / 255;
                commit(&mut self.group, "a", model.committed);
            }
            Act::Sync => {
                self.log.sync().unwrap();
                model.synced = model.published;
                model.committed_synced = model.committed;
            }
            Act::Crash(share) => self.crash(*share),
        }
    }

    fn crash(&mut self, share: u8) {
        self.disk.lose_unsynced_tail(self.disk.unsynced_bytes() * u64::from(share) / 255);
        self.log = open(&self.disk, &small()).unwrap();
        self.group = subscribe(&self.log, "group", "a");
        let taken = drain(&mut self.group);
        let from = self.model.committed_synced..=self.model.committed;
        let (first, next) = match (taken.first(), taken.last()) {
            (Some(first), Some(last)) => (first.offset, last.offset + 1),
            _ => (self.model.published[0], self.model.published[0]),
        };
        assert_eq!(
            numbers(&taken),
            (first..next).collect::<Vec<u64>>(),
            "each number is its offset, without a gap"
        );
        if taken.is_empty() {
            publish(&self.log, "a", 0);
            let lifted = poll(&mut self.group, 1)[0].offset;
            assert!(lifted >= self.model.synced[0] && lifted <= self.model.published[0]);
            *self = Run::new();
            return;
        }
        assert!(from.contains(&first), "{first} is not in {from:?}");
        assert!(
            next >= self.model.synced[0],
            "{next} although {} were synced",
            self.model.synced[0]
        );
        let dead = numbers(&drain(&mut subscribe(&self.log, "reads dead letters once", "dead")));
        let dead = dead.last().map_or(0, |last| last + 1);
        assert!(dead >= self.model.synced[1]);
        self.model.published = [next, dead];
        self.model.synced = self.model.published;
        (self.model.committed, self.model.committed_synced) = (first, first);
        self.log.sync().unwrap();
    }
}

/// A database row that marks a record as sent is written only after this.
#[test]
fn synced_records_survive_a_power_loss_and_acknowledged_ones_may_not() {
    for options in [Options::default(), small()] {
        let disk = MemoryDisk::new();
        let log = open(&disk, &options).unwrap();
        create(&log, "a");
        (0..20).for_each(|n| publish(&log, "a", n));
        let synced = log.synced();
        (20..40).for_each(|n| publish(&log, "a", n));
        synced.now_or_never().expect("at once").expect("synced");
        (40..43).for_each(|n| publish(&log, "a", n));
        disk.lose_unsynced_tail(0);
        let late = log.synced().now_or_never().expect("at once");
        assert!(late.is_err(), "the power was cut");
        let kept = numbers(&drain(&mut subscribe(&open(&disk, &options).unwrap(), "group", "a")));
        assert!(kept.len() >= 20 && kept.len() < 43, "{kept:?}");
    }
}

proptest! {
    #[test]
    fn only_the_unsynced_tail_is_ever_lost(acts in prop::collection::vec(act(), 1..120)) {
        let mut run = Run::new();
        acts.iter().for_each(|act| run.act(act));
        run.crash(128);
    }
}
