//! Takeovers of many sagas over a slow transport, and orchestrators that cannot publish, in virtual
//! time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::virtual_time::{Actor, Clock};
use crate::common::{Rig, booklet, id, wish, written};
use futures_util::FutureExt;
use sagamore_database::Database;
use sagamore_engine::{Handle, Options, Orchestrator, Probe, Renewal, Standing};
use sagamore_transport::log::{self, Log, MemoryDisk};
use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Consumer, Error, Record, Subscription, Transport, wire};

const PARTITIONS: u32 = 4;
const LEASE: Duration = Duration::from_secs(3);
/// The time limit of a producer whose brokers are unavailable.
const DELIVERY_LIMIT: Duration = Duration::from_millis(2_500);

/// A log behind a slow producer that can be cut from its brokers.
#[derive(Clone)]
struct Line {
    world: World,
    is_cut: Arc<AtomicBool>,
    /// Whether publishes of turns never return. Those of the probe do.
    hangs: Arc<AtomicBool>,
    /// Whether this client may not read replies.
    is_deaf: Arc<AtomicBool>,
    /// A topic that this producer must not write to.
    denied: Arc<Mutex<Option<&'static str>>>,
    /// The number of publishes by command id.
    sent: Arc<Mutex<BTreeMap<String, u32>>>,
}

/// The parts that all orchestrators share.
#[derive(Clone)]
struct World {
    clock: Clock,
    log: Log,
    database: Database,
    per_call: Duration,
    per_record: Duration,
}

/// One orchestrator with its tasks as actors.
struct Member {
    handle: Handle,
    line: Line,
    actors: Vec<Actor<'static>>,
}

impl Transport for Line {
    fn create_topic<'a>(
        &'a self,
        topic: &'a str,
        partitions: u32,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.world.log.create_topic(topic, partitions)
    }

    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>> {
        Box::pin(async move {
            let World { clock, log, per_call, per_record, .. } = &self.world;
            let count = u32::try_from(records.len()).expect("few");
            if self.hangs.load(Ordering::Relaxed) && &*records[0].topic != wire::PROBE_TOPIC {
                std::future::pending::<()>().await;
            }
            clock.sleep(*per_call + *per_record * count).await;
            let until = clock.now().plus(DELIVERY_LIMIT);
            while self.is_cut.load(Ordering::Relaxed) {
                if clock.now() >= until {
                    let cut = Error::Unavailable("cut from the brokers".into());
                    return records.iter().map(|_| Err(cut.clone())).collect();
                }
                clock.sleep(Duration::from_millis(50)).await;
            }
            let denied = *self.denied.lock().expect("no panic");
            let mut outcomes = Vec::with_capacity(records.len());
            for record in records {
                if Some(&*record.topic) == denied {
                    outcomes.push(Err(Error::denied_topic("WRITE", &record.topic)));
                    continue;
                }
                if let Ok(command) = wire::decode_command(&record) {
                    *self.sent.lock().expect("no panic").entry(command.id()).or_default() += 1;
                }
                outcomes.push(log.publish(vec![record]).await);
            }
            outcomes
        })
    }

    fn synced(&self) -> BoxFuture<'static, Result<(), Error>> {
        self.world.log.synced()
    }

    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        if self.is_deaf.load(Ordering::Relaxed) {
            let denied = Error::denied_topic("READ", &subscription.topics[0]);
            return Box::pin(std::future::ready(Err(denied)));
        }
        self.world.log.subscribe(subscription)
    }
}

impl World {
    fn new(per_call_ms: u64, per_record_ms: u64) -> World {
        World {
            clock: Clock::new(),
            log: Log::on(Arc::new(MemoryDisk::new()), log::Options::default())
                .expect("open the log"),
            database: Database::memory(),
            per_call: Duration::from_millis(per_call_ms),
            per_record: Duration::from_millis(per_record_ms),
        }
    }

