//! Registers definitions at run time, and follows the registrations of other processes.

use std::sync::Arc;
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_core::definition::Definition;
use sagamore_core::id::Name;
use sagamore_database::Clock;
use sagamore_transport::{Transport, wire};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::error::{Error, RegistrationError, StartError};
use crate::options::Options;
use crate::registry::{Registry, Selected};
use crate::store::Store;
use crate::versions::{CheckedContents, Registered, RegistrationMode, StoredVersion};

/// The interval between two polls for changes of other processes.
const POLL: Duration = Duration::from_millis(400);

/// The registered definitions: those in the store, and the known ones in memory.
pub(crate) struct Registrar {
    pub registry: Arc<Registry>,
    pub store: Store,
    transport: Arc<dyn Transport>,
    options: Arc<Options>,
    clock: Clock,
    /// The number of changes that the registry reflects. Locked during a refresh.
    changes_seen: Mutex<Option<i64>>,
}

/// Polls the store for changes that other processes made to definitions.
#[derive(Clone)]
pub struct DefinitionWatch {
    registrar: Arc<Registrar>,
}

impl Registrar {
    pub fn new(
        store: Store,
        transport: Arc<dyn Transport>,
        options: Arc<Options>,
        clock: Clock,
    ) -> Registrar {
        let (registry, changes_seen) = Default::default();
        Registrar { registry, store, transport, options, clock, changes_seen }
    }

    pub fn transport(&self) -> Arc<dyn Transport> {
        self.transport.clone()
    }

    /// Registers the definitions that the process brings, and creates their command topics. Reads
    /// all other ones.
    pub async fn open(&self, definitions: Vec<Definition>) -> Result<(), Error> {
        let definitions = CheckedContents::of(attach_all(definitions)?)?;
        self.clock.sample().await?;
        self.store
            .versions()
            .register(&definitions, RegistrationMode::Deploy, self.now(), false)
            .await?;
        for definition in definitions {
            self.create_topics(&definition).await?;
            self.registry.add_built_in(definition);
        }
        self.refresh().await
    }

    /// Registers definitions, all or none. Their command topics exist before they are stored.
    pub async fn register(
        &self,
        definitions: Vec<Definition>,
        mode: RegistrationMode,
        dry_run: bool,
    ) -> Result<Vec<Registered>, RegistrationError> {
        let definitions = CheckedContents::of(attach_all(definitions)?)?;
        let now = self.now();
        let registered = self.store.versions().register(&definitions, mode, now, true).await?;
        if dry_run {
            return Ok(registered);
        }
        for definition in definitions.iter() {
            self.create_topics(definition).await?;
        }
        let registered = self.store.versions().register(&definitions, mode, now, false).await?;
        for definition in definitions {
            let definition = self.registry.add(definition);
            self.registry.mark_ready(definition.hash());
        }
        self.refresh().await?;
        Ok(registered)
    }

    /// Makes new sagas run by this version.
    pub async fn activate(
        &self,
        name: &Name,
        version: u32,
    ) -> Result<StoredVersion, RegistrationError> {
        let activated = self.store.versions().activate(name, version).await?;
        self.refresh().await?;
        Ok(activated)
    }

    /// Stops starts by this version.
    pub async fn retire(
        &self,
        name: &Name,
        version: u32,
    ) -> Result<StoredVersion, RegistrationError> {
        let retired = self.store.versions().retire(name, version, self.now()).await?;
        self.refresh().await?;
        Ok(retired)
    }

    /// Returns the definition of a start: the named version, else the active one. Its command
    /// topics exist.
    pub async fn of_start(
        &self,
        name: &Name,
        version: Option<u32>,
    ) -> Result<Arc<Definition>, StartError> {
        let Selected { hash, ready } = self.registry.select(name, version)?;
        match ready {
            Some(definition) => Ok(definition),
            None => self.prepare(&hash).await.map_err(|error| {
                StartError::Unavailable(format!("prepare definition '{name}': {error}"))
            }),
        }
    }

    /// Reads the stored versions if any changed, and prepares the active ones.
    pub async fn refresh(&self) -> Result<(), Error> {
        let mut seen = self.changes_seen.lock().await;
        // a change between the two statements is read again
        let changes = self.store.versions().changes().await?;
        if *seen == Some(changes) {
            return Ok(());
        }
        self.registry.set_versions(self.store.versions().all().await?);
        *seen = Some(changes);
        drop(seen);
        for hash in self.registry.active_but_not_ready() {
            // a start of this definition tries again
            if let Err(error) = self.prepare(&hash).await {
                tracing::warn!(%error, hash, "cannot prepare a definition, retrying at its start");
            }
        }
        Ok(())
    }

    /// Reads a definition and creates its command topics.
    async fn prepare(&self, hash: &str) -> Result<Arc<Definition>, Error> {
        let definition = self.store.read_definition(&self.registry, hash).await?;
        self.create_topics(&definition).await?;
        self.registry.mark_ready(hash);
        Ok(definition)
    }

    async fn create_topics(&self, definition: &Definition) -> Result<(), Error> {
        for step in &definition.steps {
            let participant = &step.action.participant;
            let partitions = self.options.partitions_for(participant);
            self.transport.create_topic(&wire::command_topic(participant), partitions).await?;
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_ms())
    }
}

/// Compiles the schemas of definitions.
fn attach_all(definitions: Vec<Definition>) -> Result<Vec<Definition>, RegistrationError> {
    let attach = |definition: Definition| {
        let name = definition.name.clone();
        sagamore_schema::attach(definition).map_err(|errors| {
            let errors = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            RegistrationError::BadSchema { name, errors }
        })
    };
    definitions.into_iter().map(attach).collect()
}

impl DefinitionWatch {
    pub(crate) fn of(registrar: Arc<Registrar>) -> DefinitionWatch {
        DefinitionWatch { registrar }
    }

    /// Reads the changes since the last poll.
    ///
    /// # Errors
    /// The known definitions stay.
    pub async fn refresh(&self) -> Result<(), Error> {
        self.registrar.refresh().await
    }

    async fn run(self) {
        let mut fails = false;
        loop {
            tokio::time::sleep(POLL).await;
            match self.refresh().await {
                Ok(()) => fails = false,
                Err(error) if !fails => {
                    fails = true;
                    tracing::warn!(%error, "cannot poll the definitions: using the known ones");
                }
                Err(_) => {}
            }
        }
    }
}

/// The polling task. Aborted on drop.
pub(crate) struct WatchTask(JoinHandle<()>);

impl WatchTask {
    pub fn spawn(watch: DefinitionWatch) -> WatchTask {
        WatchTask(tokio::spawn(watch.run()))
    }
}

impl Drop for WatchTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
