//! Several orchestrators on one database: they share the partitions, and take over from each other.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::faulty::faulty;
use crate::common::{Rig, id, nothing, wish, written};
use sagamore_core::Timestamp;
use sagamore_core::saga::{IgnoreReason, Status};
use sagamore_database::Database;
use sagamore_database::testing::{is_remote, needs_server};
use sagamore_engine::{
    Error, Handle, Options, Orchestrator, Probe, Renewal, StartError, TurnReport, VerbError,
};
use sagamore_transport::port::BoxFuture;
use sagamore_transport::{Consumer, Error as TransportError, Log, Record, Subscription, Transport};
use tokio::sync::oneshot;

const LEASE: Duration = Duration::from_millis(1_200);
/// Maximum turns of any wait for another process.
const TURNS_MAX: usize = 20_000;

/// One of several orchestrators, with its own clock.
struct Member {
    orchestrator: Orchestrator,
    handle: Handle,
    renewal: Renewal,
    probe: Probe,
    renewal_due: Timestamp,
    rng: fastrand::Rng,
    /// The lead of its clock over the right time.
    ahead: Duration,
}

fn shared(owner: &str, partitions: u32) -> Options {
    Options {
        owner: owner.into(),
        lease: Some(LEASE),
        reply_partitions: partitions,
        ..Options::default()
    }
}

impl Member {
    async fn join(rig: &Rig, owner: &str, partitions: u32) -> Member {
        Member::join_as(rig, shared(owner, partitions)).await
    }

    async fn join_as(rig: &Rig, options: Options) -> Member {
        Member::new(rig.another(options).await)
    }

    fn new((orchestrator, handle): (Orchestrator, Handle)) -> Member {
        let (renewal, probe, rng) =
            (orchestrator.renewal(), orchestrator.probe(), fastrand::Rng::with_seed(7));
        let renewal_due = Timestamp(i64::MIN);
        Member { orchestrator, handle, renewal, probe, renewal_due, rng, ahead: Duration::ZERO }
    }

    async fn turn(&mut self, now: Timestamp) -> TurnReport {
        self.try_turn(now).await.expect("turn")
    }

    /// Renews the leases when due, and turns once.
    async fn try_turn(&mut self, now: Timestamp) -> Result<TurnReport, Error> {
        if now >= self.renewal_due {
            self.probe.probe().await;
            self.renewal.renew(now.plus(self.ahead)).await?;
            self.renewal_due = now.plus(LEASE / 6);
        }
        self.orchestrator.turn(now.plus(self.ahead), &mut self.rng).await
    }
}

/// Advances the clock of these members until the condition holds.
async fn until(
    rig: &mut Rig,
    members: &mut [&mut Member],
    what: &str,
    is_so: impl Fn(&[&mut Member]) -> bool,
) {
    for _ in 0..TURNS_MAX {
        if is_so(members) {
            return;
        }
        rig.passes(LEASE / 12);
        for member in members.iter_mut() {
            member.turn(rig.now).await;
        }
    }
    panic!("never: {what}");
}

async fn until_owned(rig: &mut Rig, members: &mut [&mut Member], owned: &[usize]) {
    let what = format!("{owned:?} partitions are owned");
    until(rig, members, &what, |members| {
        members.iter().map(|member| member.handle.partitions_owned()).collect::<Vec<_>>() == owned
    })
    .await;
}

/// Runs `request` while all members turn.
async fn while_all_turn<T: Send + 'static>(
    rig: &mut Rig,
    members: &mut [&mut Member],
    request: impl Future<Output = T> + Send + 'static,
) -> T {
    let request = tokio::spawn(request);
    for _ in 0..TURNS_MAX {
        if request.is_finished() {
            return request.await.expect("no panic");
        }
        tokio::task::yield_now().await;
        rig.passes(Duration::from_millis(20));
        for member in members.iter_mut() {
            member.turn(rig.now).await;
        }
    }
    panic!("never answered");
}

