//! Error responses of the HTTP API: RFC 9457 problem details with stable codes.

mod catalogue;
mod pages;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sagamore_core::SagaId;
use sagamore_core::definition::{Misfit, Misfits};
use sagamore_core::saga::IgnoreReason;
use sagamore_engine::{RegistrationError, StartError, VerbError};
use sagamore_inspect::Violation;
use serde::{Deserialize, Serialize};

use crate::view::Style;

pub use catalogue::{CATALOGUE, Code, Entry};
pub use pages::{all, html, markdown};

/// The path of the problem pages. A problem's `type` is this path with the code as the fragment.
pub const PAGE: &str = "/docs/errors";

/// A problem that becomes an error response.
#[derive(Debug)]
pub struct Problem {
    entry: &'static Entry,
    detail: String,
    retry_after_s: Option<u32>,
    place: Option<Position>,
    pointer: Option<Box<str>>,
    saga: Option<SagaId>,
    style: Option<Style>,
    errors: Box<[PointedError]>,
}

/// A position in a body, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in bytes, from 1.
    pub column: usize,
}

impl Position {
    /// Returns the position of the byte at `offset`.
    pub fn of(text: &[u8], offset: usize) -> Position {
        let before = &text[..offset.min(text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Position {
            line,
            column: before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1,
        }
    }
}

/// The JSON of a problem.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProblemDocument {
    /// The page about this kind of problem, relative to the server.
    #[serde(rename = "type")]
    pub page: String,
    /// The kind of problem.
    pub title: String,
    /// The HTTP status, as in the response's status line.
    pub status: u16,
    /// The details of this occurrence.
    pub detail: String,
    /// The stable code, `SAGA-nnnn`.
    pub code: String,
    /// The position in the body, if the problem is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Position>,
    /// The field of the body as a JSON pointer (RFC 6901).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The full id of the missing saga. The request may have named only its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saga: Option<SagaId>,
    /// The style of the server that lacks the saga. One for choreographies reserves no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub style: Option<Style>,
    /// The parts of the body that are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<PointedError>,
}

/// A part of the body that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointedError {
    /// The part as a JSON pointer (RFC 6901). Empty for the whole body.
    pub pointer: String,
    /// The line in a definition file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The column in a definition file, in characters from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// The violated rule.
    pub detail: String,
    /// The shortest run that leads to the problem, if the problem depends on the order of events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<String>,
}

impl From<Violation> for PointedError {
    fn from(violation: Violation) -> PointedError {
        let Violation { pointer, line, column, detail, run } = violation;
        PointedError { pointer, line: Some(line), column: Some(column), detail, run }
    }
}

/// Errors that report whether a retry may succeed.
pub trait Transience: std::fmt::Display {
    /// Whether a retry may succeed.
    fn is_transient(&self) -> bool;
}

impl Problem {
    /// Creates a problem of this kind, with the details of this occurrence.
    pub fn new(code: impl Into<&'static Entry>, detail: impl Into<String>) -> Problem {
        Problem {
            entry: code.into(),
            detail: detail.into(),
            retry_after_s: None,
            place: None,
            pointer: None,
            saga: None,
            style: None,
            errors: Box::default(),
        }
    }

    /// The problem of an unknown saga.
    pub fn no_such_saga(id: &SagaId) -> Problem {
        Problem {
            saga: Some(id.clone()),
            ..Problem::new(Code::NoSuchSaga, format!("there is no saga {id}"))
        }
    }

    /// The problem of a chain without events.
    pub fn no_such_chain(id: &SagaId) -> Problem {
        let problem =
            Problem::new(Code::NoSuchSaga, format!("no event of the chain {id} was ever seen"));
        Problem { saga: Some(id.clone()), style: Some(Style::Choreography), ..problem }
    }

