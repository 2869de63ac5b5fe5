//! Sagas set aside because this program cannot read them. Each is logged once, and marked in its
//! row until the owner can read it again.

use crate::orchestrator::Orchestrator;
use crate::store::{Epochs, LoadResult, Mark};

/// Maximum unwritten marks. Further sagas are marked when they are read again.
const MAX: usize = 1_000;

impl Orchestrator {
    /// Logs a saga that is newly set aside, and schedules its mark. Only the owner does so.
    pub(crate) fn note_reading(&mut self, reading: &LoadResult, owns: impl Fn(u32) -> bool) {
        self.note_fault(reading, &owns);
        let (seq, partition, why) = match reading {
            Ok(loaded) if loaded.is_marked => {
                (loaded.seq, Some(loaded.saga.reply_to.partition), None)
            }
            Err(row) if !row.is_marked => (row.seq, row.partition, Some(row.why.clone())),
            Ok(_) | Err(_) => return,
        };
        let Some(partition) = partition.filter(|partition| owns(*partition)) else { return };
        if self.pending_marks.0.get(&seq).is_some_and(|(_, known)| *known == why) {
            return;
        }
        if let Err(row) = reading {
            let (saga, why) = (&row.id, &row.why);
            tracing::error!(
                saga,
                why,
                "cannot read this saga: set aside until a program that can read it owns it"
            );
            metrics::counter!("sagamore_sagas_set_aside_total").increment(1);
        }
        if self.pending_marks.0.len() < MAX {
            self.pending_marks.0.insert(seq, (partition, why));
        }
    }

    /// Writes the marks. A failure does not fail the turn: the next turn retries.
    pub(crate) async fn mark_aside(&mut self, epochs: &Epochs) {
        if self.pending_marks.0.is_empty() {
            return;
        }
        let mark = |(seq, (partition, why)): (&i64, &(u32, Option<String>))| {
            Some(Mark { seq: *seq, epoch: *epochs.0.get(partition)?, why: why.clone() })
        };
        let marks: Vec<Mark> = self.pending_marks.0.iter().filter_map(mark).collect();
        match self.store.mark(&marks).await {
            Ok(()) => self.pending_marks.0.clear(),
            Err(error) => tracing::warn!(%error, "cannot mark unreadable sagas, retrying"),
        }
    }
}
