//! The observer: what it makes of the events of chains, in whatever order they come and whatever is wrong with them.

#[allow(dead_code, reason = "the tests of the orchestrator use the rest")]
#[path = "../suite/common/brokers.rs"]
mod brokers;
mod clocks;
mod gaps;
mod plans;
mod rejected;

use std::sync::Arc;
use std::time::Duration;

use sagamore_core::message::{Event, Horizon};
use sagamore_core::plan::Plan;
use sagamore_core::{Body, Direction, ReplyTo, SagaId, StepKey, Timestamp};
use sagamore_database::Database;
use sagamore_database::testing::{database, is_remote, whole_table_walks};
use sagamore_engine::{ChainStatus, Chains, Filter, Observer, ObserverOptions, ResolveError};
use sagamore_transport::torn::{TORN, Torn};
use sagamore_transport::wire::{HORIZON_TOPIC, decode_event, decode_horizon, encode_event};
use sagamore_transport::{Log, MemoryDisk, Record, Subscription, Transport, log};

const DEADLINE: Duration = Duration::from_secs(60);

/// A guest rings; the host opens, and then greets, or nobody is home and the guest goes.
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
        rig.passes(Duration::from_secs(10)).await; // it judges nobody before it is settled
        rig
    }

    async fn turns(&mut self) {
        for _ in 0..3 {
            self.observer.turn(self.now).await.expect("turn");
        }
    }

    async fn tell(&mut self, events: &[Event]) {
        let anybody = "anybody".parse().expect("a name");
        let records = events.iter().map(|event| encode_event(event, &anybody)).collect();
        self.log.publish(records).await.expect("publish");
        self.turns().await;
    }

    async fn passes(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.turns().await;
    }

    /// Days pass as they do for an observer that runs: what jumps makes nothing old.
    async fn days_pass(&mut self, days: u32) {
        for _ in 0..days {
            self.passes(Duration::from_secs(24 * 3600)).await;
        }
    }

    /// What services were told that they may forget, the last time at the end, and who is to be answered.
    async fn horizons(&self) -> Vec<(Horizon, Option<ReplyTo>)> {
        let topics = vec![HORIZON_TOPIC.into()];
        let subscription = Subscription { group: "listens".into(), topics, partitions: None };
        let mut consumer = self.log.subscribe(subscription).await.expect("subscribe");
        let told = consumer.poll(1_000).await.expect("poll");
        told.iter().map(|told| decode_horizon(&told.record).expect("a horizon")).collect()
    }

    async fn horizon(&self) -> Horizon {
        self.horizons().await.pop().expect("one was told").0
    }

    async fn status(&self, key: &str) -> (ChainStatus, Option<String>) {
        let detail = self.chains.show(&chain(key)).await.expect("read").expect("it was seen");
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

/// The events of a visit that goes well, and those of one where nobody is home.
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
async fn a_chain_is_followed_to_its_end_in_whatever_order_its_events_come() {
    let mut rig = Rig::new().await;
    for (place, order) in [[0, 1, 2], [2, 1, 0], [1, 2, 0]].into_iter().enumerate() {
        let (well, away) = (format!("well-{place}"), format!("away-{place}"));
        let (good, bad) = (stories(&well).0, stories(&away).1);
        for next in order {
            rig.tell(&[good[next].clone(), bad[next].clone(), good[next].clone()]).await;
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
async fn who_is_waited_for_is_told_and_after_the_deadline_the_chain_is_stuck_until_they_come() {
    let mut rig = Rig::new().await;
    let ([rung, opened, shaken], _) = stories("1");
    rig.tell(std::slice::from_ref(&rung)).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Running, None));
    let waits = rig.chains.show(&chain("1")).await.expect("read").expect("seen").chain.waits_for();
    assert_eq!(waits.iter().map(|wait| wait.service.as_str()).collect::<Vec<_>>(), ["host"]);
    rig.passes(DEADLINE + Duration::from_secs(1)).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Stuck, None));
    let anybody = "anybody".parse().expect("a name");
    rig.log.publish(vec![encode_event(&rung, &anybody)]).await.expect("publish");
    rig.observer.turn(rig.now).await.expect("turn");
    assert_eq!(
        rig.status("1").await,
        (ChainStatus::Stuck, None),
        "what comes again makes nobody quicker"
    );
    rig.tell(&[opened, shaken]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Completed, None));
}

