//! Tests of the script: a saga of four steps covers every verb of the script.
#![allow(missing_docs, reason = "a test has no readers of its docs")]

use std::time::Duration;

use sagamore_core::saga::Status::{Compensated, Completed};
use sagamore_core::script::Script;
use sagamore_core::{Definition, Message, Refusal};

#[derive(Message)]
struct Tea {
    cups: u32,
}

#[derive(Message)]
#[message(to = "kettle", yields = Boiled)]
struct Boil {
    cups: u32,
}

#[derive(Message)]
struct Boiled {
    degrees: u32,
}

#[derive(Message)]
#[message(to = "kettle", undoes = Boil)]
struct Pour {
    cups: u32,
}

#[derive(Message)]
#[message(to = "cupboard")]
struct Fetch;

#[derive(Message)]
#[message(to = "cupboard", undoes = Fetch)]
struct PutBack;

#[derive(Message)]
#[message(to = "table")]
struct Serve {
    degrees: u32,
}

#[derive(Message)]
#[message(to = "table")]
struct Clear;

#[derive(Debug, thiserror::Error, Refusal)]
enum Declined {
    #[error("there is no water")]
    #[refusal(code = "no-water")]
    NoWater,
    #[error("the table is taken")]
    #[refusal(code = "table-taken")]
    TableTaken,
}

/// Boils and fetches in parallel, then serves, then clears the table.
fn tea() -> Definition {
    let mut saga = Definition::named("tea").deadline(Duration::from_secs(60));
    let tea = saga.input::<Tea>();
    let boiled = saga
        .step("boil")
        .sends(BoilFrom { cups: tea.cups })
        .undone_by_with(PourFrom { cups: tea.cups })
        .timeout(Duration::from_secs(5))
        .attempts(2)
        .yields();
    saga.step("fetch").sends(Fetch).undone_by::<PutBack>().after([]);
    saga.pivot("serve").sends(ServeFrom { degrees: boiled.degrees }).after(["boil", "fetch"]);
    saga.retriable("clear").sends(Clear);
    saga.build().unwrap()
}

fn given() -> Script {
    Script::given(tea(), Tea { cups: 2 })
}

/// Returns the script after both commands were sent and the fetch was done.
fn fetched() -> Script {
    given().sends_all([Boil::NAME, Fetch::NAME]).answering::<Fetch>().done(())
}

#[test]
fn a_saga_completes() {
    fetched()
        .sends_exactly(Boil { cups: 2 })
        .done(Boiled { degrees: 96 })
        .sends_exactly(Serve { degrees: 96 })
        .done(())
        .sends::<Clear>()
        .done(())
        .ends(Completed);
}

#[test]
fn a_refusal_undoes_only_the_done_steps() {
    fetched().sends::<Boil>().refused(Declined::NoWater).undoes(PutBack).done().ends(Compensated);
}

#[test]
fn siblings_are_undone_in_parallel() {
    let script = fetched()
        .sends::<Boil>()
        .done(Boiled { degrees: 96 })
        .sends::<Serve>()
        .refused(Declined::TableTaken);
    let script = script.undoes_all([PutBack::NAME, Pour::NAME]).undoing::<PutBack>().done();
    script.undoes(Pour { cups: 2 }).done().ends(Compensated);
}

/// The step is given up after two attempts. It may have happened, so it is undone.
#[test]
fn a_step_without_a_reply_is_resent_then_given_up_and_undone() {
    let script = fetched().sends::<Boil>().silence().sends::<Boil>().silence();
    script.undoes_all([Pour::NAME, PutBack::NAME]).late::<Boil>(Boiled { degrees: 96 });
}

/// The last attempt is in flight for longer than its timeout. It is given up only when its reply is
/// overdue.
#[test]
fn an_unsent_command_is_not_given_up() {
    let script = fetched().sends::<Boil>().silence().brokers_become_unavailable();
    let script = script.time_passes(Duration::from_secs(30)).sends_all([Boil::NAME]);
    let script =
        script.brokers_recover().time_passes(Duration::from_secs(4)).sends_all([Boil::NAME]);
    script.time_passes(Duration::from_secs(1)).undoes_all([Pour::NAME, PutBack::NAME]);
}

#[test]
fn a_fault_is_a_delay() {
    let script = fetched()
        .sends::<Boil>()
        .faults("the fuse is gone")
        .sends::<Boil>()
        .done(Boiled { degrees: 96 });
    let script = script
        .sends::<Serve>()
        .faults("dropped")
        .sends::<Serve>()
        .silence()
        .sends::<Serve>()
        .done(());
    script.sends::<Clear>().faults("not now").sends::<Clear>().done(()).ends(Completed);
}

