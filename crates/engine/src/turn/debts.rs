//! What a failed turn leaves behind, seen through before anything new is taken.

use std::collections::BTreeSet;

use sagamore_core::Timestamp;
use sagamore_core::id::SagaId;
use sagamore_core::message::Command;
use sagamore_transport::Record;

use crate::error::Error;
use crate::live::Known;
use crate::orchestrator::Orchestrator;
use crate::store::{Epochs, Loaded};

/// Bounded by one batch: nothing new is taken while there is a debt.
#[derive(Default)]
pub(crate) struct Debts {
    /// Sagas of a commit whose outcome is not known: read again, and what is outstanding sent.
    pub doubtful: BTreeSet<SagaId>,
    /// Committed, and not delivered.
    pub commands: Vec<Command>,
    pub dead_letters: Vec<Record>,
}

impl Debts {
    /// Whether everything is seen through.
    pub fn is_empty(&self) -> bool {
        self.doubtful.is_empty() && self.commands.is_empty() && self.dead_letters.is_empty()
    }
}

impl Orchestrator {
    /// Reads what is doubtful, sends what was not sent, and has the replies behind it delivered again.
    pub(crate) async fn make_good(&mut self, epochs: &Epochs, now: Timestamp) -> Result<(), Error> {
        if !self.debts.doubtful.is_empty() {
            self.strays.forget();
            self.progress.clear();
            if let Some(replies) = &mut self.replies {
                replies.rewind().await?;
            }
            let commands = self.read_again(epochs, now).await?;
            self.debts.commands.extend(commands);
            self.debts.doubtful.clear();
        }
        if !self.debts.commands.is_empty() || !self.debts.dead_letters.is_empty() {
            let (commands, dead_letters) =
                (std::mem::take(&mut self.debts.commands), std::mem::take(&mut self.debts.dead_letters));
            self.send(commands, dead_letters).await?;
        }
        Ok(())
    }

    async fn read_again(&mut self, epochs: &Epochs, now: Timestamp) -> Result<Vec<Command>, Error> {
        let open = self.store.begin().await?;
        self.store.check_ownership(&open.tx(), epochs).await?;
        let ids: Vec<&SagaId> = self.debts.doubtful.iter().collect();
        let sagas = self.store.load(&open.tx(), &self.registry, &ids).await?;
        open.rollback().await?;
        let (mut commands, mut seen) = (Vec::new(), Vec::new());
        for (_, reading) in sagas {
            self.note_reading(&reading, |partition| epochs.owns(partition));
            let Ok(Loaded { seq, mut saga, .. }) = reading else { continue }; // set aside
            if !epochs.owns(saga.reply_to.partition) {
                continue; // its new owner has read it
            }
            saga.rearm(now);
            commands.extend(saga.outstanding().into_iter().map(|(step, direction)| saga.command(step, direction)));
            seen.push(Known { seq, saga });
        }
        for known in seen {
            self.wake_if_at_rest(&known.saga);
            self.live.put(known);
        }
        commands.sort_by(|one, other| one.key.cmp(&other.key)); // the same order in every run
        Ok(commands)
    }
}
