//! Interleaved handlers: the statements of commands without common keys share one round trip.
//!
//! Commands run in waves by their keys (see [`waves`]). The chunk may end early between two waves,
//! or between parts of a large one.
//!
//! A handler that fails, or refuses after a write, rolls the whole chunk back. The chunk then runs
//! again, one handler after another.

use futures_util::future::join_all;
use sagamore_database::Tx;

use super::attempt::{Mode, Stop};
use super::context::ChunkContext;
use super::handler_end::{HandlerEnd, Trace};
use super::inputs::Inputs;
use super::prepare::{Preparation, ReadyHandler};
use super::silence::Silence;
use crate::answer::Answer;
use crate::barrier::StepHistory;
use crate::guard::guarded;
use crate::handler::Running;
use crate::keys::waves;
use crate::meter::Meter;
use crate::work::WorkItem;

/// Number of commands that interleave before the size of their answers is known.
const FIRST_MAX: usize = 64;

/// A handler with its own transaction handle, and the place of its command.
struct Ready {
    place: usize,
    tx: Tx,
    begun: ReadyHandler,
}

impl ChunkContext<'_> {
    /// Returns whether the handlers of a chunk may interleave.
    pub(super) fn interleaves(&self) -> bool {
        !self.service.keys().is_empty() && self.blamed.is_none()
    }

    /// Answers the commands of a chunk until the answers exceed the bound. The remaining ones
    /// return `None`.
    pub(super) async fn answer_interleaved(
        &self,
        tx: &Tx,
        chunk: &[WorkItem],
        known: &[StepHistory],
        inputs: &[Inputs],
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, Stop> {
        let (mut answers, mut ready) = (vec![None; chunk.len()], Vec::new());
        let (mut count, mut bytes) = (0, 0);
        for (place, ((item, known), inputs)) in chunk.iter().zip(known).zip(inputs).enumerate() {
            let tx = tx.counting();
            match self.prepare(tx.clone(), item, known, inputs) {
                Preparation::Running(begun) => ready.push(Some(Ready { place, tx, begun })),
                Preparation::Answered(answer) if bytes < self.bytes_max => {
                    (count, bytes) = (count + 1, bytes + answer.bytes());
                    answers[place] = Some(*answer);
                }
                Preparation::Answered(_) => {}
            }
        }
        let waves = waves(ready.iter().flatten().map(|ready| ready.begun.keys.as_deref()));
        let mut silence = Silence::of(self.database);
        for wave in waves {
            let mut wave = wave.into_iter().filter_map(|index| ready[index].take()).peekable();
            while wave.peek().is_some() {
                if bytes >= self.bytes_max {
                    return Ok(answers);
                }
                silence.end(tx).await.map_err(Stop::of)?;
                let fitting =
                    if count == 0 { FIRST_MAX } else { (self.bytes_max - bytes) * count / bytes };
                let each = wave.by_ref().take(fitting.max(1)).map(
                    |Ready { place, tx, begun }| async move {
                        (place, self.answer_beside(tx, begun.running).await)
                    },
                );
                for (place, (answer, own)) in join_all(each).await {
                    meter.timeouts += own.timeouts;
                    meter.panics += own.panics;
                    let answer = answer?;
                    (count, bytes) = (count + 1, bytes + answer.bytes());
                    answers[place] = Some(answer);
                }
            }
        }
        Ok(answers)
    }

    /// Runs one handler on its own transaction handle.
    async fn answer_beside(&self, tx: Tx, running: Running) -> (Result<Answer, Stop>, Meter) {
        let mut meter = Meter::default();
        let ended = guarded(running, self.options.handler_limit, &mut meter).await;
        // a failed statement of any handler aborts the transaction of all
        let trace = Trace { clean: tx.rows_written() == 0, aborted: tx.aborted() };
        let answer = match self.judge(ended, trace, Mode::Together) {
            Ok(HandlerEnd::Kept(outcome)) => Ok(Answer::fresh(outcome)),
            Ok(HandlerEnd::Undone(_)) => Err(Stop::Apart),
            Err(stop) => Err(stop),
        };
        (answer, meter)
    }
}
