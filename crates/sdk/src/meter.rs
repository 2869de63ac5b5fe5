//! Counters of a turn, reported to the `metrics` facade once.

use metrics::{counter, gauge, histogram};
use sagamore_core::message::Outcome;

use crate::answer::Answer;

/// The counters of one turn.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub done: u64,
    pub refused: u64,
    pub faults: u64,
    pub expired: u64,
    pub unreadable: u64,
    pub later: u64,
    pub unreadable_horizons: u64,
    pub dead_letters: u64,
    pub lost_letters: u64,
    pub conflicts: u64,
    pub panics: u64,
    pub timeouts: u64,
    /// Steps that were removed from the barrier.
    pub swept: u64,
    /// The size of each chunk.
    pub chunks: Vec<usize>,
}

impl Meter {
    /// Counts a chunk's answers.
    pub(crate) fn chunk<'a>(&mut self, answers: impl Iterator<Item = &'a Answer>) {
        let mut size = 0;
        for answer in answers {
            size += 1;
            match answer.outcome {
                Outcome::Done(_) => self.done += 1,
                Outcome::Refused(_) => self.refused += 1,
                // waits for another event, which is not a failure
                Outcome::Fault(_) if answer.waits => {}
                Outcome::Fault(_) => self.faults += 1,
            }
        }
        self.chunks.push(size);
    }

    /// Reports the counters. `lag` is the number of commands that are not finished, once the
    /// service has subscribed.
    pub(crate) fn report(&self, service: &str, lag: Option<u64>) {
        if let Some(lag) = lag {
            gauge!("sagamore_participant_lag", "service" => service.to_owned()).set(lag as f64);
        }
        let outcomes = [
            ("done", self.done),
            ("refused", self.refused),
            ("fault", self.faults),
            ("expired", self.expired),
            ("unreadable", self.unreadable),
            ("version", self.later),
        ];
        for (outcome, count) in outcomes.into_iter().filter(|(_, count)| *count > 0) {
            let service = service.to_owned();
            let messages = "sagamore_participant_messages_total";
            counter!(messages, "service" => service, "outcome" => outcome).increment(count);
        }
        let totals = [
            ("sagamore_participant_dead_letters_total", self.dead_letters),
            ("sagamore_participant_lost_dead_letters_total", self.lost_letters),
            ("sagamore_participant_conflicts_total", self.conflicts),
            ("sagamore_participant_faults_total", self.faults),
            ("sagamore_participant_panics_total", self.panics),
            ("sagamore_participant_timeouts_total", self.timeouts),
            ("sagamore_participant_swept_total", self.swept),
            ("sagamore_participant_unreadable_horizons_total", self.unreadable_horizons),
        ];
        for (name, count) in totals.into_iter().filter(|(_, count)| *count > 0) {
            counter!(name, "service" => service.to_owned()).increment(count);
        }
        let sizes = histogram!("sagamore_participant_chunk_size", "service" => service.to_owned());
        for size in &self.chunks {
            sizes.record(*size as f64);
        }
    }
}
