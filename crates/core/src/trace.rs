//! The W3C trace context (level 2) of a message. It is validated on arrival and forwarded
//! unchanged.
//!
//! The engine and the services export no spans, so they add no span ids. A parent that no program
//! exports would split the trace.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Maximum bytes of `tracestate` that are forwarded. The rest is dropped from the end, entry by
/// entry, as W3C allows.
const STATE_BYTES_MAX: usize = 512;
/// Maximum entries of a `tracestate`.
const STATE_ENTRIES_MAX: usize = 32;
/// Bytes of a `traceparent` of version 00.
const PARENT_BYTES: usize = 55;
/// Maximum bytes of a `traceparent` of a later version.
const PARENT_BYTES_MAX: usize = 128;

/// A valid `traceparent` with its `tracestate`.
///
/// Its text and stored form is the `traceparent`, followed by a space and the `tracestate` if there
/// is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceContext {
    parent: String,
    state: Option<String>,
}

/// The text is not a trace context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C trace context")]
pub struct NoTraceContext;

impl TraceContext {
    /// Parses the two headers. Returns `None` for a malformed `traceparent`, which receivers ignore
    /// together with its `tracestate` (W3C). A malformed `tracestate` alone is dropped.
    pub fn of(traceparent: &str, tracestate: Option<&str>) -> Option<TraceContext> {
        is_parent(traceparent).then(|| TraceContext {
            parent: traceparent.to_owned(),
            state: tracestate.and_then(checked_state),
        })
    }

    /// Returns the header `traceparent`, such as
    /// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
    pub fn traceparent(&self) -> &str {
        &self.parent
    }

    /// Returns the header `tracestate`.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Returns the trace's id, 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.parent[3..35]
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            Some(state) => write!(f, "{} {state}", self.parent),
            None => f.write_str(&self.parent),
        }
    }
}

impl FromStr for TraceContext {
    type Err = NoTraceContext;

    fn from_str(text: &str) -> Result<TraceContext, NoTraceContext> {
        let (parent, state) =
            text.split_once(' ').map_or((text, None), |(parent, state)| (parent, Some(state)));
        TraceContext::of(parent, state).ok_or(NoTraceContext)
    }
}

impl TryFrom<String> for TraceContext {
    type Error = NoTraceContext;

    fn try_from(text: String) -> Result<TraceContext, NoTraceContext> {
        text.parse()
    }
}

impl From<TraceContext> for String {
    fn from(trace: TraceContext) -> String {
        trace.to_string()
    }
}

/// Checks `version-traceid-parentid-flags`. A version after 00 may be longer, after another dash.
fn is_parent(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    if bytes.len() < PARENT_BYTES || bytes.len() > PARENT_BYTES_MAX || !text.is_ascii() {
        return false;
    }
    let (version, trace, parent, flags) =
        (&bytes[..2], &bytes[3..35], &bytes[36..52], &bytes[53..55]);
    let dashes = [2, 35, 52].into_iter().all(|at| bytes[at] == b'-');
    let is_whole = match version {
        b"00" => bytes.len() == PARENT_BYTES,
        _ => bytes.len() == PARENT_BYTES || bytes[PARENT_BYTES] == b'-',
    };
    let is_visible = bytes[PARENT_BYTES..].iter().all(u8::is_ascii_graphic);
    let hex = [version, trace, parent, flags].into_iter().all(is_hex);
    dashes
        && hex
        && is_whole
        && is_visible
        && version != b"ff"
        && !is_zero(trace)
        && !is_zero(parent)
}

/// Returns the entries to forward; `None` if one of them is malformed.
fn checked_state(text: &str) -> Option<String> {
    let entries: Vec<&str> = text
        .split(',')
        .map(|entry| entry.trim_matches([' ', '\t']))
        .filter(|entry| !entry.is_empty())
        .collect();
    if entries.len() > STATE_ENTRIES_MAX || !entries.iter().all(|entry| is_entry(entry)) {
        return None;
    }
    let mut kept = String::new();
    for entry in entries {
        if kept.len() + 1 + entry.len() > STATE_BYTES_MAX {
            break;
        }
        if !kept.is_empty() {
            kept.push(',');
        }
        kept.push_str(entry);
    }
    Some(kept).filter(|kept| !kept.is_empty())
}

fn is_entry(entry: &str) -> bool {
    let Some((key, value)) = entry.split_once('=') else { return false };
    let of_key =
        |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let of_value = |byte: u8| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=';
    let begins =
        key.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    begins
        && key.len() <= 256
        && key.bytes().all(of_key)
        && !value.is_empty()
        && value.bytes().all(of_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_malformed_traceparent_is_ignored() {
        let check = |text: &str, is_valid: bool| {
            assert_eq!(TraceContext::of(text, None).is_some(), is_valid, "{text}")
        };
        check(PARENT, true);
        check(&PARENT.replace("00-4b", "01-4b"), true);
        check(&format!("{}-more", PARENT.replace("00-4b", "cc-4b")), true);
        check(&format!("{PARENT}-more"), false);
        check(&format!("{}more", PARENT.replace("00-4b", "cc-4b")), false);
        check(&PARENT.replace("00-4b", "ff-4b"), false);
        check(&PARENT.to_uppercase(), false);
        check(&PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), false);
        check(&PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)), false);
        check(&PARENT[..54], false);
        check(&format!(" {PARENT}"), false);
        check("", false);
        check("00-1-2-01", false);
        check(&"é".repeat(30), false);
    }

    #[test]
    fn a_malformed_tracestate_is_dropped_alone() {
        let check = |state: &str, wanted: Option<&str>| {
            let trace = TraceContext::of(PARENT, Some(state)).expect("the parent is valid");
            assert_eq!((trace.traceparent(), trace.tracestate()), (PARENT, wanted), "{state}");
        };
        check(
            "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
            Some("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"),
        );
        check(" congo=1 , ,rojo=2", Some("congo=1,rojo=2"));
        check("fw529a3039@dt=FfAAAA", Some("fw529a3039@dt=FfAAAA"));
        check("", None);
        check("Congo=1", None);
        check("congo", None);
        check("congo=a\nb", None);
        check("congo=ä", None);
        check(&vec!["a=1"; 33].join(","), None);
        let long = format!("a={}", "x".repeat(400));
        check(&format!("{long},b={}", "y".repeat(200)), Some(&long));
    }

    #[test]
    fn a_trace_context_survives_a_round_trip_through_its_text() {
        for state in [None, Some("congo=a b,rojo=2")] {
            let trace = TraceContext::of(PARENT, state).expect("valid");
            assert_eq!(trace.to_string().parse(), Ok(trace.clone()));
            let stored = serde_json::to_string(&trace).expect("a text");
            assert_eq!(serde_json::from_str::<TraceContext>(&stored).expect("stored"), trace);
            assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        }
    }
}
