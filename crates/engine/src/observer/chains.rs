//! Read access to chains: show, list, and wait until one is at rest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sagamore_core::plan::{Chain, Plan};
use sagamore_core::{Name, SagaId, Timestamp};
use sagamore_database::{Clock, Database};
use sagamore_transport::Transport;
use tokio::sync::{Semaphore, broadcast};
use tokio::time::{Instant, timeout_at};

use super::due::RETENTION;
use super::plans::{KnownPlan, PollTask, TopicCreator};
use super::resolve::ResolveError;
use super::rows::{ChainHeader, Observed};
use super::status::{ChainChanges, ChainStatus};
use super::store::Store;
use crate::announcements::Announcements;
use crate::error::{Error, RegistrationError};
use crate::store::Filter;
use crate::versions::{CheckedContents, Registered, RegistrationMode, StoredVersion, VersionStore};

/// Turns whose changes are buffered for waiters. A waiter that lags further reads the table.
const CHANGES_MAX: usize = 64;
/// Requests in progress that begin chains. Further ones are rejected as busy.
const BEGINS_MAX: usize = 256;
/// The longest pause between two reads by a waiter: another process may observe the chain.
const POLL_PAUSE_MAX: Duration = Duration::from_secs(1);
/// The first pause of a waiter if another process observes. Each later pause is half as long again.
const POLL_PAUSE_MIN: Duration = Duration::from_millis(5);

/// Read access to the stored chains. Clones share one connection pool.
#[derive(Clone)]
pub struct Chains {
    pub(super) store: Store,
    clock: Clock,
    /// Broadcasts changed chains to waiters.
    changes: broadcast::Sender<ChainChanges>,
    reading: Arc<Mutex<Reading>>,
    /// Whether `changes` covers every chain, because no other process observes.
    sees_all: Arc<AtomicBool>,
    /// Creates the topics of plans; `None` if the observer runs in another process.
    pub(super) topics: Option<TopicCreator>,
    /// Polls for plans that other processes register; `None` if the observer does.
    poll: Option<Arc<PollTask>>,
    /// Permits of requests that begin chains.
    pub(super) begins: Arc<Semaphore>,
    /// Retention of the services' rows after the end of a chain.
    pub(super) retention: Duration,
}

/// The progress of this process's observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The observer runs in another process, so its progress is unknown.
    Elsewhere,
    /// The observer has no partitions yet and has read nothing.
    Nothing,
    /// The number of unread events.
    But(u64),
}

/// A chain with its events.
#[derive(Clone, Debug)]
pub struct ChainDetail {
    /// The chain's row.
    pub header: ChainHeader,
    /// The events, folded by the plan.
    pub chain: Chain,
    /// The events with their bodies, ordered by hop.
    pub events: Vec<Observed>,
}

impl Chains {
    pub(super) fn new(store: Store, clock: Clock, reading: Reading) -> Chains {
        let (changes, reading) = (broadcast::channel(CHANGES_MAX).0, Arc::new(Mutex::new(reading)));
        let (sees_all, topics, poll) = Default::default();
        let begins = Arc::new(Semaphore::new(BEGINS_MAX));
        let retention = RETENTION;
        Chains { store, clock, changes, reading, sees_all, topics, poll, begins, retention }
    }

    /// Wakes the waiters of these chains.
    pub(super) fn notify(&self, changed: ChainChanges) {
        let _ = self.changes.send(changed); // there may be no waiter
    }

    pub(super) fn sees_all(&self, all: bool) {
        self.sees_all.store(all, Ordering::Relaxed);
    }

    pub(super) fn set_reading(&self, reading: Reading) {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = reading;
    }

