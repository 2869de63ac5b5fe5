use std::path::Path;
use std::sync::Arc;

use sagamore_core::Definition;

use super::written::parse;
use super::{Failure, Place, TestFile, is_test_file, play};
use crate::files::testing::checkout;

const FILE: &str = include_str!("../../../../docs/plans/checkout.test.yaml");

fn of(text: &str) -> TestFile {
    parse(text).unwrap_or_else(|violation| panic!("{violation}"))
}

/// A file with one case of the checkout and these lines.
fn with(lines: &str) -> String {
    let input = "{ orderId: '1', customerId: ANA, lines: [], shipTo: FR }";
    format!(
        "definition: checkout.yaml\ncases:\n- name: a case\n  given: {{ input: {input} }}\n  \
         then:\n{lines}"
    )
}

#[track_caller]
fn rejected(lines: &str, expected: &str) {
    assert_eq!(parse(&with(lines)).expect_err(lines).to_string(), expected);
}

/// The position of the first line that does not hold, and its expectation.
#[track_caller]
fn failed(lines: &str, expected: &str) {
    let definition: Arc<Definition> = checkout().into();
    let Failure { at: Place { line, column }, cause } =
        play(&of(&with(lines)).cases[0], &definition).expect_err(lines);
    let cause = cause.to_string();
    assert_eq!(format!("{line}:{column}: {}", cause.lines().next().unwrap()), expected);
}

const CREATED: &str = "  - sends: order.create\n    done: { orderId: '1', totalCents: 5 }\n";

#[test]
fn the_cases_of_the_documented_file_hold() {
    let (file, definition) = (of(FILE), Arc::new(checkout()));
    assert_eq!((file.definition.as_path(), file.cases.len()), (Path::new("checkout.yaml"), 3));
    for case in &file.cases {
        assert_eq!(play(case, &definition), Ok(()), "{}", case.name);
    }
}

#[test]
fn a_line_that_does_not_hold_is_named_with_its_position() {
    failed(
        "  - sends: payment.charge\n",
        "6:5: expected payment.charge, and nothing else, to be sent",
    );
    failed(
        &format!("{CREATED}  - sends: payment.charge\n    exactly: {{ amountCents: 6 }}\n"),
        "9:14: expected payment.charge to carry {\"amountCents\":6}, but it carries \
         {\"amountCents\":5,\"customerId\":\"ANA\",\"orderId\":\"1\"}",
    );
    failed(
        &format!("{CREATED}  - ends: completed\n"),
        "8:5: expected the saga to be completed, with nothing outstanding",
    );
    failed(
        "  - cancel: too-late\n",
        "6:5: expected a cancellation that is too late, but it was accepted",
    );
    failed("  - stuck\n", "6:5: expected the saga to be stuck, with nothing outstanding");
    failed(
        "  - retry: create-order\n",
        "6:5: expected a verb that is allowed, but it was ignored: the step needs no decision",
    );
    failed(
        "  - answers: order.cancel\n    done:\n",
        "6:5: expected order.cancel to be outstanding",
    );
    failed("  - late: order.make\n    done:\n", "6:5: expected a step that sends 'order.make'");
}

#[test]
fn a_start_that_the_definition_does_not_accept_is_named() {
    let text = with("  - stuck\n").replace("customerId: ANA, ", "");
    let Failure { at, cause } =
        play(&of(&text).cases[0], &checkout().into()).expect_err("the input lacks a field");
    assert_eq!((at.line, at.column), (4, 10));
    assert_eq!(cause.to_string(), "the input of 'checkout' lacks the field 'customerId'");
}

#[test]
fn every_kind_of_line_is_played() {
    let lines = "
  - sends: [order.create]
    silent: true
  - after: 200ms
  - answers: order.create
    done: { orderId: '1', totalCents: 5 }
  - sends: payment.charge
  - brokers: unavailable
  - after: 1d
  - brokers: recovered
  - sends: payment.charge
    setAside: a NUL in a text
  - stuck
  - retry: charge-payment
  - sends: payment.charge
  - cancel
  - answers: payment.charge
    done:
  - undoes: payment.refund
    refused: { code: closed }
  - stuck
  - skip: charge-payment
  - undoes: order.cancel
    fault: down
  - undoes: order.cancel
    setAside: too long
  - resolve: create-order
  - ends: compensated
  - late: order.create
    refused: { code: gone, message: too late }
  - ends: compensated
";
    let played = play(&of(&with(lines)).cases[0], &checkout().into());
    if let Err(Failure { at, cause }) = played {
        panic!("{}:{}: {cause}", at.line, at.column);
    }
}

#[test]
fn an_invalid_line_is_reported_with_its_position_and_the_fix() {
    rejected(
        "  - sents: order.create\n",
        "6:5: unknown key 'sents': use one of sends, undoes, answers, late, after, cancel, \
         brokers, retry, skip, resolve, ends, exactly, done, refused, fault, silent, setAside",
    );
    rejected(
        "  - canceled\n",
        "6:5: unknown line 'canceled': write cancel, stuck, or KEY: VALUE such as sends: MESSAGE",
    );
    rejected("  - ends: stuck\n", "6:11: unknown value 'stuck': use one of completed, compensated");
    rejected("  - after: soon\n", "6:12: 'soon' is not a duration: write 30s, 500ms, 2m, 1h or 7d");
    let one = "the line has none or several of sends, undoes, answers, late, after, cancel, \
               brokers, retry, skip, resolve, ends: write one a line";
    rejected("  - done: {}\n", &format!("6:5: {one}"));
    rejected("  - sends: order.create\n    after: 1s\n", &format!("6:5: {one}"));
    rejected(
        "  - sends: order.create\n    done: {}\n    fault: down\n",
        "6:5: the line has two answers: keep one of done, refused, fault, silent, setAside",
    );
    rejected(
        "  - sends: [order.create, order.cancel]\n    done: {}\n",
        "6:5: the line has several messages: write `answers: MESSAGE` with the fields and answer \
         of each",
    );
    rejected("  - sends: []\n", "6:5: the list is empty: name a message");
    rejected(
        "  - answers: order.create\n",
        "6:5: the line has no answer: add done, refused, fault, silent or setAside",
    );
    rejected(
        "  - late: order.create\n    silent: true\n",
        "6:5: the late reply has no outcome: add done, refused or fault",
    );
    rejected(
        "  - ends: completed\n    done: {}\n",
        "6:5: only sends, undoes, answers and late have fields or an answer: remove them",
    );
    rejected("    []\n", "3:3: write 1 to 1000 lines, not 0");
}

#[test]
fn test_files_are_known_by_their_name() {
    assert!(is_test_file(Path::new("sagas/trip.test.yaml")));
    assert!(!is_test_file(Path::new("sagas/trip.yaml")));
    assert!(!is_test_file(Path::new("sagas.test.yaml/trip.yaml")));
}