/// The owner of the pivot alone reacts to it: it gives up, or tells once more that it has acted.
#[tokio::test]
async fn who_owns_the_pivot_is_told_that_a_chain_is_overdue_until_that_is_seen_and_only_where_it_is_wanted()
 {
    let told = async |rig: &Rig, group: &str| {
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
    let [rung, ..] = stories("1").0;
    rig.tell(std::slice::from_ref(&rung)).await;
    rig.passes(DEADLINE * 2).await;
    assert_eq!(
        (rig.status("1").await.0, told(&rig, "one").await.len()),
        (ChainStatus::Stuck, 0),
        "it is not wanted"
    );

    let options = ObserverOptions { tells_overdue: true, ..ObserverOptions::default() };
    let transport: Arc<dyn Transport> = Arc::new(rig.log.clone());
    let opened = Observer::open(options, rig.database.clone(), transport, vec![visit()]).await;
    (rig.observer, rig.chains) = opened.expect("open");
    rig.tell(&[stories("2").0[0].clone()]).await;
    rig.tell(&stories("3").0).await;
    let [rung_4, opened_4, _] = stories("4").0;
    rig.tell(&[rung_4, Event { at: Timestamp(990_000), ..opened_4 }]).await; // by a clock that is behind
    for _ in 0..3 {
        rig.passes(DEADLINE).await; // what it has told it sees, and tells no more
    }
    let mut overdue = told(&rig, "other").await;
    overdue.sort_by_key(Event::id);
    let keys: Vec<&str> = overdue.iter().map(|event| event.chain().key()).collect();
    assert_eq!(keys, ["1", "2", "4"], "each once, and none that is over");
    let at = |event: &Event| event.at == rung.at.plus(DEADLINE);
    assert!(overdue.iter().all(at), "the same whatever was seen of the chain by then");
    assert_eq!((&overdue[0].causation, overdue[0].hop), (&Some(rung.id()), 1));
    assert_eq!(overdue[0].body, rung.body, "it says what the chain began with");

    let away = event("1", "open", Direction::Action, "host.away", Some(&overdue[0]));
    let gone = event("1", "ring", Direction::Compensation, "guest.gone", Some(&away));
    rig.tell(&[away, gone]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Compensated, None));
    let [_, opened_2, shaken_2] = stories("2").0;
    rig.tell(&[opened_2, shaken_2]).await;
    assert_eq!(rig.status("2").await, (ChainStatus::Completed, None), "it had acted");
}

/// The observer has told it, has seen it, and would never tell it again: the log must not lose it.
#[tokio::test]
async fn the_deadlines_event_is_seen_only_when_it_survives_the_machine() {
    let mut rig = Rig::new().await;
    let options = ObserverOptions { tells_overdue: true, ..ObserverOptions::default() };
    let transport: Arc<dyn Transport> = Arc::new(rig.log.clone());
    let opened = Observer::open(options, rig.database.clone(), transport, vec![visit()]).await;
    (rig.observer, rig.chains) = opened.expect("open");
    rig.tell(&[stories("1").0[0].clone()]).await;
    for _ in 0..4 {
        rig.passes(DEADLINE).await;
    }
    rig.disk.lose_unsynced_tail(0);
    let log =
        Log::on(Arc::new(rig.disk.clone()), log::Options::default()).expect("what is left of it");
    let topics = vec!["visit.overdue".into()];
    let subscription = Subscription { group: "listens".into(), topics, partitions: None };
    let told = log.subscribe(subscription).await.expect("subscribe").poll(100).await.expect("poll");
    assert_eq!(told.len(), 1, "told once, and not lost");
}