async fn rig() -> Rig {
    rig_on(crate::common::database()).await
}

async fn rig_on(database: Database) -> Rig {
    // the rig's own orchestrator never turns
    Rig::with(
        Options { group: "unused".into(), reply_partitions: 4, ..Options::default() },
        database,
    )
    .await
}

#[tokio::test]
async fn orchestrators_share_the_partitions_and_joins_and_exits_change_the_shares() {
    let mut rig = rig().await;
    let mut one = Member::join(&rig, "one", 4).await;
    until_owned(&mut rig, &mut [&mut one], &[4]).await;
    let mut two = Member::join(&rig, "two", 4).await;
    until_owned(&mut rig, &mut [&mut one, &mut two], &[2, 2]).await;
    let mut three = Member::join(&rig, "three", 4).await;
    until(&mut rig, &mut [&mut one, &mut two, &mut three], "each has a share", |members| {
        members.iter().map(|member| member.handle.partitions_owned()).sum::<usize>() == 4
            && members.iter().all(|member| member.handle.partitions_owned() <= 2)
    })
    .await;
    drop(one); // dropped as if killed
    until_owned(&mut rig, &mut [&mut two, &mut three], &[2, 2]).await;
}

/// Leases depend on the server's clock alone. (SQLite uses the clock of its process.)
#[tokio::test]
async fn an_orchestrator_whose_clock_is_ahead_claims_only_its_share_and_completes_its_sagas() {
    if !needs_server() {
        return;
    }
    let mut rig = rig().await;
    let mut one = Member::join(&rig, "one", 4).await;
    until_owned(&mut rig, &mut [&mut one], &[4]).await;
    let ahead = Duration::from_secs(600);
    let mut two = Member { ahead, ..Member::join(&rig, "two", 4).await };
    until_owned(&mut rig, &mut [&mut one, &mut two], &[2, 2]).await;
    for (key, at_two) in [("one", false), ("two", true)] {
        let handle = if at_two { two.handle.clone() } else { one.handle.clone() };
        let start = async move { handle.start(wish(key, "a")).await };
        while_all_turn(&mut rig, &mut [&mut one, &mut two], start).await.expect("accepted");
        for outcome in [written(1), nothing()] {
            let command = rig.command().await;
            rig.reply(&command, outcome).await;
            one.turn(rig.now).await;
            two.turn(rig.now).await;
        }
        assert_eq!(rig.show(key).await.expect("stored").header.status, Status::Completed);
    }
    assert_eq!((one.handle.partitions_owned(), two.handle.partitions_owned()), (2, 2));
}

#[tokio::test]
async fn a_silent_orchestrator_is_succeeded_and_changes_nothing_when_it_wakes() {
    let mut rig = rig().await;
    let mut one = Member::join(&rig, "one", 1).await;
    until_owned(&mut rig, &mut [&mut one], &[1]).await;
    let handle = one.handle.clone();
    while_all_turn(&mut rig, &mut [&mut one], async move { handle.start(wish("1", "a")).await })
        .await
        .expect("accepted");
    let write = rig.command().await;
    let mut two = Member::join(&rig, "two", 1).await;
    until_owned(&mut rig, &mut [&mut two], &[1]).await; // only this one turns, the other is paused
    let again = rig.command().await;
    assert_eq!(
        (again.id(), again.attempt),
        (write.id(), 1),
        "the resend does not count as an attempt"
    );
    // the former owner wakes up with the saga in memory as its own
    rig.reply(&write, written(1)).await;
    rig.passes(LEASE / 3);
    for _ in 0..3 {
        if let Err(error) = one.try_turn(rig.now).await {
            assert!(one.orchestrator.outlives(&error), "{error}");
        }
    }
    assert_eq!(one.handle.partitions_owned(), 0);
    assert_eq!(rig.show("1").await.expect("stored").header.revision, 1);
    two.turn(rig.now).await;
    let print = rig.command().await;
    rig.reply(&print, nothing()).await;
    two.turn(rig.now).await;
    assert_eq!(rig.show("1").await.expect("stored").header.status, Status::Completed);
}