    /// Returns the progress of this process's observer. An unknown chain may be among the unread
    /// events.
    pub fn reading(&self) -> Reading {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens an observer's database, wherever the observer runs.
    pub async fn open(database: Database, plans: Vec<Plan>) -> Result<Chains, Error> {
        let clock = Clock::of(&database);
        let store = Store::open(database, plans).await?;
        let mut chains = Chains::new(store, clock, Reading::Elsewhere);
        chains.poll = Some(Arc::new(PollTask::spawn(chains.store.plans.clone())));
        Ok(chains)
    }

    /// Adds the transport, with which this process begins chains and creates the topics of plans.
    pub fn with_transport(mut self, transport: Arc<dyn Transport>, partitions: u32) -> Chains {
        self.topics = Some(TopicCreator { transport, partitions });
        self
    }

    /// Sets the retention of the services' rows after the end of a chain.
    pub fn with_retention(self, retention: Duration) -> Chains {
        Chains { retention, ..self }
    }

    /// Reads one chain.
    pub async fn show(&self, id: &SagaId) -> Result<Option<ChainDetail>, Error> {
        let Some((header, mut events)) = self.store.show(id).await? else { return Ok(None) };
        events.sort_by_key(|observed| (observed.seen.hop, observed.seen.at));
        let of_plan = (header.version, header.hash.as_deref());
        let chain = self.store.chain(id, of_plan, &events);
        Ok(Some(ChainDetail { header, chain, events }))
    }

    /// Lists chains, newest first.
    pub async fn list(&self, filter: &Filter<ChainStatus>) -> Result<Vec<ChainHeader>, Error> {
        self.store.list(filter).await
    }

    /// Marks a chain as resolved by a person, with the reason. The chain is then over until another
    /// event of it is seen. A repeated call changes nothing.
    pub async fn resolve(&self, id: &SagaId, because: &str) -> Result<(), ResolveError> {
        self.store.resolve(id, because, self.now().await?).await
    }

    /// Waits up to `patience` until a chain is at rest, and returns its last known status. `None`:
    /// no event of the chain was ever seen.
    pub async fn wait(
        &self,
        id: &SagaId,
        patience: Duration,
    ) -> Result<Option<ChainStatus>, Error> {
        let until = Instant::now() + patience;
        let mut changes = self.changes.subscribe();
        let mut known = self.store.status(id).await?;
        let mut pause = POLL_PAUSE_MIN;
        while !known.is_some_and(ChainStatus::is_at_rest) && Instant::now() < until {
            let poll_after =
                if self.sees_all.load(Ordering::Relaxed) { POLL_PAUSE_MAX } else { pause };
            known = match changed(&mut changes, id, until.min(Instant::now() + poll_after)).await {
                Some(status) => Some(status),
                None => self.store.status(id).await?,
            };
            pause = (pause * 3 / 2).min(POLL_PAUSE_MAX);
        }
        Ok(known)
    }
}

impl Chains {
    /// Returns the stored versions of plans.
    pub fn plans(&self) -> &VersionStore {
        self.store.plans.store()
    }

    /// Returns the announcements that the observers have stored. Without a transport, no topic is
    /// known to be missing.
    pub fn announcements(&self) -> Announcements {
        let transport = self.topics.as_ref().map(|topics| topics.transport.clone());
        Announcements::of(self.store.database.clone(), self.clock.clone(), transport)
    }

    /// Returns the known plans, by name and version.
    pub fn known_plans(&self) -> Vec<Arc<Plan>> {
        self.store.plans.table().plans().cloned().collect()
    }

    /// Reads the stored plans again, and returns every version. The read begins after the call, so
    /// it finds each plan that was registered before.
    ///
    /// # Errors
    /// A fault of the database.
    pub async fn read_plans(&self) -> Result<Vec<KnownPlan>, Error> {
        self.store.plans.refresh().await?;
        Ok(self.store.plans.table().known())
    }

    /// Whether a plan of this name is known.
    pub fn knows(&self, plan: &str) -> bool {
        self.store.plans.table().plans().any(|known| known.name.as_str() == plan)
    }

    /// Registers plans, all or none. The observer follows their events within a second. With
    /// `dry_run` nothing is stored.
    ///
    /// # Errors
    /// Nothing is stored if a plan is invalid, or its version is stored with other contents.
    pub async fn register(
        &self,
        plans: Vec<Plan>,
        mode: RegistrationMode,
        dry_run: bool,
    ) -> Result<Vec<Registered>, RegistrationError> {
        let plans = CheckedContents::without_blocking(plans).await?;
        let now = self.now().await?;
        self.store.plans.register(&plans, mode, self.topics.as_ref(), (now, dry_run)).await
    }

    /// Makes new chains run by this version.
    ///
    /// # Errors
    /// The version is unknown or retired.
    pub async fn activate(
        &self,
        name: &Name,
        version: u32,
    ) -> Result<StoredVersion, RegistrationError> {
        self.store.plans.activate(name, version).await
    }

    /// Stops starts by this version; its chains continue. The contents are removed when no chain's
    /// row refers to them.
    ///
    /// # Errors
    /// The version is unknown.
    pub async fn retire(
        &self,
        name: &Name,
        version: u32,
    ) -> Result<StoredVersion, RegistrationError> {
        self.store.plans.retire(name, version, self.now().await?).await
    }

    pub(super) async fn now(&self) -> Result<Timestamp, Error> {
        self.clock.sample().await?;
        Ok(Timestamp(self.clock.now_ms()))
    }
}

/// Waits for a change of this chain until `until`. `None`: the caller must read the table.
async fn changed(
    changes: &mut broadcast::Receiver<ChainChanges>,
    id: &SagaId,
    until: Instant,
) -> Option<ChainStatus> {
    loop {
        match timeout_at(until, changes.recv()).await {
            Ok(Ok(changed)) => match changed.get(id) {
                Some(status) => return Some(*status),
                None => continue,
            },
            Ok(Err(broadcast::error::RecvError::Lagged(_))) | Err(_) => return None,
            Ok(Err(broadcast::error::RecvError::Closed)) => {
                tokio::time::sleep_until(until).await;
                return None;
            }
        }
    }
}
