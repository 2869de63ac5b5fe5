//! Takeovers: a partition is claimed and subscribed to at once, and its unfinished sagas are read by a cursor, one page a
//! turn beside the other work. The cursor's position is all that is known of what is still to be sent again.
//!
//! **Invariant:** a saga behind a cursor is in memory, or has ended; one ahead of it is in memory only if an input for it
//! arrived, and what it has outstanding was sent with that input's commands.

use std::collections::BTreeMap;

use sagamore_core::Timestamp;
use sagamore_core::id::SagaId;
use sagamore_core::planted::{Bug, planted};

use super::Outgoing;
use crate::error::Error;
use crate::live::Known;
use crate::orchestrator::{Orchestrator, Turned, as_gauge};
use crate::store::{Epochs, Reading};

/// Partitions read in one turn at most.
const READS_MAX: usize = 16;
/// What a command has beside its body, roughly, in bytes.
const COMMAND_BYTES: usize = 512;

/// How far the sagas of gained partitions are read.
#[derive(Default)]
pub(crate) struct Takeover {
    cursors: BTreeMap<u32, Cursor>,
    /// By how often the page is halved: once with each failure, once less with each success.
    halvings: u32,
}

/// A place in the numbers of one partition's sagas.
struct Cursor {
    /// Sagas up to this number are read.
    after: i64,
    /// The last saga that a former owner may have stored. None until the first page is read.
    until: Option<i64>,
}

impl Takeover {
    /// Puts a cursor before the first saga of the partition.
    pub fn begin(&mut self, partition: u32) {
        self.cursors.insert(partition, Cursor { after: 0, until: None });
    }

    /// Drops the cursors of partitions that are another orchestrator's.
    pub fn forget(&mut self, lost: &[u32]) {
        self.cursors.retain(|partition, _| !lost.contains(partition));
    }

    /// Whether the cursor of this saga's partition has not reached it.
    pub fn is_ahead(&self, partition: u32, seq: i64) -> bool {
        let is_ahead =
            |cursor: &Cursor| seq > cursor.after && cursor.until.is_none_or(|until| seq <= until);
        self.cursors.get(&partition).is_some_and(is_ahead)
    }

    /// Whether every saga is read.
    pub fn is_over(&self) -> bool {
        self.cursors.is_empty()
    }
}

impl Orchestrator {
    /// The only orchestrator takes everything: raises the epochs, forgets what is in memory, begins to read what is
    /// unfinished.
    pub(crate) async fn take_over(&mut self) -> Result<Epochs, Error> {
        match &mut self.replies {
            Some(replies) => replies.rewind().await?, // first: who gets no replies any more takes nothing from its successor
            none => drop(none.insert(self.transport.subscribe(self.options.subscription()).await?)),
        }
        let epochs =
            self.store.take_over(&self.options.owner, self.options.reply_partitions).await?;
        self.forget_all();
        epochs.0.keys().for_each(|partition| self.takeover.begin(*partition));
        Ok(epochs)
    }

    /// Reads at most one page of unfinished sagas, and sends what they have outstanding. Returns how many were read.
    /// After an error the page is read again by the next turn, with half the size.
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
            self.measure(Turned::default());
        }
        Ok(taken)
    }

    /// Reads on in one partition. The cursor moves only behind sagas whose commands the transport has acknowledged.
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
                cut_at = Some(after); // what is behind it is read again by the next turn
                break;
            }
            after = reading.as_ref().map_or_else(|unreadable| unreadable.seq, |loaded| loaded.seq);
            self.note_reading(&reading, |owned| owned == partition);
            let Ok(mut loaded) = reading else { continue }; // set aside
            loaded.saga.redraw(now);
            self.sweep.pause(&mut loaded.saga, now);
            let owed: Vec<Outgoing> = Outgoing::all_of(&loaded.saga)
                .filter(|_| !planted(Bug::NoResendOnTakeover))
                .collect();
            *bytes += owed
                .iter()
                .map(|owed| owed.command.body.as_str().len() + COMMAND_BYTES)
                .sum::<usize>();
            commands.extend(owed);
            read.push(Known { seq: loaded.seq, saga: loaded.saga });
        }
        metrics::counter!("sagamore_resent_total").increment(commands.len() as u64);
        let acknowledged = self.publish(commands, Vec::new(), now).await?;
        let count = read.len();
        read.into_iter().for_each(|known| self.live.put(known));
        self.arm(&acknowledged, now); // behind the publish: a saga in memory is not read again
        if cut_at.is_some() {
            self.takeover.halvings = (self.takeover.halvings + 2).min(31); // this success takes one of them back
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

    /// Reads the sagas of the next page that are not in memory, as the owner that the epochs name.
    async fn read_part(
        &mut self,
        epochs: &Epochs,
        partition: u32,
        page: usize,
    ) -> Result<Option<Part>, Error> {
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
            last = row.get(0)?;
            let id: Option<SagaId> = row.get::<String>(1)?.parse().ok();
            if !id.is_some_and(|id| self.live.knows(&id)) {
                unread.push(row);
            }
        }
        let count = unread.len();
        let unread = self.store.within(&tx, unread, self.options.batch_bytes_max).await?;
        if unread.len() < count {
            is_last = false; // what does not fit is read by the next turn
            last = unread.last().map_or(Ok(after), |row| row.get(0))?;
        }
        let sagas = self.store.read_sagas(&tx, &self.registry, unread).await?;
        open.rollback().await?;
        Ok(Some(Part { sagas, after, last, until, is_last }))
    }
}

/// One page of one partition, without the sagas that are in memory.
struct Part {
    sagas: Vec<Reading>,
    /// The cursor before it.
    after: i64,
    /// The last row's number.
    last: i64,
    until: i64,
    is_last: bool,
}
