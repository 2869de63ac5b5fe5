//! The contract of every transport, as checks for each adapter. `contract_suite!` generates a test
//! per check.
//!
//! Each check creates its own topics, so that one broker can serve all checks.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;

use crate::error::{Error, Scope};
use crate::port::{Consumer, Reach, Subscription, Transport};
use crate::record::{Delivery, Mark, Record};

/// Timeout after which a wake-up counts as missed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Generates one `#[tokio::test]` per check. The argument is a closure `|| async { (Arc<dyn
/// Transport>, guard) }`; the guard lives until the check ends.
///
/// With `if there` the closure returns an option, and `None` skips the check.
#[macro_export]
macro_rules! contract_suite {
    (if there $new:expr) => {
        $crate::contract_suite!(@tests $new;
            a_key_stays_in_order,
            uncommitted_records_are_redelivered,
            a_rewind_returns_to_the_committed_offset,
            groups_do_not_disturb_each_other,
            a_late_group_sees_everything_from_the_earliest,
            a_consumer_is_woken_without_polling,
            a_commit_never_lowers_the_offset,
            bytes_arrive_as_they_were_sent,
            an_explicit_partition_is_honoured,
            a_consumer_gets_its_partitions_only,
            one_key_has_one_partition,
            an_unknown_topic_is_an_error,
            a_record_that_is_too_large_is_an_error,
            a_rejected_record_does_not_block_its_batch,
            concurrent_publishers_lose_nothing,
            a_poll_returns_at_most_max_records,
            an_existing_topic_keeps_its_partitions,
            a_topic_exists_from_its_creation_on,
            a_dropped_poll_loses_nothing,
            a_dropped_commit_takes_effect_or_does_not,
            lag_counts_uncommitted_records,
            reaches_return_ends_and_marks_of_partitions,
            acknowledged_records_are_synced_without_a_request,
        );
    };
    ($new:expr) => {
        $crate::contract_suite!(if there || async { Some(($new)().await) });
    };
    (@tests $new:expr; $($check:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let Some((transport, _guard)) = ($new)().await else { return };
                $crate::contract::$check(transport).await;
            }
        )*
    };
}

/// Records of one key arrive in the order of their publication, over several batches.
pub async fn a_key_stays_in_order(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "order", 3).await;
    for batch in 0..5 {
        let numbered =
            |n: u32| record(&topic, &format!("key-{}", n % 7), &(batch * 100 + n).to_string());
        publish(&transport, (0..100).map(numbered).collect()).await;
    }
    let mut consumer = subscribe(&transport, "order-group", &topic).await;
    let mut last: BTreeMap<Bytes, u32> = BTreeMap::new();
    for delivery in take(&mut consumer, 500).await {
        let number: u32 = text(&delivery.record.body).parse().expect("bodies are numbers");
        assert!(last.insert(delivery.record.key, number).is_none_or(|before| before < number));
    }
    assert_eq!(last.len(), 7);
}

/// A consumer that replaces a dead one receives its uncommitted records and no earlier ones.
pub async fn uncommitted_records_are_redelivered(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "again", 1).await;
    publish(&transport, numbered(&topic, 0..10)).await;
    let mut consumer = subscribe(&transport, "again-group", &topic).await;
    let taken = take(&mut consumer, 10).await;
    consumer.commit(vec![mark_at(&taken[4])]).await.expect("commit");
    drop(consumer);
    let mut consumer = subscribe(&transport, "again-group", &topic).await;
    assert_eq!(bodies(&take(&mut consumer, 6).await), ["4", "5", "6", "7", "8", "9"]);
}