#[test]
fn an_undo_is_resent_until_it_is_done() {
    let script = fetched().sends::<Boil>().refused(Declined::NoWater);
    script
        .undoes(PutBack)
        .silence()
        .undoes(PutBack)
        .faults("stuck drawer")
        .undoes(PutBack)
        .done()
        .ends(Compensated);
}

#[test]
fn a_cancelled_saga_waits_for_the_reply_and_compensates() {
    let script = fetched().sends::<Boil>().cancel().done(Boiled { degrees: 96 });
    let script = script.undoes_all([PutBack::NAME, Pour::NAME]).undoing::<PutBack>().done();
    script.undoing::<Pour>().done().ends(Compensated);
}

#[test]
fn a_cancellation_after_the_pivot_is_too_late() {
    let script = fetched().sends::<Boil>().done(Boiled { degrees: 96 });
    script
        .sends::<Serve>()
        .cancel_comes_too_late()
        .done(())
        .sends::<Clear>()
        .done(())
        .ends(Completed);
}

/// Outstanding actions are awaited, and undone once they are done.
#[test]
fn the_saga_turns_back_when_its_own_deadline_passes() {
    let mut saga = Definition::named("fetch").deadline(Duration::from_secs(60));
    saga.step("fetch").sends(Fetch).undone_by::<PutBack>();
    saga.step("fetch-more").sends(Fetch).undone_by::<PutBack>();
    Script::given(saga.build().unwrap(), Tea { cups: 1 })
        .time_passes(Duration::from_secs(60))
        .sends::<Fetch>()
        .done(())
        .undoes(PutBack)
        .done()
        .ends(Compensated);
}

#[test]
fn an_operator_decides_a_stuck_step() {
    let stuck = || {
        let script =
            fetched().sends::<Boil>().done(Boiled { degrees: 96 }).sends::<Serve>().done(());
        script.sends::<Clear>().refused(Declined::TableTaken).is_stuck()
    };
    stuck().retry("clear").sends::<Clear>().done(()).ends(Completed);
    stuck().skip("clear").ends(Completed);
    stuck().resolve("clear").ends(Completed);
}

#[test]
fn a_reply_that_cannot_be_stored_waits_for_a_person() {
    let script = fetched().sends::<Boil>().set_aside("a NUL in a text").is_stuck();
    let script = script.retry("boil").sends::<Boil>().done(Boiled { degrees: 96 });
    let script = script
        .sends::<Serve>()
        .refused(Declined::TableTaken)
        .undoes_all([PutBack::NAME, Pour::NAME]);
    let script = script
        .undoing::<PutBack>()
        .done()
        .undoes(Pour { cups: 2 })
        .set_aside("too long")
        .is_stuck();
    script.resolve("boil").ends(Compensated);
}

#[track_caller]
fn panic_of(story: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let payload = std::panic::catch_unwind(story).expect_err("the story does not hold");
    *payload.downcast::<String>().expect("the panic has a text")
}

#[test]
fn a_failed_line_reports_outstanding_commands_and_journal() {
    let text = panic_of(|| drop(fetched().sends::<Serve>()));
    let (expected, rest) = text.split_once("\n\n").unwrap();
    assert_eq!(expected, "expected table.serve, and nothing else, to be sent");
    assert!(
        rest.starts_with(
            "the saga is running, and sends:\n  kettle.boil {\"cups\":2} (boil, action)\n"
        ),
        "{rest}"
    );
    assert!(rest.contains(r#"2 at 0 ms: {"done":{"step":"fetch""#), "{rest}");
}

#[test]
fn every_line_rejects_other_outstanding_commands() {
    let expected = |text: String| text.lines().next().unwrap().to_owned();
    assert_eq!(
        expected(panic_of(|| drop(given().sends::<Boil>()))),
        "expected kettle.boil, and nothing else, to be sent"
    );
    assert_eq!(
        expected(panic_of(|| given().ends(Completed))),
        "expected the saga to be completed, with nothing outstanding"
    );
    assert_eq!(
        expected(panic_of(|| drop(fetched().sends_exactly(Boil { cups: 3 })))),
        "expected kettle.boil to carry {\"cups\":3}, but it carries {\"cups\":2}"
    );
    assert_eq!(
        expected(panic_of(|| drop(given().retry("boil")))),
        "expected a verb that is allowed, but it was ignored: the step needs no decision"
    );
    assert_eq!(
        expected(panic_of(|| drop(Script::given(tea(), Fetch)))),
        "the input of 'tea' lacks the field 'cups': {}"
    );
}
