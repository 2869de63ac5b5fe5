//! Event headers besides the body: the trace, and the version of the plan.

use sagamore_core::TraceContext;
use sagamore_core::message::Event;
use sagamore_sdk::Options;
use sagamore_transport::Record;
use sagamore_transport::wire::encode_event;

use crate::names;
use crate::toy::{self, Mood, Toy};

fn record(event: &Event) -> Record {
    encode_event(event, &"anybody".parse().unwrap())
}

fn span(digit: &str) -> Option<TraceContext> {
    TraceContext::of(&format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", digit.repeat(16)), None)
}

/// A printer that exports spans sets its own one. Later spans are below it, regardless of the order
/// of the pair's events. Without a span of the printer the other event's trace continues.
#[tokio::test]
async fn an_event_continues_the_trace_of_the_event_that_it_names_as_its_cause() {
    for (own, first) in [(span("b"), 0), (span("b"), 1), (None, 0), (None, 1)] {
        let mut toy = Toy::new().await;
        toy.only_shelf(true);
        let made = Event { trace: span("a"), ..toy::made("1", Mood::Calm) };
        let printed = Event { trace: own.clone(), ..toy::printed("1") };
        let mut pair = [record(&made), record(&printed)];
        pair.rotate_left(first);
        for one in pair {
            toy.publish(vec![one]).await;
            toy.settle().await;
        }
        let filled = toy.events().await.pop().expect("the shelf is filled");
        assert_eq!((filled.name.as_str(), filled.causation), ("shelf.filled", Some(printed.id())));
        assert_eq!(filled.trace, own.or(span("a")), "the first to arrive was {first}");
    }
}

/// The failure is the cause of the undo, and a repeat emits the stored event with its trace.
#[tokio::test]
async fn an_undo_continues_the_trace_of_the_failure_and_a_repeat_does_not_change_it() {
    let mut toy = Toy::new().await;
    toy.publish(vec![record(&Event {
        trace: span("a"),
        ..toy::made("1", Mood::WritesAndRefuses)
    })])
    .await;
    toy.settle().await;
    let traces =
        |events: &[Event]| events.iter().map(|event| event.trace.clone()).collect::<Vec<_>>();
    let events = toy.events().await;
    assert_eq!(names(&events), ["draft.made", "print.failed", "draft.dropped"]);
    assert_eq!(traces(&events), [span("a"), span("a"), span("a")]);
    toy.publish(vec![record(&Event { trace: span("c"), ..toy::failed("1") })]).await;
    toy.settle().await;
    let again = toy.events().await;
    let dropped =
        again.iter().find(|event| event.name.as_str() == "draft.dropped").expect("emitted again");
    assert_eq!(dropped.trace, span("a"));
}

/// Events of the program's version continue the chain, as do events of earlier versions and of
/// unknown plans.
#[tokio::test]
async fn an_event_of_a_later_version_than_the_programs_plan_is_a_dead_letter_with_that_reason() {
    let of =
        |version| Options { plans: vec![("book".parse().unwrap(), version)], ..Options::default() };
    let check = async |options: Options, said: u32, is_taken: bool| {
        let mut toy = Toy::with(options).await;
        toy.publish(vec![record(&Event { version: said, ..toy::made("1", Mood::Calm) })]).await;
        toy.settle().await;
        assert_eq!(toy.prints().await, i64::from(is_taken), "version {said}");
        let reasons = toy.reasons("draft.made").await;
        assert_eq!(reasons.is_empty(), is_taken, "{reasons:?}");
        for reason in reasons {
            assert!(
                reason.starts_with("version: the event says version 9 of the plan 'book'"),
                "{reason}"
            );
            assert!(reason.contains("this program has version 1"), "{reason}");
        }
    };
    check(of(1), 1, true).await;
    check(of(1), 9, false).await;
    check(of(9), 1, true).await;
    check(Options { plans: vec![("parcel".parse().unwrap(), 1)], ..Options::default() }, 9, true)
        .await;
    check(Options::default(), 9, true).await;
}

/// In a chain of version 1 the second event has version 9. The pair stays incomplete until the
/// right event arrives.
#[tokio::test]
async fn an_event_in_a_chain_that_says_a_later_version_does_not_complete_a_pair() {
    let mut toy =
        Toy::with(Options { plans: vec![("book".parse().unwrap(), 1)], ..Options::default() })
            .await;
    toy.only_shelf(true);
    let forged = Event { version: 9, ..toy::printed("1") };
    toy.publish(vec![record(&toy::made("1", Mood::Calm)), record(&forged)]).await;
    toy.settle().await;
    assert_eq!(toy.reasons("print.done").await.len(), 1);
    assert!(!names(&toy.events().await).contains(&"shelf.filled"), "the pair is incomplete");
    toy.publish(vec![record(&toy::printed("1"))]).await;
    toy.settle().await;
    assert!(names(&toy.events().await).contains(&"shelf.filled"));
}