/// After a rewind every uncommitted record is redelivered, in order.
pub async fn a_rewind_returns_to_the_committed_offset(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "rewind", 1).await;
    publish(&transport, numbered(&topic, 0..6)).await;
    let mut consumer = subscribe(&transport, "rewind-group", &topic).await;
    let first = take(&mut consumer, 6).await;
    consumer.rewind().await.expect("rewind");
    assert_eq!(bodies(&take(&mut consumer, 6).await), bodies(&first), "nothing was committed");
    consumer.commit(vec![mark_at(&first[3])]).await.expect("commit");
    consumer.rewind().await.expect("rewind");
    assert_eq!(bodies(&take(&mut consumer, 3).await), ["3", "4", "5"]);
    publish(&transport, numbered(&topic, 6..7)).await;
    assert_eq!(bodies(&take(&mut consumer, 1).await), ["6"], "later records follow");
}

/// Each group receives every record, independent of the commits of other groups.
pub async fn groups_do_not_disturb_each_other(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "groups", 2).await;
    let mut one = subscribe(&transport, "groups-one", &topic).await;
    let mut other = subscribe(&transport, "groups-other", &topic).await;
    publish(&transport, numbered(&topic, 0..20)).await;
    let taken = take(&mut one, 20).await;
    one.commit(ends(&taken)).await.expect("commit");
    assert_eq!(take(&mut other, 20).await.len(), 20);
}

/// A new group starts with the earliest retained record.
pub async fn a_late_group_sees_everything_from_the_earliest(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "late", 1).await;
    publish(&transport, numbered(&topic, 0..5)).await;
    let mut early = subscribe(&transport, "late-early", &topic).await;
    let taken = take(&mut early, 5).await;
    early.commit(ends(&taken)).await.expect("commit");
    let mut late = subscribe(&transport, "late-late", &topic).await;
    assert_eq!(bodies(&take(&mut late, 5).await), ["0", "1", "2", "3", "4"]);
}

/// `ready` resolves when a record is published while it waits, and at once if one is available.
pub async fn a_consumer_is_woken_without_polling(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "wake", 1).await;
    let mut consumer = subscribe(&transport, "wake-group", &topic).await;
    for round in 0..20 {
        let waiting = tokio::spawn(async move {
            let taken = take(&mut consumer, 1).await;
            (consumer, taken)
        });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        publish(&transport, numbered(&topic, round..round + 1)).await;
        let (back, taken) = waiting.await.expect("the waiting task does not panic");
        assert_eq!(bodies(&taken), [round.to_string()]);
        consumer = back;
    }
}

/// A commit of a lower offset changes nothing.
pub async fn a_commit_never_lowers_the_offset(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "monotone", 1).await;
    publish(&transport, numbered(&topic, 0..5)).await;
    let mut consumer = subscribe(&transport, "monotone-group", &topic).await;
    let taken = take(&mut consumer, 5).await;
    consumer.commit(vec![mark_at(&taken[3])]).await.expect("commit");
    consumer.commit(vec![mark_at(&taken[1])]).await.expect("commit less");
    consumer.rewind().await.expect("rewind");
    assert_eq!(bodies(&take(&mut consumer, 2).await), ["3", "4"]);
}

/// Keys, header values and bodies are bytes. Empty ones and repeated headers arrive unchanged.
pub async fn bytes_arrive_as_they_were_sent(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "bytes", 1).await;
    let every_byte = Bytes::from((0..=255).collect::<Vec<u8>>());
    let header = |name: &'static str, value: &Bytes| (Cow::Borrowed(name), value.clone());
    let sent = [
        Record {
            headers: vec![
                header("all", &every_byte),
                header("empty", &Bytes::new()),
                header("twice", &Bytes::from_static(b"1")),
                header("twice", &Bytes::from_static(b"2")),
            ],
            ..plain(&topic, every_byte.clone(), every_byte.clone())
        },
        plain(&topic, Bytes::from_static(b"k"), Bytes::new()),
        plain(&topic, Bytes::new(), Bytes::from(vec![7; 300_000])),
        plain(&topic, Bytes::from_static("schlüssel".as_bytes()), Bytes::from_static(b"{}")),
    ];
    publish(&transport, sent.to_vec()).await;
    let mut consumer = subscribe(&transport, "bytes-group", &topic).await;
    for (sent, got) in sent.iter().zip(take(&mut consumer, 4).await) {
        assert_eq!((&got.record.topic, got.partition), (&sent.topic, 0));
        assert_eq!(got.record.key, sent.key);
        assert_eq!(got.record.headers, sent.headers);
        assert_eq!(got.record.body, sent.body);
    }
}

