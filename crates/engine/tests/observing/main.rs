//! The observer: the chains that it derives from events, in any order and with any flaw.

#[allow(dead_code, reason = "the tests of the orchestrator use the rest")]
#[path = "../suite/common/brokers.rs"]
mod brokers;
mod clocks;
mod gaps;
mod plans;
mod rejected;
mod run_time;

use std::sync::Arc;
use std::time::Duration;

use sagamore_core::message::{Event, Horizon};
use sagamore_core::plan::Plan;
use sagamore_core::{Body, Direction, ReplyTo, SagaId, StepKey, Timestamp};
use sagamore_database::Database;
use sagamore_database::testing::{database, needs_server, whole_table_walks};
use sagamore_engine::{ChainStatus, Chains, Filter, Observer, ObserverOptions, ResolveError};
use sagamore_transport::torn::{TORN, Torn};
use sagamore_transport::wire::{HORIZON_TOPIC, decode_event, decode_horizon, encode_event};
use sagamore_transport::{Log, MemoryDisk, Record, Subscription, Transport, log};

const DEADLINE: Duration = Duration::from_secs(60);

/// The guest rings, the host opens, and the guest greets. Or the host is away, and the guest
/// leaves.
fn visit() -> Plan {
    Plan::named("visit")
        .begins("guest", "ring", "bell.rung")
        .undone_on(["host.away"], "guest.gone")
        .pivot("host", "open")
        .on(["bell.rung"])
        .emits(["door.opened"])
        .fails(["host.away"])
        .reaction("guest", "greet")
        .on(["door.opened"])
        .emits(["hand.shaken"])
        .deadline(DEADLINE)
        .overdue("visit.overdue")
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}

struct Rig {
    disk: MemoryDisk,
    log: Log,
    database: Database,
    observer: Observer,
    chains: Chains,
    now: Timestamp,
}

impl Rig {
    async fn new() -> Rig {
        let disk = MemoryDisk::new();
        let log = Log::on(Arc::new(disk.clone()), log::Options::default()).expect("an empty disk");
        let database = database();
        let (observer, chains) = open(&database, &log).await;
        let mut rig = Rig { disk, log, database, observer, chains, now: Timestamp(1_000_000) };
        rig.turns().await;
        rig.passes(Duration::from_secs(10)).await; // an observer judges no chain in its first 10 s
        rig
    }

    async fn turns(&mut self) {
        for _ in 0..3 {
            self.observer.turn(self.now).await.expect("turn");
        }
    }

    async fn publish(&mut self, events: &[Event]) {
        let source = "source".parse().expect("a name");
        let records = events.iter().map(|event| encode_event(event, &source)).collect();
        self.log.publish(records).await.expect("publish");
        self.turns().await;
    }

    async fn passes(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.turns().await;
    }

    /// Advances the clock day by day, because a jump expires nothing.
    async fn days_pass(&mut self, days: u32) {
        for _ in 0..days {
            self.passes(Duration::from_secs(24 * 3600)).await;
        }
    }

    /// Returns all published horizons, the last one at the end, with the recipients of
    /// acknowledgements.
    async fn horizons(&self) -> Vec<(Horizon, Option<ReplyTo>)> {
        let topics = vec![HORIZON_TOPIC.into()];
        let subscription = Subscription { group: "reader".into(), topics, partitions: None };
        let mut consumer = self.log.subscribe(subscription).await.expect("subscribe");
        let delivered = consumer.poll(1_000).await.expect("poll");
        delivered
            .iter()
            .map(|delivered| decode_horizon(&delivered.record).expect("a horizon"))
            .collect()
    }

    async fn horizon(&self) -> Horizon {
        self.horizons().await.pop().expect("a horizon was published").0
    }

    async fn status(&self, key: &str) -> (ChainStatus, Option<String>) {
        let detail =
            self.chains.show(&chain(key)).await.expect("read").expect("the chain was seen");
        (detail.header.status, detail.header.why)
    }
}

async fn open(database: &Database, log: &Log) -> (Observer, Chains) {
    let transport: Arc<dyn Transport> = Arc::new(Torn(Arc::new(log.clone())));
    Observer::open(ObserverOptions::default(), database.clone(), transport, vec![visit()])
        .await
        .expect("open")
}

fn chain(key: &str) -> SagaId {
    format!("visit:{key}").parse().expect("a chain")
}

