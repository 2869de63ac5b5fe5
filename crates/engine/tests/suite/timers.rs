//! Timers of sagas that are read again: each command in flight keeps its deadline or gets a new
//! one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::common::faulty::faulty;
use crate::common::{Erase, Rig, Wish, WriteFrom, booklet, database, wish, written};
use sagamore_core::saga::StepStatus;
use sagamore_core::{Definition, Name, Outcome, Refusal, SagaId, Timestamp};
use sagamore_engine::{Filter, Options, Start};
use sagamore_transport::Error as TransportError;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Builds a saga of two parallel steps, and a third one after the first.
fn leaflet() -> Definition {
    let mut saga = Definition::named("leaflet");
    let text = saga.input::<Wish>().text;
    saga.step("write").sends(WriteFrom { text }).undone_by::<Erase>();
    saga.step("draw").sends(WriteFrom { text }).undone_by::<Erase>().after([]);
    saga.step("bind")
        .sends(WriteFrom { text })
        .undone_by::<Erase>()
        .after(["write"])
        .timeout(TIMEOUT);
    saga.build().expect("the plan is sound")
}

fn too_large() -> TransportError {
    TransportError::TooLarge {
        topic: "beta.commands".into(),
        bytes: 2_000_000,
        bytes_max: 1_000_000,
    }
}

/// The rejection is dropped with the batch, and no participant receives the command.
#[tokio::test]
async fn a_rejected_command_of_an_unstorable_saga_is_resent() {
    for live_max in [10_000, 0] {
        let (database, knobs) = faulty();
        let options = Options { live_max, ..Options::default() };
        let (mut rig, brokers) = Rig::behind_brokers(options, database, vec![booklet(1)]).await;
        rig.turn().await;
        brokers.reject("beta.commands", too_large());
        rig.start(wish("1", "a")).await.expect("accepted");
        let write = rig.command().await;
        rig.reply(&write, written(1)).await;
        rig.turn().await; // the brokers reject the second step
        knobs.statement_max.store(1, Ordering::Relaxed);
        rig.turn().await; // the step cannot be set aside
        knobs.statement_max.store(0, Ordering::Relaxed);
        brokers.accept("beta.commands");
        let detail = rig.show("1").await.expect("stored");
        assert_eq!(detail.saga.steps[1].status, StepStatus::Asked, "with {live_max} in memory");
        for _ in 0..60 {
            rig.passes(Duration::from_secs(1));
            rig.turn().await;
        }
        let sent: Vec<_> = rig.commands().await.iter().map(|sent| sent.name.to_string()).collect();
        assert_eq!(sent, ["beta.print"], "with {live_max} in memory");
    }
}

/// The database rejects the second reply of a saga whose first reply leads to a command. The saga
/// is read again in the same turn, before that command is published.
#[tokio::test]
async fn a_deadline_of_a_saga_that_is_read_again_runs_from_the_acknowledgement() {
    for live_max in [10_000, 0] {
        let (database, _knobs) = faulty();
        let options = Options { live_max, ..Options::default() };
        let (mut rig, brokers) = Rig::behind_brokers(options, database, vec![leaflet()]).await;
        rig.turn().await;
        let leaflet = Name::new("leaflet").expect("a name");
        rig.start(Start { definition: leaflet.clone(), ..wish("1", "a") }).await.expect("accepted");
        let commands = rig.commands().await;
        rig.reply(&commands[0], written(1)).await;
        rig.reply(&commands[1], Outcome::Refused(Refusal::new("no", "poison"))).await;
        let clock = Arc::new(AtomicI64::new(rig.now.0));
        let (reads, publish) =
            (clock.clone(), move || _ = clock.fetch_add(8_000, Ordering::Relaxed));
        rig.orchestrator.set_clock(move || Timestamp(reads.load(Ordering::Relaxed)));
        *brokers.before.lock().expect("no panic") = Some(Box::new(publish));
        rig.turn().await;
        assert_eq!(rig.command().await.key.step.as_str(), "bind");
        let id = SagaId::new(&leaflet, "1").expect("an id");
        rig.passes(Duration::from_secs(8));
        for expected in [StepStatus::Asked, StepStatus::Unknown] {
            rig.turn().await;
            let saga = rig.handle.show(&id).await.expect("show").expect("stored").saga;
            assert_eq!(saga.steps[2].status, expected, "with {live_max} in memory");
            rig.passes(TIMEOUT);
        }
    }
}

/// No later write corrects the row: the saga waits for an operator.
#[tokio::test]
async fn a_list_includes_a_fault_that_a_clock_ahead_has_stamped() {
    let (mut rig, brokers) =
        Rig::behind_brokers(Options::default(), database(), vec![booklet(1)]).await;
    rig.turn().await;
    brokers.reject("beta.commands", too_large());
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    rig.reply(&write, written(1)).await;
    rig.turn().await;
    let right = rig.now;
    rig.passes(Duration::from_secs(86_400));
    rig.turn().await; // the step is set aside
    let filter = Filter { open_faults_at: Some(right), ..Filter::default() };
    assert_eq!(rig.handle.list(&filter).await.expect("list").sagas.len(), 1);
}
