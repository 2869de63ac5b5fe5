//! One turn of a participant. [`TurnState::turn`] lists its phases, and each is a file here.
//!
//! **Invariant:** a chunk is committed before its answers are published. Offsets are committed
//! after the transport has acknowledged the answers. A crash between two phases redelivers records,
//! and the barrier answers them.

mod queue;

mod outgoing;
mod state;

mod acknowledge;
mod execute;
mod publish;
mod receive;
mod sweep;

mod decode;

use sagamore_core::Timestamp;

use crate::error::Error;
use crate::meter::Meter;
use crate::work::WorkItem;
use decode::{Decoded, decode};
use outgoing::Outgoing;
use queue::Queue;
use receive::Received;
pub(crate) use state::TurnState;

impl TurnState {
    /// Takes the available records and finishes them. Returns their number.
    ///
    /// # Errors
    /// Only answered records are acknowledged. The next turn rewinds to the first unanswered one.
    pub(crate) async fn turn(&mut self, now: Timestamp, meter: &mut Meter) -> Result<usize, Error> {
        self.subscribe().await?;
        self.retention.read_clocks(&self.database, now).await?; // before any row is stamped
        self.rewind().await?;
        let mut received = self.poll().await?;
        if self.checks_tables(now) {
            self.relay(now).await;
            self.take_inbox(&mut received, now).await?;
        }
        self.load.took(received.len());
        if received.len() > 0 {
            let decoded = decode(&self.service, &self.options, &mut received, now);
            self.finish_records(&received, decoded, now, meter).await?;
        }
        self.settle().await?;
        self.sweep(meter).await;
        Ok(received.len())
    }

    /// Executes the work of the records, publishes its answers and acknowledges them.
    async fn finish_records(
        &mut self,
        received: &Received,
        decoded: Decoded,
        now: Timestamp,
        meter: &mut Meter,
    ) -> Result<(), Error> {
        let Decoded {
            work,
            rejected,
            later,
            expired,
            horizons,
            unreadable_horizons,
            strange,
            mut removals,
        } = decoded;
        meter.expired += expired as u64;
        meter.later += later as u64;
        meter.unreadable_horizons += unreadable_horizons as u64;
        meter.unreadable += (rejected.len() - later) as u64;
        let service = self.service.name().clone();
        let mut outgoing = Outgoing::new(service, received, &work, rejected, now);
        self.acknowledge_early(received).await?;
        let answered = self.answer(work, &mut outgoing, now, meter).await;
        meter.dead_letters += outgoing.dead_letters() as u64;
        meter.lost_letters += outgoing.lost_letters() as u64;
        let acknowledged = self.acknowledge(&outgoing).await;
        answered?; // the earlier error takes precedence
        acknowledged?;
        removals.extend(outgoing.into_removals());
        self.remove_from_inbox(removals);
        self.put_off(&strange, now).await?;
        self.plan_sweeps(horizons, now).await
    }

    /// Executes the work chunk by chunk, and publishes the answers of each chunk before the next
    /// one.
    async fn answer(
        &mut self,
        work: Vec<WorkItem>,
        outgoing: &mut Outgoing<'_>,
        now: Timestamp,
        meter: &mut Meter,
    ) -> Result<(), Error> {
        let mut queue = Queue::of(work, self.load.messages());
        while let Some(chunk) = queue.next() {
            let answers = self.execute(&chunk, now, meter).await?;
            let (left, reached) = outgoing.answer_chunk(chunk, answers);
            queue.put_back(left, reached);
            self.publish(outgoing).await?;
        }
        self.publish(outgoing).await // dead letters of a turn without work
    }
}
