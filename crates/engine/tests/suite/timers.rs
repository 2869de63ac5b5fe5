//! Timers of sagas that are read again: each command in flight keeps its deadline or gets one.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::faulty::faulty;
use crate::common::{Rig, booklet, wish, written};
use sagamore_core::saga::StepStatus;
use sagamore_engine::Options;
use sagamore_transport::Error as TransportError;

fn too_large() -> TransportError {
    TransportError::TooLarge {
        topic: "beta.commands".into(),
        bytes: 2_000_000,
        bytes_max: 1_000_000,
    }
}

/// The rejection is dropped with the batch, and the command is in flight to nobody.
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
