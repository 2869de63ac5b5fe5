//! Request bodies and path segments. Sizes are bounded, and every mistake becomes a problem.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;

use super::shape::Shape;
use crate::problem::{Code, Position, Problem};

/// Maximum bytes of a request body.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A complete request body.
pub struct Payload(pub Bytes);

/// The single, decoded path parameter of a route.
pub struct Segment(pub String);

impl Payload {
    /// Checks the body against `shape` and parses it as `T`, which the shape must describe.
    pub fn json<'a, T: Deserialize<'a>>(&'a self, shape: &Shape) -> Result<T, Problem> {
        shape.check(&self.0)?;
        serde_json::from_slice(&self.0).map_err(|error| {
            let place = Position { line: error.line(), column: error.column() };
            Problem::misfit("", "has a value here that its field does not accept", place)
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
                format!("the body has more than {BODY_BYTES_MAX} bytes"),
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

/// The problem for a path parameter that is not UTF-8.
pub fn bad_path() -> Problem {
    Problem::new(Code::BadParameter, "a part of the path is not valid UTF-8")
}

/// The problem for a query that the door accepts and the handler cannot parse.
pub fn bad_query() -> Problem {
    Problem::new(
        Code::BadParameter,
        "the query has a parameter or a value that this address does not accept",
    )
}

/// Maximum bytes of a reason.
const REASON_BYTES_MAX: usize = 1_000;

/// Checks an operator's reason, which the server stores.
pub fn reason(text: &str) -> Result<(), Problem> {
    let bad = |why: &str| Err(Problem::new(Code::BodyDoesNotFit, format!("reason: {why}")));
    if text.trim().is_empty() {
        return bad("state who decides this and why; it is stored");
    }
    if text.len() > REASON_BYTES_MAX {
        return bad(&format!("{} bytes exceed the maximum of {REASON_BYTES_MAX}", text.len()));
    }
    if text.chars().any(|letter| letter.is_control() && letter != '\n' && letter != '\t') {
        return bad("control characters are not allowed");
    }
    Ok(())
}

/// Percent-encodes characters that a path segment cannot contain.
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
