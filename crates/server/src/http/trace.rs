//! The trace that a request belongs to, by the headers of W3C.

use axum::http::{HeaderMap, HeaderName};
use sagamore_core::TraceContext;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Reads the trace of a request. None without one, and for one that is malformed or given twice: no request fails for it.
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
    fn the_trace_of_a_request_is_read_as_w3c_says() {
        let check = |given: &[(HeaderName, &str)], wanted: Option<(&str, Option<&str>)>| {
            let given =
                given.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value")));
            let trace = of(&given.collect());
            assert_eq!(
                trace.as_ref().map(|trace| (trace.traceparent(), trace.tracestate())),
                wanted
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
