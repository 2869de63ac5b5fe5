//! The responses that clients received: counts by route and status, and violations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::shapes::Operation;
use crate::wire::{Request, Response};

/// Maximum printed violations of one kind.
const SHOWN_MAX: usize = 3;
/// Phrases of deserializers, which no problem may quote.
const QUOTES: [&str; 9] = [
    "invalid type",
    "invalid value",
    "missing field `",
    "unknown field `",
    "EOF while parsing",
    "expected value at",
    "duplicate field `",
    "Failed to deserialize",
    "trailing characters",
];

/// The shared record of all clients.
#[derive(Default)]
pub struct Ledger(Mutex<LedgerState>);

#[derive(Default)]
struct LedgerState {
    /// Counts by route and status.
    counts: BTreeMap<String, BTreeMap<String, u64>>,
    /// Violations by kind.
    offences: BTreeMap<&'static str, Vec<String>>,
    /// The highest revision and the outcome that were returned for each saga.
    sagas: BTreeMap<String, (u64, Option<String>)>,
    /// Sagas and orders that a verb has changed. Saga and order may differ.
    decided: BTreeSet<String>,
}

impl Ledger {
    fn state(&self) -> MutexGuard<'_, LedgerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a violation of this kind.
    pub fn offend(&self, kind: &'static str, what: String) {
        let mut state = self.state();
        let all = state.offences.entry(kind).or_default();
        if all.len() < SHOWN_MAX {
            println!("   OFFENCE {kind}: {what}");
        }
        all.push(what);
    }

    /// Counts a response of this status at this route.
    pub fn count(&self, route: &str, status: &str) {
        *self
            .state()
            .counts
            .entry(route.to_owned())
            .or_default()
            .entry(status.to_owned())
            .or_default() += 1;
    }

    /// Whether a verb has changed this business key.
    pub fn is_decided(&self, key: &str) -> bool {
        self.state().decided.contains(key)
    }

    /// Returns the number of seen sagas.
    pub fn sagas(&self) -> usize {
        self.state().sagas.len()
    }

    /// Checks one response by itself, and against earlier ones. Returns its JSON.
    pub fn judge(&self, operation: &Operation, request: &Request, response: &Response) -> Value {
        let exchange = || {
            let body =
                String::from_utf8_lossy(&request.body[..request.body.len().min(300)]).into_owned();
            let answer = String::from_utf8_lossy(&response.body[..response.body.len().min(300)])
                .into_owned();
            format!(
                "{} {} {:?} {body} -> {} {answer}",
                request.method, request.target, request.headers, response.code
            )
        };
        let may_wait = response.code == 503 && response.header("retry-after").is_some();
        if response.code >= 500 && !may_wait {
            self.offend("server fault", exchange());
        }
        if response.code == 405 && response.header("allow").is_none() {
            self.offend("no Allow", exchange());
        }
        let is_problem = response.header("content-type") == Some("application/problem+json");
        let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        if response.code >= 400 && request.method != "HEAD" {
            let detail = answer["detail"].as_str().unwrap_or_default();
            if !is_problem || answer["code"].as_str().is_none() || answer["status"] != response.code
            {
                self.offend("no problem document", exchange());
            }
            if QUOTES.iter().any(|quote| detail.contains(quote)) {
                self.offend("deserializer quoted", exchange());
            }
        }
        if response.code < 300 && request.method == operation.method {
            self.compare(operation, request, &answer, &exchange);
        }
        answer
    }