fn event(key: &str, step: &str, direction: Direction, name: &str, cause: Option<&Event>) -> Event {
    Event {
        key: StepKey {
            saga: chain(key),
            step: step.parse().expect("a name"),
            direction,
            generation: 1,
        },
        version: 1,
        name: name.parse().expect("a name"),
        causation: cause.map(Event::id),
        hop: cause.map_or(0, |cause| cause.hop + 1),
        at: Timestamp(1_000_000),
        body: Body::empty(),
        trace: None,
    }
}

/// The events of a visit that succeeds, and those of one that fails.
fn stories(key: &str) -> ([Event; 3], [Event; 3]) {
    let act = |step, name, cause: Option<&Event>| event(key, step, Direction::Action, name, cause);
    let rung = act("ring", "bell.rung", None);
    let (opened, away) =
        (act("open", "door.opened", Some(&rung)), act("open", "host.away", Some(&rung)));
    let shaken = act("greet", "hand.shaken", Some(&opened));
    let gone = event(key, "ring", Direction::Compensation, "guest.gone", Some(&away));
    ([rung.clone(), opened, shaken], [rung, away, gone])
}

#[tokio::test]
async fn a_chain_ends_the_same_for_any_order_of_its_events() {
    let mut rig = Rig::new().await;
    for (place, order) in [[0, 1, 2], [2, 1, 0], [1, 2, 0]].into_iter().enumerate() {
        let (well, away) = (format!("well-{place}"), format!("away-{place}"));
        let (good, bad) = (stories(&well).0, stories(&away).1);
        for next in order {
            rig.publish(&[good[next].clone(), bad[next].clone(), good[next].clone()]).await;
        }
        assert_eq!(rig.status(&well).await, (ChainStatus::Completed, None));
        assert_eq!(rig.status(&away).await, (ChainStatus::Compensated, None));
        let detail = rig.chains.show(&chain(&away)).await.expect("read").expect("seen");
        assert_eq!(detail.header.failed_at.as_ref().map(|name| name.as_str()), Some("host"));
        assert_eq!(
            detail.chain.tree().iter().map(|branch| branch.depth).collect::<Vec<_>>(),
            [0, 1, 2]
        );
    }
}

#[tokio::test]
async fn an_overdue_chain_is_stuck_until_the_awaited_event_arrives() {
    let mut rig = Rig::new().await;
    let ([rung, opened, shaken], _) = stories("1");
    rig.publish(std::slice::from_ref(&rung)).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Running, None));
    let waits = rig.chains.show(&chain("1")).await.expect("read").expect("seen").chain.waits_for();
    assert_eq!(waits.iter().map(|wait| wait.service.as_str()).collect::<Vec<_>>(), ["host"]);
    rig.passes(DEADLINE + Duration::from_secs(1)).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Stuck, None));
    let source = "source".parse().expect("a name");
    rig.log.publish(vec![encode_event(&rung, &source)]).await.expect("publish");
    rig.observer.turn(rig.now).await.expect("turn");
    assert_eq!(
        rig.status("1").await,
        (ChainStatus::Stuck, None),
        "a redelivered event changes nothing"
    );
    rig.publish(&[opened, shaken]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Completed, None));
}

