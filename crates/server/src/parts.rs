//! The parts of a process that its HTTP API works with: services in this process or elsewhere, the engine, the brokers.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::Name;
use sagamore_database::Database;
use sagamore_engine::{Chains, Handle};
use sagamore_sdk::Outbox;
use sagamore_transport::Transport;

use crate::client::Client;

/// A service that runs in this process, with everything that its routes need.
#[derive(Clone)]
pub struct ServiceHost {
    /// The service.
    pub name: Name,
    /// Its database.
    pub database: Database,
    /// Begins chains in a transaction of the service.
    pub outbox: Outbox,
    /// The transport of its messages.
    pub transport: Arc<dyn Transport>,
    /// How long its barrier keeps the rows of an ended saga, at least.
    pub barrier_retention: Duration,
    /// Whether it reacts to events.
    pub reacts: bool,
    /// Whether the orchestrator or the observer runs in the same process.
    pub is_embedded: bool,
    /// The orchestrators, as its configuration names them; empty when it is embedded.
    pub orchestrators: Vec<Client>,
    /// The observers, likewise.
    pub observers: Vec<Client>,
}

/// The services that can be asked about a saga.
#[derive(Clone)]
pub enum Services {
    /// They run in this process.
    Here(Arc<[ServiceHost]>),
    /// Each has an address of its own.
    There(Arc<[(Name, Client)]>),
}

/// The parts of a process that routes beside the API work with.
#[derive(Clone, Default)]
pub struct Server {
    /// The orchestrator, where sagas are started.
    pub handle: Option<Handle>,
    /// The observer's view of chains.
    pub chains: Option<Chains>,
    /// The services in this process; empty where each is a process of its own.
    pub services: Arc<[ServiceHost]>,
}

/// The future of a check of the brokers: an error says what is wrong.
pub type BrokerAnswer<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// The health of the brokers, as a process that depends on them sees it.
pub trait BrokerHealth: Send + Sync {
    /// Fails unless the brokers answer.
    fn answer(&self) -> BrokerAnswer<'_>;

    /// Fails while a partition does not advance, or a right to read is missing.
    fn advance(&self) -> Result<(), String>;
}

impl Server {
    /// Returns the service of this name, if it runs in this process.
    pub fn service(&self, name: &str) -> Option<&ServiceHost> {
        self.services.iter().find(|host| host.name.as_str() == name)
    }
}

impl Services {
    /// Whether they run in this process.
    pub fn are_here(&self) -> bool {
        matches!(self, Services::Here(_))
    }

    /// Returns the hosts in this process.
    pub fn hosts(&self) -> &[ServiceHost] {
        match self {
            Services::Here(hosts) => hosts,
            Services::There(_) => &[],
        }
    }

    /// Returns the host of this name, if it runs in this process.
    pub fn host(&self, name: &str) -> Option<&ServiceHost> {
        self.hosts().iter().find(|host| host.name.as_str() == name)
    }
}
