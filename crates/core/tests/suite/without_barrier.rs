//! Participants without a barrier, and replies without a final result.
#![allow(missing_docs, reason = "a test has no readers of its docs")]

use std::time::Duration;

use sagamore_core::saga::Status;
use sagamore_core::script::Script;
use sagamore_core::{Definition, Message, Refusal};

use crate::support::cards::{Charge, ChargeFrom, Charged, Order, Refund, RefundFrom, Ship};

#[derive(Message)]
#[message(to = "stock", name = "stock.reserve")]
struct Reserve;

#[derive(Message)]
#[message(to = "stock", name = "stock.release", undoes = Reserve)]
struct Release;

enum Class {
    ByKey,
    Never,
    Queried,
}

/// Reserves at a participant with a barrier, charges at one of this class, and ships.
fn checkout(class: Class) -> Definition {
    let mut saga = Definition::named("checkout").deadline(Duration::from_secs(3_600));
    let order = saga.input::<Order>();
    match class {
        Class::ByKey => drop(saga.participant("cards").by_key()),
        Class::Never => drop(saga.participant("cards").never()),
        Class::Queried => drop(saga.participant("cards").never().query("card.status")),
    }
    saga.step("reserve").sends(Reserve).undone_by::<Release>();
    saga.step("charge")
        .sends(ChargeFrom { cents: order.cents })
        .undone_by_output(|charged| RefundFrom { receipt: charged.receipt });
    saga.pivot("ship").sends(Ship);
    saga.build().unwrap()
}

fn charged() -> Charged {
    Charged { receipt: "r-1".into() }
}

fn script(class: Class) -> Script {
    Script::given(checkout(class), Order { cents: 5 }).sends::<Reserve>().done(())
}

fn refund() -> Refund {
    Refund { receipt: "r-1".into() }
}

fn broken() -> Refusal {
    Refusal::new("broken", "the truck broke down")
}

fn generation(script: &Script) -> u32 {
    script.saga().steps[1].generation
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_pending_command_is_not_resent_before_its_delay() {
    let pending = || Script::given(checkout(Class::ByKey), Order { cents: 5 });
    let pending = || pending().sends::<Reserve>().pending(MINUTE);
    let script = pending().time_passes(MINUTE - Duration::from_millis(1));
    assert!(script.saga().outstanding().is_empty());
    script.late::<Reserve>(()).sends::<Charge>().done(charged()).sends::<Ship>();
    pending().time_passes(MINUTE).sends::<Reserve>();
}

#[test]
fn a_second_pending_extends_the_delay_and_a_late_one_is_ignored() {
    let script = script(Class::Never).sends::<Charge>().pending(MINUTE).time_passes(MINUTE / 2);
    let mut play = crate::support::Play::with_done(crate::support::trip(), &["flight"]);
    let pending = |delay| sagamore_core::ReplyOutcome::Pending(delay);
    let started = play.now;
    for (delay, due) in [(MINUTE, 60_000), (MINUTE * 2, 120_000)] {
        assert_eq!(play.action("hotel", pending(delay)), Ok(vec!["hotel pending".into()]));
        assert_eq!(play.state("hotel").wait.due(), Some(sagamore_core::Timestamp(started.0 + due)));
    }
    let stale = Err(sagamore_core::saga::IgnoreReason::Stale);
    assert_eq!(play.action("hotel", pending(MINUTE)), stale, "shorter");
    play.done("hotel");
    assert_eq!(play.action("hotel", pending(MINUTE)), stale, "after done");
    script.late::<Charge>(charged()).sends::<Ship>();
}

#[test]
fn the_deadline_of_the_saga_runs_while_a_command_is_pending() {
    let day = Duration::from_secs(24 * 3_600);
    Script::given(checkout(Class::ByKey), Order { cents: 5 })
        .sends::<Reserve>()
        .pending(day)
        .time_passes(Duration::from_secs(3_601))
        .late::<Reserve>(())
        .undoes(Release)
        .done()
        .ends(Status::Compensated);
}

#[test]
fn an_unknown_action_is_resent_by_key_and_then_undone() {
    script(Class::ByKey).sends::<Charge>().unknown("502").sends::<Charge>().done(charged());
    script(Class::ByKey)
        .sends::<Charge>()
        .silence()
        .cancel()
        .sends::<Charge>()
        .silence()
        .sends::<Charge>()
        .done(charged())
        .undoes(refund())
        .unknown("502")
        .undoes(refund())
        .done()
        .undoes(Release)
        .done()
        .ends(Status::Compensated);
}

#[test]
fn a_refused_action_without_a_barrier_is_passed_over() {
    script(Class::ByKey)
        .sends::<Charge>()
        .silence()
        .cancel()
        .sends::<Charge>()
        .refused(broken())
        .undoes(Release)
        .done()
        .ends(Status::Compensated);
}

#[test]
fn an_unknown_action_is_queried_and_never_resent() {
    script(Class::Queried)
        .sends::<Charge>()
        .silence()
        .queries::<Charge>()
        .faults("away")
        .queries::<Charge>()
        .done(charged())
        .sends::<Ship>();
    script(Class::Queried)
        .sends::<Charge>()
        .unknown("502")
        .cancel()
        .queries::<Charge>()
        .done(charged())
        .undoes(refund())
        .done()
        .undoes(Release)
        .done()
        .ends(Status::Compensated);
}

#[test]
fn an_absent_action_is_sent_in_a_new_generation_or_passed_over() {
    let absent = script(Class::Queried).sends::<Charge>().silence().queries::<Charge>().absent();
    assert_eq!(generation(&absent), 2);
    absent.sends::<Charge>().done(charged()).sends::<Ship>();
    script(Class::Queried)
        .sends::<Charge>()
        .silence()
        .cancel()
        .queries::<Charge>()
        .absent()
        .undoes(Release)
        .done()
        .ends(Status::Compensated);
}

#[test]
fn an_operator_decides_what_the_query_does_not_know() {
    script(Class::Queried)
        .sends::<Charge>()
        .silence()
        .queries::<Charge>()
        .unknown("no record")
        .is_stuck()
        .retry("charge")
        .queries::<Charge>()
        .refused(broken())
        .undoes(Release);
}

#[test]
fn without_a_query_an_operator_or_a_late_reply_decides() {
    let unknown = || script(Class::Never).sends::<Charge>().unknown("502").is_stuck();
    unknown().late::<Charge>(charged()).sends::<Ship>();
    script(Class::Never).sends::<Charge>().silence().is_stuck();
    let again = unknown().retry("charge");
    assert_eq!(generation(&again), 2, "a retry calls the service again");
    again.sends::<Charge>().done(charged()).sends::<Ship>();
    let back = || unknown().cancel().is_stuck();
    back().skip("charge").undoes(Release).done().ends(Status::Compensated);
    back().late::<Charge>(charged()).undoes(refund()).unknown("502").is_stuck();
}

/// A fault had no effect, so even a participant that never deduplicates gets the command again.
#[test]
fn a_fault_is_retried_in_each_class() {
    for class in [Class::ByKey, Class::Never, Class::Queried] {
        script(class).sends::<Charge>().faults("away").sends::<Charge>().done(charged());
    }
}

#[test]
fn an_undo_whose_output_is_not_known_waits_for_an_operator() {
    script(Class::Never)
        .sends::<Charge>()
        .silence()
        .resolve("charge")
        .sends::<Ship>()
        .refused(broken())
        .is_stuck()
        .resolve("charge")
        .undoes(Release)
        .done()
        .ends(Status::Compensated);
}