/// A person has taken care of it: nobody is to give it up as well.
#[tokio::test]
async fn what_a_person_has_resolved_is_not_told_to_be_overdue() {
    let mut rig = Rig::new().await;
    rig.tell(&[stories("1").0[0].clone()]).await;
    rig.passes(DEADLINE * 2).await;
    rig.chains.resolve(&chain("1"), "Ada has sent him home").await.expect("resolved");
    let options = ObserverOptions { tells_overdue: true, ..ObserverOptions::default() };
    let transport: Arc<dyn Transport> = Arc::new(rig.log.clone());
    let opened = Observer::open(options, rig.database.clone(), transport, vec![visit()]).await;
    (rig.observer, rig.chains) = opened.expect("open");
    rig.tell(&[stories("2").0[0].clone()]).await;
    for _ in 0..4 {
        rig.passes(DEADLINE).await;
    }
    let topics = vec!["visit.overdue".into()];
    let subscription = Subscription { group: "listens".into(), topics, partitions: None };
    let told =
        rig.log.subscribe(subscription).await.expect("subscribe").poll(100).await.expect("poll");
    let keys = told
        .iter()
        .map(|told| decode_event(&told.record).expect("an event").chain().key().to_owned());
    assert_eq!(
        keys.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>(),
        ["2"]
    );
    assert_eq!(rig.status("1").await.0, ChainStatus::Resolved);
}

/// Services may forget what was over long ago, and nothing that is not, or that the observer may never have heard of.
#[tokio::test]
async fn chains_that_were_over_long_ago_are_forgotten_and_services_are_told_so() {
    let day = Duration::from_secs(24 * 3600);
    let mut rig = Rig::new().await;
    let born = rig.now;
    rig.tell(&stories("over").0).await;
    rig.tell(&[stories("open").0[0].clone()]).await;
    let first = rig.horizons().await;
    assert_eq!(first.len(), 1, "once in ten minutes");
    assert!(first[0].0.started_before < born && first[0].0.but.is_empty(), "{first:?}");

    rig.days_pass(32).await;
    let (horizon, reply_to) = rig.horizons().await.pop().expect("another one");
    let ended_before = rig.now.minus(30 * day);
    assert_eq!(
        (horizon.ended_before, horizon.started_before),
        (ended_before, ended_before.minus(2 * day))
    );
    assert_eq!((horizon.started_from, reply_to), (Some(born.plus(day)), None));
    assert_eq!(horizon.definitions, ["visit".parse().expect("a name")]);
    rig.days_pass(4).await;
    let (horizon, _) = rig.horizons().await.pop().expect("another one");
    assert_eq!(horizon.but, [chain("open")]);
    assert!(rig.chains.show(&chain("over")).await.expect("read").is_none(), "it is forgotten");
    assert_eq!(rig.status("open").await.0, ChainStatus::Stuck);
}

#[tokio::test]
async fn an_undo_that_does_not_come_leaves_a_chain_half_compensated() {
    let mut rig = Rig::new().await;
    let (_, [rung, away, gone]) = stories("1");
    rig.tell(&[rung, away]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Compensating, None));
    rig.passes(DEADLINE + Duration::from_secs(1)).await;
    assert_eq!(rig.status("1").await, (ChainStatus::HalfCompensated, None));
    rig.tell(&[gone]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Compensated, None));
}

#[tokio::test]
async fn what_contradicts_the_plan_is_anomalous_with_the_reason() {
    let mut rig = Rig::new().await;
    let ([rung, _, shaken], [_, away, _]) = stories("1");

    // a cause that nobody has seen, once there was time for it to come
    let of = |key: &str, event: &Event| Event {
        key: StepKey { saga: chain(key), ..event.key.clone() },
        ..event.clone()
    };
    let orphan =
        Event { causation: Some("visit:2/nobody/action/1/nothing".into()), ..of("2", &shaken) };
    rig.tell(&[of("2", &rung), orphan]).await;
    rig.passes(DEADLINE + Duration::from_secs(1)).await;
    assert_eq!(rig.status("2").await.0, ChainStatus::Anomalous);

    // both a success and a failure of one reaction
    rig.tell(&[of("3", &rung), of("3", &stories("3").0[1]), of("3", &away)]).await;
    assert_eq!(rig.status("3").await.0, ChainStatus::Anomalous);
}

