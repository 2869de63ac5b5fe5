//! The size of the log: old files are removed, topics without consumers are bounded, and a full log
//! names the slow group.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use common::*;
use futures_util::FutureExt;
use sagamore_transport::log::Options;
use sagamore_transport::{Error, MemoryDisk, Record, Transport};

/// Publishes and consumes `count` records.
fn pass_through(log: &sagamore_transport::Log, group: &str, topic: &str, count: u64) {
    let mut consumer = subscribe(log, group, topic);
    for n in 0..count {
        publish(log, topic, n);
        let next = drain(&mut consumer).last().unwrap().offset + 1;
        commit(&mut consumer, topic, next);
    }
}

#[test]
fn a_file_is_removed_when_every_group_has_passed_it() {
    let disk = MemoryDisk::new();
    let log = open(&disk, &small()).unwrap();
    create(&log, "a");
    let mut slow = subscribe(&log, "slow", "a");
    pass_through(&log, "fast", "a", 100);
    let held = log.stats().segments;
    assert!(held > 10, "the slow group holds {held} files");
    assert_eq!(numbers(&drain(&mut slow)), (0..100).collect::<Vec<u64>>());
    commit(&mut slow, "a", 100);
    pass_through(&log, "fast", "a", 20);
    assert!(log.stats().segments <= held / 2, "{} files of {held}", log.stats().segments);
    commit(&mut slow, "a", 120);
    pass_through(&log, "fast", "a", 10);
    assert_eq!(files(&disk).len() as u64, log.stats().segments);
    assert_eq!(log.stats().bytes, disk.bytes());
}

#[test]
fn reopening_keeps_topics_records_and_offsets_over_many_files() {
    let disk = MemoryDisk::new();
    for round in 0..5 {
        let log = open(&disk, &small()).unwrap();
        create(&log, "a");
        let mut consumer = subscribe(&log, "group", "a");
        let left = if round == 0 { vec![] } else { vec![round * 20 - 1] };
        assert_eq!(numbers(&drain(&mut consumer)), left);
        (round * 20..round * 20 + 20).for_each(|n| publish(&log, "a", n));
        let taken = drain(&mut consumer);
        commit(&mut consumer, "a", taken.last().unwrap().offset);
    }
}

/// Dead letters are few and have no consumer. They outlive the files in which they were written.
#[test]
fn dead_letters_do_not_retain_old_files_and_survive_them() {
    let disk = MemoryDisk::new();
    {
        let log = open(&disk, &small()).unwrap();
        create(&log, "a");
        create(&log, "a-dlt");
        for n in 0..3 {
            publish(&log, "a-dlt", n);
            pass_through(&log, "group", "a", 50);
        }
        assert!(log.stats().segments < 6, "{} files", log.stats().segments);
    }
    let log = open(&disk, &small()).unwrap();
    let letters = drain(&mut subscribe(&log, "looks", "a-dlt"));
    assert_eq!(numbers(&letters), [0, 1, 2]);
    assert_eq!(letters.iter().map(|letter| letter.offset).collect::<Vec<u64>>(), [0, 1, 2]);
}

#[test]
fn the_oldest_records_of_a_topic_without_consumers_are_removed() {
    let options = Options { retention_bytes: 1_000, ..small() };
    let disk = MemoryDisk::new();
    let log = open(&disk, &options).unwrap();
    create(&log, "a-dlt");
    (0..500).for_each(|n| publish(&log, "a-dlt", n));
    assert!(log.stats().bytes < 4_000, "{} bytes", log.stats().bytes);
    let kept = numbers(&drain(&mut subscribe(&log, "looks", "a-dlt")));
    assert!(kept.len() > 10 && kept.last() == Some(&499), "{kept:?}");
}

#[test]
fn a_full_log_rejects_records_of_the_backlog_and_names_the_slow_group() {
    let options = Options { size_bytes_max: 8_000, ..small() };
    let log = open(&MemoryDisk::new(), &options).unwrap();
    ["commands", "replies"].iter().for_each(|topic| create(&log, topic));
    let mut behind = subscribe(&log, "payment", "commands");
    let refused = (0..1_000)
        .find_map(|n| try_publish(&log, "commands", &n.to_string()).err())
        .expect("it has a bound");
    let Error::Full(text) = &refused else { panic!("{refused}") };
    assert!(text.contains("'commands'") && text.contains("'payment'"), "{text}");
    assert!(refused.is_transient());
    assert!(log.stats().bytes < 10_000);

    let [late, prompt] = ["commands", "replies"].map(|topic| Record {
        topic: topic.into(),
        partition: None,
        key: Default::default(),
        headers: vec![],
        body: "7".into(),
    });
    let outcomes = log.publish_each(vec![late, prompt]).now_or_never().unwrap();
    assert!(
        matches!(outcomes[..], [Err(Error::Full(_)), Ok(())]),
        "only the backlog's topic: {outcomes:?}"
    );
    pass_through(&log, "coordinator", "replies", 3);
    let taken = drain(&mut behind);
    commit(&mut behind, "commands", taken.last().unwrap().offset + 1);
    publish(&log, "commands", 0);
    assert!(log.stats().bytes < 2_000, "once the group has caught up there is room again");
}

