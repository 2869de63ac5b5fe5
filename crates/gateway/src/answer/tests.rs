use sagamore_core::Body;

use super::*;

type Headers<'a> = &'a [(&'static str, &'static str)];

fn response(status: u16, headers: Headers<'_>, body: &str) -> Response {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().expect("a header value"));
    }
    let status = StatusCode::from_u16(status).expect("a status");
    Response { status, headers: map, body: Some(Bytes::copy_from_slice(body.as_bytes())) }
}

fn contract(repeat: Repeat) -> ParticipantContract {
    let refusals = [(402, "not-enough-money".parse().expect("a name"))].into();
    ParticipantContract { repeat, refusals, ..ParticipantContract::default() }
}

fn outcome(response: &Response, repeat: Repeat, direction: Direction) -> ReplyOutcome {
    read(response, Terms { direction, contract: &contract(repeat) })
}

#[track_caller]
fn check(status: u16, headers: Headers<'_>, body: &str, expected: ReplyOutcome) {
    let response = response(status, headers, body);
    assert_eq!(outcome(&response, Repeat::ByKey, Direction::Action), expected);
}

#[track_caller]
fn check_query(status: u16, headers: Headers<'_>, body: &str, expected: &ReplyOutcome) {
    let response = response(status, headers, body);
    assert_eq!(&outcome(&response, Repeat::Never, Direction::Query), expected);
}

