//! Shared state of the routes.

use sagamore::server::http::{Code, Problem};

use crate::databases::Databases;

/// Shared state of the routes beside the orchestrator's API.
#[derive(Clone)]
pub(super) struct Shop {
    pub handle: sagamore::engine::Handle,
    /// `None` if each service is a process of its own.
    pub databases: Option<Databases>,
}

impl Shop {
    /// Returns the databases, or a problem that names the services' own addresses.
    pub fn databases(&self) -> Result<&Databases, Problem> {
        let elsewhere =
            "the shop's services run in other processes: send the request to the service's address";
        self.databases.as_ref().ok_or_else(|| Problem::new(Code::NoSuchPage, elsewhere))
    }
}
