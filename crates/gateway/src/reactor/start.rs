//! Starting: a task for each reaction that is due.

use super::Reactor;
use super::work::{Work, WorkEnd};
use crate::error::Error;
use crate::reaction_store::DueReaction;

impl Reactor {
    /// Removes the tasks that have ended.
    pub(super) fn collect(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Ok(WorkEnd(key)) = ended {
                self.running.remove(&key);
            }
        }
        if self.tasks.is_empty() {
            self.running.clear(); // a task that panicked left its key
        }
    }

    /// Starts the work that is due.
    pub(super) async fn start(&mut self) -> Result<(), Error> {
        if self.topics.is_empty() {
            return Ok(());
        }
        let room = self.concurrency.saturating_sub(self.running.len());
        if room == 0 {
            return Ok(());
        }
        let (now, store) = (self.now(), self.store().await?);
        for due in store.take_due(now, now.plus(self.lease), room).await? {
            let DueReaction { key, reaction } = due;
            let Some(plan) = self.plans.plan(key.chain.definition(), reaction.version) else {
                let (chain, version) = (&key.chain, reaction.version);
                tracing::warn!(%chain, version, "the plan of a reaction is unknown, retrying");
                continue;
            };
            if !self.running.insert(key.clone()) {
                // its task has just put it at rest, and ends: another one does the new work
                store.release(&key, now).await?;
                continue;
            }
            let work = Work {
                caller: self.caller.clone(),
                store: store.clone(),
                participant: self.participant.clone(),
                plan,
                key,
                lease: self.lease,
            };
            self.tasks.spawn(work.run(reaction));
        }
        Ok(())
    }
}
