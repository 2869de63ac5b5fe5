//! The W3C trace context of a request.

use axum::http::{HeaderMap, HeaderName};
use sagamore_core::TraceContext;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Parses the trace of a request. A malformed or repeated header yields `None`, because no request
/// should fail for it.
pub fn of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
    let states: Option<Vec<&str>> =
        headers.get_all(TRACESTATE).iter().map(|state| state.to_str().ok()).collect();
    let state = states.filter(|states| !states.is_empty()).map(|states| states.join(","));
    TraceContext::of(parent.to_str().ok()?, state.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_trace_of_a_request_follows_the_w3c_rules() {
        let check = |given: &[(HeaderName, &str)], expected: Option<(&str, Option<&str>)>| {
            let given =
                given.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value")));
            let trace = of(&given.collect());
            assert_eq!(
                trace.as_ref().map(|trace| (trace.traceparent(), trace.tracestate())),
                expected
            );
        };
        check(&[], None);
        check(&[(TRACEPARENT, PARENT)], Some((PARENT, None)));
        check(
            &[(TRACEPARENT, PARENT), (TRACESTATE, "a=1"), (TRACESTATE, "b=2")],
            Some((PARENT, Some("a=1,b=2"))),
        );
        check(&[(TRACEPARENT, PARENT), (TRACEPARENT, PARENT)], None);
        check(&[(TRACEPARENT, "00-1-2-01"), (TRACESTATE, "a=1")], None);
        check(&[(TRACESTATE, "a=1")], None);
    }
}