/// As an observer of before that reads beside this one leaves it.
#[tokio::test]
async fn a_chain_that_an_older_program_did_not_know_goes_on_when_its_events_are_told_again() {
    let mut rig = Rig::new().await;
    let ([rung, ..], _) = stories("1");
    rig.tell(std::slice::from_ref(&rung)).await;
    let open = rig.database.begin().await.expect("begin");
    open.tx()
        .execute("UPDATE chain SET status = 'unknown-version', due_at = NULL", ())
        .await
        .expect("update");
    open.commit().await.expect("commit");
    rig.passes(Duration::from_secs(1)).await;
    assert_eq!(rig.status("1").await, (ChainStatus::UnknownVersion, None));
    rig.tell(&[rung]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Running, None));
}

/// While it has not read everything, nothing is late: that is its own lag.
#[tokio::test]
async fn an_observer_that_is_behind_calls_nothing_stuck() {
    let mut rig = Rig::new().await;
    let ([rung, opened, shaken], _) = stories("1");
    rig.tell(&[rung]).await;
    let anybody = "anybody".parse().expect("a name");
    let late = [opened, shaken].iter().map(|event| encode_event(event, &anybody)).collect();
    rig.log.publish(late).await.expect("publish");
    rig.now = rig.now.plus(DEADLINE * 2);
    rig.observer.turn(rig.now).await.expect("turn"); // reads, and then looks who is late
    assert_eq!(rig.status("1").await, (ChainStatus::Completed, None));
}

#[tokio::test]
async fn it_goes_on_where_it_was_and_can_begin_anew_by_replaying_the_topics() {
    let mut rig = Rig::new().await;
    let ([rung, opened, shaken], _) = stories("1");
    rig.tell(&[rung, opened]).await;
    (rig.observer, rig.chains) = open(&rig.database, &rig.log).await;
    rig.tell(&[shaken]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Completed, None));

    let transport: Arc<dyn Transport> = Arc::new(rig.log.clone());
    let options = ObserverOptions { group: "anew".into(), ..ObserverOptions::default() };
    (rig.observer, rig.chains) =
        Observer::open(options, database(), transport, vec![visit()]).await.expect("open");
    rig.turns().await;
    assert_eq!(rig.status("1").await, (ChainStatus::Completed, None));
}

