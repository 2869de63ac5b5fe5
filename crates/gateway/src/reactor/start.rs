//! Starting: a task for each reaction that is due.

use tokio::task::{Id, JoinError};

use super::work::Work;
use super::{Reactor, Running};
use crate::error::Error;
use crate::reaction_store::{DueBounds, DueReaction};

impl Reactor {
    /// Removes the tasks that have ended.
    pub(super) fn collect(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.ended(ended.map(|(id, _)| id));
        }
    }

    /// Forgets a task that has ended, by a panic too.
    pub(super) fn ended(&mut self, task: Result<Id, JoinError>) {
        let ended = task.unwrap_or_else(|panicked| panicked.id());
        self.running.retain(|_, running| running.task != ended);
    }

    /// Starts the work that is due.
    pub(super) async fn start(&mut self) -> Result<(), Error> {
        if self.topics.is_empty() {
            return Ok(());
        }
        let in_hand: usize = self.running.values().map(|running| running.bytes).sum();
        let bounds = DueBounds {
            count: self.concurrency.saturating_sub(self.running.len()),
            bytes: self.options.bytes_max.saturating_sub(in_hand),
        };
        if bounds.count == 0 || bounds.bytes == 0 {
            return Ok(());
        }
        let (now, store) = (self.now(), self.store().await?);
        let due = store.take_due(now, now.plus(self.lease), bounds).await?;
        let plan_of =
            |due: &DueReaction| self.plans.plan(due.key.chain.definition(), due.reaction.version);
        if due.iter().any(|due| plan_of(due).is_none())
            && let Err(error) = self.plans.refresh().await
        {
            tracing::warn!(participant = %self.participant, %error, "plans of reactions unknown");
        }
        for due in due {
            let DueReaction { key, reaction, attempts, bytes } = due;
            let Some(plan) = self.plans.plan(key.chain.definition(), reaction.version) else {
                let (chain, version) = (&key.chain, reaction.version);
                tracing::warn!(%chain, version, "the plan of a reaction is unknown, retrying");
                continue;
            };
            if self.running.contains_key(&key) {
                // its task has just put it at rest, and ends: another one does the new work
                store.release(&key, now).await?;
                continue;
            }
            let work = Work {
                caller: self.caller.clone(),
                store: store.clone(),
                participant: self.participant.clone(),
                plan,
                key: key.clone(),
                lease: self.lease,
                partitions: self.options.partitions,
            };
            let task = self.tasks.spawn(work.run(reaction, attempts)).id();
            self.running.insert(key, Running { task, bytes });
        }
        Ok(())
    }
}