/// Only the pivot's owner reacts to the event: it fails, or repeats its success.
#[tokio::test]
async fn an_overdue_event_is_published_until_it_is_seen_if_enabled() {
    let overdue_events = async |rig: &Rig, group: &str| {
        let subscription = Subscription {
            group: group.into(),
            topics: vec!["visit.overdue".into()],
            partitions: None,
        };
        let mut consumer = rig.log.subscribe(subscription).await.expect("subscribe");
        let delivered = consumer.poll(100).await.expect("poll");
        delivered
            .iter()
            .map(|delivered| decode_event(&delivered.record).expect("an event"))
            .collect::<Vec<_>>()
    };
    let mut rig = Rig::new().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 shop=1".parse().ok();
    let [rung, ..] = stories("1").0;
    let rung = Event { trace, ..rung };
    rig.publish(std::slice::from_ref(&rung)).await;
    rig.passes(DEADLINE * 2).await;
    assert_eq!(
        (rig.status("1").await.0, overdue_events(&rig, "one").await.len()),
        (ChainStatus::Stuck, 0),
        "overdue events are disabled"
    );

    let options = ObserverOptions { tells_overdue: true, ..ObserverOptions::default() };
    let transport: Arc<dyn Transport> = Arc::new(rig.log.clone());
    let opened = Observer::open(options, rig.database.clone(), transport, vec![visit()]).await;
    (rig.observer, rig.chains) = opened.expect("open");
    rig.publish(&[stories("2").0[0].clone()]).await;
    rig.publish(&stories("3").0).await;
    let [rung_4, opened_4, _] = stories("4").0;
    // by a clock that is behind
    rig.publish(&[rung_4, Event { at: Timestamp(990_000), ..opened_4 }]).await;
    for _ in 0..3 {
        rig.passes(DEADLINE).await; // once it has seen the event, it does not publish it again
    }
    let mut overdue = overdue_events(&rig, "other").await;
    overdue.sort_by_key(Event::id);
    let keys: Vec<&str> = overdue.iter().map(|event| event.chain().key()).collect();
    assert_eq!(keys, ["1", "2", "4"], "each chain once, and none that is over");
    let at = |event: &Event| event.at == rung.at.plus(DEADLINE);
    assert!(overdue.iter().all(at), "the time does not depend on the events seen by then");
    assert_eq!((&overdue[0].causation, overdue[0].hop), (&Some(rung.id()), 1));
    assert_eq!(overdue[0].body, rung.body, "the body of the first event");
    assert!(rung.trace.is_some() && overdue[0].trace == rung.trace, "{:?}", overdue[0].trace);
    assert_eq!(overdue[1].trace, None);

    let away = event("1", "open", Direction::Action, "host.away", Some(&overdue[0]));
    let gone = event("1", "ring", Direction::Compensation, "guest.gone", Some(&away));
    rig.publish(&[away, gone]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Compensated, None));
    let [_, opened_2, shaken_2] = stories("2").0;
    rig.publish(&[opened_2, shaken_2]).await;
    assert_eq!(rig.status("2").await, (ChainStatus::Completed, None), "the host had opened");
}

/// An observer that has seen the event never publishes it again, so the log must not lose it.
#[tokio::test]
async fn an_overdue_event_is_durable_before_it_counts_as_seen() {
    let mut rig = Rig::new().await;
    let options = ObserverOptions { tells_overdue: true, ..ObserverOptions::default() };
    let transport: Arc<dyn Transport> = Arc::new(rig.log.clone());
    let opened = Observer::open(options, rig.database.clone(), transport, vec![visit()]).await;
    (rig.observer, rig.chains) = opened.expect("open");
    rig.publish(&[stories("1").0[0].clone()]).await;
    for _ in 0..4 {
        rig.passes(DEADLINE).await;
    }
    rig.disk.lose_unsynced_tail(0);
    let log = Log::on(Arc::new(rig.disk.clone()), log::Options::default())
        .expect("the synced part of the log");
    let topics = vec!["visit.overdue".into()];
    let subscription = Subscription { group: "reader".into(), topics, partitions: None };
    let delivered =
        log.subscribe(subscription).await.expect("subscribe").poll(100).await.expect("poll");
    assert_eq!(delivered.len(), 1, "published once, and not lost");
}

/// A chain resolved by a person must not be compensated as well.
#[tokio::test]
async fn a_resolved_chain_has_no_overdue_event() {
    let mut rig = Rig::new().await;
    rig.publish(&[stories("1").0[0].clone()]).await;
    rig.passes(DEADLINE * 2).await;
    rig.chains.resolve(&chain("1"), "Ada has sent the guest home").await.expect("resolved");
    let options = ObserverOptions { tells_overdue: true, ..ObserverOptions::default() };
    let transport: Arc<dyn Transport> = Arc::new(rig.log.clone());
    let opened = Observer::open(options, rig.database.clone(), transport, vec![visit()]).await;
    (rig.observer, rig.chains) = opened.expect("open");
    rig.publish(&[stories("2").0[0].clone()]).await;
    for _ in 0..4 {
        rig.passes(DEADLINE).await;
    }
    let topics = vec!["visit.overdue".into()];
    let subscription = Subscription { group: "reader".into(), topics, partitions: None };
    let delivered =
        rig.log.subscribe(subscription).await.expect("subscribe").poll(100).await.expect("poll");
    let keys = delivered.iter().map(|delivered| {
        decode_event(&delivered.record).expect("an event").chain().key().to_owned()
    });
    assert_eq!(
        keys.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>(),
        ["2"]
    );
    assert_eq!(rig.status("1").await.0, ChainStatus::Resolved);
}

