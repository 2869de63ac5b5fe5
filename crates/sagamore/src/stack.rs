//! The embedded stack: a data directory with its lock, one log, five databases, the orchestrator and the four
//! services of the shop, all in this process.

mod choreography;
mod lock;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use sagamore_core::{Definition, Name};
use sagamore_database::Database;
use sagamore_engine::{Handle, Orchestrator};
use sagamore_sdk::Participant;
use sagamore_shop::Databases;
use sagamore_transport::{Log, Transport};

use crate::crew::Crew;
use crate::http::{App, Services};
use lock::Lock;

pub use crate::crew::STOP_MAX;
pub use choreography::{Choreography, FOLDER as CHOREOGRAPHY_FOLDER};

/// How many sagas may be under way at once, unless it is said.
pub const SAGAS_MAX: usize = 20_000;

/// Why the stack cannot be opened, or has stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory.
    #[error("data directory {}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A service's database is gone.
    #[error(
        "{} is missing, though the engine's database beside it is there: sagas would meet a service that has forgotten \
         them.\n  Restore the file from where it went, or begin anew in another directory: --data DIR", path.display()
    )]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// Another process has it.
    #[error(
        "the data directory {} is in use by another sagamore (process {pid}).\n  \
         Stop that one, or choose another directory: --data DIR, or --ephemeral", path.display()
    )]
    InUse {
        /// Which.
        path: PathBuf,
        /// Who.
        pid: String,
    },
    /// A plan of ours is wrong.
    #[error("the checkout saga: {0}")]
    Definition(String),
    /// The log.
    #[error("log: {0}")]
    Log(#[from] sagamore_transport::Error),
    /// A database.
    #[error("database of {name}: {source}")]
    Database {
        /// Whose.
        name: &'static str,
        /// What is wrong with it.
        source: sagamore_database::Error,
    },
    /// The shop's data.
    #[error("shop: {0}")]
    Shop(#[from] sagamore_shop::Error),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] sagamore_engine::Error),
    /// A service.
    #[error("{name}: {source}")]
    Service {
        /// Which.
        name: &'static str,
        /// What no retry mends.
        source: sagamore_sdk::Error,
    },
    /// The configuration says another number of partitions than the topic has.
    #[error(
        "{key} is {configured}, and the live topic {topic} has {live} partitions. Nothing was changed.\n  \
         Set {key} = {live} (`sagamore config` says where the {configured} comes from), and start again"
    )]
    Partitions {
        /// Where it is configured.
        key: String,
        /// What it says.
        configured: u32,
        /// The topic.
        topic: String,
        /// What it has.
        live: u32,
    },
    /// Some part of it ended or panicked.
    #[error("{0} stopped by itself")]
    Stopped(String),
    /// It did not stop in time.
    #[error("some work did not end within {} s of the stop; it goes on at the next start", STOP_MAX.as_secs())]
    Slow,
}

/// What can be chosen.
pub struct Options {
    /// Definitions beside the shop's own.
    pub definitions: Vec<Definition>,
    /// How many sagas may be under way.
    pub sagas_max: usize,
}

/// Everything, at work.
pub struct Stack {
    /// The way into the engine.
    pub handle: Handle,
    /// The shop's databases.
    pub shop: Databases,
    ground: Ground,
}

/// What both forms stand on: a data directory that is ours, its log, and who works there.
struct Ground {
    crew: Crew,
    log: Log,
    lock: Lock,
}

/// The name of the shop's saga.
pub fn checkout_name() -> Name {
    Name::new(sagamore_shop::checkout::NAME).expect("a legal name")
}

impl Default for Options {
    fn default() -> Options {
        Options { definitions: Vec::new(), sagas_max: SAGAS_MAX }
    }
}

impl Stack {
    /// Opens the directory, made when it is absent, and sets everything to work: sagas that were under way go on.
    pub async fn open(data: &Path, options: Options) -> Result<Stack, Error> {
        let (mut ground, shop) = Ground::open(data).await?;
        let transport = ground.transport();
        let checkout = sagamore_shop::checkout().map_err(|error| Error::Definition(error.to_string()))?;
        let definitions = std::iter::once(checkout).chain(options.definitions).collect();
        let engine = database(data, "engine")?;
        let in_flight_max = options.sagas_max;
        let bounds = sagamore_engine::Options { in_flight_max, ..sagamore_engine::Options::default() };
        let (orchestrator, handle) = Orchestrator::open(bounds, engine, transport.clone(), definitions).await?;
        let crew = &mut ground.crew;
        crew.spawn("the orchestrator", |stopped| async { orchestrator.run(stopped).await.map_err(Error::Engine) });
        for (service, (name, database)) in sagamore_shop::services().into_iter().zip(shop.all()) {
            let options = sagamore_sdk::Options::default();
            ground.employ(name, Participant::new(service, database.clone(), transport.clone(), options));
        }
        Ok(Stack { handle, shop, ground })
    }

    /// What the HTTP side works with.
    pub fn app(&self, metrics: Option<PrometheusHandle>) -> App {
        App {
            handle: self.handle.clone(),
            chains: None,
            services: Services::Here(self.shop.clone()),
            shop: Some(self.shop.clone()),
            kafka: None,
            log: Some(self.ground.log.clone()),
            metrics,
        }
    }

    /// Waits until some part of it stops although nobody asked it to.
    pub async fn broken(&mut self) -> Error {
        self.ground.crew.broken().await
    }

    /// Finishes the turns that have begun, syncs the log, lets go of the directory.
    pub async fn stop(self, limit: Duration) -> Result<(), Error> {
        self.ground.leave(limit).await
    }
}

impl Ground {
    /// Opens the directory, made when it is absent, and the shop's databases in it, with their tables.
    async fn open(data: &Path) -> Result<(Ground, Databases), Error> {
        sagamore_transport::log::create_directory(data)
            .map_err(|source| Error::Directory { path: data.to_owned(), source })?;
        let lock = Lock::take(data)?;
        nothing_is_missing(data)?;
        let log = Log::open(&data.join("log"), sagamore_transport::log::Options::default())?;
        let shop = Databases {
            order: database(data, "order")?,
            payment: database(data, "payment")?,
            inventory: database(data, "inventory")?,
            shipping: database(data, "shipping")?,
        };
        shop.prepare().await?;
        Ok((Ground { crew: Crew::new(), log, lock }, shop))
    }

    fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(self.log.clone())
    }

    /// Sets a service to work.
    fn employ(&mut self, name: &'static str, participant: Participant) {
        self.crew.spawn(name, move |stopped| async move {
            participant.run(stopped).await.map_err(|source| Error::Service { name, source })
        });
    }

    async fn leave(mut self, limit: Duration) -> Result<(), Error> {
        let stopped = self.crew.stop(limit).await;
        self.log.sync()?;
        drop(self.lock);
        stopped
    }
}

/// The engine's database is made last: where it is, the services' are. The log may be lost, they may not.
fn nothing_is_missing(data: &Path) -> Result<(), Error> {
    if !file(data, "engine").exists() {
        return Ok(());
    }
    let services = ["order", "payment", "inventory", "shipping"];
    let missing = services.into_iter().map(|name| file(data, name)).find(|path| !path.exists());
    missing.map_or(Ok(()), |path| Err(Error::Missing { path }))
}

fn file(data: &Path, name: &str) -> PathBuf {
    data.join(format!("{name}.sqlite"))
}

fn database(data: &Path, name: &'static str) -> Result<Database, Error> {
    Database::sqlite(&file(data, name)).map_err(|source| Error::Database { name, source })
}