#[test]
fn a_write_that_fails_publishes_nothing() {
    let disk = MemoryDisk::new();
    let log = open(&disk, &Options::default()).unwrap();
    create(&log, "a");
    let mut consumer = subscribe(&log, "group", "a");
    publish(&log, "a", 0);
    disk.limit_bytes(Some(disk.bytes() + 10));
    assert!(matches!(try_publish(&log, "a", "1"), Err(Error::Full(_))));
    assert_eq!(numbers(&drain(&mut consumer)), [0]);
    disk.limit_bytes(None);
    publish(&log, "a", 2);
    assert_eq!(numbers(&drain(&mut consumer)), [2]);
    drop((log, consumer));
    let log = open(&disk, &Options::default()).unwrap();
    assert_eq!(log.repair().bytes_cut, 0, "the partial write is removed");
    assert_eq!(numbers(&drain(&mut subscribe(&log, "group", "a"))), [0, 2]);
}

/// A batch larger than one write may be published in part. Waiting consumers receive that part at
/// once.
#[test]
fn the_written_part_of_a_failed_batch_wakes_its_consumers() {
    let disk = MemoryDisk::new();
    let log = open(&disk, &Options::default()).unwrap();
    create(&log, "a");
    let mut consumer = subscribe(&log, "group", "a");
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut ready = consumer.ready();
    assert!(ready.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    disk.limit_bytes(Some(disk.bytes() + (10 << 20)));
    let body = bytes::Bytes::from(vec![7; 1 << 19]);
    let record = Record {
        topic: "a".into(),
        partition: None,
        key: Default::default(),
        headers: vec![],
        body,
    };
    let published = log.publish(vec![record; 24]).now_or_never().unwrap();
    assert!(matches!(published, Err(Error::Full(_))), "{published:?}");
    assert!(woken.0.load(Ordering::Relaxed));
    drop(ready);
    assert!(!poll(&mut consumer, 100).is_empty());
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Woken>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_disk_that_was_full_at_a_new_file_is_usable_again_with_room() {
    let disk = MemoryDisk::new();
    let log = open(&disk, &small()).unwrap();
    create(&log, "a");
    let mut consumer = subscribe(&log, "group", "a");
    for n in 0..100 {
        disk.limit_bytes(Some(disk.bytes() + n % 60));
        if try_publish(&log, "a", &n.to_string()).is_err() {
            disk.limit_bytes(None);
            publish(&log, "a", n);
        }
        disk.limit_bytes(None);
    }
    assert_eq!(numbers(&drain(&mut consumer)), (0..100).collect::<Vec<u64>>());
    drop((log, consumer));
    let log = open(&disk, &small()).unwrap();
    assert_eq!(numbers(&drain(&mut subscribe(&log, "group", "a"))), (0..100).collect::<Vec<u64>>());
}

/// A zombie can neither take nor commit records of its successor.
#[test]
fn a_second_consumer_of_a_group_fences_the_first() {
    let log = open(&MemoryDisk::new(), &Options::default()).unwrap();
    create(&log, "a");
    publish(&log, "a", 0);
    let mut first = subscribe(&log, "group", "a");
    assert_eq!(poll(&mut first, 1).len(), 1);
    let mut second = subscribe(&log, "group", "a");
    first.ready().now_or_never().expect("the first is woken and finds itself fenced");
    let fenced = first.poll(1).now_or_never().unwrap().unwrap_err();
    assert_eq!(fenced.to_string(), "fenced: another consumer of group 'group' has taken over");
    assert!(first.commit(vec![]).now_or_never().unwrap().is_err());
    drop(first);
    assert_eq!(numbers(&drain(&mut second)), [0]);
    publish(&log, "a", 1);
    second.ready().now_or_never().expect("the second is still woken");
}

/// A poll returns approximately the permitted bytes, and at least one record.
#[test]
fn a_poll_is_bounded_by_bytes_too() {
    for recent_bytes_max in [0, 32 << 20] {
        let options = Options { poll_bytes_max: 2_500, recent_bytes_max, ..Options::default() };
        let log = open(&MemoryDisk::new(), &options).unwrap();
        create(&log, "a");
        (0..10).for_each(|_| publish(&log, "a", "x".repeat(1_000)));
        let mut consumer = subscribe(&log, "group", "a");
        let counts: Vec<usize> = (0..5).map(|_| poll(&mut consumer, 100).len()).collect();
        assert_eq!(counts, [3, 3, 3, 1, 0]);
    }
}

#[test]
fn a_batch_is_one_write_and_is_counted() {
    let log = open(&MemoryDisk::new(), &Options::default()).unwrap();
    create(&log, "a");
    let record = Record {
        topic: "a".into(),
        partition: None,
        key: Default::default(),
        headers: vec![],
        body: Default::default(),
    };
    log.publish(vec![record; 500]).now_or_never().unwrap().unwrap();
    let stats = log.stats();
    assert_eq!((stats.records, stats.batches, stats.segments), (500, 1, 1));
    assert!(stats.unsynced_bytes > 0);
    log.sync().unwrap();
    assert_eq!(log.stats().unsynced_bytes, 0);
}