/// Expects a fault that contains `part`, and an unknown outcome for a command that is never
/// repeated.
#[track_caller]
fn check_malformed(status: u16, headers: Headers<'_>, body: &str, part: &str) {
    let response = response(status, headers, body);
    for (repeat, direction) in
        [(Repeat::Barrier, Direction::Action), (Repeat::Never, Direction::Query)]
    {
        match outcome(&response, repeat, direction) {
            ReplyOutcome::Final(Outcome::Fault(why)) => assert!(why.contains(part), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    match outcome(&response, Repeat::Never, Direction::Action) {
        ReplyOutcome::Unknown(why) => assert!(why.contains(part), "{why}"),
        other => panic!("{other:?}"),
    }
}

fn done(body: &str) -> ReplyOutcome {
    Outcome::Done(Body::parse(body).expect("JSON")).into()
}

fn refused(code: &str, message: &str) -> ReplyOutcome {
    Outcome::Refused(Refusal::new(code, message)).into()
}

fn fault(text: &str) -> ReplyOutcome {
    Outcome::Fault(text.into()).into()
}

fn pending(seconds: u64) -> ReplyOutcome {
    ReplyOutcome::Pending(Duration::from_secs(seconds))
}

fn of(name: &'static str) -> [(&'static str, &'static str); 1] {
    [("sagamore-outcome", name)]
}

#[test]
fn a_stated_outcome_decides() {
    check(200, &of("done"), "{\"a\":1}", done("{\"a\":1}"));
    check(201, &of("done"), " {} ", done(" {} "));
    check(204, &of("done"), "", done("{}"));
    let body = "{\"code\":\"no-money\",\"message\":\"too little\",\"more\":1}";
    check(409, &of("refused"), body, refused("no-money", "too little"));
    check(200, &of("refused"), "{\"code\":\"no\"}", refused("no", "no"));
    check(402, &of("fault"), "database down", fault("database down"));
    check(500, &of("fault"), "", fault("the participant gave no reason"));
    check(500, &of("fault"), "a\0b", fault("a\u{fffd}b"));
    check(202, &of("pending"), "", pending(30));
    check(504, &of("unknown"), "the bank is silent", {
        ReplyOutcome::Unknown("the bank is silent".into())
    });
}

#[test]
fn a_delay_is_read_from_retry_after() {
    let check_pending = |after: &'static str, expected: u64| {
        let headers = [("sagamore-outcome", "pending"), ("retry-after", after)];
        check(202, &headers, "", pending(expected));
    };
    check_pending("5", 5);
    check_pending("999999999", 86_400);
    check_pending("-1", 30);
    check_pending("Wed, 21 Oct 2026 07:28:00 GMT", 30);
}

#[test]
fn a_fault_waits_for_retry_after_unless_it_is_the_only_way_to_a_resend() {
    let headers = [("sagamore-outcome", "fault"), ("retry-after", "7")];
    check(503, &headers, "down", pending(7));
    check_query(503, &headers, "down", &pending(7));
    let never = outcome(&response(503, &headers, "down"), Repeat::Never, Direction::Action);
    assert_eq!(never, fault("down"));
}

#[test]
fn a_malformed_outcome_names_what_to_fix() {
    let done = of("done");
    check_malformed(200, &done, "ok", "body of done is not a JSON object");
    check_malformed(200, &done, "[1]", "another JSON value");
    check_malformed(200, &done, "null", "another JSON value");
    check_malformed(200, &done, "{\"a\":\"\\u0000\"}", "U+0000");
    check_malformed(500, &done, "{}", "HTTP status 500");
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(600_000));
    check_malformed(200, &done, &large, "at most 524288");
    let refused = of("refused");
    check_malformed(409, &refused, "no", "body of refused");
    check_malformed(409, &refused, "{\"message\":\"no\"}", "missing field `code`");
    check_malformed(409, &refused, "{\"code\":\"\"}", "0 bytes");
    check_malformed(409, &refused, "{\"code\":\"a\\u0000\"}", "U+0000");
    check_malformed(200, &of("Done"), "{}", "'Done' is not an outcome");
    check_malformed(200, &of(""), "{}", "'' is not an outcome");
    let twice = [("sagamore-outcome", "done"), ("sagamore-outcome", "done")];
    check_malformed(200, &twice, "{}", "send this header once");
}

#[test]
fn a_bare_status_is_a_refusal_only_where_it_is_listed() {
    check(402, &[], "", refused("not-enough-money", "HTTP status 402 Payment Required"));
    check(402, &[], "{\"message\":\"too little\"}", refused("not-enough-money", "too little"));
    for status in [200, 201, 204, 301, 302, 307, 400, 404, 409, 422, 429, 500, 502, 503, 504] {
        let outcome = outcome(&response(status, &[], "{}"), Repeat::ByKey, Direction::Action);
        assert!(matches!(outcome, ReplyOutcome::Unknown(_)), "{status}: {outcome:?}");
    }
}

/// A proxy may send 503 after the request has reached the participant.
#[test]
fn an_overload_with_a_delay_is_pending_where_a_repeat_is_harmless() {
    let after = [("retry-after", "2")];
    check(503, &after, "", pending(2));
    check(429, &after, "", pending(2));
    let never = outcome(&response(503, &after, ""), Repeat::Never, Direction::Action);
    assert!(matches!(never, ReplyOutcome::Unknown(_)), "{never:?}");
}

#[test]
fn a_query_is_answered_by_the_header_alone() {
    check_query(200, &of("absent"), "", &ReplyOutcome::Absent);
    check_query(200, &of("done"), "{\"a\":1}", &done("{\"a\":1}"));
    check_query(200, &of("refused"), "{\"code\":\"no\"}", &refused("no", "no"));
    check_query(200, &of("unknown"), "lost", &ReplyOutcome::Unknown("lost".into()));
    for status in [200, 402, 404, 502] {
        let outcome = outcome(&response(status, &[], ""), Repeat::Never, Direction::Query);
        assert!(matches!(outcome, ReplyOutcome::Final(Outcome::Fault(_))), "{outcome:?}");
    }
    let action = outcome(&response(200, &of("absent"), ""), Repeat::Never, Direction::Action);
    assert!(matches!(&action, ReplyOutcome::Unknown(why) if why.contains("absent")), "{action:?}");
}

#[test]
fn a_body_beyond_the_limit_is_malformed() {
    let of = |name| {
        let response = Response { body: None, ..response(200, &[("sagamore-outcome", name)], "") };
        outcome(&response, Repeat::Barrier, Direction::Action)
    };
    let why = "the body of done is not a JSON object: it exceeds 1048576 bytes";
    assert_eq!(of("done"), fault(why));
    assert_eq!(of("pending"), pending(30));
}