#[tokio::test]
async fn a_write_of_a_former_owner_is_rejected_by_its_statement() {
    let mut rig = rig().await;
    // a group of its own, so that only the database can reject its replies
    let mut one =
        Member::join_as(&rig, Options { group: "another".into(), ..shared("one", 1) }).await;
    until_owned(&mut rig, &mut [&mut one], &[1]).await;
    let (paused, mut two) = (rig.now, Member::join(&rig, "two", 1).await);
    until_owned(&mut rig, &mut [&mut two], &[1]).await;
    // its own clock stood still, so that it writes without reading a survey
    let handle = one.handle.clone();
    let start = tokio::spawn(async move { handle.start(wish("1", "a")).await });
    tokio::task::yield_now().await;
    let refused =
        one.try_turn(paused).await.expect_err("the orchestrator no longer owns the partition");
    assert!(matches!(refused, Error::OwnershipLost { .. }), "{refused}");
    drop(one);
    assert!(start.await.expect("no panic").is_err());
    assert!(rig.show("1").await.is_none(), "nothing was stored");
}

/// During a pause after an unknown commit, another member takes over and leaves. The partitions are
/// then as before, but the consumer is unusable.
#[tokio::test]
async fn an_orchestrator_that_reclaims_its_partitions_resubscribes() {
    let (database, knobs) = faulty();
    let mut rig = rig_on(database).await;
    let mut one = Member::join(&rig, "one", 1).await;
    until_owned(&mut rig, &mut [&mut one], &[1]).await;
    let handle = one.handle.clone();
    let _request = tokio::spawn(async move { handle.start(wish("1", "a")).await });
    tokio::task::yield_now().await;
    knobs.commits_unknown.store(1, Ordering::Relaxed);
    let unknown = one.try_turn(rig.now).await.expect_err("the outcome of the commit is unknown");
    assert!(one.orchestrator.outlives(&unknown), "{unknown}");
    let mut two = Member::join(&rig, "two", 1).await;
    until_owned(&mut rig, &mut [&mut two], &[1]).await;
    assert_eq!(rig.commands().await.len(), 1, "the takeover resends the outstanding command");
    drop(two); // dropped as if killed
    rig.passes(LEASE * 2);
    one.turn(rig.now).await;
    assert_eq!(one.handle.partitions_owned(), 0, "the orchestrator joins again first");
    until_owned(&mut rig, &mut [&mut one], &[1]).await;
    let write = rig.commands().await.pop().expect("the command is resent");
    rig.reply(&write, written(1)).await;
    one.turn(rig.now).await;
    let print = rig.command().await;
    rig.reply(&print, nothing()).await;
    one.turn(rig.now).await;
    assert_eq!(rig.show("1").await.expect("stored").header.status, Status::Completed);
}

/// A log in which the next subscriber waits for a gate.
struct Gated {
    log: Log,
    gate: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Transport for Gated {
    fn create_topic<'a>(
        &'a self,
        topic: &'a str,
        partitions: u32,
    ) -> BoxFuture<'a, Result<(), TransportError>> {
        self.log.create_topic(topic, partitions)
    }

    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), TransportError>>> {
        self.log.publish_each(records)
    }

    fn synced(&self) -> BoxFuture<'static, Result<(), TransportError>> {
        self.log.synced()
    }

    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, TransportError>> {
        Box::pin(async move {
            let gate = self.gate.lock().expect("no panic").take();
            if let Some(opened) = gate {
                opened.await.expect("the gate is opened");
            }
            self.log.subscribe(subscription).await
        })
    }
}