/// A horizon covers only chains that ended long ago, and none from before the observer's records.
#[tokio::test]
async fn expired_chains_are_removed_and_horizons_published() {
    let day = Duration::from_secs(24 * 3600);
    let mut rig = Rig::new().await;
    let created_at = rig.now;
    rig.publish(&stories("over").0).await;
    rig.publish(&[stories("open").0[0].clone()]).await;
    let first = rig.horizons().await;
    assert_eq!(first.len(), 1, "one per ten minutes");
    assert!(first[0].0.started_before < created_at && first[0].0.but.is_empty(), "{first:?}");

    rig.days_pass(32).await;
    let (horizon, reply_to) = rig.horizons().await.pop().expect("another one");
    let ended_before = rig.now.minus(30 * day);
    assert_eq!(
        (horizon.ended_before, horizon.started_before),
        (ended_before, ended_before.minus(2 * day))
    );
    assert_eq!((horizon.started_from, reply_to), (Some(created_at.plus(day)), None));
    assert_eq!(horizon.definitions, ["visit".parse().expect("a name")]);
    rig.days_pass(4).await;
    let (horizon, _) = rig.horizons().await.pop().expect("another one");
    assert_eq!(horizon.but, [chain("open")]);
    assert!(
        rig.chains.show(&chain("over")).await.expect("read").is_none(),
        "the chain was removed"
    );
    assert_eq!(rig.status("open").await.0, ChainStatus::Stuck);
}

#[tokio::test]
async fn a_missing_undo_leaves_a_chain_half_compensated() {
    let mut rig = Rig::new().await;
    let (_, [rung, away, gone]) = stories("1");
    rig.publish(&[rung, away]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Compensating, None));
    rig.passes(DEADLINE + Duration::from_secs(1)).await;
    assert_eq!(rig.status("1").await, (ChainStatus::HalfCompensated, None));
    rig.publish(&[gone]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Compensated, None));
}

#[tokio::test]
async fn events_that_contradict_the_plan_make_a_chain_anomalous() {
    let mut rig = Rig::new().await;
    let ([rung, _, shaken], [_, away, _]) = stories("1");

    // an unseen cause, after the deadline
    let of = |key: &str, event: &Event| Event {
        key: StepKey { saga: chain(key), ..event.key.clone() },
        ..event.clone()
    };
    let orphan =
        Event { causation: Some("visit:2/missing/action/1/nothing".into()), ..of("2", &shaken) };
    rig.publish(&[of("2", &rung), orphan]).await;
    rig.passes(DEADLINE + Duration::from_secs(1)).await;
    assert_eq!(rig.status("2").await.0, ChainStatus::Anomalous);

    // both a success and a failure of one reaction
    rig.publish(&[of("3", &rung), of("3", &stories("3").0[1]), of("3", &away)]).await;
    assert_eq!(rig.status("3").await.0, ChainStatus::Anomalous);
}

/// The row is as an older observer of the same database leaves it.
#[tokio::test]
async fn a_chain_unknown_to_an_older_program_continues_when_its_events_are_redelivered() {
    let mut rig = Rig::new().await;
    let ([rung, ..], _) = stories("1");
    rig.publish(std::slice::from_ref(&rung)).await;
    let open = rig.database.begin().await.expect("begin");
    open.tx()
        .execute("UPDATE chain SET status = 'unknown-version', due_at = NULL", ())
        .await
        .expect("update");
    open.commit().await.expect("commit");
    rig.passes(Duration::from_secs(1)).await;
    assert_eq!(rig.status("1").await, (ChainStatus::UnknownVersion, None));
    rig.publish(&[rung]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Running, None));
}

/// Until the observer has read everything, a missing event may be its own lag.
#[tokio::test]
async fn an_observer_that_lags_calls_no_chain_stuck() {
    let mut rig = Rig::new().await;
    let ([rung, opened, shaken], _) = stories("1");
    rig.publish(&[rung]).await;
    let source = "source".parse().expect("a name");
    let late = [opened, shaken].iter().map(|event| encode_event(event, &source)).collect();
    rig.log.publish(late).await.expect("publish");
    rig.now = rig.now.plus(DEADLINE * 2);
    // reads the events before it checks for overdue chains
    rig.observer.turn(rig.now).await.expect("turn");
    assert_eq!(rig.status("1").await, (ChainStatus::Completed, None));
}

