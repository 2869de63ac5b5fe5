//! The embedded stack: a locked data directory with one log and the databases. The services, the
//! orchestrator and the observer of a story run in this process.

mod lock;
mod roster;

use std::collections::BTreeSet;
use std::future::{Future, ready};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use sagamore_core::Name;
use sagamore_database::Database;
use sagamore_engine::{Observer, ObserverOptions, Orchestrator};
use sagamore_gateway::{Contracts, Plans};
use sagamore_sdk::Participant;
use sagamore_server::http::routes::Routes;
use sagamore_server::http::{self, App, ObserverApp};
use sagamore_server::{ReplyPort, Server, ServiceHost, Services, StandIns};
use sagamore_transport::{Log, Transport};

use crate::blueprint::Blueprint;
use crate::crew::{Crew, StopSignal};
use crate::error::Error;
use crate::http_participants::{
    self, EngineContracts, HttpParticipants, ReactionReader, ReplyDoor,
};
use crate::stand_in::{Behaviour, Cast, Stage};
use crate::story::{ServiceEntry, Story};
use lock::Lock;
use roster::file;

/// The subdirectory with the data of a program's choreography.
pub const CHOREOGRAPHY_FOLDER: &str = "choreography";

/// The running embedded stack.
pub struct Stack {
    /// The parts for routes: engine handles and services.
    pub server: Server,
    crew: Crew,
    log: Log,
    lock: Lock,
    /// The plans that the observer knows.
    plans: Plans,
    /// The participants that stand-ins play.
    pub stand_ins: StandIns,
    /// The participants that are called over HTTP.
    bound: Arc<BTreeSet<Name>>,
    /// The gateways' database, once it is open.
    gateway: Option<Database>,
    /// Publishes late replies of these participants.
    replies: Option<Arc<dyn ReplyPort>>,
}

impl Stack {
    /// Opens the data directory, which is created if it does not exist, and starts every task.
    /// Unfinished sagas and chains continue.
    pub async fn open(
        program: &Blueprint,
        choreography: bool,
        data: &Path,
        sagas_max: usize,
    ) -> Result<Stack, Error> {
        let story = program.story(choreography);
        let data = &directory(program, choreography, data);
        sagamore_transport::log::create_directory(data)
            .map_err(|source| Error::Directory { path: data.to_owned(), source })?;
        let lock = Lock::take(data)?;
        let names: Vec<&str> = story.services.iter().map(|entry| entry.name().as_str()).collect();
        roster::check_databases(data, &names)?;
        let log = Log::open(&data.join("log"), sagamore_transport::log::Options::default())?;
        let transport: Arc<dyn Transport> = Arc::new(log.clone());
        let (mut hosts, mut participants) = (Vec::new(), Vec::new());
        for entry in &story.services {
            let (host, participant) = service(data, story, entry, &transport).await?;
            hosts.push(host);
            participants.push(participant);
        }
        let mut crew = Crew::new();
        let mut server = Server { services: hosts.into(), ..Server::default() };
        if story.is_orchestrated() {
            let options = sagamore_engine::Options {
                in_flight_max: sagas_max,
                ..sagamore_engine::Options::default()
            };
            let engine = database(data, "engine")?;
            let opened =
                Orchestrator::open(options, engine, transport.clone(), story.sagas.clone()).await?;
            let (orchestrator, handle) = opened;
            server.handle = Some(handle);
            crew.spawn("the orchestrator", |stopped| async {
                orchestrator.run(stopped).await.map_err(Error::Engine)
            });
        }
        let options = ObserverOptions::default();
        let observing = database(data, "observer")?;
        let opened =
            Observer::open(options, observing, transport.clone(), story.plans.clone()).await?;
        let (observer, chains) = opened;
        server.chains = Some(chains.clone());
        crew.spawn("the observer", |stopped| async {
            observer.run(stopped).await.map_err(Error::Engine)
        });
        let plans = Plans::default();
        http_participants::follow_plans(&mut crew, plans.clone(), ready(Ok(chains)));
        roster::store(data, &names)?;
        for (host, participant) in server.services.iter().zip(participants) {
            let name = host.name.to_string();
            crew.spawn(name.clone(), move |stopped| async move {
                participant.run(stopped).await.map_err(|source| Error::Service { name, source })
            });
        }
        let (stand_ins, bound, gateway, replies) = Default::default();
        Ok(Stack { server, crew, log, lock, plans, stand_ins, bound, gateway, replies })
    }