/// Its sagas in memory are outdated, and must not be used to skip a reply.
#[tokio::test]
async fn an_owner_paused_before_its_subscription_skips_no_reply() {
    let mut rig = rig().await;
    let gated = Arc::new(Gated { log: rig.log.clone(), gate: Mutex::default() });
    let opened = rig.another_on(shared("two", 1), gated.clone()).await;
    let mut two = Member::new(opened);
    until_owned(&mut rig, &mut [&mut two], &[1]).await;
    let handle = two.handle.clone();
    while_all_turn(&mut rig, &mut [&mut two], async move { handle.start(wish("1", "a")).await })
        .await
        .expect("accepted");
    let write = rig.command().await;
    let Options { group, reply_topic, .. } = shared("two", 1);
    let (group, topics) = (group.as_str().into(), vec![reply_topic.as_str().into()]);
    rig.log
        .subscribe(Subscription { group, topics, partitions: Some(vec![0]) })
        .await
        .expect("subscribe");
    let fenced = two.try_turn(rig.now).await.expect_err("another consumer took its place");
    assert!(two.orchestrator.outlives(&fenced), "{fenced}");
    let (gate, opened) = oneshot::channel();
    *gated.gate.lock().expect("no panic") = Some(opened);
    let paused = rig.now;
    let paused_turn = tokio::spawn(async move { (two.try_turn(paused).await.map(drop), two) });
    tokio::task::yield_now().await;
    rig.passes(LEASE * 2);
    let mut three = Member::join(&rig, "three", 1).await;
    until_owned(&mut rig, &mut [&mut three], &[1]).await;
    assert_eq!(rig.command().await.id(), write.id());
    rig.reply(&write, written(1)).await;
    three.turn(rig.now).await;
    let print = rig.command().await;
    rig.reply(&print, nothing()).await;
    gate.send(()).expect("the orchestrator waits at the gate");
    let (turned, _two) = paused_turn.await.expect("no panic");
    assert!(matches!(turned, Err(Error::OwnershipLost { .. })), "{turned:?}");
    let fenced = three.try_turn(rig.now).await.expect_err("the paused orchestrator has subscribed");
    assert!(matches!(fenced, Error::Transport(TransportError::Fenced(_))), "{fenced}");
    three.turn(rig.now).await;
    assert_eq!(rig.show("1").await.expect("stored").header.status, Status::Completed);
}

/// A cursor reads only under the epoch of its claim.
#[tokio::test]
async fn a_takeover_paused_before_its_read_sends_nothing() {
    let (database, knobs) = faulty();
    let mut rig = rig_on(database).await;
    let mut one = Member::join(&rig, "one", 1).await;
    until_owned(&mut rig, &mut [&mut one], &[1]).await;
    let handle = one.handle.clone();
    while_all_turn(&mut rig, &mut [&mut one], async move { handle.start(wish("1", "a")).await })
        .await
        .expect("accepted");
    rig.command().await;
    drop(one); // dropped as if killed
    rig.passes(LEASE * 2);
    let mut two = Member::join(&rig, "two", 1).await;
    two.turn(rig.now).await;
    rig.passes(LEASE / 6);
    two.probe.probe().await;
    two.renewal.renew(rig.now).await.expect("renewed");
    let (gate, opened) = oneshot::channel();
    *knobs.gate.lock().expect("no panic") = Some((1, opened)); // after the transaction that claims
    let paused = rig.now;
    two.renewal_due = paused.plus(LEASE);
    let paused_turn = tokio::spawn(async move { (two.try_turn(paused).await.map(drop), two) });
    tokio::task::yield_now().await;
    rig.passes(LEASE * 2);
    let mut three = Member::join(&rig, "three", 1).await;
    until_owned(&mut rig, &mut [&mut three], &[1]).await;
    assert_eq!(rig.commands().await.len(), 1);
    gate.send(()).expect("the orchestrator waits at the gate");
    let (turned, _two) = paused_turn.await.expect("no panic");
    assert!(matches!(turned, Err(Error::OwnershipLost { .. })), "{turned:?}");
    assert_eq!(rig.commands().await.len(), 0);
}

