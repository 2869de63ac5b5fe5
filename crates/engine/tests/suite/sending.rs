//! Sending: a deadline starts with the transport's acknowledgement, and a rejected command does not
//! block others.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::common::brokers::Brokers;
use crate::common::{Erase, Rig, WriteFrom, booklet, database, id, wish, written};
use sagamore_core::saga::{Rescue, Status, StepStatus, Verb};
use sagamore_core::{Allowed, Body, Definition, Message, Name, SagaId, Timestamp};
use sagamore_engine::{Filter, Options, Orchestrator, Page, Start};
use sagamore_transport::Error as TransportError;

/// Holds one text five times.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(to = "beta")]
struct Poster {
    title: String,
    text: String,
    footer: String,
    front: String,
    back: String,
}

const TIMEOUT: Duration = Duration::from_secs(5);

/// Builds a saga of one step that is given up after one missed reply, and then undone.
fn pamphlet() -> Definition {
    let mut saga = Definition::named("pamphlet");
    let wish = saga.input::<crate::common::Wish>();
    saga.step("write")
        .sends(WriteFrom { text: wish.text })
        .undone_by::<Erase>()
        .timeout(TIMEOUT)
        .attempts(1);
    saga.build().expect("the plan is sound")
}

fn pamphlet_start() -> Start {
    Start { definition: Name::new("pamphlet").expect("a name"), ..wish("1", "a") }
}

async fn rig(options: Options) -> (Rig, Arc<Brokers>) {
    Rig::behind_brokers(options, database(), vec![pamphlet()]).await
}

async fn status(rig: &Rig) -> StepStatus {
    let id = SagaId::new(&Name::new("pamphlet").expect("a name"), "1").expect("an id");
    rig.handle.show(&id).await.expect("show").expect("stored").saga.steps[0].status
}

async fn names(rig: &mut Rig) -> Vec<String> {
    rig.commands().await.iter().map(|command| command.name.to_string()).collect()
}

/// Starts a saga while the brokers are unavailable, and advances the clock by ten seconds.
async fn start_unsent(rig: &mut Rig, brokers: &Brokers, start: Start) {
    rig.turn().await;
    brokers.fail();
    let handle = rig.handle.clone();
    let (started, turned) = tokio::join!(handle.start(start), async {
        tokio::task::yield_now().await;
        rig.orchestrator.turn(rig.now, &mut rig.rng).await
    });
    started.expect("a stored start is accepted, sent or not");
    turned.expect_err("the brokers are unavailable");
    for _ in 0..10 {
        rig.passes(Duration::from_secs(1));
        rig.try_turn().await.expect_err("the brokers are unavailable");
    }
    brokers.recover();
}

/// Sets a clock that the orchestrator reads during its turns, and that every publish advances by
/// `pause`.
fn slow_publishes(
    orchestrator: &mut Orchestrator,
    brokers: &Brokers,
    now: Timestamp,
    pause: Duration,
) {
    let clock = Arc::new(AtomicI64::new(now.0));
    let (reads, runs) = (clock.clone(), clock);
    orchestrator.set_clock(move || Timestamp(reads.load(Ordering::Relaxed)));
    let pause = i64::try_from(pause.as_millis()).expect("a short pause");
    let publish = move || {
        runs.fetch_add(pause, Ordering::Relaxed);
    };
    *brokers.before.lock().expect("no panic") = Some(Box::new(publish));
}

#[tokio::test]
async fn an_unsent_step_is_not_given_up_by_the_turn_that_sends_it() {
    for live_max in [10_000, 0] {
        let (mut rig, brokers) = rig(Options { live_max, ..Options::default() }).await;
        start_unsent(&mut rig, &brokers, pamphlet_start()).await;
        rig.turn().await;
        assert_eq!(names(&mut rig).await, ["alpha.write"], "and no compensation before it");
        assert_eq!(status(&rig).await, StepStatus::Asked);
        rig.passes(TIMEOUT - Duration::from_millis(1));
        rig.turn().await;
        assert_eq!(
            status(&rig).await,
            StepStatus::Asked,
            "the deadline runs from the acknowledgement"
        );
        rig.passes(Duration::from_millis(1));
        rig.turn().await;
        assert_eq!(names(&mut rig).await, ["alpha.erase"]);
    }
}

