//! The embedded stack: a data directory with its lock, one log, and in this process the services of a story with a database
//! each, its orchestrator and its observer.

mod lock;
mod roster;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use sagamore_database::Database;
use sagamore_engine::{Observer, ObserverOptions, Orchestrator};
use sagamore_sdk::Participant;
use sagamore_server::http::routes::Routes;
use sagamore_server::http::{self, App, ObserverApp};
use sagamore_server::{Server, ServiceHost, Services};
use sagamore_transport::{Log, Transport};

use crate::crew::{Crew, STOP_MAX};
use crate::program::Program;
use crate::story::{ServiceEntry, Story};
use lock::Lock;

/// The most sagas under way at once, unless it is configured.
pub const SAGAS_MAX: usize = 20_000;

/// The directory of a program's choreography inside its data directory.
pub const CHOREOGRAPHY_FOLDER: &str = "choreography";

/// Why a process cannot be opened, or has stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be used.
    #[error("data directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A service's database is missing.
    #[error(
        "{} is missing, though the engine's database beside it is there: sagas would meet a service that has forgotten \
         them.\n  Restore the file from where it went, or begin anew in another directory: --data DIR", path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Another process uses the directory.
    #[error(
        "the data directory {} is in use by another sagamore (process {pid}).\n  \
         Stop that one, or choose another directory: --data DIR, or --ephemeral", path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process id of the other process.
        pid: String,
    },
    /// The log failed.
    #[error("log: {0}")]
    Log(#[from] sagamore_transport::Error),
    /// A database failed.
    #[error("database of {name}: {source}")]
    Database {
        /// Its service, or `engine`.
        name: String,
        /// The error.
        source: sagamore_database::Error,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] sagamore_engine::Error),
    /// A service failed.
    #[error("{name}: {source}")]
    Service {
        /// The service.
        name: String,
        /// The error, which no retry repairs.
        source: sagamore_sdk::Error,
    },
    /// The configuration and a live topic have different numbers of partitions.
    #[error(
        "{key} is {configured}, and the live topic {topic} has {live} partitions. Nothing was changed.\n  \
         Set {key} = {live} (the verb `config` says where the {configured} comes from), and start again"
    )]
    Partitions {
        /// The key of the configuration.
        key: String,
        /// Its value.
        configured: u32,
        /// The topic.
        topic: String,
        /// The partitions of the topic.
        live: u32,
    },
    /// A part ended or panicked.
    #[error("{0} stopped by itself")]
    Stopped(String),
    /// A part did not stop in time.
    #[error("some work did not end within {} s of the stop; it goes on at the next start", STOP_MAX.as_secs())]
    Slow,
}

/// The embedded stack at work.
pub struct Stack {
    /// The engine and the services.
    pub server: Server,
    crew: Crew,
    log: Log,
    lock: Lock,
}

impl Stack {
    /// Opens the directory, made when it is absent, and starts every part: unfinished sagas and chains continue.
    pub async fn open(
        program: &Program,
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
        roster::nothing_is_missing(data, &names)?;
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
        if story.is_observed() {
            let options = ObserverOptions::default();
            let observing = database(data, "observer")?;
            let opened =
                Observer::open(options, observing, transport.clone(), story.plans.clone()).await?;
            let (observer, chains) = opened;
            server.chains = Some(chains);
            crew.spawn("the observer", |stopped| async {
                observer.run(stopped).await.map_err(Error::Engine)
            });
        }
        roster::store(data, &names)?;
        for (host, participant) in server.services.iter().zip(participants) {
            let name = host.name.to_string();
            crew.spawn(name.clone(), move |stopped| async move {
                participant.run(stopped).await.map_err(|source| Error::Service { name, source })
            });
        }
        Ok(Stack { server, crew, log, lock })
    }

    /// Returns the router: the story's routes, those of its services, and the API.
    pub fn router(
        &self,
        program: &Program,
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
        let (services, plan) = (Services::Here(services), story.first_plan());
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
            }),
            (None, Some(chains)) => http::observer_routes(ObserverApp {
                chains,
                services,
                plan,
                brokers: None,
                metrics,
            }),
            (None, None) => Routes::new(),
        }
    }

    /// Waits until a part stops although it was not told to.
    pub async fn broken(&mut self) -> Error {
        self.crew.broken().await
    }

    /// Finishes the turns that have begun, syncs the log, and releases the directory.
    pub async fn stop(mut self, limit: Duration) -> Result<(), Error> {
        let stopped = self.crew.stop(limit).await;
        self.log.sync()?;
        drop(self.lock);
        stopped
    }
}

/// Returns the directory of a story: the choreography's is apart from what is orchestrated.
pub fn directory(program: &Program, choreography: bool, data: &Path) -> PathBuf {
    let is_apart = choreography && program.choreography.is_some();
    if is_apart { data.join(CHOREOGRAPHY_FOLDER) } else { data.to_owned() }
}

/// Prepares a service: afterwards its tables exist, the log retains its events, and it has not run yet.
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

fn file(data: &Path, name: &str) -> PathBuf {
    data.join(format!("{name}.sqlite"))
}

fn database(data: &Path, name: &str) -> Result<Database, Error> {
    Database::sqlite(&file(data, name))
        .map_err(|source| Error::Database { name: name.to_owned(), source })
}
