//! Read access to chains: show, list, and wait until one is at rest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sagamore_core::plan::{Chain, Plan};
use sagamore_core::{SagaId, Timestamp};
use sagamore_database::{Clock, Database};
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout_at};

use super::resolve::ResolveError;
use super::rows::{ChainHeader, Observed};
use super::status::{ChainChanges, ChainStatus};
use super::store::{Access, Store};
use crate::error::Error;
use crate::store::Filter;

/// Turns whose changes are buffered for waiters. A waiter that lags further reads the table.
const CHANGES_MAX: usize = 64;
/// The longest pause between two reads by a waiter: another process may observe the chain.
const POLL_PAUSE_MAX: Duration = Duration::from_secs(1);
/// The first pause of a waiter if another process observes. Each later pause is half as long again.
const POLL_PAUSE_MIN: Duration = Duration::from_millis(5);

/// Read access to the stored chains. Clones share one connection pool.
#[derive(Clone)]
pub struct Chains {
    store: Store,
    clock: Clock,
    /// Broadcasts changed chains to waiters.
    changes: broadcast::Sender<ChainChanges>,
    reading: Arc<Mutex<Reading>>,
    /// Whether `changes` covers every chain, because no other process observes.
    sees_all: Arc<AtomicBool>,
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
        Chains { store, clock, changes, reading, sees_all: Arc::default() }
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
        let store = Store::open(database, plans, Access::Reads).await?;
        Ok(Chains::new(store, clock, Reading::Elsewhere))
    }

    /// Reads one chain.
    pub async fn show(&self, id: &SagaId) -> Result<Option<ChainDetail>, Error> {
        let Some((header, mut events)) = self.store.show(id).await? else { return Ok(None) };
        events.sort_by_key(|observed| (observed.seen.hop, observed.seen.at));
        let chain = self.store.chain(id, header.version, &events);
        Ok(Some(ChainDetail { header, chain, events }))
    }

    /// Lists chains, newest first.
    pub async fn list(&self, filter: &Filter<ChainStatus>) -> Result<Vec<ChainHeader>, Error> {
        self.store.list(filter).await
    }

    /// Marks a chain as resolved by a person, with the reason. The chain is then over until another
    /// event of it is seen. A repeated call changes nothing.
    pub async fn resolve(&self, id: &SagaId, because: &str) -> Result<(), ResolveError> {
        self.clock.sample().await.map_err(Error::from)?;
        self.store.resolve(id, because, Timestamp(self.clock.now_ms())).await
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