/// Otherwise the participant would skip the command, and an outage would cost every saga another
/// timeout.
#[tokio::test]
async fn a_late_command_expires_one_timeout_after_its_send() {
    let (mut rig, brokers) =
        Rig::behind_brokers(Options::default(), database(), vec![booklet(1)]).await;
    start_unsent(&mut rig, &brokers, wish("1", "a")).await;
    rig.passes(Duration::from_secs(60));
    rig.turn().await;
    assert_eq!(rig.command().await.expires_at, Some(rig.now.plus(Duration::from_secs(30))));
    rig.passes(Duration::from_secs(20));
    rig.crash().await;
    rig.turn().await;
    assert_eq!(
        rig.command().await.expires_at,
        Some(rig.now.plus(Duration::from_secs(30))),
        "also when a takeover sends it"
    );
}

#[tokio::test]
async fn a_deadline_runs_from_the_acknowledgement_and_not_from_the_start_of_the_turn() {
    let (mut rig, brokers) = rig(Options::default()).await;
    rig.turn().await;
    slow_publishes(&mut rig.orchestrator, &brokers, rig.now, Duration::from_secs(8));
    rig.start(pamphlet_start()).await.expect("accepted");
    assert_eq!(names(&mut rig).await, ["alpha.write"]);
    rig.passes(Duration::from_secs(8));
    rig.turn().await;
    assert_eq!(status(&rig).await, StepStatus::Asked, "acknowledged this moment");
    rig.passes(TIMEOUT);
    rig.turn().await;
    assert_eq!(names(&mut rig).await, ["alpha.erase"]);
}

/// A takeover of many sagas publishes for longer than the timeout of a step.
#[tokio::test]
async fn a_long_takeover_gives_no_step_up() {
    const SAGAS: usize = 1_200;
    let (mut rig, brokers) = rig(Options::default()).await;
    rig.turn().await;
    for key in 0..SAGAS {
        rig.start(Start { key: key.to_string(), ..pamphlet_start() }).await.expect("accepted");
    }
    assert_eq!(names(&mut rig).await.len(), SAGAS);
    let (mut successor, _handle) = rig.another_of(brokers.clone(), vec![pamphlet()]).await;
    let pause = Duration::from_secs(4);
    slow_publishes(&mut successor, &brokers, rig.now, pause);
    let mut resent = 0;
    while resent < SAGAS {
        successor.turn(rig.now, &mut rig.rng).await.expect("takes over");
        resent += names(&mut rig).await.len();
    }
    rig.passes(3 * pause); // the last page was just acknowledged
    successor.turn(rig.now, &mut rig.rng).await.expect("continues");
    let given_up = names(&mut rig).await;
    assert!(given_up.iter().all(|name| name == "alpha.erase"));
    assert_eq!(given_up.len(), 500, "only the first page, which was sent two timeouts ago");
}

/// Creates brokers that reject all commands of one topic.
async fn rejecting(why: TransportError) -> (Rig, Arc<Brokers>) {
    let (mut rig, brokers) =
        Rig::behind_brokers(Options::default(), database(), vec![booklet(1)]).await;
    rig.turn().await;
    brokers.reject("beta.commands", why);
    for key in ["1", "2"] {
        rig.start(wish(key, "a")).await.expect("accepted");
    }
    for write in rig.commands().await {
        rig.reply(&write, written(1)).await;
    }
    rig.start(wish("3", "a")).await.expect("accepted");
    (rig, brokers)
}

async fn faults(rig: &Rig, key: &str) -> (Option<String>, Option<String>) {
    let saga = rig.show(key).await.expect("stored").saga;
    let text = |step| saga.open_fault(step).map(|fault| fault.text.into_owned());
    (text(0), text(1))
}

#[tokio::test]
async fn a_command_to_a_denied_topic_backs_off_at_once_and_the_rest_of_the_batch_continues() {
    let (mut rig, brokers) =
        rejecting(TransportError::denied_topic("WRITE", "beta.commands")).await;
    assert_eq!(
        names(&mut rig).await,
        ["alpha.write"],
        "the command of the third saga, in the same batch"
    );
    rig.turn().await;
    let (none, denied) = faults(&rig, "1").await;
    assert!(denied.expect("the fault shows the reason").contains("WRITE on topic 'beta.commands'"));
    assert_eq!((none, faults(&rig, "3").await), (None, (None, None)));
    let saga = rig.show("1").await.expect("stored").saga;
    assert!(saga.steps[1].wait.is_retry());
    for _ in 0..400 {
        rig.passes(Duration::from_millis(100));
        rig.turn().await;
    }
    let saga = rig.show("1").await.expect("stored").saga;
    let print = Name::new("print").expect("a name");
    let retry = Allowed::Rescue { step: print, verb: Verb::Retry };
    assert!(
        saga.allowed_actions(rig.now).contains(&retry),
        "after the pivot was sent, a retry is the only verb"
    );
    brokers.accept("beta.commands");
    rig.passes(Duration::from_secs(30));
    rig.turn().await;
    assert_eq!(
        names(&mut rig).await.iter().filter(|name| *name == "beta.print").count(),
        2,
        "the saga continues without a retry by hand"
    );
}

