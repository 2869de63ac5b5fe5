//! The addresses of a server as data: what each takes and what it answers. The router, the checks at the door, the `Allow`
//! header, `/openapi.json` and the fuzz run follow from them.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{get, post};
use serde::Serialize;

use super::openapi;
use super::shape::Shape;
use crate::problem::Entry;

/// One address with one method.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Address {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// With its parameters in braces: `/orders/{id}`.
    pub path: &'static str,
    /// What it takes and answers.
    #[serde(flatten)]
    pub takes: Takes,
}

/// What an address takes and answers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Takes {
    /// The parameters of its query.
    pub query: &'static [Parameter],
    /// Its body, where it reads one.
    pub body: Option<&'static Shape>,
    /// Whether it reads `Idempotency-Key`.
    pub keyed: bool,
    /// Whether it reads `Prefer: wait=N`.
    pub waits: bool,
    /// Whether a GET of it changes something: then it is guarded like a POST, and takes no HEAD.
    pub acts: bool,
    /// What it answers when all is well.
    pub answers: Media,
}

/// A parameter of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it can be.
    pub kind: Kind,
}

/// What a parameter can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// Any text that a database can hold.
    Text,
    /// A whole number from 1 to this.
    Count(u32),
    /// Seconds, in digits.
    Seconds,
    /// `true` or `false`.
    Flag,
    /// One of these.
    OneOf(&'static [&'static str]),
}

/// What an address answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Media {
    /// JSON.
    Json,
    /// Plain text.
    Text,
    /// HTML.
    Html,
}

/// `?wait=10`.
pub const WAIT: Parameter = Parameter { name: "wait", kind: Kind::Seconds };
/// `?after=ID`.
pub const AFTER: Parameter = Parameter { name: "after", kind: Kind::Text };

/// Reads and answers JSON.
pub const READS: Takes =
    Takes { query: &[], body: None, keyed: false, waits: false, acts: false, answers: Media::Json };
/// Reads and answers text.
pub const TELLS: Takes = Takes { answers: Media::Text, ..READS };

impl Takes {
    /// With these parameters in its query.
    pub const fn query(self, query: &'static [Parameter]) -> Takes {
        Takes { query, ..self }
    }

    /// With a body of this shape.
    pub const fn body(self, shape: &'static Shape) -> Takes {
        Takes { body: Some(shape), ..self }
    }

    /// Which waits for an outcome, by `Prefer: wait=N` or `?wait=N`.
    pub const fn waits(self) -> Takes {
        Takes { waits: true, query: &[WAIT], ..self }
    }

    /// Which waits by the header alone.
    pub const fn prefers(self) -> Takes {
        Takes { waits: true, ..self }
    }

    /// Which reads an idempotency key.
    pub const fn keyed(self) -> Takes {
        Takes { keyed: true, ..self }
    }

    /// A GET that changes something.
    pub const fn acts(self) -> Takes {
        Takes { acts: true, ..self }
    }
}

/// The addresses of a server, and the router that is made of them.
pub struct Routes<S = ()> {
    router: Router<S>,
    addresses: Vec<Address>,
    about: String,
}

