//! The mapping from a response to the meaning of a call. Pure: the one table of all cases.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode};
use sagamore_core::definition::{ParticipantContract, Repeat};
use sagamore_core::{Outcome, Refusal, TraceContext};

use crate::outcome::{self, Defect};
use crate::text::cut;

/// The header with the outcome.
pub(crate) const OUTCOME: HeaderName = HeaderName::from_static("sagamore-outcome");
/// Maximum bytes of a response body.
pub(crate) const RESPONSE_BYTES_MAX: usize = 1 << 20;
/// Maximum delay that a participant may state.
const DELAY_MAX: Duration = Duration::from_secs(24 * 3600);

/// A complete response.
#[derive(Debug)]
pub(crate) struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The body; `None` if it exceeds [`RESPONSE_BYTES_MAX`].
    pub body: Option<Bytes>,
}

/// The meaning of a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meaning {
    /// The participant has answered. A fault may also come from the gateway: the call had no
    /// effect.
    Outcome(Outcome),
    /// The participant completes the step later. It is not called again within the delay.
    Pending(Option<Duration>),
    /// The call may have had its effect, for this reason.
    Unknown(String),
}

/// Returns the meaning of a response under the participant's contract.
pub(crate) fn read(response: &Response, contract: &ParticipantContract) -> Meaning {
    let status = response.status;
    match stated(&response.headers) {
        Err(defect) => malformed(&defect, contract),
        Ok(Some("pending")) => Meaning::Pending(delay(&response.headers)),
        Ok(Some("done")) if !status.is_success() => {
            malformed(&Defect::Status(status.as_u16()), contract)
        }
        Ok(Some(name)) => match &response.body {
            Some(body) => {
                let read = outcome::read(name, body);
                read.map_or_else(|defect| malformed(&defect, contract), Meaning::Outcome)
            }
            None => malformed(&too_large(name), contract),
        },
        Ok(None) => unstated(response, contract),
    }
}

/// Returns the trace of a response, for the reply.
pub(crate) fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    TraceContext::of(text("traceparent")?, text("tracestate"))
}

/// A response without the header. Only a listed status is a refusal: any proxy may send a 404.
fn unstated(response: &Response, contract: &ParticipantContract) -> Meaning {
    let status = response.status;
    if let Some(code) = contract.refusals.get(&status.as_u16()) {
        return Meaning::Outcome(Outcome::Refused(Refusal::new(code.as_str(), message(response))));
    }
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return match delay(&response.headers) {
            Some(delay) if contract.repeat != Repeat::Never => Meaning::Pending(Some(delay)),
            _ => Meaning::Outcome(Outcome::Fault(format!("the participant answered {status}"))),
        };
    }
    Meaning::Unknown(format!(
        "the participant answered {status} without the header Sagamore-Outcome: send it with every \
         response, or list the status under refusals in the definition"
    ))
}

/// A malformed outcome is a fault, which is resent. A command that must not be sent twice is
/// unknown, because the call may have had its effect.
fn malformed(defect: &Defect, contract: &ParticipantContract) -> Meaning {
    match contract.repeat {
        Repeat::Barrier | Repeat::ByKey => Meaning::Outcome(Outcome::Fault(defect.to_string())),
        Repeat::Never => Meaning::Unknown(defect.to_string()),
    }
}

fn too_large(name: &str) -> Defect {
    let why = format!("it exceeds {RESPONSE_BYTES_MAX} bytes");
    match name {
        "refused" => Defect::Refusal(why),
        _ => Defect::Output(why),
    }
}

/// Returns the stated outcome; `None` if there is none.
fn stated(headers: &HeaderMap) -> Result<Option<&str>, Defect> {
    let mut values = headers.get_all(OUTCOME).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Defect::Header),
        (Some(_), Some(_)) => Err(Defect::Header),
    }
}

/// Returns the delay in seconds. A date is ignored, because clocks may differ.
fn delay(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(DELAY_MAX))
}

/// Returns the `message` of a JSON object, else the status.
fn message(response: &Response) -> String {
    let body = response.body.as_ref();
    let json = body.and_then(|body| serde_json::from_slice::<serde_json::Value>(body).ok());
    let text = json.as_ref().and_then(|json| json["message"].as_str());
    text.map_or_else(|| format!("HTTP status {}", response.status), |text| cut(text).to_owned())
}

#[cfg(test)]
mod tests {
    use sagamore_core::Body;

    use super::*;

