//! Unfinished work of a failed turn, completed before new inputs are taken.

use std::collections::BTreeSet;

use sagamore_core::Timestamp;
use sagamore_core::id::SagaId;

use super::OutgoingCommand;
use crate::error::Error;
use crate::live::StoredSaga;
use crate::orchestrator::Orchestrator;
use crate::store::{Epochs, LoadedSaga};

impl Orchestrator {
    /// Reads sagas again whose commit is in doubt, publishes unsent records, and rewinds the
    /// consumer.
    pub(crate) async fn complete_debts(
        &mut self,
        epochs: &Epochs,
        now: Timestamp,
    ) -> Result<(), Error> {
        if self.debts.untaken || !self.debts.doubtful.is_empty() {
            self.strays.forget();
            self.blocked.forget_replies();
            self.progress.clear();
            if let Some(replies) = &mut self.replies {
                replies.rewind().await?;
            }
            self.debts.untaken = false;
        }
        while !self.debts.doubtful.is_empty() {
            let page: BTreeSet<SagaId> = {
                let page = self.pace.inputs(self.options.batch_max);
                self.debts.doubtful.iter().take(page).cloned().collect()
            };
            let commands = self.read_again(epochs, &page, now).await?;
            self.debts.commands.extend(commands);
            self.debts.doubtful.retain(|id| !page.contains(id));
        }
        if self.debts.commands.is_empty() && self.debts.dead_letters.is_empty() {
            return Ok(());
        }
        while !self.debts.commands.is_empty() || !self.debts.dead_letters.is_empty() {
            let page = self.pace.inputs(self.options.batch_max);
            let (commands, dead_letters) =
                (first(page, &mut self.debts.commands), first(page, &mut self.debts.dead_letters));
            self.send(commands, dead_letters, now).await?; // a failure returns them to the debts
        }
        self.acknowledge().await
    }

    async fn read_again(
        &mut self,
        epochs: &Epochs,
        page: &BTreeSet<SagaId>,
        now: Timestamp,
    ) -> Result<Vec<OutgoingCommand>, Error> {
        let open = self.store.begin().await?;
        self.store.check_ownership(&open.tx(), epochs).await?;
        let ids: Vec<&SagaId> = page.iter().collect();
        let sagas = self.store.load(&open.tx(), &self.registry, &ids).await?;
        open.rollback().await?;
        // the timers in memory may belong to a state that was not stored
        page.iter().for_each(|id| self.live.unschedule(id));
        let (mut commands, mut seen) = (Vec::new(), Vec::new());
        for (_, reading) in sagas {
            self.note_reading(&reading, |partition| epochs.owns(partition));
            let Ok(LoadedSaga { seq, mut saga, .. }) = reading else { continue }; // set aside
            saga.redraw(now);
            self.sweep.pause(&mut saga, now);
            if !epochs.owns(saga.reply_to.partition) {
                continue; // its new owner has read it
            }
            commands.extend(OutgoingCommand::all_of(&saga));
            seen.push(StoredSaga { seq, saga });
        }
        for known in seen {
            self.wake_if_at_rest(&known.saga);
            self.live.put(known);
        }
        // the same order in every run
        commands.sort_by(|one, other| one.command.key.cmp(&other.command.key));
        Ok(commands)
    }
}

fn first<T>(count: usize, all: &mut Vec<T>) -> Vec<T> {
    all.drain(..count.min(all.len())).collect()
}
