//! The way to the chains: show, list, and wait for one to be over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sagamore_core::plan::{Chain, Plan};
use sagamore_core::{SagaId, Timestamp};
use sagamore_database::{Clock, Database};
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout_at};

use super::Changed;
use super::resolve::ResolveError;
use super::rows::{ChainHeader, Observed};
use super::status::ChainStatus;
use super::store::{Access, Store};
use crate::error::Error;
use crate::store::Filter;

/// So many turns' changes are kept for those who wait; who is further behind looks again.
const CHANGES_KEPT: usize = 64;
/// Who waits looks this often, whatever it hears: another process may observe.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Where another process does, who waits looks first after so long, and each time after half as long again.
const LOOK_FIRST: Duration = Duration::from_millis(5);

/// What is known of chains. Clones share it.
#[derive(Clone)]
pub struct Chains {
    store: Store,
    clock: Clock,
    /// The chains that have changed, for those who wait for one.
    changes: broadcast::Sender<Changed>,
    reading: Arc<Mutex<Reading>>,
    /// Whether all changes are heard of here: nobody else observes.
    hears_all: Arc<AtomicBool>,
}

/// How far the observer of this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It observes elsewhere: nobody knows here.
    Elsewhere,
    /// It has no partitions yet, and has read nothing since it began.
    Nothing,
    /// All but so many events.
    But(u64),
}

/// One chain with all that is known of it.
#[derive(Clone, Debug)]
pub struct ChainDetail {
    /// Its row.
    pub header: ChainHeader,
    /// Its events, folded by its plan.
    pub chain: Chain,
    /// The same with what each says, by hops.
    pub events: Vec<Observed>,
}

impl Chains {
    pub(super) fn new(store: Store, clock: Clock, reading: Reading) -> Chains {
        let (changes, reading) =
            (broadcast::channel(CHANGES_KEPT).0, Arc::new(Mutex::new(reading)));
        Chains { store, clock, changes, reading, hears_all: Arc::default() }
    }

    /// Those who wait for one of these are woken.
    pub(super) fn have_changed(&self, changed: Changed) {
        let _ = self.changes.send(changed); // perhaps nobody waits
    }

    pub(super) fn hears_all(&self, all: bool) {
        self.hears_all.store(all, Ordering::Relaxed);
    }

    pub(super) fn is_behind(&self, reading: Reading) {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = reading;
    }

    /// How far the observer of this process is: what it does not know may be among what it has not read.
    pub fn reading(&self) -> Reading {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an observer, wherever it runs, keeps in this database.
    pub async fn open(database: Database, plans: Vec<Plan>) -> Result<Chains, Error> {
        let clock = Clock::of(&database);
        let store = Store::open(database, plans, Access::Reads).await?;
        Ok(Chains::new(store, clock, Reading::Elsewhere))
    }

    /// One chain.
    pub async fn show(&self, id: &SagaId) -> Result<Option<ChainDetail>, Error> {
        let Some((header, mut events)) = self.store.show(id).await? else { return Ok(None) };
        events.sort_by_key(|told| (told.seen.hop, told.seen.at));
        let chain = self.store.chain(id, header.version, &events);
        Ok(Some(ChainDetail { header, chain, events }))
    }

    /// Chains, the newest first.
    pub async fn list(&self, filter: &Filter<ChainStatus>) -> Result<Vec<ChainHeader>, Error> {
        self.store.list(filter).await
    }

    /// Takes a person's word that a chain is taken care of, with the reason, which is kept. It is over then, until another event
    /// of it is seen. Again it changes nothing.
    pub async fn resolve(&self, id: &SagaId, because: &str) -> Result<(), ResolveError> {
        self.clock.sample().await.map_err(Error::from)?;
        self.store.resolve(id, because, Timestamp(self.clock.now_ms())).await
    }

    /// Waits until a chain is at rest, for so long at most. None: it was never seen.
    pub async fn wait(
        &self,
        id: &SagaId,
        patience: Duration,
    ) -> Result<Option<ChainStatus>, Error> {
        let until = Instant::now() + patience;
        let mut changes = self.changes.subscribe();
        let mut known = self.store.status(id).await?;
        let mut pause = LOOK_FIRST;
        while !known.is_some_and(ChainStatus::is_at_rest) && Instant::now() < until {
            let look_after =
                if self.hears_all.load(Ordering::Relaxed) { LOOK_EVERY } else { pause };
            known = match changed(&mut changes, id, until.min(Instant::now() + look_after)).await {
                Some(status) => Some(status),
                None => self.store.status(id).await?,
            };
            pause = (pause * 3 / 2).min(LOOK_EVERY);
        }
        Ok(known)
    }
}

/// Where this chain stands, once it has changed. None: nobody knows, or the time has come to look.
async fn changed(
    changes: &mut broadcast::Receiver<Changed>,
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
