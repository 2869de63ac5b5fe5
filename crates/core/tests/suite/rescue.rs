//! Operators' verbs, and the commands that sagas send.

use crate::support::{Play, begin, json, name, no, trip, wide_trip};
use sagamore_core::saga::{IgnoreReason, Status, StepStatus, Verb};
use sagamore_core::{Allowed, Body, Direction, Outcome, Timestamp};

const EVERY_VERB: [Verb; 3] = [Verb::Retry, Verb::Skip, Verb::Resolve];

/// Returns a saga that is stuck backward: the hotel's undo was refused.
fn stuck_back() -> Play {
    let mut play = Play::with_done(trip(), &["flight", "hotel"]);
    play.refused("pay");
    assert_eq!(play.undo_refused("hotel"), ["hotel undoRefused", "stuck"]);
    play
}

/// Returns a saga that is stuck forward: the letter was refused.
fn stuck_forward() -> Play {
    let mut play =
        Play::with_done(wide_trip(), &["plan", "flight", "hotel", "car", "pay", "points"]);
    assert_eq!(play.refused("letter"), ["letter refused", "stuck"]);
    play
}

/// Returns a trip whose survey needs the letter's ticket.
fn survey_of_letter() -> sagamore_core::definition::Draft {
    let mut draft = wide_trip();
    let survey = draft.steps.last_mut().unwrap();
    survey.action.fields.insert("letter".into(), "letter.ticket".to_owned().try_into().unwrap());
    draft
}

fn offered(play: &Play, step: &str, verbs: &[Verb]) {
    let wanted: Vec<Allowed> =
        verbs.iter().map(|verb| Allowed::Rescue { step: name(step), verb: *verb }).collect();
    assert_eq!(play.saga.allowed_actions(play.now), wanted);
}

/// Only a stored refusal is retried in a new generation. Its attempts start at zero.
#[test]
fn a_refused_undo_is_retried_in_a_new_generation() {
    let mut play = stuck_back();
    offered(&play, "hotel", &EVERY_VERB);
    assert_eq!(
        play.rescue("hotel", Verb::Retry).unwrap(),
        ["retry hotel", "resumed", "undo hotel"]
    );
    play.stands(Status::Compensating);
    let command = play.commands.last().unwrap();
    assert_eq!((command.id().as_str(), command.attempt), ("trip:7/hotel/compensation/2", 1));
    assert_eq!(play.reply_of("hotel", Direction::Compensation, 1, no()), Err(IgnoreReason::Stale));
    assert_eq!(
        play.rescue("hotel", Verb::Retry),
        Err(IgnoreReason::NotStuck),
        "its answer is awaited"
    );
    assert_eq!(play.undo_refused("hotel"), ["hotel undoRefused", "stuck"]);
    assert_eq!(play.rescue("hotel", Verb::Retry).unwrap()[2], "undo hotel");
    assert_eq!(play.undone("hotel"), ["hotel undone", "undo flight"]);
}

#[test]
fn skipping_or_resolving_a_refused_undo_frees_the_steps_before_it() {
    for (verb, status) in [(Verb::Skip, StepStatus::Skipped), (Verb::Resolve, StepStatus::Undone)] {
        let mut play = stuck_back();
        let word = format!("{} hotel", verb.as_str());
        assert_eq!(play.rescue("hotel", verb).unwrap(), [word.as_str(), "resumed", "undo flight"]);
        assert_eq!(play.state("hotel").status, status);
        assert_eq!(play.undone("flight"), ["flight undone", "compensated"]);
    }
}

#[test]
fn the_last_decision_by_hand_ends_the_saga() {
    let mut play = Play::with_done(trip(), &["flight"]);
    play.refused("hotel");
    play.undo_refused("flight");
    assert_eq!(
        play.rescue("flight", Verb::Resolve).unwrap(),
        ["resolve flight", "resumed", "compensated"]
    );
    let mut play = Play::with_done(trip(), &["flight", "hotel", "pay"]);
    play.refused("letter");
    assert_eq!(play.rescue("letter", Verb::Skip).unwrap(), ["skip letter", "resumed", "completed"]);
}