#[tokio::test]
async fn a_handed_verb_is_answered_and_remote_waiters_get_the_outcome() {
    let mut rig = rig().await;
    let mut one = Member::join(&rig, "one", 1).await;
    until_owned(&mut rig, &mut [&mut one], &[1]).await;
    let mut two = Member::join(&rig, "two", 1).await;
    two.turn(rig.now).await;
    let handle = one.handle.clone();
    let all: &mut [&mut Member] = &mut [&mut one, &mut two];
    while_all_turn(&mut rig, all, async move { handle.start(wish("1", "a")).await })
        .await
        .expect("accepted");
    let write = rig.command().await;
    let (elsewhere, canceller) = (two.handle.clone(), two.handle.clone());
    let waiting =
        tokio::spawn(async move { elsewhere.wait(id("1"), Duration::from_secs(30)).await });
    let all: &mut [&mut Member] = &mut [&mut one, &mut two];
    let cancelled =
        while_all_turn(&mut rig, all, async move { canceller.cancel(id("1")).await }).await;
    assert_eq!(cancelled.expect("taken"), Status::Compensating);
    rig.reply(&write, written(1)).await;
    let all: &mut [&mut Member] = &mut [&mut one, &mut two];
    let mut sent = Vec::new();
    for _ in 0..100 {
        while_all_turn(&mut rig, all, async { tokio::task::yield_now().await }).await;
        sent.extend(rig.commands().await);
        if !sent.is_empty() {
            break;
        }
    }
    rig.reply(&sent[0], nothing()).await;
    let summary =
        while_all_turn(&mut rig, all, async move { waiting.await.expect("no panic") }).await;
    assert_eq!(summary.expect("known").map(|summary| summary.status), Some(Status::Compensated));
    let canceller = two.handle.clone();
    let all: &mut [&mut Member] = &mut [&mut one, &mut two];
    let again = while_all_turn(&mut rig, all, async move { canceller.cancel(id("1")).await }).await;
    let again = again.expect_err("the saga is already compensated");
    assert!(matches!(again, VerbError::Ignored(IgnoreReason::Ended)), "{again:?}");
}

#[tokio::test]
async fn a_start_at_two_orchestrators_is_one_saga() {
    let mut rig = rig().await;
    let (mut one, mut two) =
        (Member::join(&rig, "one", 2).await, Member::join(&rig, "two", 2).await);
    until_owned(&mut rig, &mut [&mut one, &mut two], &[1, 1]).await;
    let (here, there) = (one.handle.clone(), two.handle.clone());
    let all: &mut [&mut Member] = &mut [&mut one, &mut two];
    let both = async move { tokio::join!(here.start(wish("1", "a")), there.start(wish("1", "a"))) };
    let (first, second) = while_all_turn(&mut rig, all, both).await;
    let existed = [first.expect("accepted").existed, second.expect("accepted").existed];
    assert_eq!(existed.iter().filter(|existed| **existed).count(), 1);
    assert_eq!(rig.commands().await.len(), 1);
}

#[tokio::test]
async fn a_new_saga_gets_a_partition_that_its_orchestrator_owns() {
    let mut rig = rig().await;
    let (mut one, mut two) =
        (Member::join(&rig, "one", 4).await, Member::join(&rig, "two", 4).await);
    until_owned(&mut rig, &mut [&mut one, &mut two], &[2, 2]).await;
    let mut partitions: BTreeMap<u32, usize> = BTreeMap::new();
    for number in 0..12 {
        let handle = if number % 2 == 0 { one.handle.clone() } else { two.handle.clone() };
        let all: &mut [&mut Member] = &mut [&mut one, &mut two];
        let start = wish(&number.to_string(), "a");
        while_all_turn(&mut rig, all, async move { handle.start(start).await })
            .await
            .expect("accepted");
        let command = rig.command().await;
        *partitions.entry(command.reply_to.partition).or_default() += number % 2;
        rig.reply(&command, written(1)).await;
        let all: &mut [&mut Member] = &mut [&mut one, &mut two];
        while_all_turn(&mut rig, all, async { tokio::task::yield_now().await }).await;
        rig.command().await; // its owner got the reply
    }
    assert!(partitions.len() > 2, "{partitions:?}");
}