    /// Adds `Retry-After`, in seconds.
    pub fn retry_after(mut self, seconds: u32) -> Problem {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Adds the position in the body.
    pub fn at(mut self, place: Position) -> Problem {
        self.place = Some(place);
        self
    }

    /// The problem of a body that is not JSON, with the position of the error.
    pub fn invalid_json(why: &str, place: Option<Position>) -> Problem {
        Problem { place, ..Problem::new(Code::BodyIsNoJson, why) }
    }

    /// The problem of a body with an unexpected shape. `pointer` is the field's JSON pointer, empty
    /// for the whole body.
    pub fn misfit(pointer: &str, why: &str, place: Position) -> Problem {
        let what = if pointer.is_empty() { "the body" } else { pointer };
        let problem = Problem::new(Code::BodyDoesNotFit, format!("{what} {why}"));
        Problem { place: Some(place), pointer: Some(pointer.into()), ..problem }
    }

    /// The problem of a definition that violates rules, with the place of each violation.
    pub fn invalid_definition(errors: Vec<Violation>) -> Problem {
        let detail = match errors.as_slice() {
            [] => "the definition is invalid".to_owned(),
            [only] => only.to_string(),
            [first, rest @ ..] => format!("{first} (and {} more, see errors)", rest.len()),
        };
        let errors = errors.into_iter().map(PointedError::from).collect();
        Problem { errors, ..Problem::new(Code::InvalidDefinition, detail) }
    }

    /// The problem of schemas that do not fit those of another version, with their places.
    pub fn incompatible_schemas(detail: String, errors: Vec<Violation>) -> Problem {
        let errors = errors.into_iter().map(PointedError::from).collect();
        Problem { errors, ..Problem::new(Code::IncompatibleSchemas, detail) }
    }

    /// The problem of data that does not fit, in the field of the body at `pointer`.
    fn of_misfits(code: Code, detail: String, pointer: &str, Misfits(misfits): Misfits) -> Problem {
        let pointed = |misfit: Misfit| PointedError {
            pointer: format!("{pointer}{}", misfit.pointer),
            line: None,
            column: None,
            detail: misfit.detail,
            run: Vec::new(),
        };
        let errors = misfits.into_iter().map(pointed).collect();
        Problem { errors, ..Problem::new(code, detail) }
    }

    /// The problem of a failed operation. A transient error permits a retry; any other is internal.
    pub fn broke(error: &dyn Transience, doing: &str) -> Problem {
        if error.is_transient() {
            return Problem::new(Code::Unavailable, format!("{doing}: {error}")).retry_after(1);
        }
        Problem::internal(error, doing)
    }

    /// The problem of an internal error, which is logged and not shown to the client.
    pub fn internal(error: &dyn std::fmt::Display, doing: &str) -> Problem {
        tracing::error!("{doing}: {error}");
        Problem::new(Code::Internal, format!("cannot {doing}: see the server's log"))
    }

    /// Returns the JSON representation.
    pub fn document(&self) -> ProblemDocument {
        let entry = self.entry;
        ProblemDocument {
            page: format!("{PAGE}#{}", entry.number.to_lowercase()),
            title: entry.title.to_owned(),
            status: entry.status,
            detail: self.detail.clone(),
            code: entry.number.to_owned(),
            at: self.place,
            pointer: self.pointer.as_deref().map(str::to_owned),
            saga: self.saga.clone(),
            style: self.style,
            errors: self.errors.to_vec(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = self.document();
        let status =
            StatusCode::from_u16(document.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Problem {
        let detail = error.to_string();
        match error {
            StartError::UnknownDefinition { .. } => Problem::new(Code::NoSuchDefinition, detail),
            StartError::UnknownVersion { .. } => Problem::new(Code::NoSuchVersion, detail),
            StartError::RetiredVersion { .. } => Problem::new(Code::VersionRetired, detail),
            StartError::NoActiveVersion { .. } => Problem::new(Code::NoActiveVersion, detail),
            StartError::Malformed(_) => Problem::new(Code::BadName, detail),
            StartError::BadInput { misfits, .. } => {
                Problem::of_misfits(Code::InputDoesNotFit, detail, "/input", misfits)
            }
            StartError::TooLarge { .. } => Problem::new(Code::BodyTooLarge, detail),
            StartError::OtherInput(_) => Problem::new(Code::OtherInput, detail),
            StartError::OtherRequest => Problem::new(Code::OtherRequest, detail),
            StartError::Busy { retry_after_s } => {
                Problem::new(Code::Busy, detail).retry_after(retry_after_s)
            }
            StartError::Unavailable(_) => Problem::new(Code::Unavailable, detail).retry_after(1),
        }
    }
}

impl From<RegistrationError> for Problem {
    fn from(error: RegistrationError) -> Problem {
        let detail = error.to_string();
        match error {
            RegistrationError::Changed { .. } => Problem::new(Code::VersionChanged, detail),
            RegistrationError::Unknown { .. } => Problem::new(Code::NoSuchVersion, detail),
            RegistrationError::Retired { .. } => Problem::new(Code::VersionRetired, detail),
            RegistrationError::TooLarge { .. } => Problem::new(Code::BodyTooLarge, detail),
            RegistrationError::TooMany(_) => Problem::new(Code::TooManyVersions, detail),
            RegistrationError::Incompatible { .. } => {
                Problem::new(Code::IncompatibleSchemas, detail)
            }
            RegistrationError::BadSchema { .. }
            | RegistrationError::Invalid(_)
            | RegistrationError::InvalidPlan(_) => Problem::new(Code::InvalidDefinition, detail),
            RegistrationError::Fault(error) => Problem::broke(&error, "change a version"),
        }
    }
}

impl From<VerbError> for Problem {
    fn from(error: VerbError) -> Problem {
        let detail = error.to_string();
        match error {
            VerbError::NotFound(id) => Problem::no_such_saga(&id),
            VerbError::Ignored(ignored) => Problem::new(code_of(ignored), detail),
            VerbError::BadOutput(misfits) => {
                Problem::of_misfits(Code::OutputDoesNotFit, detail, "/output", misfits)
            }
            VerbError::Busy { retry_after_s } => {
                Problem::new(Code::Busy, detail).retry_after(retry_after_s)
            }
            VerbError::Unavailable(_) => Problem::new(Code::Unavailable, detail).retry_after(1),
        }
    }
}

impl Transience for sagamore_database::Error {
    fn is_transient(&self) -> bool {
        sagamore_database::Error::is_transient(self)
    }
}

impl Transience for sagamore_engine::Error {
    fn is_transient(&self) -> bool {
        sagamore_engine::Error::is_transient(self)
    }
}

impl Transience for sagamore_sdk::Error {
    fn is_transient(&self) -> bool {
        sagamore_sdk::Error::is_transient(self)
    }
}

impl Transience for sagamore_sdk::Fault {
    fn is_transient(&self) -> bool {
        sagamore_sdk::Fault::is_transient(self)
    }
}

fn code_of(ignored: IgnoreReason) -> Code {
    match ignored {
        IgnoreReason::Ended => Code::SagaEnded,
        IgnoreReason::TooLate => Code::TooLate,
        IgnoreReason::NoSuchStep => Code::NoSuchStep,
        IgnoreReason::BadOutput => Code::OutputDoesNotFit,
        IgnoreReason::Stale
        | IgnoreReason::AlreadyGoingBack
        | IgnoreReason::NotStuck
        | IgnoreReason::NothingDue
        | IgnoreReason::AlreadyStarted => Code::VerbDoesNotApply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_lists_every_code_once_in_the_order_of_the_codes() {
        for (place, entry) in CATALOGUE.iter().enumerate() {
            let code = entry.code.expect("a code of the product");
            assert_eq!(code as usize, place, "{} is out of order", entry.number);
            assert_eq!(code.entry().number, entry.number);
        }
        let mut numbers: Vec<_> = CATALOGUE.iter().map(|entry| entry.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), CATALOGUE.len(), "a number is used twice");
    }

    #[test]
    fn a_busy_orchestrator_responds_with_retry_after() {
        let check = |error: StartError, status: u16| {
            let response = Problem::from(error).into_response();
            assert_eq!(
                (response.status().as_u16(), response.headers()["retry-after"].as_bytes()),
                (status, b"1".as_slice())
            );
        };
        check(StartError::Busy { retry_after_s: 1 }, 429);
        check(StartError::Unavailable("the engine is stopping".into()), 503);
    }

    #[test]
    fn an_unreachable_database_is_unavailable_and_no_internal_error() {
        use sagamore_database::Error as Database;
        let check = |error: &dyn Transience, expected: (u16, Option<&str>)| {
            let response = Problem::broke(error, "read the saga").into_response();
            let retry_after =
                response.headers().get("retry-after").map(|value| value.to_str().unwrap());
            assert_eq!((response.status().as_u16(), retry_after), expected, "{error}");
        };
        let unreachable = || Database::Unavailable("connection refused".into());
        check(&sagamore_engine::Error::from(unreachable()), (503, Some("1")));
        check(&sagamore_sdk::Fault::from(unreachable()), (503, Some("1")));
        check(&sagamore_engine::Error::from(Database::Over), (500, None));
    }

    #[test]
    fn positions_are_counted_from_1() {
        let of = |offset| Position::of(b"ab\nc", offset);
        assert_eq!(
            (of(0), of(1)),
            (Position { line: 1, column: 1 }, Position { line: 1, column: 2 })
        );
        assert_eq!(
            (of(3), of(9)),
            (Position { line: 2, column: 1 }, Position { line: 2, column: 2 })
        );
    }
}
