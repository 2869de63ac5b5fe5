//! What the HTTP API answers when it cannot do what was asked: RFC 9457 problem details with stable codes.

mod catalogue;
mod pages;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sagamore_core::SagaId;
use sagamore_core::saga::Ignored;
use sagamore_engine::{StartError, VerbError};
use serde::{Deserialize, Serialize};

use crate::view::Style;

pub use catalogue::{CATALOGUE, Code, Entry};
pub use pages::{all, html, markdown};

/// Where the pages of the catalogue are served: a problem's `type` is this, with its code as the fragment.
pub const PAGE: &str = "/docs/errors";

/// One problem on its way to a client.
#[derive(Debug)]
pub struct Problem {
    entry: &'static Entry,
    detail: String,
    retry_after_s: Option<u32>,
    place: Option<Place>,
    pointer: Option<String>,
    saga: Option<SagaId>,
    style: Option<Style>,
}

/// Where in a body something is wrong, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    /// The place of this byte of a text.
    pub fn of(text: &[u8], offset: usize) -> Place {
        let before = &text[..offset.min(text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Place { line, column: before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1 }
    }
}

/// A problem as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    /// The page that explains it, relative to the server.
    #[serde(rename = "type")]
    pub page: String,
    /// What sort of problem it is.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time.
    pub detail: String,
    /// `SAGA-nnnn`.
    pub code: String,
    /// Where in the body, if that is where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Place>,
    /// Which field of the body, as a JSON pointer (RFC 6901).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The id of the saga that does not exist, in full, where the request may have named only its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saga: Option<SagaId>,
    /// The style of the server that knows no such saga: one for choreographies reserves no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub style: Option<Style>,
}

/// An error that knows whether trying again, later, may succeed.
pub trait Passing: std::fmt::Display {
    /// Whether it may.
    fn is_transient(&self) -> bool;
}

impl Problem {
    /// A problem of this sort, with what is wrong this time.
    pub fn new(code: impl Into<&'static Entry>, detail: impl Into<String>) -> Problem {
        Problem {
            entry: code.into(),
            detail: detail.into(),
            retry_after_s: None,
            place: None,
            pointer: None,
            saga: None,
            style: None,
        }
    }

    /// There is no saga of this id.
    pub fn no_such_saga(id: &SagaId) -> Problem {
        Problem {
            saga: Some(id.clone()),
            ..Problem::new(Code::NoSuchSaga, format!("there is no saga {id}"))
        }
    }

    /// No event of a chain was ever seen.
    pub fn no_such_chain(id: &SagaId) -> Problem {
        let problem =
            Problem::new(Code::NoSuchSaga, format!("no event of the chain {id} was ever seen"));
        Problem { saga: Some(id.clone()), style: Some(Style::Choreography), ..problem }
    }

    /// What the client should do is try again, this much later.
    pub fn retry_after(mut self, seconds: u32) -> Problem {
        self.retry_after_s = Some(seconds);
        self
    }

    /// With the place in the body.
    pub fn at(mut self, place: Place) -> Problem {
        self.place = Some(place);
        self
    }

    /// A body that is no JSON, and from where on.
    pub fn no_json(why: &str, place: Option<Place>) -> Problem {
        Problem {
            place,
            ..Problem::new(Code::BodyIsNoJson, format!("the body is not JSON: {why}"))
        }
    }

    /// A field of a body (by its JSON pointer, empty for the body itself) that does not fit.
    pub fn misfit(pointer: &str, why: &str, place: Place) -> Problem {
        let what = if pointer.is_empty() { "the body" } else { pointer };
        let problem = Problem::new(Code::BodyDoesNotFit, format!("{what} {why}"));
        Problem { place: Some(place), pointer: Some(pointer.to_owned()), ..problem }
    }

    /// What broke: the client is told to try again when that may help, otherwise it is a fault of ours.
    pub fn broke(error: &dyn Passing, doing: &str) -> Problem {
        if error.is_transient() {
            return Problem::new(Code::Unavailable, format!("{doing}: {error}")).retry_after(1);
        }
        Problem::internal(error, doing)
    }