/// A partition that the sender names takes precedence over the key.
pub async fn an_explicit_partition_is_honoured(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "explicit", 4).await;
    let to = |n: u32| Record { partition: Some(n % 4), ..record(&topic, "same", &n.to_string()) };
    publish(&transport, (0..16).map(to).collect()).await;
    let mut consumer = subscribe(&transport, "explicit-group", &topic).await;
    for delivery in take(&mut consumer, 16).await {
        let number: u32 = text(&delivery.record.body).parse().expect("bodies are numbers");
        assert_eq!(delivery.partition, number % 4);
    }
}

/// A subscription to some partitions receives only their records, so that a group can divide a
/// topic.
pub async fn a_consumer_gets_its_partitions_only(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "divided", 4).await;
    let to = |n: u32| Record { partition: Some(n % 4), ..record(&topic, "same", &n.to_string()) };
    publish(&transport, (0..16).map(to).collect()).await;
    for half in [vec![0, 3], vec![1, 2]] {
        let subscription = Subscription {
            group: "divided-group".into(),
            topics: vec![topic.clone()],
            partitions: Some(half.clone()),
        };
        let mut consumer = transport.subscribe(subscription).await.expect("subscribe");
        let taken = take(&mut consumer, 8).await;
        assert!(taken.iter().all(|delivery| half.contains(&delivery.partition)));
        consumer.commit(ends(&taken)).await.expect("commit");
        lag_is(consumer.as_ref(), 0).await;
    }
}

/// Without an explicit partition the key determines it, always in the same way.
pub async fn one_key_has_one_partition(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "hash", 5).await;
    for _ in 0..3 {
        publish(&transport, (0..40).map(|n| record(&topic, &format!("key-{n}"), "")).collect())
            .await;
    }
    let mut consumer = subscribe(&transport, "hash-group", &topic).await;
    let mut partition_of: BTreeMap<Bytes, u32> = BTreeMap::new();
    for delivery in take(&mut consumer, 120).await {
        let known = *partition_of.entry(delivery.record.key).or_insert(delivery.partition);
        assert_eq!(known, delivery.partition);
    }
    let used: std::collections::BTreeSet<u32> = partition_of.into_values().collect();
    assert!(used.len() > 2, "40 keys spread over 5 partitions: {used:?}");
}

/// Publishing does not create a topic.
pub async fn an_unknown_topic_is_an_error(transport: Arc<dyn Transport>) {
    let wrong = transport.publish(vec![record("contract.nowhere", "k", "b")]).await;
    assert!(matches!(wrong, Err(Error::UnknownTopic(_))), "{wrong:?}");
}

/// A record above the size limit is rejected, and later ones are published.
pub async fn a_record_that_is_too_large_is_an_error(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "large", 1).await;
    let wrong =
        transport.publish(vec![plain(&topic, Bytes::new(), Bytes::from(vec![0; 20 << 20]))]).await;
    assert!(matches!(wrong, Err(Error::TooLarge { .. })), "{wrong:?}");
    publish(&transport, numbered(&topic, 0..1)).await;
    let mut consumer = subscribe(&transport, "large-group", &topic).await;
    assert_eq!(bodies(&take(&mut consumer, 1).await), ["0"]);
}

