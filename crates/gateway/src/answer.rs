//! The mapping from a response to the outcome of a command. Pure: the one table of all cases.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode};
use sagamore_core::definition::{ParticipantContract, Repeat};
use sagamore_core::message::{PENDING_MAX, ReplyOutcome};
use sagamore_core::{Direction, Outcome, Refusal, TraceContext};

use crate::outcome::{self, Defect};
use crate::text::clean;

/// The header with the outcome.
pub(crate) const OUTCOME: HeaderName = HeaderName::from_static("sagamore-outcome");
/// Maximum bytes of a response body.
pub(crate) const RESPONSE_BYTES_MAX: usize = 1 << 20;
/// The delay of a pending command whose response states none.
const PENDING: Duration = Duration::from_secs(30);

/// A complete response.
#[derive(Debug)]
pub(crate) struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The body; `None` if it exceeds [`RESPONSE_BYTES_MAX`].
    pub body: Option<Bytes>,
}

/// The direction and the contract of the command that a response answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    pub direction: Direction,
    pub contract: &'a ParticipantContract,
}

/// Returns the outcome that a response states.
pub(crate) fn read(response: &Response, terms: Terms<'_>) -> ReplyOutcome {
    let (status, headers) = (response.status, &response.headers);
    let body = || response.body.as_deref().unwrap_or_default();
    match stated(headers) {
        Err(defect) => terms.malformed(&defect),
        Ok(Some("pending")) => ReplyOutcome::Pending(delay(headers).unwrap_or(PENDING)),
        Ok(Some("unknown")) => ReplyOutcome::Unknown(outcome::reason(body())),
        Ok(Some("absent")) if terms.direction == Direction::Query => ReplyOutcome::Absent,
        Ok(Some("fault")) => terms.faulted(outcome::reason(body()), headers),
        Ok(Some("done")) if !status.is_success() => {
            terms.malformed(&Defect::Status(status.as_u16()))
        }
        Ok(Some(name)) => match &response.body {
            Some(body) => match outcome::read(name, body) {
                Ok(outcome) => outcome.into(),
                Err(defect) => terms.malformed(&defect),
            },
            None => terms.malformed(&too_large(name)),
        },
        Ok(None) => terms.unstated(response),
    }
}

/// Returns the trace of a response, for the reply.
pub(crate) fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    TraceContext::of(text("traceparent")?, text("tracestate"))
}

impl Terms<'_> {
    /// Returns whether the command may be sent again without harm.
    fn may_repeat(self) -> bool {
        self.direction == Direction::Query || self.contract.repeat != Repeat::Never
    }

    /// Returns the outcome of a command that had no effect: pending for the time of `Retry-After`.
    /// Without that header, or if the command must not be repeated, a fault.
    fn faulted(self, reason: String, headers: &HeaderMap) -> ReplyOutcome {
        match delay(headers).filter(|_| self.may_repeat()) {
            Some(delay) => ReplyOutcome::Pending(delay),
            None => Outcome::Fault(reason).into(),
        }
    }

    /// Maps a response without the outcome header. Only a listed status is a refusal, because any
    /// proxy may send a 404.
    fn unstated(self, response: &Response) -> ReplyOutcome {
        let Response { status, headers, .. } = response;
        if self.direction == Direction::Query {
            let why = "to a query without the header Sagamore-Outcome: send it with every response";
            return self.faulted(format!("the participant answered {status} {why}"), headers);
        }
        if let Some(code) = self.contract.refusals.get(&status.as_u16()) {
            return Outcome::Refused(Refusal::new(code.as_str(), message(response))).into();
        }
        let is_busy =
            matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        match delay(headers).filter(|_| is_busy && self.may_repeat()) {
            Some(delay) => ReplyOutcome::Pending(delay),
            None => ReplyOutcome::Unknown(format!(
                "the participant answered {status} without the header Sagamore-Outcome: send it \
                 with every response, or list the status under refusals in the definition"
            )),
        }
    }

    /// Maps a malformed outcome to a fault, so that the command is resent. If the command must not
    /// be sent twice, the outcome is unknown: the call may have had its effect.
    fn malformed(self, defect: &Defect) -> ReplyOutcome {
        match self.may_repeat() {
            true => Outcome::Fault(defect.to_string()).into(),
            false => ReplyOutcome::Unknown(defect.to_string()),
        }
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
pub(crate) fn stated(headers: &HeaderMap) -> Result<Option<&str>, Defect> {
    let mut values = headers.get_all(OUTCOME).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Defect::Header),
        (Some(_), Some(_)) => Err(Defect::Header),
    }
}

/// Returns the delay in seconds. A date is ignored, because clocks may differ.
pub(crate) fn delay(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(PENDING_MAX))
}

/// Returns the `message` of a JSON object, else the status.
fn message(response: &Response) -> String {
    let body = response.body.as_ref();
    let json = body.and_then(|body| serde_json::from_slice::<serde_json::Value>(body).ok());
    let text = json.as_ref().and_then(|json| json["message"].as_str());
    text.map_or_else(|| format!("HTTP status {}", response.status), clean)
}

#[cfg(test)]
mod tests;