    fn member(&self, owner: &str, lease: Option<Duration>) -> Member {
        let (is_cut, hangs, is_deaf, denied, sent) = Default::default();
        let line = Line { world: self.clone(), is_cut, hangs, is_deaf, denied, sent };
        self.member_on(owner, lease, line)
    }

    fn member_on(&self, owner: &str, lease: Option<Duration>, line: Line) -> Member {
        let options = Options {
            owner: owner.into(),
            lease,
            reply_partitions: PARTITIONS,
            turn_max: LEASE,
            ..Options::default()
        };
        let opened = Orchestrator::open(
            options,
            self.database.clone(),
            Arc::new(line.clone()),
            vec![booklet(1)],
        );
        let (orchestrator, handle) = opened.now_or_never().expect("in memory").expect("open");
        let (renewal, probe) = (orchestrator.renewal(), orchestrator.probe());
        let mut actors: Vec<Actor<'static>> =
            vec![Box::pin(turns(orchestrator, self.clock.clone()))];
        if lease.is_some() {
            actors.push(Box::pin(renews(renewal, self.clock.clone())));
            actors.push(Box::pin(probes(probe, self.clock.clone())));
        }
        Member { handle, line, actors }
    }

    /// Stores `count` unfinished sagas of an orchestrator that then disappears.
    fn seed(&self, count: usize) {
        let quick = World { per_call: Duration::ZERO, per_record: Duration::ZERO, ..self.clone() };
        let seeder = quick.member("seeder", None);
        let handle = seeder.handle.clone();
        let starts: Actor<'_> = Box::pin(async move {
            for first in (0..count).step_by(5_000) {
                let numbers = first..count.min(first + 5_000);
                let starts = numbers.map(|number| handle.start(wish(&number.to_string(), "a")));
                for started in futures_util::future::join_all(starts).await {
                    started.expect("accepted");
                }
            }
        });
        let (mut actors, sent) = (seeder.actors, seeder.line.sent);
        actors.push(starts);
        let is_over = || sent.lock().expect("no panic").len() == count;
        assert!(
            self.clock.run(&mut actors, Duration::from_secs(3_600), is_over),
            "every saga was started"
        );
    }

    fn epochs(&self) -> Vec<i64> {
        let rows = self.database.query("SELECT epoch FROM ownership ORDER BY reply_partition", ());
        let rows = rows.now_or_never().expect("in memory").expect("query");
        rows.iter().map(|row| row.get(0).expect("an epoch")).collect()
    }

    /// Runs the members for `limit`, or until `is_over`.
    fn run(
        &self,
        members: &mut [&mut Member],
        limit: Duration,
        is_over: impl FnMut() -> bool,
    ) -> bool {
        let mut actors = Vec::new();
        let counts: Vec<usize> = members.iter().map(|member| member.actors.len()).collect();
        for member in members.iter_mut() {
            actors.append(&mut member.actors);
        }
        let was_over = self.clock.run(&mut actors, limit, is_over);
        for (member, count) in members.iter_mut().zip(counts) {
            member.actors = actors.drain(..count).collect();
        }
        was_over
    }
}