#[tokio::test]
async fn a_reply_to_the_wrong_partition_is_forwarded() {
    let mut rig = rig().await;
    let (mut one, mut two) =
        (Member::join(&rig, "one", 2).await, Member::join(&rig, "two", 2).await);
    until_owned(&mut rig, &mut [&mut one, &mut two], &[1, 1]).await;
    let handle = one.handle.clone();
    let all: &mut [&mut Member] = &mut [&mut one, &mut two];
    while_all_turn(&mut rig, all, async move { handle.start(wish("1", "a")).await })
        .await
        .expect("accepted");
    let mut write = rig.command().await;
    write.reply_to.partition = 1 - write.reply_to.partition;
    rig.reply(&write, written(1)).await;
    for _ in 0..10 {
        while_all_turn(&mut rig, all, async { tokio::task::yield_now().await }).await;
    }
    assert_eq!(rig.command().await.body.as_str(), r#"{"page":1}"#);
}

#[tokio::test]
async fn an_orchestrator_without_partitions_rejects_starts() {
    let mut rig = rig().await;
    let mut one = Member::join(&rig, "one", 1).await;
    until_owned(&mut rig, &mut [&mut one], &[1]).await;
    let mut two = Member::join(&rig, "two", 1).await;
    let handle = two.handle.clone();
    let all: &mut [&mut Member] = &mut [&mut one, &mut two];
    let refused =
        while_all_turn(&mut rig, all, async move { handle.start(wish("1", "a")).await }).await;
    assert!(matches!(refused, Err(StartError::Unavailable(_))), "{refused:?}");
    assert!(rig.show("1").await.is_none());
}

#[tokio::test]
async fn an_orderly_stop_releases_the_partitions_at_once() {
    let mut rig = rig().await;
    let mut one = Member::join(&rig, "one", 2).await;
    until_owned(&mut rig, &mut [&mut one], &[2]).await;
    one.orchestrator.run(std::future::ready(())).await.expect("stopped");
    let (mut two, stopped_at) = (Member::join(&rig, "two", 2).await, rig.now);
    until_owned(&mut rig, &mut [&mut two], &[2]).await;
    assert!(is_remote() || rig.now.since(stopped_at) < LEASE, "without waiting for a lease to end");
}

/// After a failover to a server whose clock is behind, rows of the former one end far in the
/// future.
#[tokio::test]
async fn a_lease_or_membership_beyond_any_possible_end_is_void() {
    let mut rig = Rig::with(shared("a", 2), crate::common::database()).await;
    let (mut one, mut other) =
        (Member::join(&rig, "one", 2).await, Member::join(&rig, "other", 2).await);
    until_owned(&mut rig, &mut [&mut one], &[2]).await;
    drop(one); // dropped without a release
    let open = rig.database.begin().await.expect("begin");
    let day = 24 * 3_600 * 1_000_i64;
    open.tx()
        .execute("UPDATE ownership SET lease_until = lease_until + $1", (day,))
        .await
        .expect("update");
    open.tx()
        .execute("UPDATE orchestrator SET seen_until = seen_until + $1", (day,))
        .await
        .expect("update");
    open.commit().await.expect("commit");
    until_owned(&mut rig, &mut [&mut other], &[2]).await;
    let seen = rig.database.query("SELECT owner FROM orchestrator", ()).await.expect("read");
    assert_eq!(
        seen.iter().map(|row| row.get(0)).collect::<Result<Vec<String>, _>>(),
        Ok(vec!["other".to_owned()])
    );
}
