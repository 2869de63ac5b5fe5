//! The state of the handlers, for each kind of process.

use std::collections::BTreeSet;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use sagamore_core::{Body, Name};
use sagamore_engine::{Chains, Handle};
use sagamore_transport::Log;

use crate::parts::{BrokerHealth, ReactionPort, ReplyPort, ServiceHost, Services};
use crate::presence::Presence;
use crate::stand_in::StandIns;
use crate::waiting::StartupWait;

/// Returns the input of a saga that is started without one.
pub type SampleInput = Arc<dyn Fn(&Name, &str) -> Option<Body> + Send + Sync>;

/// The parts that the handlers of an orchestrator work with.
pub struct App {
    /// The handle of the engine.
    pub handle: Handle,
    /// The observer's view of chains, if this process has one.
    pub chains: Option<Chains>,
    /// The services that can explain a chain's wait.
    pub services: Services,
    /// The definition that a business key without prefix belongs to.
    pub definition: Option<Name>,
    /// The plan that a business key without prefix belongs to.
    pub plan: Option<Name>,
    /// The sample inputs for starts without input.
    pub sample_input: Option<SampleInput>,
    /// The brokers; `None` with the embedded log.
    pub brokers: Option<Arc<dyn BrokerHealth>>,
    /// The embedded log, for its metrics.
    pub log: Option<Log>,
    /// Renders the metrics, if this process collects them.
    pub metrics: Option<PrometheusHandle>,
    /// Publishes replies to pending commands; `None` without keys of tokens.
    pub replies: Option<Arc<dyn ReplyPort>>,
    /// The participants that a stand-in plays; none outside of `dev`.
    pub stand_ins: StandIns,
    /// Reads the reactions of HTTP services, if there may be some.
    pub reactions: Option<Arc<dyn ReactionPort>>,
    /// The participants that are called over HTTP.
    pub bound: Arc<BTreeSet<Name>>,
}

impl App {
    /// Returns the announcements of the participants, for warnings.
    pub(super) fn presence(&self) -> Presence {
        Presence::of(self.handle.announcements(), self.bound.clone(), self.stand_ins.clone())
    }
}

/// The state of the handlers of an observer process.
#[derive(Clone)]
pub struct ObserverApp {
    /// The observer's view of chains.
    pub chains: Chains,
    /// The services that can explain a chain's wait.
    pub services: Services,
    /// The plan that a business key without prefix belongs to.
    pub plan: Option<Name>,
    /// The brokers; `None` with the embedded log.
    pub brokers: Option<Arc<dyn BrokerHealth>>,
    /// Renders the metrics, if this process collects them.
    pub metrics: Option<PrometheusHandle>,
    /// The participants that a stand-in plays; none outside of `dev`.
    pub stand_ins: StandIns,
    /// Reads the reactions of HTTP services, if there may be some.
    pub reactions: Option<Arc<dyn ReactionPort>>,
    /// The participants that are called over HTTP.
    pub bound: Arc<BTreeSet<Name>>,
}

impl ObserverApp {
    /// Creates the state without brokers, metrics, stand-ins and HTTP services.
    pub fn of(chains: Chains, services: Services, plan: Option<Name>) -> ObserverApp {
        let (brokers, metrics, stand_ins, reactions, bound) = Default::default();
        ObserverApp { chains, services, plan, brokers, metrics, stand_ins, reactions, bound }
    }

    /// Returns the announcements of the services, for warnings.
    pub(super) fn presence(&self) -> Presence {
        Presence::of(self.chains.announcements(), self.bound.clone(), self.stand_ins.clone())
    }
}

/// The state of the handlers of a service's listener.
pub struct ServiceApp {
    /// The service of this process.
    pub host: ServiceHost,
    /// The brokers that the service connects to.
    pub brokers: Arc<dyn BrokerHealth>,
    /// The plan that a business key without prefix belongs to.
    pub plan: Option<Name>,
    /// The wait for the service's tables. Until it ends, no route reads them.
    pub waiting: StartupWait,
    /// Renders the metrics, if this process collects them.
    pub metrics: Option<PrometheusHandle>,
}

/// The services of a process that react to events, the observer's view of chains, and the plan of
/// keys without prefix.
#[derive(Clone)]
pub(super) struct Reacting {
    pub services: Services,
    pub chains: Option<Chains>,
    pub plan: Option<Name>,
}
