//! Order, concurrency, egress and crashes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sagamore_core::definition::ParticipantContract;
use sagamore_core::{Command, Direction};
use sagamore_gateway::{Binding, Egress, Endpoint, Gateway, KnownContracts, Options};
use sagamore_transport::{Log, MemoryDisk};
use tokio::sync::{Notify, Semaphore};

use crate::harness::{DONE, HttpParticipant, Rig, action, answer, command, gateway, name};

fn actions(count: usize) -> Vec<Command> {
    (0..count).map(|saga| action(&saga.to_string())).collect()
}

#[tokio::test]
async fn concurrent_calls_are_bounded_and_of_different_sagas() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Semaphore::new(0));
    let (of_calls, peak, opened) = (running.clone(), most.clone(), gate.clone());
    let participant = HttpParticipant::of(move |_, _| {
        let (running, most, gate) = (of_calls.clone(), peak.clone(), opened.clone());
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            gate.acquire().await.expect("open").forget();
            running.fetch_sub(1, Ordering::SeqCst);
            answer(200, DONE, "{}")
        }
    })
    .await;
    let bound = |binding| Binding { concurrency: 5, ..binding };
    let mut rig = Rig::with(&participant.url(), ParticipantContract::default(), bound, None).await;
    rig.send(&actions(40)).await;
    while running.load(Ordering::SeqCst) < 5 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(40);
    assert_eq!(rig.replies(40).await.len(), 40);
    assert_eq!(most.load(Ordering::SeqCst), 5);
    assert!(rig.is_silent().await);
}

/// A compensation that overtook its action would leave the action's effect.
#[tokio::test]
async fn calls_of_one_step_run_one_after_another_in_order() {
    let (running, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (taken, opened) = (Arc::new(Notify::new()), gate.clone());
    let last = taken.clone();
    let participant = HttpParticipant::of(move |_, call| {
        let (running, gate, last) = (running.clone(), opened.clone(), last.clone());
        async move {
            if call.header("ce-subject") == "2" {
                last.notify_one();
                return answer(200, DONE, "{}");
            }
            let others = running.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.expect("open").forget();
            running.fetch_sub(1, Ordering::SeqCst);
            match others {
                0 => answer(200, DONE, "{}"),
                _ => panic!("two calls of one step: {call:?}"),
            }
        }
    })
    .await;
    let mut rig = Rig::new(&participant.url(), ParticipantContract::default()).await;
    let undo = || command("1", Direction::Compensation);
    rig.send(&[action("1"), action("1"), undo(), undo(), action("1"), action("2")]).await;
    taken.notified().await; // once the last command runs, the others could run as well
    gate.add_permits(5);
    let replies = rig.replies(6).await;
    let replies = replies.iter().map(|(reply, _)| &reply.key).filter(|key| key.saga.key() == "1");
    let kinds: Vec<&str> = replies.map(|key| key.direction.as_str()).collect();
    let expected = ["action", "action", "compensation", "compensation", "action"];
    assert_eq!(kinds, expected);
    let calls = participant.calls();
    let calls = calls.iter().filter(|call| call.header("ce-subject") == "1");
    let called: Vec<&str> = calls.map(|call| call.header("ce-sagakind")).collect();
    assert_eq!(called, expected);
}

#[tokio::test]
async fn a_url_outside_of_egress_is_refused() {
    let participant = HttpParticipant::answering(200, DONE, "{}").await;
    let log = Log::on(Arc::new(MemoryDisk::new()), sagamore_transport::log::Options::default());
    let endpoint = Endpoint::parse(&participant.url()).expect("a URL");
    let egress = Egress::parse(["127.0.0.1:1"]).expect("an address");
    let made = Gateway::new(
        name("cards"),
        Binding::of(endpoint),
        &egress,
        Arc::new(log.expect("an empty disk")),
        Arc::new(KnownContracts::default()),
        None,
        Options::default(),
    );
    let why = made.err().expect("refused").to_string();
    assert!(why.contains(&participant.address) && why.contains("to egress"), "{why}");
}

/// The first command's call never ends, so no later offset of its partition is committed.
#[tokio::test]
async fn a_crash_repeats_calls_and_loses_none() {
    let participant = HttpParticipant::of(|number, call| async move {
        if call.header("ce-subject") == "0" && number <= 40 {
            std::future::pending::<()>().await;
        }
        answer(200, DONE, "{}")
    })
    .await;
    let mut rig = Rig::new(&participant.url(), ParticipantContract::default()).await;
    rig.send(&actions(40)).await;
    let answered = rig.replies(39).await;
    assert!(answered.iter().all(|(reply, _)| reply.key.saga.key() != "0"));
    let log = rig.crash().await;
    assert_eq!(participant.calls().len(), 40);
    let mut next =
        gateway(&log, &participant.url(), ParticipantContract::default(), |binding| binding, None);
    next.subscribe().await.expect("subscribed");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(next.run(async { drop(stopped.await) }));
    let called = || {
        let calls = participant.calls();
        calls[40..].iter().any(|call| call.header("ce-subject") == "0")
    };
    while !called() {
        tokio::task::yield_now().await;
    }
    drop(stop);
    running.await.expect("no panic").expect("no permanent error");
    let again = participant.calls().len() - 40;
    assert!((1..=40).contains(&again), "{again} repeated calls");
}