    /// A fault of ours: the client learns that there is one, the log what it is.
    pub fn internal(error: &dyn std::fmt::Display, doing: &str) -> Problem {
        tracing::error!("{doing}: {error}");
        Problem::new(Code::Internal, format!("{doing} failed; the server's log says why"))
    }

    /// As it is told.
    pub fn told(&self) -> Told {
        let entry = self.entry;
        Told {
            page: format!("{PAGE}#{}", entry.number.to_lowercase()),
            title: entry.title.to_owned(),
            status: entry.status,
            detail: self.detail.clone(),
            code: entry.number.to_owned(),
            at: self.place,
            pointer: self.pointer.clone(),
            saga: self.saga.clone(),
            style: self.style,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let told = self.told();
        let status = StatusCode::from_u16(told.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&told).unwrap_or_default();
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
            StartError::Malformed(_) => Problem::new(Code::BadName, detail),
            StartError::BadInput(_) => Problem::new(Code::InputDoesNotFit, detail),
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

impl From<VerbError> for Problem {
    fn from(error: VerbError) -> Problem {
        let detail = error.to_string();
        match error {
            VerbError::NotFound(id) => Problem::no_such_saga(&id),
            VerbError::Ignored(ignored) => Problem::new(code_of(ignored), detail),
            VerbError::Busy { retry_after_s } => {
                Problem::new(Code::Busy, detail).retry_after(retry_after_s)
            }
            VerbError::Unavailable(_) => Problem::new(Code::Unavailable, detail).retry_after(1),
        }
    }
}

impl Passing for sagamore_database::Error {
    fn is_transient(&self) -> bool {
        sagamore_database::Error::is_transient(self)
    }
}

impl Passing for sagamore_engine::Error {
    fn is_transient(&self) -> bool {
        sagamore_engine::Error::is_transient(self)
    }
}

impl Passing for sagamore_sdk::Error {
    fn is_transient(&self) -> bool {
        sagamore_sdk::Error::is_transient(self)
    }
}

impl Passing for sagamore_sdk::Fault {
    fn is_transient(&self) -> bool {
        sagamore_sdk::Fault::is_transient(self)
    }
}

fn code_of(ignored: Ignored) -> Code {
    match ignored {
        Ignored::Ended => Code::SagaEnded,
        Ignored::TooLate => Code::TooLate,
        Ignored::NoSuchStep => Code::NoSuchStep,
        Ignored::Stale
        | Ignored::AlreadyGoingBack
        | Ignored::NotStuck
        | Ignored::NothingDue
        | Ignored::AlreadyStarted => Code::VerbDoesNotApply,
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
    fn a_busy_engine_tells_when_to_try_again() {
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
    fn a_database_that_is_away_is_unavailable_and_no_fault_of_ours() {
        use sagamore_database::Error as Database;
        let check = |error: &dyn Passing, wanted: (u16, Option<&str>)| {
            let response = Problem::broke(error, "read the saga").into_response();
            let retry_after =
                response.headers().get("retry-after").map(|value| value.to_str().unwrap());
            assert_eq!((response.status().as_u16(), retry_after), wanted, "{error}");
        };
        let away = || Database::Unavailable("connection refused".into());
        check(&sagamore_engine::Error::from(away()), (503, Some("1")));
        check(&sagamore_sdk::Fault::from(away()), (503, Some("1")));
        check(&sagamore_engine::Error::from(Database::Over), (500, None));
    }

    #[test]
    fn a_place_is_counted_from_1() {
        let of = |offset| Place::of(b"ab\nc", offset);
        assert_eq!((of(0), of(1)), (Place { line: 1, column: 1 }, Place { line: 1, column: 2 }));
        assert_eq!((of(3), of(9)), (Place { line: 2, column: 1 }, Place { line: 2, column: 2 }));
    }
}
