//! What clients were answered: counts by route and status, and everything that must not be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::shapes::Operation;
use super::wire::{Request, Response};

/// Offences of one kind that are printed.
const SHOWN_MAX: usize = 3;
/// Phrases of deserialisers, which no problem may quote.
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

/// What all clients know.
#[derive(Default)]
pub struct Ledger(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Route -> status -> how often.
    counts: BTreeMap<String, BTreeMap<String, u64>>,
    /// Kind -> what happened.
    offences: BTreeMap<&'static str, Vec<String>>,
    /// Saga -> the highest revision and the outcome that were told.
    sagas: BTreeMap<String, (u64, Option<String>)>,
    /// Sagas and orders about which a person decided: their two sides may differ.
    decided: BTreeSet<String>,
}

impl Ledger {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records an offence of this kind.
    pub fn offend(&self, kind: &'static str, what: String) {
        let mut known = self.known();
        let all = known.offences.entry(kind).or_default();
        if all.len() < SHOWN_MAX {
            println!("   OFFENCE {kind}: {what}");
        }
        all.push(what);
    }

    /// One more answer of this status at this route.
    pub fn count(&self, route: &str, status: &str) {
        *self
            .known()
            .counts
            .entry(route.to_owned())
            .or_default()
            .entry(status.to_owned())
            .or_default() += 1;
    }

    /// Whether a person decided about this business key.
    pub fn is_decided(&self, key: &str) -> bool {
        self.known().decided.contains(key)
    }

    /// How many sagas were seen.
    pub fn sagas(&self) -> usize {
        self.known().sagas.len()
    }

    /// Judges one answer by itself, and by what was answered before. Gives its JSON.
    pub fn judge(&self, operation: &Operation, request: &Request, response: &Response) -> Value {
        let said = || {
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
            self.offend("server fault", said());
        }
        if response.code == 405 && response.header("allow").is_none() {
            self.offend("no Allow", said());
        }
        let is_problem = response.header("content-type") == Some("application/problem+json");
        let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        if response.code >= 400 && request.method != "HEAD" {
            let detail = answer["detail"].as_str().unwrap_or_default();
            if !is_problem || answer["code"].as_str().is_none() || answer["status"] != response.code
            {
                self.offend("no problem document", said());
            }
            if QUOTES.iter().any(|quote| detail.contains(quote)) {
                self.offend("a deserialiser quoted", said());
            }
        }
        if response.code < 300 && request.method == operation.method {
            self.compare(operation, request, &answer, &said);
        }
        answer
    }

    /// A saga's revision never falls, and its outcome never changes.
    fn compare(
        &self,
        operation: &Operation,
        request: &Request,
        answer: &Value,
        said: &dyn Fn() -> String,
    ) {
        let decides = ["/retry", "/skip", "/resolve", "/unlock"]
            .iter()
            .any(|verb| operation.path.ends_with(verb));
        if decides {
            let ids = [&answer["id"], &answer["orderId"]].into_iter().filter_map(Value::as_str);
            self.known().decided.extend(ids.map(|id| key_of(id).to_owned()));
        }
        let view = operation.path == "/api/v1/sagas/{id}" || request.method == "POST";
        let (Some(id), Some(status)) =
            (answer["id"].as_str().filter(|_| view), answer["status"].as_str())
        else {
            return;
        };
        let mut known = self.known();
        let (last, outcome) = known.sagas.entry(id.to_owned()).or_default();
        let mut offence = None;
        if let Some(before) = outcome.as_ref().filter(|before| *before != status) {
            offence = Some(("another outcome", format!("{id} was {before}: {}", said())));
        }
        if ["completed", "compensated"].contains(&status) && outcome.is_none() {
            *outcome = Some(status.to_owned());
        }
        // of an answer to a verb, and of a chain, the revision is not told or counts events
        if let Some(revision) = answer["revision"].as_u64() {
            *last = (*last).max(revision);
        }
        drop(known);
        if let Some((kind, what)) = offence {
            self.offend(kind, what);
        }
    }

    /// The counts as text, a line a route.
    pub fn table(&self) -> String {
        let known = self.known();
        let line = |(route, counts): (&String, &BTreeMap<String, u64>)| {
            let counts = counts
                .iter()
                .map(|(status, count)| format!("{status}: {count}"))
                .collect::<Vec<_>>()
                .join("  ");
            format!("   {route:<52} {counts}\n")
        };
        known.counts.iter().map(line).collect()
    }

    /// Every kind of offence with its number, a line each.
    pub fn offences(&self) -> Vec<String> {
        let known = self.known();
        known
            .offences
            .iter()
            .map(|(kind, all)| format!("{kind}: {} times, first {}", all.len(), all[0]))
            .collect()
    }
}

/// The business key in an id.
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
    fn an_answer_that_must_not_be_is_an_offence() {
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
        check(400, &[PROBLEM], quoting, &["a deserialiser quoted"]);
    }

    #[test]
    fn a_saga_with_two_outcomes_is_an_offence() {
        let told =
            |status: &str| format!(r#"{{"id":"checkout:1","status":"{status}","revision":3}}"#);
        let (first, second) = (told("completed"), told("compensated"));
        assert_eq!(offences(&[(200, &[], &first), (200, &[], &second)]), ["another outcome"]);
        assert!(offences(&[(200, &[], &first), (200, &[], &first)]).is_empty());
    }
}
