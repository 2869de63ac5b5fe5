//! Takeovers: a claimed partition is subscribed to at once, and a cursor reads its unfinished
//! sagas, one page per turn beside other work.
//!
//! **Invariant:** a saga behind a cursor is in memory or has ended. A saga ahead of it is in memory
//! only after an input for it, whose turn also sent its outstanding commands.

use sagamore_core::Timestamp;
use sagamore_core::id::SagaId;
use sagamore_core::planted::{Bug, planted};

use super::OutgoingCommand;
use super::state::Cursor;
use crate::error::Error;
use crate::live::StoredSaga;
use crate::orchestrator::{Orchestrator, TurnReport, as_gauge};
use crate::store::{Epochs, LoadResult};

/// Maximum partitions read per turn.
const READS_MAX: usize = 16;
/// Estimated size of a command in bytes, without its body.
const COMMAND_BYTES: usize = 512;

impl Orchestrator {
    /// Takes over all partitions as the only orchestrator: raises the epochs, drops the state in
    /// memory, and starts reading unfinished sagas.
    pub(crate) async fn take_over(&mut self) -> Result<Epochs, Error> {
        match &mut self.replies {
            // rewind first, so that a former owner takes nothing from its successor
            Some(replies) => replies.rewind().await?,
            none => drop(none.insert(self.transport.subscribe(self.options.subscription()).await?)),
        }
        let epochs =
            self.store.take_over(&self.options.owner, self.options.reply_partitions).await?;
        self.reset();
        epochs.0.keys().for_each(|partition| self.takeover.begin(*partition));
        Ok(epochs)
    }

    /// Reads at most one page of unfinished sagas, and sends their outstanding commands. Returns
    /// the number of sagas.
    ///
    /// # Errors
    /// After an error the next turn reads the page again, with half the size.
    pub(crate) async fn take_page(
        &mut self,
        epochs: &Epochs,
        now: Timestamp,
    ) -> Result<usize, Error> {
        let (mut taken, mut bytes, mut reads) = (0, 0, 0);
        let page = (self.options.takeover_page >> self.takeover.halvings).max(1);
        while let Some(&partition) = self.takeover.cursors.keys().next() {
            let has_room =
                taken < page && bytes < self.options.takeover_bytes_max && reads < READS_MAX;
            if !has_room && !planted(Bug::TakeoverInOneTurn) {
                break;
            }
            let room = page.saturating_sub(taken).max(1);
            match self.take_part(epochs, partition, room, &mut bytes, now).await {
                Ok(read) => taken += read,
                Err(error) => {
                    self.takeover.halvings = (self.takeover.halvings + 1).min(31);
                    return Err(error);
                }
            }
            reads += 1;
            self.pulse.beat();
        }
        if reads > 0 {
            self.takeover.halvings = self.takeover.halvings.saturating_sub(1);
            metrics::gauge!("sagamore_partitions_taken_over")
                .set(as_gauge(self.takeover.cursors.len()));
            self.measure(TurnReport::default());
        }
        Ok(taken)
    }

    /// Reads the next sagas of one partition. The cursor passes only sagas whose commands the
    /// transport has acknowledged.
    async fn take_part(
        &mut self,
        epochs: &Epochs,
        partition: u32,
        page: usize,
        bytes: &mut usize,
        now: Timestamp,
    ) -> Result<usize, Error> {
        let Some(part) = self.read_part(epochs, partition, page).await? else { return Ok(0) };
        let (mut commands, mut read, mut cut_at) = (Vec::new(), Vec::new(), None);
        let mut after = part.after;
        for reading in part.sagas {
            if *bytes >= self.options.takeover_bytes_max {
                cut_at = Some(after); // the next turn reads the rest
                break;
            }
            after = reading.as_ref().map_or_else(|unreadable| unreadable.seq, |loaded| loaded.seq);
            self.note_reading(&reading, |owned| owned == partition);
            let Ok(mut loaded) = reading else { continue }; // set aside
            loaded.saga.redraw(now);
            self.sweep.pause(&mut loaded.saga, now);
            let owed: Vec<OutgoingCommand> = OutgoingCommand::all_of(&loaded.saga)
                .filter(|_| !planted(Bug::NoResendOnTakeover))
                .collect();
            *bytes += owed
                .iter()
                .map(|owed| owed.command.body.as_str().len() + COMMAND_BYTES)
                .sum::<usize>();
            commands.extend(owed);
            read.push(StoredSaga { seq: loaded.seq, saga: loaded.saga });
        }
        metrics::counter!("sagamore_resent_total").increment(commands.len() as u64);
        let acknowledged = self.publish(commands, Vec::new(), now).await?;
        let count = read.len();
        read.into_iter().for_each(|known| self.live.put(known));
        self.arm(&acknowledged, now); // after the publish: a saga in memory is not read again
        if cut_at.is_some() {
            // this success will revert one of the two
            self.takeover.halvings = (self.takeover.halvings + 2).min(31);
        }
        match cut_at {
            None if part.is_last => drop(self.takeover.cursors.remove(&partition)),
            cut_at => {
                let cursor = Cursor { after: cut_at.unwrap_or(part.last), until: Some(part.until) };
                self.takeover.cursors.insert(partition, cursor);
            }
        }
        Ok(count)
    }

    /// Reads the sagas of the next page that are not in memory, under the current epochs.
    async fn read_part(
        &mut self,
        epochs: &Epochs,
        partition: u32,
        page: usize,
    ) -> Result<Option<TakeoverPage>, Error> {
        let Some(&Cursor { after, until }) = self.takeover.cursors.get(&partition) else {
            return Ok(None);
        };
        let open = self.store.begin().await?;
        let tx = open.tx();
        self.store.check_ownership(&tx, epochs).await?;
        let until = match until {
            Some(until) => until,
            None => self.store.last_unfinished(&tx, partition).await?,
        };
        let rows = self.store.unfinished(&tx, partition, (after, until), page).await?;
        let mut is_last = rows.len() < page;
        let (mut last, mut unread) = (after, Vec::with_capacity(rows.len()));
        for row in rows {
            last = row.get("seq")?;
            let id: Option<SagaId> = row.get::<String>("id")?.parse().ok();
            if !id.is_some_and(|id| self.live.knows(&id)) {
                unread.push(row);
            }
        }
        let count = unread.len();
        let unread = self.store.within(&tx, unread, self.options.batch_bytes_max).await?;
        if unread.len() < count {
            is_last = false; // the next turn reads the rest
            last = unread.last().map_or(Ok(after), |row| row.get("seq"))?;
        }
        let sagas = self.store.read_sagas(&tx, &self.registry, unread).await?;
        open.rollback().await?;
        Ok(Some(TakeoverPage { sagas, after, last, until, is_last }))
    }
}

/// One page of a partition, without the sagas that are in memory.
struct TakeoverPage {
    sagas: Vec<LoadResult>,
    /// The cursor before the page.
    after: i64,
    /// The number of the last row.
    last: i64,
    until: i64,
    is_last: bool,
}