/// Each record of a batch has its own outcome, and the acknowledged ones arrive.
pub async fn a_rejected_record_does_not_block_its_batch(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "mixed", 2).await;
    let at = |partition, body| Record { partition: Some(partition), ..record(&topic, "k", body) };
    let huge = plain(&topic, Bytes::new(), Bytes::from(vec![0; 20 << 20]));
    let batch = vec![
        record("contract.nowhere", "k", "b"),
        at(0, "0"),
        huge,
        at(0, "1"),
        at(7, "b"),
        at(0, "2"),
    ];
    let outcomes = transport.publish_each(batch).await;
    let scopes: Vec<Option<Scope>> =
        outcomes.iter().map(|one| one.as_ref().err().map(Error::scope)).collect();
    let (of_topic, of_record) = (Some(Scope::Topic), Some(Scope::Record));
    assert_eq!(scopes, [of_topic, None, of_record, None, of_topic, None], "{outcomes:?}");
    assert!(outcomes.iter().flat_map(|outcome| outcome.as_ref().err()).all(Error::is_rejection));
    let mut consumer = subscribe(&transport, "mixed-group", &topic).await;
    assert_eq!(bodies(&take(&mut consumer, 3).await), ["0", "1", "2"]);
    assert!(transport.publish_each(Vec::new()).await.is_empty());
}

/// Every acknowledged record arrives despite concurrent publishers, and each publisher's order is
/// kept.
pub async fn concurrent_publishers_lose_nothing(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "concurrent", 2).await;
    let mut consumer = subscribe(&transport, "concurrent-group", &topic).await;
    let publisher = |publisher: u32| {
        let (transport, topic) = (transport.clone(), topic.clone());
        tokio::spawn(async move {
            for n in 0..50 {
                publish(&transport, vec![record(&topic, &publisher.to_string(), &n.to_string())])
                    .await;
            }
        })
    };
    let publishers: Vec<_> = (0..8).map(publisher).collect();
    let mut bodies_of: BTreeMap<Bytes, Vec<Bytes>> = BTreeMap::new();
    for delivery in take(&mut consumer, 400).await {
        bodies_of.entry(delivery.record.key).or_default().push(delivery.record.body);
    }
    for publisher in publishers {
        publisher.await.expect("publishers do not panic");
    }
    let expected: Vec<Bytes> = (0..50).map(|n: u32| Bytes::from(n.to_string())).collect();
    assert_eq!(bodies_of.len(), 8);
    assert!(bodies_of.values().all(|bodies| *bodies == expected));
}

/// `max` is a bound. The next poll returns the rest.
pub async fn a_poll_returns_at_most_max_records(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "bounded", 3).await;
    publish(&transport, numbered(&topic, 0..50)).await;
    let mut consumer = subscribe(&transport, "bounded-group", &topic).await;
    let mut count = 0;
    while count < 50 {
        wait(&mut consumer).await;
        let taken = consumer.poll(7).await.expect("poll");
        assert!(taken.len() <= 7);
        count += taken.len();
    }
    assert_eq!(count, 50);
}

/// Creating an existing topic with another number of partitions changes nothing.
pub async fn an_existing_topic_keeps_its_partitions(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "kept", 2).await;
    transport.create_topic(&topic, 5).await.expect("create again");
    let beyond =
        transport.publish(vec![Record { partition: Some(4), ..record(&topic, "k", "b") }]).await;
    assert!(beyond.is_err(), "partition 4 of 2");
}

/// A missing topic is known to be missing, and asking for it does not create it.
pub async fn a_topic_exists_from_its_creation_on(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "exists", 1).await;
    let missing = format!("{topic}-missing");
    for _ in 0..2 {
        assert!(transport.topic_exists(&topic).await.expect("query"));
        assert!(!transport.topic_exists(&missing).await.expect("query"));
    }
    transport.create_topic(&missing, 1).await.expect("create");
    assert!(transport.topic_exists(&missing).await.expect("query"));
}

