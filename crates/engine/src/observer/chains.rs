//! The way to the chains: show, list, and wait for one to be over.

use std::time::Duration;

use sagamore_core::SagaId;
use sagamore_core::plan::Chain;
use tokio::sync::watch;

use super::store::{ChainHeader, ChainStatus, Store, Told};
use crate::error::Error;

/// The most chains on a page.
const LIMIT_MAX: u32 = 500;

/// What is known of chains. Clones share it.
#[derive(Clone)]
pub struct Chains {
    store: Store,
    changed: watch::Receiver<u64>,
}

/// One chain with all that is known of it.
#[derive(Clone, Debug)]
pub struct ChainDetail {
    /// Its row.
    pub header: ChainHeader,
    /// Its events, folded by its plan.
    pub chain: Chain,
    /// The same with what each says, by id.
    pub events: Vec<Told>,
}

impl Chains {
    pub(super) fn new(store: Store, changed: watch::Receiver<u64>) -> Chains {
        Chains { store, changed }
    }

    /// One chain.
    pub async fn show(&self, id: &SagaId) -> Result<Option<ChainDetail>, Error> {
        let Some((header, events)) = self.store.show(id).await? else { return Ok(None) };
        let chain = self.store.chain(id, header.version, &events);
        Ok(Some(ChainDetail { header, chain, events }))
    }

    /// Chains, the newest first, from before this number on.
    pub async fn list(
        &self,
        status: Option<ChainStatus>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ChainHeader>, Error> {
        self.store.list(status, before, limit.clamp(1, LIMIT_MAX)).await
    }

    /// Waits until a chain is at rest, for so long at most. None: it was never seen.
    pub async fn wait(&self, id: &SagaId, patience: Duration) -> Result<Option<ChainStatus>, Error> {
        let mut changed = self.changed.clone();
        let until = tokio::time::Instant::now() + patience;
        loop {
            changed.mark_unchanged();
            let known = self.store.show(id).await?.map(|(header, _)| header.status);
            if known.is_some_and(ChainStatus::is_at_rest) {
                return Ok(known);
            }
            match tokio::time::timeout_at(until, changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Ok(known), // nobody observes any more, or the patience is over
            }
        }
    }
}