async fn turns(mut orchestrator: Orchestrator, clock: Clock) {
    let mut rng = fastrand::Rng::with_seed(1);
    loop {
        match orchestrator.turn(clock.now(), &mut rng).await {
            Ok(turned) if turned.inputs > 0 => clock.sleep(Duration::from_millis(1)).await,
            Ok(_) => clock.sleep(Duration::from_millis(20)).await,
            Err(error) => {
                assert!(orchestrator.outlives(&error), "{error}");
                clock.sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn renews(mut renewal: Renewal, clock: Clock) {
    loop {
        renewal.renew(clock.now()).await.expect("renewed");
        clock.sleep(renewal.pause()).await;
    }
}

async fn probes(mut probe: Probe, clock: Clock) {
    loop {
        probe.probe().await;
        clock.sleep(probe.pause()).await;
    }
}

fn owned(handles: &[&Handle]) -> Vec<usize> {
    handles.iter().map(|handle| handle.partitions_owned()).collect()
}

/// Creates two members that share the partitions, after each of the sagas was taken over.
fn two_members(world: &World, sagas: usize) -> (Member, Member) {
    world.seed(sagas);
    let (mut one, mut two) = (world.member("one", Some(LEASE)), world.member("two", Some(LEASE)));
    let (handles, sent) =
        ([one.handle.clone(), two.handle.clone()], [one.line.sent.clone(), two.line.sent.clone()]);
    let is_over = || {
        let sent: usize = sent.iter().map(|sent| sent.lock().expect("no panic").len()).sum();
        owned(&[&handles[0], &handles[1]]) == [2, 2] && sent >= sagas
    };
    assert!(
        world.run(&mut [&mut one, &mut two], Duration::from_secs(30), is_over),
        "they share the partitions"
    );
    assert!(!world.run(&mut [&mut one, &mut two], LEASE, || false));
    (one, two)
}

/// Returns a member that owns all partitions with `sagas` unfinished sagas, and a member that
/// joins.
fn owner_and_joiner(world: &World, sagas: usize) -> (Member, Member) {
    world.seed(sagas);
    let mut one = world.member("one", Some(LEASE));
    let handle = one.handle.clone();
    assert!(world.run(&mut [&mut one], Duration::from_secs(10), || handle.partitions_owned() == 4));
    (one, world.member("two", Some(LEASE)))
}

/// Shorter than a step's timeout, after which every command is resent anyway.
const RESTART: Duration = Duration::from_secs(25);

/// Restarts all members with unfinished sagas. Page by page, the takeover takes much longer than a
/// lease.
fn check_restart(sagas: usize, lease: Duration, per_record_ms: u64, within: Duration) {
    let world = World::new(20, per_record_ms);
    world.seed(sagas);
    let (before, begin) = (world.epochs(), world.clock.elapsed());
    let (mut one, mut two) = (world.member("one", Some(lease)), world.member("two", Some(lease)));
    let handles = [one.handle.clone(), two.handle.clone()];
    let (clock, mut all_owned) = (world.clock.clone(), None);
    world.run(&mut [&mut one, &mut two], RESTART, || {
        if owned(&[&handles[0], &handles[1]]).iter().sum::<usize>() == PARTITIONS as usize {
            all_owned.get_or_insert(clock.elapsed() - begin);
        } else {
            all_owned = None;
        }
        false
    });
    let mut sent = one.line.sent.lock().expect("no panic").clone();
    for (command, times) in two.line.sent.lock().expect("no panic").iter() {
        *sent.entry(command.clone()).or_default() += times;
    }
    let raised: Vec<i64> =
        world.epochs().iter().zip(before).map(|(after, before)| after - before).collect();
    let (total, most) = (sent.values().sum::<u32>(), sent.values().max().copied().unwrap_or(0));
    let figures = format!(
        "{sagas} sagas, lease {lease:?}: owned after {all_owned:?}, epochs raised {raised:?}, \
         {total} commands for {} steps, at most {most} each",
        sent.len()
    );
    println!("{figures}");
    assert!(all_owned.is_some_and(|after| after <= within), "{figures}");
    assert!(raised.iter().all(|raised| *raised == 1), "{figures}");
    assert!(most == 1 && sent.len() == sagas, "{figures}");
}

#[test]
fn a_takeover_that_takes_longer_than_a_lease_raises_each_epoch_once_and_sends_each_command_once() {
    check_restart(3_000, LEASE, 2, Duration::from_secs(5));
}

#[test]
fn a_takeover_under_the_shortest_lease_completes() {
    check_restart(3_000, Duration::from_millis(500), 2, Duration::from_secs(5));
}

#[test]
fn sagas_of_an_orchestrator_that_cannot_publish_progress_elsewhere_within_10_s() {
    let world = World::new(5, 0);
    let (mut one, mut two) = two_members(&world, 40);
    let orphans = one.line.sent.lock().expect("no panic").clone();
    one.line.is_cut.store(true, Ordering::Relaxed);
    two.line.sent.lock().expect("no panic").clear();
    let sent = two.line.sent.clone();
    let are_sent =
        || orphans.keys().all(|command| sent.lock().expect("no panic").contains_key(command));
    let cut_at = world.clock.elapsed();
    assert!(world.run(&mut [&mut one, &mut two], Duration::from_secs(10), are_sent), "{orphans:?}");
    println!("progress elsewhere after {:?}", world.clock.elapsed() - cut_at);
    assert_eq!(owned(&[&one.handle, &two.handle]), [0, 4]);
    assert_eq!(one.handle.standing(), Standing::Evicted);
    one.line.is_cut.store(false, Ordering::Relaxed);
    let handles = [one.handle.clone(), two.handle.clone()];
    let shares = || owned(&[&handles[0], &handles[1]]) == [2, 2];
    assert!(
        world.run(&mut [&mut one, &mut two], LEASE * 2, shares),
        "the orchestrator reclaims its share"
    );
}

#[test]
fn a_joiner_that_cannot_publish_owns_nothing_and_leaves_its_peers_unaffected() {
    let world = World::new(5, 0);
    let (mut one, mut two) = owner_and_joiner(&world, 40);
    two.line.is_cut.store(true, Ordering::Relaxed);
    let (before, handles) = (world.epochs(), [one.handle.clone(), two.handle.clone()]);
    let differs = || owned(&[&handles[0], &handles[1]]) != [4, 0];
    assert!(
        !world.run(&mut [&mut one, &mut two], LEASE * 20, differs),
        "{:?}",
        owned(&[&one.handle, &two.handle])
    );
    assert_eq!(world.epochs(), before);
    assert!(two.handle.publish_fault().is_some_and(|fault| fault.contains("cut from the brokers")));
}

/// The probe continues while a turn hangs. It must not renew the leases of sagas that make no
/// progress.
#[test]
fn the_sagas_of_an_orchestrator_whose_turn_hangs_progress_at_another_one() {
    let world = World::new(5, 0);
    let (mut one, mut two) = two_members(&world, 40);
    let (handle, started) = (one.handle.clone(), one.line.hangs.clone());
    one.actors.push(Box::pin(async move {
        started.store(true, Ordering::Relaxed);
        handle.start(wish("hangs", "a")).await.expect("accepted");
    }));
    let orphans = one.line.sent.lock().expect("no panic").clone();
    two.line.sent.lock().expect("no panic").clear();
    let sent = two.line.sent.clone();
    let are_sent =
        || orphans.keys().all(|command| sent.lock().expect("no panic").contains_key(command));
    assert!(world.run(&mut [&mut one, &mut two], LEASE * 4, are_sent), "{orphans:?}");
    assert_eq!(two.handle.partitions_owned(), 4);
    assert_eq!((one.handle.turn_hangs(), two.handle.turn_hangs()), (Some(LEASE), None));
}

/// A client without the right to read replies would hold its share, and its sagas would wait.
#[test]
fn an_orchestrator_that_cannot_read_replies_holds_no_share_for_long() {
    let world = World::new(5, 0);
    let (mut one, mut two) = owner_and_joiner(&world, 40);
    two.line.is_deaf.store(true, Ordering::Relaxed);
    let (handles, clock) = ([one.handle.clone(), two.handle.clone()], world.clock.clone());
    let (mut held, mut last) = (Duration::ZERO, clock.elapsed());
    assert!(!world.run(&mut [&mut one, &mut two], LEASE * 100, || {
        let passed = clock.elapsed() - std::mem::replace(&mut last, clock.elapsed());
        if handles[0].partitions_owned() < 4 {
            held += passed;
        }
        false
    }));
    println!("two held a share for {held:?} of {:?}", LEASE * 100);
    assert!(held < LEASE * 25, "{held:?}");
    assert_eq!(owned(&[&one.handle, &two.handle]), [4, 0]);
    assert!(two.handle.publish_fault().is_some_and(|fault| fault.contains("READ")));
    two.line.is_deaf.store(false, Ordering::Relaxed);
    let shares = || owned(&[&handles[0], &handles[1]]) == [2, 2];
    assert!(world.run(&mut [&mut one, &mut two], LEASE * 70, shares), "it joins again");
}

#[test]
fn no_partition_moves_while_no_member_can_publish_or_when_the_brokers_return() {
    let world = World::new(5, 0);
    let (mut one, mut two) = two_members(&world, 40);
    let before = world.epochs();
    one.line.is_cut.store(true, Ordering::Relaxed);
    two.line.is_cut.store(true, Ordering::Relaxed);
    assert!(!world.run(&mut [&mut one, &mut two], LEASE * 20, || false));
    assert_eq!((world.epochs(), one.handle.standing()), (before.clone(), Standing::CannotPublish));
    one.line.is_cut.store(false, Ordering::Relaxed);
    assert!(!world.run(&mut [&mut one, &mut two], LEASE / 2, || false));
    two.line.is_cut.store(false, Ordering::Relaxed); // half a lease later
    assert!(!world.run(&mut [&mut one, &mut two], LEASE * 10, || false));
    assert_eq!((world.epochs(), owned(&[&one.handle, &two.handle])), (before, vec![2, 2]));
}

#[test]
fn a_denied_topic_evicts_no_member() {
    let world = World::new(5, 0);
    let (mut one, mut two) = two_members(&world, 40);
    let before = world.epochs();
    *one.line.denied.lock().expect("no panic") = Some("alpha.commands");
    let handle = one.handle.clone();
    one.actors.push(Box::pin(async move {
        handle.start(wish("denied", "a")).await.expect("accepted");
        std::future::pending::<()>().await;
    }));
    assert!(!world.run(&mut [&mut one, &mut two], LEASE * 20, || false));
    assert_eq!((world.epochs(), owned(&[&one.handle, &two.handle])), (before, vec![2, 2]));
    assert_eq!(one.handle.standing(), Standing::Member);
}

#[tokio::test]
async fn a_saga_ahead_of_the_cursor_is_read_on_demand_and_its_commands_are_resent_once() {
    let mut rig = Rig::new().await;
    for key in ["1", "2", "3", "4", "5"] {
        rig.start(wish(key, "a")).await.expect("accepted");
    }
    let mut writes = rig.commands().await;
    (rig.orchestrator, rig.handle) =
        rig.another(Options { takeover_page: 1, ..Options::default() }).await;
    let handle = rig.handle.clone();
    let watch = tokio::spawn(async move { handle.wait(id("4"), Duration::from_secs(60)).await });
    tokio::task::yield_now().await;
    rig.reply(&writes.pop().expect("five"), written(1)).await;
    rig.turn().await;
    let mut sent: Vec<String> = rig.commands().await.iter().map(|command| command.id()).collect();
    sent.sort();
    let expected =
        ["booklet:1/write/action/1", "booklet:4/write/action/1", "booklet:5/print/action/1"];
    assert_eq!(sent, expected, "the first page, and the sagas with an input");
    assert!(rig.orchestrator.takes_over());
    for _ in 0..10 {
        rig.turn().await;
        sent.extend(rig.commands().await.iter().map(|command| command.id()));
    }
    assert!(!rig.orchestrator.takes_over());
    assert_eq!(sent[3..], ["booklet:2/write/action/1", "booklet:3/write/action/1"]);
    watch.abort();
}

#[tokio::test]
async fn a_page_is_bounded_in_bytes() {
    let mut rig = Rig::new().await;
    for key in ["1", "2", "3"] {
        rig.start(wish(key, "a")).await.expect("accepted");
    }
    rig.commands().await;
    (rig.orchestrator, rig.handle) =
        rig.another(Options { takeover_bytes_max: 1, ..Options::default() }).await;
    for left in [2, 1, 0] {
        rig.turn().await;
        assert_eq!((rig.commands().await.len(), rig.orchestrator.takes_over()), (1, left > 0));
    }
}