/// A poll that is dropped before its end takes no record, whether it was polled or not.
pub async fn a_dropped_poll_loses_nothing(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "dropped", 1).await;
    publish(&transport, numbered(&topic, 0..3)).await;
    let mut consumer = subscribe(&transport, "dropped-group", &topic).await;
    wait(&mut consumer).await;
    drop(consumer.poll(10));
    let begun = consumer.poll(10).now_or_never(); // polled once, and dropped unless it was complete
    let mut taken = begun.transpose().expect("poll").unwrap_or_default();
    taken.extend(take(&mut consumer, 3 - taken.len()).await);
    assert_eq!(bodies(&taken), ["0", "1", "2"]);
}

/// A commit that is dropped before its end takes effect completely or not at all.
pub async fn a_dropped_commit_takes_effect_or_does_not(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "dropped-commit", 1).await;
    publish(&transport, numbered(&topic, 0..4)).await;
    let mut consumer = subscribe(&transport, "dropped-commit-group", &topic).await;
    let taken = take(&mut consumer, 4).await;
    drop(consumer.commit(vec![mark_at(&taken[1])]));
    let begun =
        consumer.commit(vec![mark_at(&taken[2])]).now_or_never().transpose().expect("commit");
    consumer.rewind().await.expect("rewind");
    let first = take(&mut consumer, 1).await[0].offset - taken[0].offset;
    assert!(
        if begun.is_some() { first == 2 } else { first == 0 || first == 2 },
        "{begun:?}: next is {first}"
    );
    let rest = take(&mut consumer, 3 - usize::try_from(first).expect("at most 2")).await;
    consumer.commit(ends(&rest)).await.expect("commit");
    lag_is(consumer.as_ref(), 0).await;
}

/// Taken records count until they are committed.
pub async fn lag_counts_uncommitted_records(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "lag", 1).await;
    publish(&transport, numbered(&topic, 0..5)).await;
    let mut consumer = subscribe(&transport, "lag-group", &topic).await;
    let taken = take(&mut consumer, 5).await;
    lag_is(consumer.as_ref(), 5).await;
    consumer.commit(vec![mark_at(&taken[3])]).await.expect("commit");
    lag_is(consumer.as_ref(), 2).await;
}