#[tokio::test]
async fn an_observer_resumes_after_a_restart_or_replays_the_topics() {
    let mut rig = Rig::new().await;
    let ([rung, opened, shaken], _) = stories("1");
    rig.publish(&[rung, opened]).await;
    (rig.observer, rig.chains) = open(&rig.database, &rig.log).await;
    rig.publish(&[shaken]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Completed, None));

    let transport: Arc<dyn Transport> = Arc::new(rig.log.clone());
    let options = ObserverOptions { group: "replay".into(), ..ObserverOptions::default() };
    (rig.observer, rig.chains) =
        Observer::open(options, database(), transport, vec![visit()]).await.expect("open");
    rig.turns().await;
    assert_eq!(rig.status("1").await, (ChainStatus::Completed, None));
}

#[tokio::test]
async fn a_waiter_gets_the_end_of_a_chain_and_lists_have_pages() {
    let mut rig = Rig::new().await;
    let (chains, id) = (rig.chains.clone(), chain("1"));
    let waiting = tokio::spawn(async move { chains.wait(&id, Duration::from_secs(60)).await });
    tokio::task::yield_now().await;
    for key in ["1", "2", "3"] {
        rig.publish(&stories(key).0).await;
    }
    assert_eq!(waiting.await.expect("no panic").expect("read"), Some(ChainStatus::Completed));
    let first =
        rig.chains.list(&Filter { limit: Some(2), ..Filter::default() }).await.expect("list");
    let keys = |page: &[sagamore_engine::ChainHeader]| -> Vec<String> {
        page.iter().map(|header| header.id.key().to_owned()).collect()
    };
    assert_eq!(keys(&first), ["3", "2"]);
    let rest = rig
        .chains
        .list(&Filter {
            status: Some(ChainStatus::Completed),
            before: Some(first[1].seq),
            ..Filter::default()
        })
        .await
        .expect("list");
    assert_eq!(keys(&rest), ["1"]);
    assert_eq!(rig.chains.wait(&chain("never"), Duration::ZERO).await.expect("read"), None);
}

/// Under constant load the observer never catches up. It compares with the ends that it read
/// before.
#[tokio::test]
async fn an_observer_that_never_catches_up_finds_overdue_chains() {
    let mut rig = Rig::new().await;
    rig.publish(&[stories("late").0[0].clone()]).await;
    let source = "source".parse().expect("a name");
    rig.now = rig.now.plus(DEADLINE * 2);
    let mut published = 0;
    for _ in 0..10 {
        for _ in 0..1_100 {
            published += 1;
            let rung = stories(&format!("new-{published}")).0[0].clone();
            let rung = Event { at: rig.now, ..rung };
            rig.log.publish(vec![encode_event(&rung, &source)]).await.expect("publish");
        }
        rig.observer.turn(rig.now).await.expect("turn");
        rig.now = rig.now.plus(Duration::from_secs(1));
    }
    let status = rig.chains.show(&chain(&format!("new-{published}"))).await.expect("read");
    assert!(status.is_none(), "the last events are not read yet");
    assert_eq!(rig.status("late").await.0, ChainStatus::Stuck);
    assert_eq!(rig.status("new-1").await.0, ChainStatus::Running);
}

