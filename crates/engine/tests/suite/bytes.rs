//! Memory, batches and pages are bounded in bytes as well as in number, and a failed turn is
//! retried with fewer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::faulty::faulty;
use crate::common::{Rig, database, id, nothing, wish, written};
use sagamore_core::saga::Status;
use sagamore_core::{Body, Outcome};
use sagamore_engine::{Options, StartError};

const KIB: usize = 1024;
/// The size of a saga, a record or a row without its texts.
const BESIDE: usize = 4 * KIB;

fn long(kib: usize) -> String {
    "x".repeat(kib * KIB)
}

/// Builds an outcome with a page number and padding.
fn long_output(kib: usize) -> Outcome {
    Outcome::Done(Body::parse(&format!(r#"{{"page":1,"beside":"{}"}}"#, long(kib))).expect("JSON"))
}

#[tokio::test]
async fn sagas_beyond_the_byte_limit_are_evicted_and_continue_with_their_next_input() {
    let budget = 1_024 * KIB;
    let mut rig =
        Rig::with(Options { live_bytes_max: budget, ..Options::default() }, database()).await;
    let count = 40;
    for number in 0..count {
        rig.start(wish(&number.to_string(), &long(100))).await.expect("accepted");
        assert!(rig.handle.live_bytes() <= budget, "{} bytes in memory", rig.handle.live_bytes());
    }
    assert!(rig.handle.live_bytes() > budget / 2, "sagas that fit remain");
    assert_eq!(rig.handle.in_flight(), count, "all are known");
    assert_eq!(rig.commands().await.len(), count);
    rig.passes(Duration::from_secs(31)); // every saga's reply is overdue
    rig.turn().await;
    rig.passes(Duration::from_secs(31));
    rig.turn().await;
    let again = rig.commands().await;
    let mut sagas: Vec<&str> = again.iter().map(|command| command.saga().key()).collect();
    sagas.sort_unstable();
    sagas.dedup();
    assert_eq!(sagas.len(), count, "each command is resent when it is due");
    for command in again.iter().take(count) {
        rig.reply(command, written(1)).await;
    }
    rig.turn().await;
    for command in rig.commands().await {
        if command.name.as_str() == "beta.print" {
            rig.reply(&command, nothing()).await;
        }
    }
    rig.turn().await;
    assert!(rig.handle.live_bytes() <= budget);
    for number in 0..count {
        let status = rig.show(&number.to_string()).await.expect("stored").header.status;
        assert_eq!(status, Status::Completed, "saga {number}");
    }
    assert_eq!((rig.handle.in_flight(), rig.handle.live_bytes()), (0, 0));
}

#[tokio::test]
async fn a_transaction_is_bounded_by_the_bytes_of_a_batch() {
    let (database, knobs) = faulty();
    let (budget, each) = (256 * KIB, 60);
    let mut rig =
        Rig::with(Options { batch_bytes_max: budget, ..Options::default() }, database).await;
    let handle = rig.handle.clone();
    let starts = async {
        let starts = (0..20).map(|number| handle.start(wish(&number.to_string(), &long(each))));
        futures_util::future::join_all(starts).await
    };
    let turns = 20;
    let orchestrator = &mut rig.orchestrator;
    let (now, rng) = (rig.now, &mut rig.rng);
    let (started, ()) = tokio::join!(starts, async {
        for _ in 0..turns {
            tokio::task::yield_now().await;
            orchestrator.turn(now, rng).await.expect("turn");
        }
    });
    assert!(started.iter().all(Result::is_ok), "{started:?}");
    for command in rig.commands().await {
        rig.reply(&command, long_output(each)).await;
    }
    for _ in 0..turns {
        rig.turn().await;
    }
    let print = rig.commands().await;
    assert_eq!(print.len(), 20);
    for command in &print {
        rig.reply(command, nothing()).await; // a short reply: only the sagas are heavy
    }
    for _ in 0..turns {
        rig.turn().await;
    }
    rig.crash().await;
    rig.turn().await;
    assert_eq!(rig.show("7").await.expect("stored").header.status, Status::Completed);
    let (written, read) =
        (knobs.written_max.load(Ordering::Relaxed), knobs.read_max.load(Ordering::Relaxed));
    assert!(written <= budget + BESIDE, "{written} bytes in one statement");
    assert!(read <= budget + BESIDE, "{read} bytes read by one statement");
}

#[tokio::test]
async fn a_takeover_reads_at_most_the_bytes_of_a_batch_at_a_time() {
    let (database, knobs) = faulty();
    let budget = 256 * KIB;
    let mut rig =
        Rig::with(Options { batch_bytes_max: budget, ..Options::default() }, database).await;
    for number in 0..20 {
        rig.start(wish(&number.to_string(), &long(60))).await.expect("accepted");
    }
    rig.commands().await;
    let options = Options { batch_bytes_max: budget, ..Options::default() };
    (rig.orchestrator, rig.handle) = rig.another(options).await;
    knobs.read_max.store(0, Ordering::Relaxed);
    for _ in 0..20 {
        rig.turn().await;
    }
    assert_eq!(rig.commands().await.len(), 20, "all are taken over");
    let read = knobs.read_max.load(Ordering::Relaxed);
    assert!(read <= budget + BESIDE, "{read} bytes read by one statement");
}

#[tokio::test]
async fn queued_requests_are_bounded_in_bytes() {
    let options = Options { request_bytes_max: 150 * KIB, ..Options::default() };
    let mut rig = Rig::with(options, database()).await;
    let (one, two) = (rig.handle.clone(), rig.handle.clone());
    let both =
        async { tokio::join!(one.start(wish("1", &long(100))), two.start(wish("2", &long(100)))) };
    let (first, second) = rig.while_turning(both).await;
    first.expect("one request fits");
    assert!(matches!(second, Err(StartError::Busy { .. })), "{second:?}");
    rig.start(wish("2", &long(100))).await.expect("the queue is empty again");
}

/// The database cancels statements of more than a limit, like a server with a statement timeout.
#[tokio::test]
async fn a_failed_turn_is_retried_with_fewer_inputs_until_it_succeeds() {
    let (database, knobs) = faulty();
    let mut rig = Rig::with(Options::default(), database).await;
    let count = 64;
    for number in 0..count {
        rig.start(wish(&number.to_string(), "a")).await.expect("accepted");
    }
    for command in rig.commands().await {
        rig.reply(&command, long_output(10)).await;
    }
    knobs.statement_max.store(100 * KIB, Ordering::Relaxed);
    for _ in 0..60 {
        rig.turn().await; // the batch shrinks until it fits
    }
    let print = rig.commands().await;
    let mut sagas: Vec<&str> = print
        .iter()
        .filter(|command| command.name.as_str() == "beta.print")
        .map(|command| command.saga().key())
        .collect();
    sagas.sort_unstable();
    sagas.dedup();
    assert_eq!(sagas.len(), count);
    assert!(
        knobs.written_max.load(Ordering::Relaxed) > 100 * KIB,
        "the first statements were too large"
    );
    assert_eq!(rig.show("7").await.expect("stored").header.id, id("7"));
}
