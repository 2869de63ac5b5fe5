//! Handlers one after another: each under its own savepoint, once the chunk needs them.

use sagamore_core::message::Outcome;
use sagamore_database::Open;

use super::attempt::{Mode, Stop};
use super::context::ChunkContext;
use super::handler_end::{HandlerEnd, Trace, ignored};
use super::inputs::Inputs;
use super::prepare::Preparation;
use super::silence::Silence;
use crate::answer::Answer;
use crate::barrier::StepHistory;
use crate::guard::guarded;
use crate::handler::Running;
use crate::meter::Meter;
use crate::text::cut;
use crate::work::WorkItem;

/// Number of timeouts per turn after which further handlers are skipped and answered with a fault.
const TIMEOUTS_MAX: u64 = 5;

impl ChunkContext<'_> {
    /// Answers the commands of a chunk in order, until the answers exceed the bound. The remaining
    /// ones return `None`.
    pub(super) async fn answer_in_order(
        &self,
        open: &Open,
        chunk: &[WorkItem],
        known: &[StepHistory],
        inputs: &[Inputs],
        mode: Mode,
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, Stop> {
        let (mut answers, mut bytes) = (Vec::with_capacity(chunk.len()), 0);
        let (tx, mut silence) = (open.tx(), Silence::of(self.database));
        for ((item, known), inputs) in chunk.iter().zip(known).zip(inputs) {
            if bytes >= self.bytes_max {
                break;
            }
            silence.end(&tx).await.map_err(Stop::of)?;
            let answer = self.answer(open, item, known, inputs, mode, meter).await?;
            bytes += answer.bytes();
            answers.push(Some(answer));
        }
        answers.resize(chunk.len(), None);
        Ok(answers)
    }

    async fn answer(
        &self,
        open: &Open,
        item: &WorkItem,
        known: &StepHistory,
        inputs: &Inputs,
        mode: Mode,
        meter: &mut Meter,
    ) -> Result<Answer, Stop> {
        let prepared = self.prepare(open.tx(), item, known, inputs);
        if let (Some(error), false) = (self.blamed, prepared.is_known()) {
            return Ok(Answer::fresh(Outcome::Fault(cut(&format!(
                "cannot store its outcome: {error}"
            )))));
        }
        match prepared {
            Preparation::Running(_) if meter.timeouts >= TIMEOUTS_MAX => {
                let outcome =
                    Outcome::Fault("skipped: other handlers of this turn took too long".to_owned());
                Ok(Answer::fresh(outcome))
            }
            Preparation::Running(begun) => {
                Ok(Answer::fresh(self.settle(open, begun.running, mode, meter).await?))
            }
            Preparation::Answered(answer) => Ok(*answer),
        }
    }

    /// Runs a handler to its end. Rolls its writes back unless it succeeded.
    async fn settle(
        &self,
        open: &Open,
        running: Running,
        mode: Mode,
        meter: &mut Meter,
    ) -> Result<Outcome, Stop> {
        if mode != Mode::Together {
            open.savepoint().await.map_err(Stop::of)?;
        }
        let tx = open.tx();
        let written = tx.rows_written();
        let ended = guarded(running, self.options.handler_limit, meter).await;
        let trace = Trace { clean: tx.rows_written() == written, aborted: tx.aborted() };
        self.keep_or_undo(open, self.judge(ended, trace, mode)?, mode).await
    }

    async fn keep_or_undo(
        &self,
        open: &Open,
        ended: HandlerEnd,
        mode: Mode,
    ) -> Result<Outcome, Stop> {
        let undone = match (mode, ended) {
            (Mode::Together, HandlerEnd::Kept(outcome)) => return Ok(outcome),
            (Mode::Together, HandlerEnd::Undone(_)) => return Err(Stop::Apart),
            (Mode::Apart { .. }, HandlerEnd::Kept(outcome @ Outcome::Done(_))) => {
                match open.release().await {
                    Ok(()) => return Ok(outcome),
                    // a statement failed that the handler did not await
                    Err(error) => match ignored(&error, mode)? {
                        HandlerEnd::Kept(outcome) | HandlerEnd::Undone(outcome) => outcome,
                    },
                }
            }
            // A refusal is always rolled back. A failed statement, which the handler took as its
            // reason to refuse, has aborted the transaction up to the savepoint.
            (Mode::Apart { .. }, HandlerEnd::Kept(outcome) | HandlerEnd::Undone(outcome)) => {
                outcome
            }
        };
        open.rollback_to().await.map_err(Stop::of)?;
        Ok(undone)
    }
}
