//! The addresses of a server as data: method, path and contract of each.

use std::sync::Arc;

use axum::http::Method;
use serde::Serialize;

use super::shape::Shape;

/// One address with one method.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Address {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path with its parameters in braces: `/orders/{id}`.
    pub path: &'static str,
    /// The parts of requests that the address reads, and its response type.
    #[serde(flatten)]
    pub contract: Contract,
}

/// The parts of a request that an address reads, and its response type.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Contract {
    /// The parameters that the address accepts. Any other parameter is rejected.
    pub query: &'static [Parameter],
    /// The shape of the body, if the address reads one.
    pub body: Option<&'static Shape>,
    /// Whether the address reads `Idempotency-Key`.
    pub keyed: bool,
    /// Whether the address rejects `Idempotency-Key`, because the body's own id makes a request
    /// repeatable.
    pub identified: bool,
    /// Whether the address reads `Prefer: wait=N`.
    pub waits: bool,
    /// Whether a GET changes state. Such a GET is checked like a POST, and HEAD is not supported.
    pub acts: bool,
    /// The type of a successful response.
    pub answers: Media,
}

/// A query parameter, at most once per request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// The name in the query.
    pub name: &'static str,
    /// The type of the value.
    pub kind: Kind,
}

/// The type of a query parameter's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// Any text that a database can store.
    Text,
    /// A whole number from 1 to this maximum.
    Count(u32),
    /// A number of seconds, from 0.
    Seconds,
    /// `true` or `false`.
    Flag,
    /// One of these values.
    OneOf(&'static [&'static str]),
}

/// The media type of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Media {
    /// JSON.
    Json,
    /// Plain text.
    Text,
    /// HTML.
    Html,
}

/// The wait for an outcome: `?wait=10`.
pub const WAIT: Parameter = Parameter { name: "wait", kind: Kind::Seconds };
/// `?after=ID`.
pub const AFTER: Parameter = Parameter { name: "after", kind: Kind::Text };

/// Reads no body and responds with JSON.
pub const READS: Contract = Contract {
    query: &[],
    body: None,
    keyed: false,
    identified: false,
    waits: false,
    acts: false,
    answers: Media::Json,
};
/// Reads no body and responds with text.
pub const READS_TEXT: Contract = Contract { answers: Media::Text, ..READS };

/// All addresses of a server. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Table(Arc<[Address]>);

impl Contract {
    /// Adds query parameters.
    pub const fn query(self, query: &'static [Parameter]) -> Contract {
        Contract { query, ..self }
    }

    /// Adds a body of this shape.
    pub const fn body(self, shape: &'static Shape) -> Contract {
        Contract { body: Some(shape), ..self }
    }

    /// Adds the wait for an outcome, by `Prefer: wait=N` or `?wait=N`.
    pub const fn waits(self) -> Contract {
        Contract { waits: true, query: &[WAIT], ..self }
    }

    /// Adds the wait for an outcome, by `Prefer: wait=N` alone.
    pub const fn prefers(self) -> Contract {
        Contract { waits: true, ..self }
    }

    /// Adds the idempotency key.
    pub const fn keyed(self) -> Contract {
        Contract { keyed: true, ..self }
    }

    /// Rejects the idempotency key: the body has an id of its own.
    pub const fn identified(self) -> Contract {
        Contract { identified: true, ..self }
    }

    /// Marks a GET that changes state.
    pub const fn acts(self) -> Contract {
        Contract { acts: true, ..self }
    }
}

impl Table {
    /// Creates the table of these addresses.
    pub(super) fn of(addresses: Vec<Address>) -> Table {
        Table(addresses.into())
    }

    /// Returns the addresses in the order of their addition.
    pub fn addresses(&self) -> &[Address] {
        &self.0
    }

    /// Returns the addresses that match a percent-encoded path, for all methods. Patterns with
    /// fewer parameters have precedence.
    fn at(&self, path: &str) -> Vec<&Address> {
        let fitting = || self.0.iter().filter(|address| fits(address.path, path));
        let fewest = fitting().map(|address| parameters(address.path)).min();
        fitting().filter(|address| Some(parameters(address.path)) == fewest).collect()
    }

    /// Returns the address of a request. HEAD matches a GET that changes no state.
    pub fn find(&self, method: &Method, path: &str) -> Option<&Address> {
        let matches = |address: &&&Address| {
            address.method == method.as_str()
                || (*method == Method::HEAD && address.method == "GET" && !address.contract.acts)
        };
        let found = self.at(path);
        found.iter().find(matches).copied()
    }

    /// Returns the value of `Allow` for a path; `None` for an unknown path.
    pub fn methods(&self, path: &str) -> Option<String> {
        let mut methods = Vec::new();
        for address in self.at(path) {
            methods.push(address.method);
            if address.method == "GET" && !address.contract.acts {
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