    /// Plays each participant of a known definition or plan that has no service. Returns those
    /// known now.
    pub async fn play_stand_ins(
        &mut self,
        data: &Path,
        behaviour: Behaviour,
    ) -> Result<Vec<Name>, Error> {
        let services = self.server.services.iter().map(|host| &host.name);
        let real = services.chain(self.bound.iter()).cloned().collect();
        let stage = Stage {
            handle: self.server.handle.clone(),
            chains: self.server.chains.clone(),
            transport: Arc::new(self.log.clone()),
            plans: self.plans.clone(),
            reactions: self.gateway_database(data)?,
            played: self.stand_ins.clone(),
        };
        let data = data.to_owned();
        let has_barrier = move |name: &Name| file(&data, name.as_str()).exists();
        let mut cast = Cast::new(stage, behaviour, real, has_barrier);
        cast.fill().await?;
        cast.warn_of_idle_flags();
        self.crew.spawn("the stand-ins", |stopped| cast.run(stopped));
        Ok(self.stand_ins.names())
    }

    /// Calls these participants over HTTP from now on.
    pub async fn call(
        &mut self,
        story: &Story,
        data: &Path,
        mut participants: HttpParticipants,
    ) -> Result<(), Error> {
        if participants.is_empty() {
            return Ok(());
        }
        if let Some((name, _)) =
            participants.endpoints().find(|(name, _)| self.server.service(name.as_str()).is_some())
        {
            return Err(Error::Bound(name.to_string()));
        }
        self.bound = Arc::new(participants.names());
        // that of the orchestrator and the observer in this process
        participants =
            participants.with_retention(sagamore_engine::Options::default().barrier_retention);
        let transport: Arc<dyn Transport> = Arc::new(self.log.clone());
        if participants.reply_keys.is_none() {
            participants.reply_keys = http_participants::keys_of_directory(data)?;
        }
        let keys = participants.reply_keys.clone();
        self.replies = keys.map(|keys| ReplyDoor::of(keys, transport.clone()));
        let contracts: Arc<dyn Contracts> = match self.server.handle.clone() {
            Some(handle) => Arc::new(EngineContracts(handle)),
            None => Arc::new(http_participants::known(&story.sagas)),
        };
        let partitions = sagamore_sdk::Options::default().partitions;
        let database = self.gateway_database(data)?;
        let of_events = ObserverOptions::default().partitions;
        let reactors = participants.reactors(&transport, &self.plans, &database, of_events)?;
        http_participants::spawn_reactors(&mut self.crew, reactors);
        let gateways = participants.gateways(&transport, &contracts, &database, |_| partitions)?;
        for (name, mut gateway) in gateways {
            let subscribed = gateway.subscribe().await;
            subscribed.map_err(|source| Error::Gateway { name: name.clone(), source })?;
            self.crew.spawn(format!("the gateway of {name}"), move |stopped| async move {
                gateway.run(stopped).await.map_err(|source| Error::Gateway { name, source })
            });
        }
        Ok(())
    }

    /// Returns the database of the gateways and of stand-ins of reactions.
    fn gateway_database(&mut self, data: &Path) -> Result<Database, Error> {
        if let Some(opened) = &self.gateway {
            return Ok(opened.clone());
        }
        Ok(self.gateway.insert(database(data, "gateway")?).clone())
    }