#[test]
fn a_verb_need_not_wait_until_the_saga_is_stuck() {
    let mut play = Play::with_done(wide_trip(), &["plan", "flight", "hotel", "car", "pay"]);
    play.refused("letter");
    offered(&play, "letter", &EVERY_VERB);
    assert_eq!(play.rescue("letter", Verb::Retry).unwrap(), ["retry letter", "send letter"]);
    assert_eq!(play.done("letter"), ["letter done"]);
    assert_eq!(play.done("points"), ["points done", "send survey"]);
}

#[test]
fn a_refused_retriable_step_that_is_skipped_counts_as_done_for_what_follows() {
    let mut play = stuck_forward();
    offered(&play, "letter", &EVERY_VERB);
    assert_eq!(
        play.rescue("letter", Verb::Skip).unwrap(),
        ["skip letter", "resumed", "send survey"]
    );
    assert_eq!(play.done("survey"), ["survey done", "completed"]);
}

/// A step done by hand has no output. A step that needs that output can never run and needs a
/// decision too.
#[test]
fn a_step_whose_inputs_will_never_exist_waits_for_a_person_too() {
    for verb in [Verb::Skip, Verb::Resolve] {
        let mut play = Play::with_done(
            survey_of_letter(),
            &["plan", "flight", "hotel", "car", "pay", "points"],
        );
        play.refused("letter");
        assert_eq!(
            play.rescue("letter", verb).unwrap(),
            [format!("{} letter", verb.as_str())],
            "stuck as before"
        );
        play.stands(Status::Stuck);
        offered(&play, "survey", &[Verb::Skip, Verb::Resolve]);
        assert_eq!(play.rescue("survey", Verb::Retry), Err(IgnoreReason::NotStuck));
        assert_eq!(play.rescue("survey", verb).unwrap()[1..], ["resumed", "completed"]);
    }
}

#[test]
fn verbs_on_steps_that_need_no_decision_are_rejected() {
    let mut play = stuck_back();
    for verb in EVERY_VERB {
        assert_eq!(
            play.rescue("flight", verb),
            Err(IgnoreReason::NotStuck),
            "done, and its undo is only blocked"
        );
        assert_eq!(
            play.rescue("pay", verb),
            Err(IgnoreReason::NotStuck),
            "its refusal turned the saga back"
        );
        assert_eq!(play.rescue("letter", verb), Err(IgnoreReason::NotStuck), "never sent");
        assert_eq!(play.rescue("sauna", verb), Err(IgnoreReason::NoSuchStep));
    }
}

