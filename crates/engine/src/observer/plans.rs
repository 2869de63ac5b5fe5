//! The plans in the observer's database: of this program, of earlier programs with unfinished
//! chains, and of registrations at run time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sagamore_core::plan::Plan;
use sagamore_core::{Name, Timestamp};
use sagamore_database::Database;
use sagamore_transport::Transport;
use sagamore_transport::wire::event_topic;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

use crate::error::{BeginError, Error, RegistrationError, listed};
use crate::versions::{
    CheckedContents, Registered, RegistrationMode, StoredVersion, VersionKind, VersionStore,
};

/// The interval between two polls for changes of other processes.
const POLL: Duration = Duration::from_millis(400);

/// The stored plans, and the known ones in memory. Clones share them.
#[derive(Clone)]
pub(crate) struct PlanRegistry {
    shared: Arc<Shared>,
}

struct Shared {
    store: VersionStore,
    /// Plans of this process, for a reader whose observer does not have them.
    own: Vec<Plan>,
    table: RwLock<Arc<PlanTable>>,
    /// The number of changes that the table reflects. Locked during a refresh.
    changes_seen: Mutex<Option<i64>>,
    /// Wakes the observer after a change.
    changed: Notify,
}

/// A plan with the hash of its contents, which is costly to compute.
#[derive(Clone)]
pub(crate) struct HashedPlan {
    pub plan: Arc<Plan>,
    pub hash: Arc<str>,
}

/// The known plans as of one refresh.
#[derive(Default)]
pub(crate) struct PlanTable {
    by_version: BTreeMap<(Name, u32), HashedPlan>,
    by_hash: HashMap<String, HashedPlan>,
    versions: BTreeMap<(Name, u32), StoredVersion>,
}

/// A version of a plan that is stored, or known to this process.
#[derive(Clone, Debug)]
pub struct KnownPlan {
    /// The plan's name.
    pub name: Name,
    /// The version.
    pub version: u32,
    /// The contents. `None`: a newer program stored them in a form that this one cannot read, or
    /// they were removed.
    pub plan: Option<Arc<Plan>>,
}

/// Creates the topics of plans before they are registered. Only an observer's process has one.
#[derive(Clone)]
pub(super) struct TopicCreator {
    pub transport: Arc<dyn Transport>,
    pub partitions: u32,
}

impl TopicCreator {
    pub async fn create(&self, topics: &[Arc<str>]) -> Result<(), Error> {
        for topic in topics {
            self.transport.create_topic(topic, self.partitions).await?;
        }
        Ok(())
    }
}

impl PlanRegistry {
    /// Reads the stored plans. `own` are those of this process, which apply unless other contents
    /// are stored.
    pub async fn open(database: &Database, own: Vec<Plan>) -> Result<PlanRegistry, Error> {
        let store = VersionStore::of(database.clone(), VersionKind::Plan);
        let (table, changes_seen, changed) = Default::default();
        let shared = Shared { store, own, table, changes_seen, changed };
        let registry = PlanRegistry { shared: Arc::new(shared) };
        registry.refresh().await?;
        Ok(registry)
    }

    /// Returns the stored versions.
    pub fn store(&self) -> &VersionStore {
        &self.shared.store
    }

    /// Returns the known plans.
    pub fn table(&self) -> Arc<PlanTable> {
        self.shared.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Registers plans, all or none. A process with an observer creates their topics before.
    pub async fn register(
        &self,
        plans: &CheckedContents<Plan>,
        mode: RegistrationMode,
        topics: Option<&TopicCreator>,
        (now, dry_run): (Timestamp, bool),
    ) -> Result<Vec<Registered>, RegistrationError> {
        let store = &self.shared.store;
        if dry_run || topics.is_some() {
            let registered = store.register(plans, mode, now, true).await?;
            if dry_run {
                return Ok(registered);
            }
        }
        if let Some(creator) = topics {
            let events = plans.iter().flat_map(events).map(|event| event_topic(&event));
            creator.create(&events.collect::<Vec<_>>()).await?;
        }
        let registered = store.register(plans, mode, now, false).await?;
        self.refresh().await?;
        Ok(registered)
    }

    /// Makes new chains run by this version.
    pub async fn activate(
        &self,
        name: &Name,
        version: u32,
    ) -> Result<StoredVersion, RegistrationError> {
        let activated = self.shared.store.activate(name, version).await?;
        self.refresh().await?;
        Ok(activated)
    }

    /// Stops starts by this version.
    pub async fn retire(
        &self,
        name: &Name,
        version: u32,
        now: Timestamp,
    ) -> Result<StoredVersion, RegistrationError> {
        let retired = self.shared.store.retire(name, version, now).await?;
        self.refresh().await?;
        Ok(retired)
    }

    /// Reads the stored plans if any changed.
    pub async fn refresh(&self) -> Result<(), Error> {
        let Shared { store, own, table, changes_seen, changed } = &*self.shared;
        let mut seen = changes_seen.lock().await;
        // a change between the statements is read again
        let changes = store.changes().await?;
        if *seen == Some(changes) {
            return Ok(());
        }
        let known = self.table();
        let versions = store.all().await?;
        let mut next = PlanTable::default();
        let of_versions = versions.iter().map(|version| version.hash.clone());
        for hash in of_versions.chain(store.former().await?) {
            let plan = match known.by_hash.get(&hash) {
                Some(plan) => Some(plan.clone()),
                None => parsed(&hash, store.body(&hash).await?),
            };
            next.by_hash.extend(plan.map(|plan| (hash, plan)));
        }
        for plan in own {
            let key = (plan.name.clone(), plan.version);
            let plan = HashedPlan { hash: plan.hash().into(), plan: Arc::new(plan.clone()) };
            next.by_version.insert(key, plan);
        }
        for version in versions {
            let key = (version.name.clone(), version.version);
            if let Some(plan) = next.by_hash.get(&version.hash) {
                next.by_version.insert(key.clone(), plan.clone());
            }
            next.versions.insert(key, version);
        }
        *table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        *seen = Some(changes);
        changed.notify_one();
        Ok(())
    }

    /// Waits until the known plans change, or may have changed since the last wait.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    async fn poll(self) {
        let mut fails = false;
        loop {
            tokio::time::sleep(POLL).await;
            match self.refresh().await {
                Ok(()) => fails = false,
                Err(error) if !fails => {
                    fails = true;
                    tracing::warn!(%error, "cannot poll the plans: using the known ones");
                }
                Err(_) => {}
            }
        }
    }
}

