//! Bodies and path segments as they come in: bounded, and every mistake in them a problem.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;

use super::shape::Shape;
use crate::problem::{Code, Place, Problem};

/// The largest body of a request.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A request's body, whole.
pub struct Payload(pub Bytes);

/// The one parameter in a route's path, decoded.
pub struct Segment(pub String);

impl Payload {
    /// Reads it as JSON of this shape, of which `T` is the type.
    pub fn json<'a, T: Deserialize<'a>>(&'a self, shape: &Shape) -> Result<T, Problem> {
        shape.check(&self.0)?;
        serde_json::from_slice(&self.0).map_err(|error| {
            let place = Place { line: error.line(), column: error.column() };
            Problem::misfit("", "holds a value here that its field does not take", place)
        })
    }
}

impl<S: Send + Sync> FromRequest<S> for Payload {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Payload, Problem> {
        match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
            Ok(collected) => Ok(Payload(collected.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(Problem::new(
                Code::BodyTooLarge,
                format!("the body has more than the {BODY_BYTES_MAX} bytes that are taken"),
            )),
            Err(_) => Err(Problem::new(
                Code::BodyBrokeOff,
                "the connection or its framing broke before the end of the body",
            )),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Segment, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Segment(segment)),
            Err(_) => Err(bad_path()),
        }
    }
}

/// The problem for a path with a parameter that is not UTF-8.
pub fn bad_path() -> Problem {
    Problem::new(Code::BadParameter, "a part of the path is not text in UTF-8")
}

/// The problem for a query that passed the checks of its address and that the handler cannot read.
pub fn bad_query() -> Problem {
    Problem::new(
        Code::BadParameter,
        "the query holds a parameter, or a value of one, that this address does not take",
    )
}

/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 1_000;

/// A person's reason for what is done, which is kept.
pub fn reason(text: &str) -> Result<(), Problem> {
    let bad = |why: &str| Err(Problem::new(Code::BodyDoesNotFit, format!("reason: {why}")));
    if text.trim().is_empty() {
        return bad("say who decides this, and why; it is kept");
    }
    if text.len() > REASON_BYTES_MAX {
        return bad(&format!("{} bytes; at most {REASON_BYTES_MAX} are taken", text.len()));
    }
    if text.chars().any(|letter| letter.is_control() && letter != '\n' && letter != '\t') {
        return bad("it has control characters in it");
    }
    Ok(())
}

/// Percent-encodes what may not stand in a path segment as it is.
pub fn encoded(segment: &str) -> String {
    let mut text = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@!$&'()*+,;=".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_slash_stays_one_segment() {
        assert_eq!(encoded("checkout:10248"), "checkout:10248");
        assert_eq!(encoded("checkout:a/b c%"), "checkout:a%2Fb%20c%25");
        assert_eq!(encoded("ü"), "%C3%BC");
    }
}