#[test]
fn a_command_takes_its_fields_by_reference_from_the_input_and_earlier_outputs() {
    let mut play =
        Play::with_done(survey_of_letter(), &["plan", "flight", "hotel", "car", "pay", "points"]);
    play.action("letter", Outcome::Done(json(r#"{"no":1, "ticket": {"seat" : [1.0, "ü"]}}"#)))
        .unwrap();
    let command = play.commands.last().unwrap();
    assert_eq!(command.body.as_str(), r#"{"letter":{"seat" : [1.0, "ü"]},"traveller":"ada"}"#);
    assert_eq!(command.name, name("survey.do"));
    assert_eq!(command.participant, name("toy"));
    assert_eq!(command.reply_to, play.saga.reply_to);
}

/// Only an action that can be undone may be skipped by its participant when it is overdue.
#[test]
fn only_actions_of_compensatable_steps_expire() {
    let mut play = Play::with_done(trip(), &["flight", "hotel"]);
    let expiries =
        |play: &Play| play.commands.iter().map(|command| command.expires_at).collect::<Vec<_>>();
    let due = Some(Timestamp(play.now.0 + 1000));
    assert_eq!(expiries(&play), [due, due, None]);
    play.refused("pay");
    assert_eq!(expiries(&play), [due, due, None, None]);
    let play = Play::with_done(trip(), &["flight", "hotel", "pay"]);
    assert_eq!(expiries(&play), [due, due, None, None]);
}

/// A participant's clock that is ahead costs one wait, because only the first attempt expires.
#[test]
fn a_resend_does_not_expire() {
    let mut play = Play::with_done(trip(), &[]);
    assert!(play.commands[0].expires_at.is_some());
    play.tick(); // the reply is missed
    play.tick(); // the pause is over
    assert_eq!(play.commands[1].id(), play.commands[0].id());
    assert_eq!(play.commands[1].expires_at, None);
}

/// A takeover resends outstanding commands without counting an attempt. Deadlines run from the
/// acknowledgements.
#[test]
fn a_takeover_resends_the_same_commands_and_restarts_the_deadlines() {
    let mut play = Play::with_done(wide_trip(), &["plan", "hotel"]);
    play.action("car", crate::support::fault()).unwrap();
    let mut saga = play.folded();
    assert_eq!(saga.outstanding(), [(1, Direction::Action)], "the car backs off");
    let later = Timestamp(play.now.0 + 60_000);
    let command = saga.command(1, Direction::Action);
    assert!(saga.acknowledge(&command.key, command.attempt, later));
    assert_eq!((command.id().as_str(), command.attempt), ("trip:7/flight/action/1", 1));
    assert_eq!(saga.steps[1].wait.due(), Some(Timestamp(later.0 + 1000)));
    assert_eq!(saga.steps[3], play.saga.steps[3], "a pause continues");
}

#[test]
fn an_input_without_a_named_field_is_rejected_before_the_start() {
    let saga = begin(trip());
    assert_eq!(saga.definition.check_input(&json(r#"{"traveller":null,"more":1}"#)), Ok(()));
    let told = saga.definition.check_input(&Body::empty()).unwrap_err().to_string();
    assert!(told.contains("'traveller'"), "{told}");
    for other in ["[]", "null", "3", r#""traveller""#] {
        assert!(saga.definition.check_input(&json(other)).is_err());
    }
    let escaped = json(r#"{"traveller":"ada","n\u006fte":1}"#);
    assert_eq!(saga.definition.check_input(&escaped), Ok(()));
}

#[test]
fn a_journal_with_a_gap_or_an_illegal_change_is_rejected() {
    use sagamore_core::Saga;
    use sagamore_core::apply::Illegal;
    use sagamore_core::journal::{Change, Entry, SagaChange, StepChange};
    let play = Play::with_done(trip(), &["flight"]);
    let fold = |entries: Vec<Entry>| {
        let saga = begin(trip());
        Saga::fold(saga.id, saga.definition, saga.reply_to, saga.started_at, entries).map(drop)
    };
    let holed = fold(play.journal[1..].to_vec());
    assert_eq!(holed, Err(Illegal::Gap { revision: 0, entry: 2 }));
    let mut forged = play.journal.clone();
    forged[1].changes.push(Change::Step { step: name("flight"), change: StepChange::Undone });
    let told = fold(forged).unwrap_err();
    assert_eq!(told.to_string(), "a saga that is running cannot take the change 'undone'");
    let mut forged = play.journal.clone();
    forged[1].changes = vec![Change::Step {
        step: name("pay"),
        change: StepChange::Refused { refusal: sagamore_core::Refusal::new("no", "no") },
    }];
    let told = fold(forged).unwrap_err();
    assert_eq!(told, Illegal::Step { status: StepStatus::Waiting, change: "refused" });
    let mut forged = play.journal;
    forged[1].changes = vec![Change::Saga(SagaChange::Started { input: Body::empty() })];
    assert_eq!(fold(forged), Err(Illegal::StartedBefore));
}