/// Observers share the partitions: an event that one of them has not read may be the one that a
/// chain of the other waits for.
#[tokio::test]
async fn a_chain_is_not_overdue_while_another_observer_lags() {
    let mut rig = Rig::new().await;
    let topic = "door.opened";
    let open = rig.database.begin().await.expect("begin");
    let behind = "UPDATE reading SET read_until = $1, seen_at = $1 WHERE topic = $2";
    let read =
        open.tx().execute(behind, (rig.now.plus(DEADLINE / 2).0, topic)).await.expect("update");
    assert_eq!(read, 4, "one row per partition");
    open.commit().await.expect("commit");
    // partitions that only the other observer reads
    let others = "UPDATE reading SET partition = partition + 100 WHERE topic = $1";
    let open = rig.database.begin().await.expect("begin");
    open.tx().execute(others, (topic,)).await.expect("update");
    open.commit().await.expect("commit");
    rig.publish(&[stories("1").0[0].clone()]).await;
    rig.passes(DEADLINE * 2).await;
    assert_eq!(rig.status("1").await.0, ChainStatus::Running, "the other observer lags");
    let open = rig.database.begin().await.expect("begin");
    open.tx()
        .execute("UPDATE reading SET read_until = 0 WHERE topic = $1", (topic,))
        .await
        .expect("update");
    open.commit().await.expect("commit");
    rig.passes(Duration::from_secs(1)).await;
    assert_eq!(
        rig.status("1").await.0,
        ChainStatus::Running,
        "the other observer has just started"
    );
    let open = rig.database.begin().await.expect("begin");
    open.tx().execute(behind, (rig.now.0, topic)).await.expect("update");
    open.commit().await.expect("commit");
    rig.passes(Duration::from_secs(1)).await;
    assert_eq!(rig.status("1").await.0, ChainStatus::Stuck);

    let rung = Event { at: rig.now, ..stories("2").0[0].clone() };
    rig.publish(&[rung]).await;
    rig.passes(DEADLINE * 58).await;
    assert_eq!(rig.status("2").await.0, ChainStatus::Running);
    rig.passes(DEADLINE * 3).await;
    assert_eq!(
        rig.status("2").await.0,
        ChainStatus::Stuck,
        "no observer has recorded the partitions for an hour"
    );
}

#[tokio::test]
async fn a_resolved_chain_is_over_until_its_next_event() {
    let mut rig = Rig::new().await;
    let ([rung, opened, shaken], _) = stories("1");
    let refused = async |rig: &Rig, key: &str| {
        rig.chains.resolve(&chain(key), "Ada").await.expect_err("refused")
    };
    assert!(matches!(refused(&rig, "1").await, ResolveError::NotFound(_)));
    rig.publish(std::slice::from_ref(&rung)).await;
    assert!(
        refused(&rig, "1").await.to_string().contains("visit:1 is running"),
        "the chain may still continue"
    );
    rig.passes(DEADLINE * 2).await;
    rig.chains.resolve(&chain("1"), "Ada let him in by the window").await.expect("resolved");
    rig.chains.resolve(&chain("1"), "again").await.expect("a repeated resolve changes nothing");
    let because = (ChainStatus::Resolved, Some("Ada let him in by the window".to_owned()));
    assert_eq!(rig.status("1").await, because);
    rig.publish(std::slice::from_ref(&rung)).await; // redelivered, and not new
    rig.passes(DEADLINE).await;
    assert_eq!(rig.status("1").await, because);
    let ended = rig.chains.show(&chain("1")).await.expect("read").expect("seen").header.ended_at;
    assert!(ended.is_some(), "the chain can expire");

    rig.publish(&[opened]).await;
    assert_eq!(
        rig.status("1").await,
        (ChainStatus::Running, None),
        "the host has opened after all"
    );
    rig.passes(DEADLINE).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Stuck, None));
    rig.publish(&[shaken]).await;
    let header = rig.chains.show(&chain("1")).await.expect("read").expect("seen").header;
    assert_eq!((header.status, header.ended_at), (ChainStatus::Completed, Some(rig.now)));
    assert!(refused(&rig, "1").await.to_string().contains("visit:1 is completed"));
}

/// Holds even for plans made while the tables were empty.
#[tokio::test]
async fn no_statement_of_the_observer_scans_a_whole_table() {
    if !needs_server() {
        return;
    }
    let mut rig = Rig::new().await;
    for key in ["1", "2", "3"] {
        rig.publish(&stories(key).0).await;
        rig.publish(&stories(&format!("{key}-away")).1).await;
    }
    rig.publish(&[stories("late").0[0].clone()]).await;
    rig.passes(DEADLINE * 2).await;
    rig.days_pass(40).await;
    for filter in [
        Filter::default(),
        Filter { status: Some(ChainStatus::Stuck), ..Filter::default() },
        Filter { definition: Some("visit".parse().expect("a name")), ..Filter::default() },
        Filter { key: Some("1".parse().expect("a text")), ..Filter::default() },
        Filter { after: Some("visit:1".parse().expect("a text")), ..Filter::default() },
    ] {
        rig.chains.list(&filter).await.expect("list");
    }
    rig.status("late").await;
    let (checked, walks) =
        whole_table_walks(&rig.database, &["chain", "chain_event"]).await.expect("the plans");
    assert!(checked > 8, "only {checked} statements were checked");
    assert!(walks.is_empty(), "{}", walks.join("\n\n"));
}
