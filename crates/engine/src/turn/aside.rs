//! Sagas that are set aside because this program cannot read them: one alarm each, and a mark in the row that every program
//! shows. The mark goes when the owner can read the saga again.

use std::collections::BTreeMap;

use crate::orchestrator::Orchestrator;
use crate::store::{Epochs, Mark, Reading};

/// Marks that wait to be written; what is more is marked when it is read again.
const MAX: usize = 1_000;

/// By the number of the saga's row: its partition, and why it is set aside; none once it can be read again.
#[derive(Default)]
pub(crate) struct Aside(BTreeMap<i64, (u32, Option<String>)>);

impl Orchestrator {
    /// Alarms for a saga that is newly set aside, and notes the mark that its row needs. Only its owner does.
    pub(crate) fn note_reading(&mut self, reading: &Reading, owns: impl Fn(u32) -> bool) {
        self.note_fault(reading, &owns);
        let (seq, partition, why) = match reading {
            Ok(loaded) if loaded.is_marked => {
                (loaded.seq, Some(loaded.saga.reply_to.partition), None)
            }
            Err(row) if !row.is_marked => (row.seq, row.partition, Some(row.why.clone())),
            Ok(_) | Err(_) => return,
        };
        let Some(partition) = partition.filter(|partition| owns(*partition)) else { return };
        if self.aside.0.get(&seq).is_some_and(|(_, known)| *known == why) {
            return;
        }
        if let Err(row) = reading {
            let (saga, why) = (&row.id, &row.why);
            tracing::error!(
                saga,
                why,
                "this saga cannot be read: it is set aside until a program owns it that can"
            );
            metrics::counter!("sagamore_sagas_set_aside_total").increment(1);
        }
        if self.aside.0.len() < MAX {
            self.aside.0.insert(seq, (partition, why));
        }
    }

    /// Writes the marks. No turn fails for it: what cannot be written is written later.
    pub(crate) async fn mark_aside(&mut self, epochs: &Epochs) {
        if self.aside.0.is_empty() {
            return;
        }
        let mark = |(seq, (partition, why)): (&i64, &(u32, Option<String>))| {
            Some(Mark { seq: *seq, epoch: *epochs.0.get(partition)?, why: why.clone() })
        };
        let marks: Vec<Mark> = self.aside.0.iter().filter_map(mark).collect();
        match self.store.mark(&marks).await {
            Ok(()) => self.aside.0.clear(),
            Err(error) => tracing::warn!(%error, "mark what cannot be read"),
        }
    }
}
