//! Taking over: the epoch first, then every unfinished saga, page by page; what is outstanding is sent again at once.
//! Counts no attempt; deadlines begin anew.

use sagamore_core::Timestamp;
use sagamore_core::planted::{Bug, planted};

use crate::error::Error;
use crate::live::Known;
use crate::orchestrator::{Orchestrator, Turned};
use crate::store::Epochs;

/// Sagas read at a time.
const PAGE: u32 = 500;

impl Orchestrator {
    /// The only orchestrator takes everything: raises the epochs, forgets what is in memory, reads what is unfinished.
    pub(crate) async fn take_over(&mut self, now: Timestamp) -> Result<Epochs, Error> {
        match &mut self.replies {
            Some(replies) => replies.rewind().await?, // first: who gets no replies any more takes nothing from its successor
            none => drop(none.insert(self.transport.subscribe(self.options.subscription()).await?)),
        }
        let epochs = self.store.take_over(&self.options.owner, self.options.reply_partitions).await?;
        self.forget_all();
        for &partition in epochs.0.keys() {
            self.take_up(partition, now).await?;
        }
        self.measure(Turned::default());
        Ok(epochs)
    }

    /// Reads the unfinished sagas of a partition whose epoch was just raised, and sends what they have outstanding.
    pub(crate) async fn take_up(&mut self, partition: u32, now: Timestamp) -> Result<(), Error> {
        let (mut after, bytes_max) = (0, self.options.batch_bytes_max);
        loop {
            let open = self.store.begin().await?;
            let page = self.store.unfinished(&open.tx(), &self.registry, partition, after, (PAGE, bytes_max)).await?;
            open.rollback().await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = *last;
            let mut commands = Vec::new();
            for (_, reading) in page {
                self.note_reading(&reading, |owned| owned == partition);
                let Ok(mut loaded) = reading else { continue }; // set aside
                loaded.saga.rearm(now);
                let owed = if planted(Bug::NoResendOnTakeover) { Vec::new() } else { loaded.saga.outstanding() };
                for (step, direction) in owed {
                    commands.push(loaded.saga.command(step, direction));
                }
                self.live.put(Known { seq: loaded.seq, saga: loaded.saga });
            }
            metrics::counter!("sagamore_resent_total").increment(commands.len() as u64);
            self.publish(&commands, &[]).await?;
        }
    }
}
