//! What survives a crash: always a prefix of what was written, at least up to the last sync, and no offset ahead of it.

mod common;

use common::*;
use futures_util::FutureExt;
use proptest::prelude::*;
use sagamore_transport::log::{Log, Options, Repair};
use sagamore_transport::{Consumer, Error, MemoryDisk, Transport};

/// Two topics, records and committed offsets in turn.
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

/// After the loss of a tail: what is there is a run without a gap, nothing is skipped, and what is published next is
/// delivered after it.
fn check_whatever_survived(disk: &MemoryDisk, options: &Options) {
    let log = open(disk, options).unwrap();
    create(&log, "a");
    create(&log, "b");
    for topic in ["a", "b"] {
        let mut group = subscribe(&log, "group", topic);
        publish(&log, topic, 100);
        let mut taken = numbers(&drain(&mut group));
        assert_eq!(taken.pop(), Some(100), "the group gets what is published next");
        assert!(taken.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{taken:?}");
    }
    drop(log);
    assert_eq!(*open(disk, options).unwrap().repair(), Repair::default(), "nothing is left to repair");
}

/// The log's tail is cut at any byte, also in the middle of a record, while the databases keep what they have.
#[test]
fn whatever_prefix_survives_no_offset_is_ahead_of_it() {
    for options in [Options::default(), small()] {
        let whole = written(&options);
        let last = *files(&whole).last().unwrap();
        let mut length = 0;
        whole.tamper(last, |bytes| length = bytes.len());
        for kept in 0..=length {
            let disk = whole.copy();
            disk.tamper(last, |bytes| bytes.truncate(kept));
            check_whatever_survived(&disk, &options);
        }
    }
}

/// The pages of a tail that was not synced may reach the disk in any order.
#[test]
fn zeros_or_garbage_at_the_end_are_cut_off() {
    for byte in [0, 0xff] {
        let disk = written(&Options::default()).copy();
        disk.tamper(1, |bytes| bytes.extend([byte; 100]));
        let log = open(&disk, &Options::default()).unwrap();
        assert_eq!(*log.repair(), Repair { file: Some("memory file 1".to_owned()), bytes_cut: 100 });
        assert_eq!(numbers(&drain(&mut subscribe(&log, "late", "a"))), (0..12).collect::<Vec<u64>>());
    }
}

/// The disk was full while a file was begun, the log went on in the one before, and then the machine died, before it
/// was on the disk that the new file is gone again.
#[test]
fn a_file_without_a_whole_beginning_does_not_count_and_the_one_before_may_be_torn() {
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
        check_whatever_survived(&disk, &small());
    }
}

#[test]
fn a_process_that_dies_loses_nothing_that_was_published() {
    let disk = written(&small());
    disk.lose_unsynced_tail(u64::MAX);
    let log = open(&disk, &small()).unwrap();
    assert_eq!(numbers(&drain(&mut subscribe(&log, "group", "a"))), [11]);
    assert_eq!(numbers(&drain(&mut subscribe(&log, "group", "b"))), (0..12).collect::<Vec<u64>>());
}

#[test]
fn a_machine_that_dies_loses_nothing_that_was_synced() {
    let disk = MemoryDisk::new();
    let log = open(&disk, &Options::default()).unwrap();
    create(&log, "a");
    publish(&log, "a", 0);
    log.sync().unwrap();
    publish(&log, "a", 1);
    assert!(log.stats().unsynced_bytes > 0);
    disk.lose_unsynced_tail(3);
    assert!(try_publish(&log, "a", "2").is_err(), "the log of before the crash writes no more");
    let log = open(&disk, &Options::default()).unwrap();
    assert_eq!(log.repair().bytes_cut, 3);
    assert_eq!(numbers(&drain(&mut subscribe(&log, "group", "a"))), [0]);
}

#[test]
fn damage_in_an_earlier_file_is_told_with_its_place() {
    let disk = written(&small()).copy();
    let first = files(&disk)[0];
    disk.tamper(first, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let Err(Error::Damaged(text)) = open(&disk, &small()) else { panic!("opened a damaged log") };
    assert!(text.starts_with(&format!("memory file {first}: what begins at byte ")), "{text}");
    assert!(text.contains("Restore the file from a copy"), "{text}");
}

#[test]
fn a_file_that_was_removed_is_missed() {
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
    let Err(Error::Damaged(text)) = open(&disk, &options) else { panic!("opened a log with a hole") };
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

/// What must be true of a log whatever happens: the numbers of records that were published and synced, and how far the
/// group has certainly and possibly got.
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
        assert_eq!(numbers(&taken), (first..next).collect::<Vec<u64>>(), "each number is its offset, without a gap");
        if taken.is_empty() {
            publish(&self.log, "a", 0);
            let lifted = poll(&mut self.group, 1)[0].offset;
            assert!(lifted >= self.model.synced[0] && lifted <= self.model.published[0]);
            *self = Run::new();
            return;
        }
        assert!(from.contains(&first), "{first} is not in {from:?}");
        assert!(next >= self.model.synced[0], "{next} but {} were synced", self.model.synced[0]);
        let dead = numbers(&drain(&mut subscribe(&self.log, "looks at dead letters once", "dead")));
        let dead = dead.last().map_or(0, |last| last + 1);
        assert!(dead >= self.model.synced[1]);
        self.model.published = [next, dead];
        self.model.synced = self.model.published;
        (self.model.committed, self.model.committed_synced) = (first, first);
        self.log.sync().unwrap();
    }
}

/// Where a database that survives the machine says that a record was sent, it says so after this.
#[test]
fn what_is_synced_survives_the_machine_and_what_is_only_acknowledged_may_not() {
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
        assert!(late.is_err(), "the machine has died");
        let kept = numbers(&drain(&mut subscribe(&open(&disk, &options).unwrap(), "group", "a")));
        assert!(kept.len() >= 20 && kept.len() < 43, "{kept:?}");
    }
}

proptest! {
    #[test]
    fn whatever_happens_only_the_unsynced_tail_is_lost(acts in prop::collection::vec(act(), 1..120)) {
        let mut run = Run::new();
        acts.iter().for_each(|act| run.act(act));
        run.crash(128);
    }
}
