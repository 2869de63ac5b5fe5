//! The request of a command: a CloudEvent 1.0 in binary mode over HTTP, signed.

use std::fmt::Write;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Request};
use sagamore_core::{Name, Timestamp};
use sagamore_transport::Record;

use crate::binding::Binding;
use crate::signature;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const REPLY_TOKEN: HeaderName = HeaderName::from_static("sagamore-reply-token");
const AGENT: &str = concat!("sagamore/", env!("CARGO_PKG_VERSION"));

/// The prefixes of CloudEvents attributes in Kafka's and in HTTP's headers.
const OF_RECORD: &str = "ce_";
const OF_REQUEST: &str = "ce-";

/// Builds the request of a command, sent at `now`, with the token of a later reply. A repeat has
/// the same `Idempotency-Key`.
pub(crate) fn of(
    record: &Record,
    id: &str,
    token: Option<&str>,
    binding: &Binding,
    now: Timestamp,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(record.body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = binding.endpoint.uri().clone();
    let headers = request.headers_mut();
    headers.reserve(record.headers.len() + 7);
    attributes(record, headers);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let id = value(id);
    headers.insert(IDEMPOTENCY_KEY, id.clone());
    if let Some(token) = token.and_then(|token| HeaderValue::from_str(token).ok()) {
        headers.insert(REPLY_TOKEN, token);
    }
    sign(headers, id, &record.body, binding, now);
    request
}

/// Builds the request for a participant's announcement, sent at `now`.
pub(crate) fn of_announcement(
    participant: &Name,
    binding: &Binding,
    now: Timestamp,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = binding.endpoint.uri().clone();
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    sign(headers, value(&format!("{participant}/announcement/{now}")), &[], binding, now);
    request
}

/// Adds the signature of a message, unless the binding has no key.
fn sign(headers: &mut HeaderMap, id: HeaderValue, body: &[u8], binding: &Binding, now: Timestamp) {
    if binding.secrets.is_empty() {
        return;
    }
    let seconds = now.0.div_euclid(1_000);
    let text = id.to_str().expect("encoded values are ASCII");
    let signature = signature::sign(&binding.secrets, text, seconds, body);
    headers.insert(WEBHOOK_TIMESTAMP, seconds.into());
    let signature = HeaderValue::from_str(&signature).expect("base64 is a header value");
    headers.insert(WEBHOOK_SIGNATURE, signature);
    headers.insert(WEBHOOK_ID, id);
}

/// Copies the attributes and the trace. Other headers of the record are not meant for participants.
fn attributes(record: &Record, headers: &mut HeaderMap) {
    for (name, content) in &record.headers {
        let attribute = name.strip_prefix(OF_RECORD);
        let is_trace = matches!(name.as_ref(), "traceparent" | "tracestate");
        let name = match attribute {
            Some(attribute) => format!("{OF_REQUEST}{attribute}"),
            None if is_trace => name.to_string(),
            None => continue,
        };
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        let Ok(text) = std::str::from_utf8(content) else { continue };
        let value = if is_trace { HeaderValue::from_str(text).ok() } else { Some(value(text)) };
        if let Some(value) = value {
            headers.append(name, value);
        }
    }
}

/// Encodes a header value by the HTTP binding of CloudEvents, section 3.1.3.2: space, quote,
/// percent and everything outside printable ASCII are percent-encoded.
pub(crate) fn value(text: &str) -> HeaderValue {
    let is_plain = |byte: u8| matches!(byte, 0x21 | 0x23 | 0x24 | 0x26..=0x7e);
    if text.bytes().all(is_plain) {
        return HeaderValue::from_str(text).expect("printable ASCII is a header value");
    }
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        match is_plain(byte) {
            true => encoded.push(char::from(byte)),
            false => write!(encoded, "%{byte:02X}").expect("a String takes all"),
        }
    }
    HeaderValue::from_str(&encoded).expect("printable ASCII is a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_encoded_as_cloudevents_require() {
        let check = |text: &str, expected: &str| assert_eq!(value(text), expected);
        check("checkout:10248/charge/action/1", "checkout:10248/charge/action/1");
        check("a b\"c%d", "a%20b%22c%25d");
        check("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80");
        check("", "");
    }
}
