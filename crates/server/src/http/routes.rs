//! The addresses of a server with their handlers. The router, the checks at the door, `Allow` and
//! `/openapi.json` derive from them.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{get, post};

use super::openapi;
use crate::problem::Entry;

pub use super::address::{
    AFTER, Address, Contract, Kind, Media, Parameter, READS, READS_TEXT, Table, WAIT,
};

/// The addresses of a server with the router of their handlers.
pub struct Routes<S = ()> {
    router: Router<S>,
    addresses: Vec<Address>,
    about: String,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Routes<S> {
        Routes::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// Creates an empty set of addresses.
    pub fn new() -> Routes<S> {
        Routes { router: Router::new(), addresses: Vec::new(), about: String::new() }
    }

    /// Adds an address for GET.
    pub fn get<H: Handler<T, S>, T: 'static>(
        mut self,
        path: &'static str,
        contract: Contract,
        handler: H,
    ) -> Routes<S> {
        self.router = self.router.route(path, get(handler));
        self.addresses.push(Address { method: "GET", path, contract });
        self
    }

    /// Adds an address for POST.
    pub fn post<H: Handler<T, S>, T: 'static>(
        mut self,
        path: &'static str,
        contract: Contract,
        handler: H,
    ) -> Routes<S> {
        self.router = self.router.route(path, post(handler));
        self.addresses.push(Address { method: "POST", path, contract });
        self
    }

    /// Adds all addresses of another set.
    pub fn merge(mut self, other: Routes<S>) -> Routes<S> {
        self.router = self.router.merge(other.router);
        self.addresses.extend(other.addresses);
        self.about.push_str(&other.about);
        self
    }

    /// Adds lines to the front page: one address each, with its purpose.
    pub fn about(mut self, lines: &str) -> Routes<S> {
        self.about.push_str(lines);
        self
    }

    /// Returns the lines of the front page.
    pub fn lines(&self) -> &str {
        &self.about
    }

    /// Provides the handlers' state, so that sets with other states can be merged.
    pub fn with_state<T>(self, state: S) -> Routes<T> {
        let Routes { router, addresses, about } = self;
        Routes { router: router.with_state(state), addresses, about }
    }

    /// Changes the router of the addresses that were added before.
    pub fn map(mut self, change: impl FnOnce(Router<S>) -> Router<S>) -> Routes<S> {
        self.router = change(self.router);
        self
    }

    /// Adds `/openapi.json`. Returns the router and the table that its checks use.
    pub fn documented(self, problems: &[&'static Entry]) -> (Router<S>, Table) {
        let mut addresses = self.addresses;
        addresses.push(Address { method: "GET", path: "/openapi.json", contract: READS });
        let table = Table::of(addresses);
        let document = openapi::answer(&table, problems);
        let router = self.router.route("/openapi.json", get(move || async move { document }));
        (router, table)
    }

    /// Returns the addresses in the order of their addition.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

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