/// Parses a stored plan. `None`: its body was removed, or a newer program stored it in a form that
/// this one cannot read.
fn parsed(hash: &str, body: Option<String>) -> Option<HashedPlan> {
    let plan = serde_json::from_str(&body?);
    let plan =
        plan.inspect_err(|why| tracing::warn!(hash, %why, "cannot read a stored plan")).ok()?;
    Some(HashedPlan { plan: Arc::new(plan), hash: hash.into() })
}

/// Returns the events of a plan.
pub(super) fn events(plan: &Plan) -> Vec<Name> {
    let emitted = plan.parts().flat_map(|part| part.events()).map(|(event, _)| event.clone());
    emitted.chain(plan.overdue.clone()).collect()
}

impl PlanTable {
    /// Returns the plan of a chain: by its hash, else the present contents of its version.
    pub fn plan(&self, name: &Name, version: u32, hash: Option<&str>) -> Option<&HashedPlan> {
        let by_hash = hash.and_then(|hash| self.by_hash.get(hash));
        by_hash.or_else(|| self.by_version.get(&(name.clone(), version)))
    }

    /// Returns the plan of a chain that begins with this event: the named version, else the active
    /// one.
    pub fn select(
        &self,
        event: &Name,
        name: Option<&Name>,
        version: Option<u32>,
    ) -> Result<Arc<Plan>, BeginError> {
        let begins = |plan: &&Arc<Plan>| plan.begins.event == *event;
        let is_named = |plan: &&Arc<Plan>| name.is_none_or(|name| plan.name == *name);
        let is_open = |plan: &&Arc<Plan>| {
            let stored = self.versions.get(&(plan.name.clone(), plan.version));
            stored.is_some_and(|stored| match version {
                Some(version) => stored.version == version && stored.retired_at.is_none(),
                None => stored.is_active,
            })
        };
        let fitting: Vec<_> =
            self.plans().filter(begins).filter(is_named).filter(is_open).collect();
        match fitting.as_slice() {
            [only] => Ok((*only).clone()),
            [] => {
                let active = self.plans().filter(|plan| {
                    let stored = self.versions.get(&(plan.name.clone(), plan.version));
                    stored.is_some_and(|stored| stored.is_active)
                });
                let known = active
                    .map(|plan| format!("{} of {}@{}", plan.begins.event, plan.name, plan.version));
                let known = listed(known.collect::<Vec<_>>().into_iter());
                Err(BeginError::UnknownEvent { event: event.clone(), known })
            }
            several => {
                let plans = several.iter().map(|plan| plan.name.to_string());
                let plans = listed(plans.collect::<Vec<_>>().into_iter());
                Err(BeginError::SeveralPlans { event: event.clone(), plans })
            }
        }
    }

    /// Returns the contents of every version.
    pub fn plans(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.by_version.values().map(|known| &known.plan)
    }

    /// Returns every version, with those whose contents this program cannot read.
    pub fn known(&self) -> Vec<KnownPlan> {
        let keys: BTreeSet<_> = self.by_version.keys().chain(self.versions.keys()).collect();
        let known = keys.into_iter().map(|key| KnownPlan {
            name: key.0.clone(),
            version: key.1,
            plan: self.by_version.get(key).map(|known| known.plan.clone()),
        });
        known.collect()
    }

    /// Returns every plan, with those that were replaced in place.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.by_version.values().chain(self.by_hash.values()).map(|known| &known.plan)
    }

    /// Returns the names of the plans.
    pub fn names(&self) -> Vec<Name> {
        let mut names: Vec<Name> = self.by_version.keys().map(|(name, _)| name.clone()).collect();
        names.dedup();
        names
    }
}

/// The polling task. Aborted on drop.
pub(super) struct PollTask(JoinHandle<()>);

impl PollTask {
    pub fn spawn(registry: PlanRegistry) -> PollTask {
        PollTask(tokio::spawn(registry.poll()))
    }
}

impl Drop for PollTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