#[tokio::test]
async fn a_command_too_large_for_the_brokers_is_set_aside_alone() {
    let too_large = TransportError::TooLarge {
        topic: "beta.commands".into(),
        bytes: 2_000_000,
        bytes_max: 1_000_000,
    };
    let (mut rig, brokers) = rejecting(too_large).await;
    rig.turn().await;
    assert_eq!(names(&mut rig).await, ["alpha.write"]);
    for key in ["1", "2"] {
        let detail = rig.show(key).await.expect("stored");
        assert_eq!(detail.header.status, Status::Stuck, "the saga shows as stuck");
        assert!(
            faults(&rig, key)
                .await
                .1
                .expect("the fault shows the reason")
                .contains("2000000 bytes")
        );
    }
    brokers.accept("beta.commands");
    let (handle, step) = (rig.handle.clone(), Name::new("print").expect("a name"));
    let rescue = Rescue::new(step, Verb::Retry, "ann: the limit is raised");
    rig.while_turning(handle.rescue(id("1"), rescue)).await.expect("accepted");
    assert_eq!(rig.command().await.id(), "booklet:1/print/action/1", "the same generation");
}

/// Input and outputs are within their limits, but the command that combines them is not.
#[tokio::test]
async fn a_command_too_large_for_the_transport_is_never_sent_and_the_saga_can_compensate() {
    let mut saga = Definition::named("pamphlet");
    let wish = saga.input::<crate::common::Wish>();
    let text = wish.text;
    saga.step("write").sends(WriteFrom { text }).undone_by::<Erase>();
    saga.pivot("print").sends(PosterFrom {
        title: text,
        text,
        footer: text,
        front: text,
        back: text,
    });
    let definition = saga.build().expect("the plan is sound");
    let (mut rig, _brokers) =
        Rig::behind_brokers(Options::default(), database(), vec![definition]).await;
    let input = Body::of(&crate::common::Wish { text: "x".repeat(250_000) }).expect("JSON");
    rig.start(Start { input, ..pamphlet_start() }).await.expect("accepted");
    let write = rig.command().await;
    rig.reply(&write, written(1)).await;
    rig.turn().await;
    let id = SagaId::new(&Name::new("pamphlet").expect("a name"), "1").expect("an id");
    let detail = rig.handle.show(&id).await.expect("show").expect("stored");
    assert_eq!(detail.header.status, Status::Stuck);
    let fault = detail.saga.open_fault(1).expect("the fault shows the reason");
    assert!(fault.text.contains("exceeds the limit"), "{}", fault.text);
    assert!(
        detail.saga.allowed_actions(rig.now).contains(&Allowed::Cancel),
        "the pivot was never sent"
    );
    let handle = rig.handle.clone();
    rig.while_turning(handle.cancel(id)).await.expect("in time");
    assert_eq!(names(&mut rig).await, ["alpha.erase"]);
}

/// A list reads rows only.
#[tokio::test]
async fn a_list_shows_sagas_with_lasting_faults() {
    let (mut rig, brokers) =
        rejecting(TransportError::denied_topic("WRITE", "beta.commands")).await;
    let since = rig.now;
    for _ in 0..400 {
        rig.passes(Duration::from_millis(100));
        rig.turn().await;
    }
    let page = rig.handle.list(&Filter::default()).await.expect("list");
    let shown_from =
        |page: &Page| page.sagas.iter().map(|header| header.fault_shown_from).collect::<Vec<_>>();
    let from = shown_from(&page)[1].expect("the saga shows a fault");
    assert!(
        from >= since.plus(Duration::from_secs(30)) && from <= rig.now,
        "half a minute after the first fault"
    );
    assert_eq!(
        shown_from(&page),
        [None, Some(from), Some(from)],
        "the newest saga still waits for its first reply"
    );
    let shown = rig
        .handle
        .list(&Filter { open_faults_at: Some(rig.now), ..Filter::default() })
        .await
        .expect("list");
    assert_eq!(shown_from(&shown), [Some(from), Some(from)], "only sagas with a fault");
    let early = Some(from.minus(Duration::from_secs(1)));
    let shown = rig
        .handle
        .list(&Filter { open_faults_at: early, ..Filter::default() })
        .await
        .expect("list");
    assert_eq!(shown.sagas, []);
    rig.crash().await;
    assert_eq!(
        shown_from(&rig.handle.list(&Filter::default()).await.expect("list")),
        shown_from(&page)
    );
    drop(brokers);
}