    fn response(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Response {
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

    #[track_caller]
    fn check(status: u16, headers: &[(&'static str, &'static str)], body: &str, expected: Meaning) {
        let response = response(status, headers, body);
        assert_eq!(read(&response, &contract(Repeat::ByKey)), expected);
    }

    /// Expects a fault that contains `part`, and an unknown outcome for a command that is never
    /// repeated.
    #[track_caller]
    fn check_malformed(
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: &str,
        part: &str,
    ) {
        let response = response(status, headers, body);
        match read(&response, &contract(Repeat::Barrier)) {
            Meaning::Outcome(Outcome::Fault(why)) => assert!(why.contains(part), "{why}"),
            other => panic!("{other:?}"),
        }
        match read(&response, &contract(Repeat::Never)) {
            Meaning::Unknown(why) => assert!(why.contains(part), "{why}"),
            other => panic!("{other:?}"),
        }
    }

    fn done(body: &str) -> Meaning {
        Meaning::Outcome(Outcome::Done(Body::parse(body).expect("JSON")))
    }

    fn refused(code: &str, message: &str) -> Meaning {
        Meaning::Outcome(Outcome::Refused(Refusal::new(code, message)))
    }

    fn fault(text: &str) -> Meaning {
        Meaning::Outcome(Outcome::Fault(text.into()))
    }

    #[test]
    fn a_stated_outcome_decides() {
        let of = |name| [("sagamore-outcome", name)];
        check(200, &of("done"), "{\"a\":1}", done("{\"a\":1}"));
        check(201, &of("done"), " {} ", done(" {} "));
        check(204, &of("done"), "", done("{}"));
        let body = "{\"code\":\"no-money\",\"message\":\"too little\",\"more\":1}";
        check(409, &of("refused"), body, refused("no-money", "too little"));
        check(200, &of("refused"), "{\"code\":\"no\"}", refused("no", "no"));
        check(402, &of("fault"), "database down", fault("database down"));
        check(500, &of("fault"), "", fault("the participant gave no reason"));
        check(202, &of("pending"), "", Meaning::Pending(None));
    }

    #[test]
    fn a_delay_is_read_from_retry_after() {
        let check = |after: &'static str, expected: Option<u64>| {
            let headers = [("sagamore-outcome", "pending"), ("retry-after", after)];
            let expected = Meaning::Pending(expected.map(Duration::from_secs));
            check(202, &headers, "", expected);
        };
        check("30", Some(30));
        check("999999999", Some(86_400));
        check("-1", None);
        check("Wed, 21 Oct 2026 07:28:00 GMT", None);
    }

    #[test]
    fn a_malformed_outcome_names_what_to_fix() {
        let done = [("sagamore-outcome", "done")];
        check_malformed(200, &done, "ok", "body of done is not a JSON object");
        check_malformed(200, &done, "[1]", "another JSON value");
        check_malformed(200, &done, "null", "another JSON value");
        check_malformed(500, &done, "{}", "HTTP status 500");
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(600_000));
        check_malformed(200, &done, &large, "at most 524288");
        let refused = [("sagamore-outcome", "refused")];
        check_malformed(409, &refused, "no", "body of refused");
        check_malformed(409, &refused, "{\"message\":\"no\"}", "missing field `code`");
        check_malformed(409, &refused, "{\"code\":\"\"}", "0 bytes");
        check_malformed(200, &[("sagamore-outcome", "Done")], "{}", "'Done' is not an outcome");
        check_malformed(200, &[("sagamore-outcome", "")], "{}", "'' is not an outcome");
        let twice = [("sagamore-outcome", "done"), ("sagamore-outcome", "done")];
        check_malformed(200, &twice, "{}", "send this header once");
    }

    #[test]
    fn a_bare_status_is_a_refusal_only_where_it_is_listed() {
        check(402, &[], "", refused("not-enough-money", "HTTP status 402 Payment Required"));
        check(402, &[], "{\"message\":\"too little\"}", refused("not-enough-money", "too little"));
        for status in [200, 201, 204, 301, 302, 307, 400, 404, 409, 422, 500, 502, 504] {
            let meaning = read(&response(status, &[], "{}"), &contract(Repeat::ByKey));
            assert!(matches!(meaning, Meaning::Unknown(_)), "{status}: {meaning:?}");
        }
    }

    #[test]
    fn an_overloaded_participant_had_no_effect() {
        check(503, &[], "", fault("the participant answered 503 Service Unavailable"));
        check(429, &[], "", fault("the participant answered 429 Too Many Requests"));
        let after = [("retry-after", "2")];
        check(503, &after, "", Meaning::Pending(Some(Duration::from_secs(2))));
        let meaning = read(&response(503, &after, ""), &contract(Repeat::Never));
        assert!(matches!(meaning, Meaning::Outcome(Outcome::Fault(_))), "{meaning:?}");
    }

    #[test]
    fn a_body_beyond_the_limit_is_malformed() {
        let of = |name| {
            let response =
                Response { body: None, ..response(200, &[("sagamore-outcome", name)], "") };
            read(&response, &contract(Repeat::Barrier))
        };
        let why = "the body of done is not a JSON object: it exceeds 1048576 bytes";
        assert_eq!(of("done"), fault(why));
        assert_eq!(of("pending"), Meaning::Pending(None));
    }
}