    /// Returns the router with the routes of the story, of its services, and of the API.
    pub fn router(
        &self,
        program: &Blueprint,
        choreography: bool,
        metrics: Option<PrometheusHandle>,
    ) -> Router {
        let story = program.story(choreography);
        let mut routes = Routes::new();
        for own in &story.routes {
            routes = routes.merge(own(&self.server));
        }
        for (entry, host) in story.services.iter().zip(self.server.services.iter()) {
            if let Some(own) = &entry.routes {
                routes = routes.merge(own(host));
            }
        }
        let title =
            if story.is_orchestrated() { "Sagamore" } else { "Sagamore, without an orchestrator" };
        let api = self.api(story, metrics);
        http::router(title, routes.merge(api), &program.all_problems())
    }

    fn api(&self, story: &Story, metrics: Option<PrometheusHandle>) -> Routes {
        let Server { handle, chains, services } = self.server.clone();
        let (services, plan) = (Services::Embedded(services), story.first_plan());
        let gateway = self.gateway.clone();
        let reactions = gateway.map(|database| ReactionReader::of(database, (*self.bound).clone()));
        match (handle, chains) {
            (Some(handle), chains) => http::orchestrator_routes(App {
                handle,
                chains,
                services,
                definition: story.first_saga(),
                plan,
                sample_input: Some(story.inputs()),
                brokers: None,
                log: Some(self.log.clone()),
                metrics,
                replies: self.replies.clone(),
                stand_ins: self.stand_ins.clone(),
                reactions,
                bound: self.bound.clone(),
            }),
            (None, Some(chains)) => http::observer_routes(ObserverApp {
                metrics,
                stand_ins: self.stand_ins.clone(),
                reactions,
                bound: self.bound.clone(),
                ..ObserverApp::of(chains, services, plan)
            }),
            (None, None) => Routes::new(),
        }
    }

    /// Runs another task beside the others.
    pub fn spawn<F>(&mut self, name: &str, work: impl FnOnce(StopSignal) -> F)
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.crew.spawn(name, work);
    }

    /// Waits until a task ends without a request to stop.
    pub async fn broken(&mut self) -> Error {
        self.crew.broken().await
    }

    /// Finishes the work in progress, syncs the log, and releases the directory.
    pub async fn stop(mut self, limit: Duration) -> Result<(), Error> {
        let stopped = self.crew.stop(limit).await;
        self.log.sync()?;
        drop(self.lock);
        stopped
    }
}

/// Returns the data directory of a story. The choreography has its own.
pub fn directory(program: &Blueprint, choreography: bool, data: &Path) -> PathBuf {
    let is_separate = choreography && program.choreography.is_some();
    if is_separate { data.join(CHOREOGRAPHY_FOLDER) } else { data.to_owned() }
}

/// Prepares a service without running it: its tables exist, and the log retains its events.
async fn service(
    data: &Path,
    story: &Story,
    entry: &ServiceEntry,
    transport: &Arc<dyn Transport>,
) -> Result<(ServiceHost, Participant), Error> {
    let name = entry.name().clone();
    let database = database(data, name.as_str())?;
    let options =
        sagamore_sdk::Options { plans: story.plan_versions(), ..sagamore_sdk::Options::default() };
    let barrier_retention = options.barrier_retention;
    let mut participant =
        Participant::new(entry.service.clone(), database.clone(), transport.clone(), options);
    let prepared = participant.subscribe().await;
    prepared.map_err(|source| Error::Service { name: name.to_string(), source })?;
    let host = ServiceHost {
        name,
        database,
        outbox: participant.outbox(),
        transport: transport.clone(),
        barrier_retention,
        reacts: entry.reacts(),
        is_embedded: true,
        orchestrators: Vec::new(),
        observers: Vec::new(),
    };
    Ok((host, participant))
}

fn database(data: &Path, name: &str) -> Result<Database, Error> {
    Database::sqlite(&file(data, name))
        .map_err(|source| Error::Database { name: name.to_owned(), source })
}
