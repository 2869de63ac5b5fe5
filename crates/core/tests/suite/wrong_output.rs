//! An output that does not fit its schema sets its step aside, and an operator ends it. The
//! schema's check here demands a ticket that is a text.

use std::sync::Arc;

use crate::support::{Play, json, name, ticket, trip};
use sagamore_core::definition::{Misfit, Misfits, SchemaCheck};
use sagamore_core::saga::{Cause, IgnoreReason, Input, Rescue, Status, StepStatus, Verb};
use sagamore_core::{Allowed, Body, Name, Outcome};

/// A check that accepts outputs with a text as `ticket`.
struct TextTickets;

impl SchemaCheck for TextTickets {
    fn check_input(&self, _: &Body) -> Result<(), Misfits> {
        Ok(())
    }

    fn check_output(&self, _: &Name, output: &Body) -> Result<(), Misfits> {
        match output.as_str().contains(r#""ticket":""#) {
            true => Ok(()),
            false => Err(Misfits(vec![Misfit::of_field("ticket", "is not a text")])),
        }
    }
}

fn wrong() -> Outcome {
    Outcome::Done(json(r#"{"ticket":7}"#))
}

/// Returns a saga that awaits the step after `steps`, and whose outputs are checked.
fn checked(steps: &[&str]) -> Play {
    let mut play = Play::of(trip());
    let definition = (*play.saga.definition).clone();
    play.saga.definition = Arc::new(definition.with_schema_check(Arc::new(TextTickets)));
    play.start();
    steps.iter().for_each(|step| drop(play.done(step)));
    play
}

fn hotel_with(verb: Verb, output: Option<Body>) -> Input {
    Input::Rescue(Rescue::new(name("hotel"), verb, "ada").output(output))
}

#[test]
fn a_wrong_output_makes_the_saga_stuck_with_step_and_field_named() {
    let mut play = checked(&["flight"]);
    assert_eq!(play.action("hotel", wrong()).unwrap(), ["hotel setAside", "stuck"]);
    play.stands(Status::Stuck);
    let fault = play.state("hotel").fault.clone().unwrap();
    assert_eq!(
        fault,
        "the output of 'hotel' does not fit schemas.outputs.hotel.do: /ticket: is not a text"
    );
    assert_eq!(play.state("hotel").output, None, "no later step gets it");
    assert!(play.saga.outstanding().is_empty(), "a stored reply never changes: no resend");
    assert_eq!(play.action("hotel", wrong()), Err(IgnoreReason::Stale), "a repeat");
    let verbs = [Verb::Retry, Verb::Skip, Verb::Resolve, Verb::Compensate];
    let rescues = verbs.map(|verb| Allowed::Rescue { step: name("hotel"), verb });
    assert_eq!(
        play.saga.allowed_actions(play.now),
        [vec![Allowed::Cancel], rescues.to_vec()].concat()
    );
}

#[test]
fn a_resolve_with_an_output_continues_with_it() {
    let mut play = checked(&["flight"]);
    play.action("hotel", wrong()).unwrap();
    for output in [r#"{"ticket":8}"#, "{}", r#"{"ticket":"a\u0000"}"#, "[]"] {
        let resolve = hotel_with(Verb::Resolve, Some(json(output)));
        assert_eq!(play.input(&resolve), Err(IgnoreReason::BadOutput), "{output}");
    }
    let skip = hotel_with(Verb::Skip, Some(json(r#"{"ticket":"h"}"#)));
    assert_eq!(play.input(&skip), Err(IgnoreReason::BadOutput), "skip takes none");
    let resolve = hotel_with(Verb::Resolve, Some(json(r#"{"ticket":"h"}"#)));
    assert_eq!(play.input(&resolve).unwrap(), ["resolve hotel", "resumed", "send pay"]);
    let hotel = play.state("hotel");
    assert_eq!(
        (hotel.status, hotel.output.clone(), hotel.fault.clone()),
        (StepStatus::Done, Some(json(r#"{"ticket":"h"}"#)), None)
    );
}

#[test]
fn a_compensate_undoes_the_step_like_a_done_one() {
    let mut play = checked(&["flight"]);
    play.action("hotel", wrong()).unwrap();
    let words = play.input(&hotel_with(Verb::Compensate, None)).unwrap();
    assert_eq!(words.last().unwrap(), "undo hotel", "{words:?}");
    assert_eq!(play.saga.cause, Some(Cause::GivenUp(name("hotel"))));
    play.undone("hotel");
    play.undone("flight");
    play.stands(Status::Compensated);
}

#[test]
fn a_wrong_output_of_the_pivot_only_goes_forward() {
    let mut play = checked(&["flight", "hotel"]);
    play.action("pay", wrong()).unwrap();
    play.stands(Status::Stuck);
    let verbs = [Verb::Retry, Verb::Skip, Verb::Resolve];
    let rescues = verbs.map(|verb| Allowed::Rescue { step: name("pay"), verb });
    assert_eq!(play.saga.allowed_actions(play.now), rescues);
    assert_eq!(play.rescue("pay", Verb::Compensate), Err(IgnoreReason::NotStuck));
}

#[test]
fn a_wrong_output_while_the_saga_compensates_is_undone() {
    let mut play = checked(&["flight"]);
    play.cancel().unwrap();
    let words = play.action("hotel", wrong()).unwrap();
    assert_eq!(words.last().unwrap(), "undo hotel", "{words:?}");
    assert_eq!(play.action("hotel", wrong()), Err(IgnoreReason::Stale), "not stored later either");
    assert_eq!(play.action("hotel", ticket("hotel")).unwrap(), ["hotel done"]);
}

/// Without a barrier no reply is stored, so an operator must decide the outcome.
#[test]
fn without_a_barrier_a_person_decides_before_the_undo() {
    let mut draft = trip();
    let by_key = serde_json::json!({ "toy": { "repeat": "by-key" } });
    draft.participants = serde_json::from_value(by_key).unwrap();
    let undo = draft.steps[1].compensation.as_mut().unwrap();
    undo.fields.insert("ticket".into(), "hotel.ticket".to_owned().try_into().unwrap());
    let mut play = Play::of(draft);
    let definition = (*play.saga.definition).clone();
    play.saga.definition = Arc::new(definition.with_schema_check(Arc::new(TextTickets)));
    play.start();
    play.done("flight");
    play.action("hotel", wrong()).unwrap();
    play.input(&hotel_with(Verb::Compensate, None)).unwrap();
    play.stands(Status::Stuck);
    assert_eq!(play.state("hotel").status, StepStatus::Unknown);
    let resolve = hotel_with(Verb::Resolve, Some(json(r#"{"ticket":"h"}"#)));
    let words = play.input(&resolve).unwrap();
    assert_eq!(words.last().unwrap(), "undo hotel", "{words:?}");
    assert!(play.commands.last().unwrap().body.as_str().contains(r#""ticket":"h""#));
}
