//! The parts of a process that its HTTP API uses: services, engine handles, and brokers.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::{Name, SagaId, TraceContext};
use sagamore_database::Database;
use sagamore_engine::{Chains, Handle};
use sagamore_sdk::Outbox;
use sagamore_transport::Transport;

use crate::client::Client;
use crate::view::FaultView;

/// A service of this process, with everything that its routes need.
#[derive(Clone)]
pub struct ServiceHost {
    /// The name in topics, plans and definitions.
    pub name: Name,
    /// The database with the service's barrier and business tables.
    pub database: Database,
    /// The outbox, which starts chains in the service's transactions.
    pub outbox: Outbox,
    /// The transport of the service's messages.
    pub transport: Arc<dyn Transport>,
    /// Minimum retention of an ended saga's barrier rows.
    pub barrier_retention: Duration,
    /// Whether the service reacts to events.
    pub reacts: bool,
    /// Whether the orchestrator or observer runs in the same process.
    pub is_embedded: bool,
    /// Clients of the configured orchestrators; empty if the service is embedded.
    pub orchestrators: Vec<Client>,
    /// Clients of the configured observers; empty if the service is embedded.
    pub observers: Vec<Client>,
}

/// The services that provide facts about a saga.
#[derive(Clone)]
pub enum Services {
    /// Services in this process.
    Embedded(Arc<[ServiceHost]>),
    /// Services in other processes, with a client of each.
    Remote(Arc<[(Name, Client)]>),
}

/// The parts of a process for routes outside of the API.
#[derive(Clone, Default)]
pub struct Server {
    /// The handle of the orchestrator, if the process runs one.
    pub handle: Option<Handle>,
    /// The observer's view of chains.
    pub chains: Option<Chains>,
    /// The services of this process; empty if each is a process of its own.
    pub services: Arc<[ServiceHost]>,
}

/// The future of a check of the brokers. The error describes the failure.
pub type BrokerAnswer<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// The health of the brokers from this process's point of view.
pub trait BrokerHealth: Send + Sync {
    /// Fails unless the brokers respond.
    fn answer(&self) -> BrokerAnswer<'_>;

    /// Fails while a partition does not advance or a read permission is missing.
    fn advance(&self) -> Result<(), String>;
}

/// The future of a late reply: the id of the answered command.
pub type ReplyAnswer<'a> =
    Pin<Box<dyn Future<Output = Result<String, ReplyRejection>> + Send + 'a>>;

/// Publishes replies to commands that HTTP participants left pending.
pub trait ReplyPort: Send + Sync {
    /// Publishes the outcome with this name and body as the reply that the token permits.
    fn publish<'a>(
        &'a self,
        token: &'a str,
        outcome: &'a str,
        body: &'a [u8],
        trace: Option<TraceContext>,
    ) -> ReplyAnswer<'a>;
}

/// The future of the reactions of a chain. The error describes the failure.
pub type ReactionAnswer<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<HttpReaction>, String>> + Send + 'a>>;

/// A reaction of an HTTP service, as its gateway has stored it.
#[derive(Clone, Debug)]
pub struct HttpReaction {
    /// The HTTP service.
    pub service: Name,
    /// The last fault, unless the reaction has progressed since.
    pub fault: Option<FaultView>,
}

/// Reads the reactions of HTTP services, which have no API of their own.
pub trait ReactionPort: Send + Sync {
    /// Returns the stored reactions of a chain.
    fn of_chain<'a>(&'a self, chain: &'a SagaId) -> ReactionAnswer<'a>;

    /// Whether the configuration binds a service of this name to a URL.
    fn is_bound(&self, service: &str) -> bool;
}

/// The reason why a late reply was not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyRejection {
    /// The token permits nothing.
    Token(String),
    /// The outcome is not of its form.
    Outcome(String),
    /// The transport failed. A repeat may succeed.
    Unavailable(String),
}

impl Server {
    /// Returns the service of this name, if it runs in this process.
    pub fn service(&self, name: &str) -> Option<&ServiceHost> {
        self.services.iter().find(|host| host.name.as_str() == name)
    }
}

impl Services {
    /// Whether the services run in this process.
    pub fn are_embedded(&self) -> bool {
        matches!(self, Services::Embedded(_))
    }

    /// Returns the hosts in this process.
    pub fn hosts(&self) -> &[ServiceHost] {
        match self {
            Services::Embedded(hosts) => hosts,
            Services::Remote(_) => &[],
        }
    }

    /// Returns the host of this name, if it runs in this process.
    pub fn host(&self, name: &str) -> Option<&ServiceHost> {
        self.hosts().iter().find(|host| host.name.as_str() == name)
    }

    /// Whether a service of this name runs in this process or in another one, so that its own
    /// transactions begin its chains.
    pub fn begins_chains(&self, name: &str) -> bool {
        match self {
            Services::Embedded(_) => self.host(name).is_some_and(|host| host.reacts),
            Services::Remote(services) => services.iter().any(|(known, _)| known.as_str() == name),
        }
    }
}