#[tokio::test]
async fn who_waits_is_told_when_the_chain_is_over_and_lists_are_pages() {
    let mut rig = Rig::new().await;
    let (chains, id) = (rig.chains.clone(), chain("1"));
    let waiting = tokio::spawn(async move { chains.wait(&id, Duration::from_secs(60)).await });
    tokio::task::yield_now().await;
    for key in ["1", "2", "3"] {
        rig.tell(&stories(key).0).await;
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

/// Events come all the time, and never all is read; what was there when it asked itself is.
#[tokio::test]
async fn an_observer_that_never_has_nothing_to_read_finds_late_chains_all_the_same() {
    let mut rig = Rig::new().await;
    rig.tell(&[stories("late").0[0].clone()]).await;
    let anybody = "anybody".parse().expect("a name");
    rig.now = rig.now.plus(DEADLINE * 2);
    let mut told = 0;
    for _ in 0..10 {
        for _ in 0..1_100 {
            told += 1;
            let rung = stories(&format!("new-{told}")).0[0].clone();
            let rung = Event { at: rig.now, ..rung };
            rig.log.publish(vec![encode_event(&rung, &anybody)]).await.expect("publish");
        }
        rig.observer.turn(rig.now).await.expect("turn");
        rig.now = rig.now.plus(Duration::from_secs(1));
    }
    let status = rig.chains.show(&chain(&format!("new-{told}"))).await.expect("read");
    assert!(status.is_none(), "the last ones are not read yet");
    assert_eq!(rig.status("late").await.0, ChainStatus::Stuck);
    assert_eq!(rig.status("new-1").await.0, ChainStatus::Running);
}

/// Two observers share the partitions: what one has not read may be what a chain waits for that the other knows.
#[tokio::test]
async fn what_another_observer_has_not_read_yet_is_not_late() {
    let mut rig = Rig::new().await;
    let topic = "door.opened";
    let open = rig.database.begin().await.expect("begin");
    let behind = "UPDATE reading SET read_until = $1, seen_at = $1 WHERE topic = $2";
    let read =
        open.tx().execute(behind, (rig.now.plus(DEADLINE / 2).0, topic)).await.expect("update");
    assert_eq!(read, 4, "its partitions");
    open.commit().await.expect("commit");
    let others = "UPDATE reading SET partition = partition + 100 WHERE topic = $1"; // such as only the other one reads
    let open = rig.database.begin().await.expect("begin");
    open.tx().execute(others, (topic,)).await.expect("update");
    open.commit().await.expect("commit");
    rig.tell(&[stories("1").0[0].clone()]).await;
    rig.passes(DEADLINE * 2).await;
    assert_eq!(
        rig.status("1").await.0,
        ChainStatus::Running,
        "the other one reads it, and is behind"
    );
    let open = rig.database.begin().await.expect("begin");
    open.tx()
        .execute("UPDATE reading SET read_until = 0 WHERE topic = $1", (topic,))
        .await
        .expect("update");
    open.commit().await.expect("commit");
    rig.passes(Duration::from_secs(1)).await;
    assert_eq!(rig.status("1").await.0, ChainStatus::Running, "it has only just begun");
    let open = rig.database.begin().await.expect("begin");
    open.tx().execute(behind, (rig.now.0, topic)).await.expect("update");
    open.commit().await.expect("commit");
    rig.passes(Duration::from_secs(1)).await;
    assert_eq!(rig.status("1").await.0, ChainStatus::Stuck);

    let rung = Event { at: rig.now, ..stories("2").0[0].clone() };
    rig.tell(&[rung]).await;
    rig.passes(DEADLINE * 58).await;
    assert_eq!(rig.status("2").await.0, ChainStatus::Running);
    rig.passes(DEADLINE * 3).await;
    assert_eq!(
        rig.status("2").await.0,
        ChainStatus::Stuck,
        "nobody has said for an hour that he reads it"
    );
}

#[tokio::test]
async fn a_person_can_end_what_does_not_end_until_another_event_of_it_comes() {
    let mut rig = Rig::new().await;
    let ([rung, opened, shaken], _) = stories("1");
    let refused = async |rig: &Rig, key: &str| {
        rig.chains.resolve(&chain(key), "Ada").await.expect_err("refused")
    };
    assert!(matches!(refused(&rig, "1").await, ResolveError::NotFound(_)));
    rig.tell(std::slice::from_ref(&rung)).await;
    assert!(
        refused(&rig, "1").await.to_string().contains("visit:1 is running"),
        "it may still go on"
    );
    rig.passes(DEADLINE * 2).await;
    rig.chains.resolve(&chain("1"), "Ada let him in by the window").await.expect("resolved");
    rig.chains.resolve(&chain("1"), "again").await.expect("it changes nothing");
    let because = (ChainStatus::Resolved, Some("Ada let him in by the window".to_owned()));
    assert_eq!(rig.status("1").await, because);
    rig.tell(std::slice::from_ref(&rung)).await; // again, and nothing new
    rig.passes(DEADLINE).await;
    assert_eq!(rig.status("1").await, because);
    let ended = rig.chains.show(&chain("1")).await.expect("read").expect("seen").header.ended_at;
    assert!(ended.is_some(), "it can be forgotten some day");

    rig.tell(&[opened]).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Running, None), "the host has come after all");
    rig.passes(DEADLINE).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Stuck, None));
    rig.tell(&[shaken]).await;
    let header = rig.chains.show(&chain("1")).await.expect("read").expect("seen").header;
    assert_eq!((header.status, header.ended_at), (ChainStatus::Completed, Some(rig.now)));
    assert!(refused(&rig, "1").await.to_string().contains("visit:1 is completed"));
}

/// Also when the plan was made for empty tables.
#[tokio::test]
async fn no_statement_of_the_observer_walks_through_a_whole_table() {
    if !is_remote() {
        return; // told where the database is made
    }
    let mut rig = Rig::new().await;
    for key in ["1", "2", "3"] {
        rig.tell(&stories(key).0).await;
        rig.tell(&stories(&format!("{key}-away")).1).await;
    }
    rig.tell(&[stories("late").0[0].clone()]).await;
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
    assert!(checked > 8, "only {checked} statements were there");
    assert!(walks.is_empty(), "{}", walks.join("\n\n"));
}