/// Records published before the call lie before the ends, and committed ones before the marks.
pub async fn reaches_return_ends_and_marks_of_partitions(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "reaches", 2).await;
    let mut consumer = subscribe(&transport, "reaches-group", &topic).await;
    let known = async |consumer: &mut Box<dyn Consumer>| {
        let asked = async {
            loop {
                match consumer.reaches().await.expect("reaches") {
                    Some(reaches) if !reaches.is_empty() => return reaches,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let mut reaches =
            tokio::time::timeout(PATIENCE, asked).await.expect("the reaches become known");
        reaches.sort_by_key(|reach| reach.partition);
        reaches
    };
    let sum = |reaches: &[Reach]| {
        reaches.iter().fold((0, 0), |sum, reach| (sum.0 + reach.mark, sum.1 + reach.end))
    };
    let reaches = known(&mut consumer).await;
    let partitions: Vec<(Arc<str>, u32)> =
        reaches.iter().map(|reach| (reach.topic.clone(), reach.partition)).collect();
    assert_eq!((partitions, sum(&reaches)), (vec![(topic.clone(), 0), (topic.clone(), 1)], (0, 0)));
    for count in 1..=3 {
        publish(&transport, numbered(&topic, 0..5)).await;
        assert_eq!(sum(&known(&mut consumer).await), (5 * (count - 1), 5 * count), "at once");
        let taken = take(&mut consumer, 5).await;
        consumer.commit(ends(&taken)).await.expect("commit");
        assert_eq!(consumer.marks().iter().map(|mark| mark.next).sum::<u64>(), 5 * count);
    }
    drop(consumer);
    let mut consumer = subscribe(&transport, "reaches-group", &topic).await;
    assert_eq!(
        sum(&known(&mut consumer).await),
        (15, 15),
        "another consumer knows the group's offsets"
    );
}

/// Waits for this lag. It may be too high until the transport knows better, but never too low.
async fn lag_is(consumer: &dyn Consumer, wanted: u64) {
    let settled = async {
        while consumer.lag() != wanted {
            assert!(consumer.lag() > wanted, "{} of {wanted}", consumer.lag());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled)
        .await
        .unwrap_or_else(|_| panic!("the lag stays at {}", consumer.lag()));
}

async fn topic(transport: &Arc<dyn Transport>, name: &str, partitions: u32) -> Arc<str> {
    let topic: Arc<str> = format!("contract.{name}").into();
    transport.create_topic(&topic, partitions).await.expect("create a topic");
    topic
}

async fn subscribe(
    transport: &Arc<dyn Transport>,
    group: &str,
    topic: &Arc<str>,
) -> Box<dyn Consumer> {
    let subscription =
        Subscription { group: group.into(), topics: vec![topic.clone()], partitions: None };
    transport.subscribe(subscription).await.expect("subscribe")
}

async fn publish(transport: &Arc<dyn Transport>, records: Vec<Record>) {
    transport.publish(records).await.expect("publish");
}

async fn wait(consumer: &mut Box<dyn Consumer>) {
    tokio::time::timeout(PATIENCE, consumer.ready()).await.expect("woken before the timeout");
}

/// Acknowledged records are synced without an explicit sync. Several callers may wait for it, or
/// drop the wait.
pub async fn acknowledged_records_are_synced_without_a_request(transport: Arc<dyn Transport>) {
    let topic = topic(&transport, "synced", 1).await;
    let synced = async |transport: &Arc<dyn Transport>| {
        tokio::time::timeout(PATIENCE, transport.synced()).await.expect("synced before the timeout")
    };
    synced(&transport).await.expect("there is nothing to sync");
    for batch in 0..20 {
        publish(&transport, numbered(&topic, batch * 50..batch * 50 + 50)).await;
        let (dropped, waits) = (transport.synced(), transport.synced());
        drop(dropped);
        synced(&transport).await.expect("synced");
        waits.now_or_never().expect("the later one was synced").expect("synced");
    }
}

/// Takes exactly `count` records.
async fn take(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        wait(consumer).await;
        taken.extend(consumer.poll(count - taken.len()).await.expect("poll"));
    }
    taken
}

fn record(topic: &str, key: &str, body: &str) -> Record {
    plain(&topic.into(), Bytes::from(key.to_owned()), Bytes::from(body.to_owned()))
}

fn plain(topic: &Arc<str>, key: Bytes, body: Bytes) -> Record {
    Record { topic: topic.clone(), partition: None, key, headers: Vec::new(), body }
}

fn numbered(topic: &Arc<str>, numbers: std::ops::Range<u32>) -> Vec<Record> {
    numbers.map(|n| record(topic, &n.to_string(), &n.to_string())).collect()
}

/// Returns the mark at this record: everything before it is finished.
fn mark_at(delivery: &Delivery) -> Mark {
    Mark {
        topic: delivery.record.topic.clone(),
        partition: delivery.partition,
        next: delivery.offset,
    }
}

/// Returns the marks after these records: all of them are finished.
fn ends(taken: &[Delivery]) -> Vec<Mark> {
    let mut ends: BTreeMap<(Arc<str>, u32), u64> = BTreeMap::new();
    for delivery in taken {
        ends.insert((delivery.record.topic.clone(), delivery.partition), delivery.offset + 1);
    }
    ends.into_iter().map(|((topic, partition), next)| Mark { topic, partition, next }).collect()
}

fn bodies(taken: &[Delivery]) -> Vec<String> {
    taken.iter().map(|delivery| text(&delivery.record.body).to_owned()).collect()
}

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).expect("the checks' bodies are text")
}