/// All addresses of a server.
#[derive(Clone, Debug, Default)]
pub struct Table(Arc<[Address]>);

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Routes<S> {
        Routes::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No address.
    pub fn new() -> Routes<S> {
        Routes { router: Router::new(), addresses: Vec::new(), about: String::new() }
    }

    /// Adds an address that is read.
    pub fn get<H: Handler<T, S>, T: 'static>(
        mut self,
        path: &'static str,
        takes: Takes,
        handler: H,
    ) -> Routes<S> {
        self.router = self.router.route(path, get(handler));
        self.addresses.push(Address { method: "GET", path, takes });
        self
    }

    /// Adds an address that is posted to.
    pub fn post<H: Handler<T, S>, T: 'static>(
        mut self,
        path: &'static str,
        takes: Takes,
        handler: H,
    ) -> Routes<S> {
        self.router = self.router.route(path, post(handler));
        self.addresses.push(Address { method: "POST", path, takes });
        self
    }

    /// Adds all of another one's.
    pub fn merge(mut self, other: Routes<S>) -> Routes<S> {
        self.router = self.router.merge(other.router);
        self.addresses.extend(other.addresses);
        self.about.push_str(&other.about);
        self
    }

    /// Adds lines to the front page: an address each, with what it is for.
    pub fn about(mut self, lines: &str) -> Routes<S> {
        self.about.push_str(lines);
        self
    }

    /// Returns the lines of the front page so far.
    pub fn lines(&self) -> &str {
        &self.about
    }

    /// Gives the handlers their state, so that routes of other states can join.
    pub fn with_state<T>(self, state: S) -> Routes<T> {
        let Routes { router, addresses, about } = self;
        Routes { router: router.with_state(state), addresses, about }
    }

    /// Changes the router of the addresses so far.
    pub fn map(mut self, change: impl FnOnce(Router<S>) -> Router<S>) -> Routes<S> {
        self.router = change(self.router);
        self
    }

    /// The router with `/openapi.json`, which describes it, and what it is made of.
    pub fn documented(self, problems: &[&'static Entry]) -> (Router<S>, Table) {
        let mut addresses = self.addresses;
        addresses.push(Address { method: "GET", path: "/openapi.json", takes: READS });
        let table = Table(addresses.into());
        let document = openapi::answer(&table, problems);
        let router = self.router.route("/openapi.json", get(move || async move { document }));
        (router, table)
    }

    /// What it is made of.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }
}

impl Table {
    /// All, as they were added.
    pub fn addresses(&self) -> &[Address] {
        &self.0
    }

    /// What stands at this path (as in a request, percent-encoded), with any method. Of two that fit, the one with fewer
    /// parameters.
    fn at(&self, path: &str) -> Vec<&Address> {
        let fitting = || self.0.iter().filter(|address| fits(address.path, path));
        let fewest = fitting().map(|address| parameters(address.path)).min();
        fitting().filter(|address| Some(parameters(address.path)) == fewest).collect()
    }

    /// The address of a request; a HEAD is for what a GET reads.
    pub fn find(&self, method: &Method, path: &str) -> Option<&Address> {
        let wanted = |address: &&&Address| {
            address.method == method.as_str()
                || (*method == Method::HEAD && address.method == "GET" && !address.takes.acts)
        };
        let found = self.at(path);
        found.iter().find(wanted).copied()
    }

    /// The methods that are taken at this path, for `Allow`; none when there is nothing.
    pub fn methods(&self, path: &str) -> Option<String> {
        let mut methods = Vec::new();
        for address in self.at(path) {
            methods.push(address.method);
            if address.method == "GET" && !address.takes.acts {
                methods.push("HEAD");
            }
        }
        methods.sort_unstable();
        methods.dedup();
        (!methods.is_empty()).then(|| [methods.as_slice(), &["OPTIONS"]].concat().join(", "))
    }
}

fn parameters(path: &str) -> usize {
    path.split('/').filter(|part| part.starts_with('{')).count()
}

fn fits(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part))
                if pattern == part || (pattern.starts_with('{') && !part.is_empty()) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_by_its_path_and_its_method() {
        async fn handler() {}
        let routes = Routes::<()>::new()
            .get("/orders/{id}", READS, handler)
            .post("/orders/{id}/{verb}", READS, handler)
            .post("/orders/{id}/cancel", READS, handler)
            .get("/start/{id}", READS.acts(), handler);
        let (_, table) = routes.documented(&[]);
        let find =
            |method: Method, path: &str| table.find(&method, path).map(|address| address.path);
        assert_eq!(find(Method::GET, "/orders/1"), Some("/orders/{id}"));
        assert_eq!(find(Method::HEAD, "/orders/a%2Fb"), Some("/orders/{id}"));
        assert_eq!(find(Method::POST, "/orders/1/cancel"), Some("/orders/{id}/cancel"));
        assert_eq!(find(Method::POST, "/orders/1/other"), Some("/orders/{id}/{verb}"));
        assert_eq!(find(Method::GET, "/orders/"), None);
        assert_eq!(find(Method::HEAD, "/start/1"), None);
        assert_eq!(table.methods("/orders/1").as_deref(), Some("GET, HEAD, OPTIONS"));
        assert_eq!(table.methods("/start/1").as_deref(), Some("GET, OPTIONS"));
        assert_eq!(table.methods("/nothing"), None);
    }
}