    /// Checks that the outcome of a saga never changes. Records its highest revision.
    fn compare(
        &self,
        operation: &Operation,
        request: &Request,
        answer: &Value,
        exchange: &dyn Fn() -> String,
    ) {
        let decides = ["/retry", "/skip", "/resolve", "/unlock"]
            .iter()
            .any(|verb| operation.path.ends_with(verb));
        if decides {
            let ids = [&answer["id"], &answer["orderId"]].into_iter().filter_map(Value::as_str);
            self.state().decided.extend(ids.map(|id| key_of(id).to_owned()));
        }
        let view = operation.path == "/api/v1/sagas/{id}" || request.method == "POST";
        let (Some(id), Some(status)) =
            (answer["id"].as_str().filter(|_| view), answer["status"].as_str())
        else {
            return;
        };
        let mut state = self.state();
        let (last, outcome) = state.sagas.entry(id.to_owned()).or_default();
        let mut offence = None;
        if let Some(before) = outcome.as_ref().filter(|before| *before != status) {
            offence = Some(("another outcome", format!("{id} was {before}: {}", exchange())));
        }
        if ["completed", "compensated"].contains(&status) && outcome.is_none() {
            *outcome = Some(status.to_owned());
        }
        // responses to verbs have no revision, and a chain's revision counts its events
        if let Some(revision) = answer["revision"].as_u64() {
            *last = (*last).max(revision);
        }
        drop(state);
        if let Some((kind, what)) = offence {
            self.offend(kind, what);
        }
    }

    /// Formats the counts, one line per route.
    pub fn table(&self) -> String {
        let state = self.state();
        let line = |(route, counts): (&String, &BTreeMap<String, u64>)| {
            let counts = counts
                .iter()
                .map(|(status, count)| format!("{status}: {count}"))
                .collect::<Vec<_>>()
                .join("  ");
            format!("   {route:<52} {counts}\n")
        };
        state.counts.iter().map(line).collect()
    }

    /// Returns every kind of violation with its count, one per line.
    pub fn offences(&self) -> Vec<String> {
        let state = self.state();
        state
            .offences
            .iter()
            .map(|(kind, all)| format!("{kind}: {} times, first {}", all.len(), all[0]))
            .collect()
    }
}

/// Returns the business key of an id.
pub fn key_of(id: &str) -> &str {
    id.split_once(':').map_or(id, |(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation() -> Operation {
        let (method, path) = ("GET".to_owned(), "/api/v1/sagas/{id}".to_owned());
        Operation { server: 0, method, path, query: Vec::new(), headers: Vec::new(), body: None }
    }

    type Answer<'a> = (u16, &'a [(&'a str, &'a str)], &'a str);

    fn offences(answers: &[Answer<'_>]) -> Vec<String> {
        let ledger = Ledger::default();
        let request = Request {
            method: "GET".to_owned(),
            target: "/api/v1/sagas/1".to_owned(),
            ..Request::default()
        };
        for (code, headers, body) in answers {
            let response = Response::new(*code, headers, body);
            ledger.judge(&operation(), &request, &response);
        }
        ledger
            .offences()
            .iter()
            .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
            .collect()
    }

    const PROBLEM: (&str, &str) = ("content-type", "application/problem+json");

    #[test]
    fn an_invalid_response_is_a_violation() {
        let check = |code, headers: &[(&str, &str)], body: &str, wanted: &[&str]| {
            assert_eq!(offences(&[(code, headers, body)]), wanted, "{code} {body}");
        };
        check(200, &[], "{}", &[]);
        check(500, &[PROBLEM], r#"{"code":"SAGA-0500","status":500}"#, &["server fault"]);
        check(503, &[PROBLEM], r#"{"code":"SAGA-0401","status":503}"#, &["server fault"]);
        check(503, &[PROBLEM, ("retry-after", "1")], r#"{"code":"SAGA-0401","status":503}"#, &[]);
        check(404, &[], "", &["no problem document"]);
        check(405, &[PROBLEM], r#"{"code":"SAGA-0101","status":405}"#, &["no Allow"]);
        let quoting = r#"{"code":"SAGA-0103","status":400,"detail":"missing field `a` at line 1"}"#;
        check(400, &[PROBLEM], quoting, &["deserializer quoted"]);
    }

    #[test]
    fn a_saga_with_two_outcomes_is_a_violation() {
        let saga =
            |status: &str| format!(r#"{{"id":"checkout:1","status":"{status}","revision":3}}"#);
        let (first, second) = (saga("completed"), saga("compensated"));
        assert_eq!(offences(&[(200, &[], &first), (200, &[], &second)]), ["another outcome"]);
        assert!(offences(&[(200, &[], &first), (200, &[], &first)]).is_empty());
    }
}
