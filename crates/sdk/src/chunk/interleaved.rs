//! The handlers of a chunk side by side: their statements are under way together, in the order of the commands.
//!
//! Whoever refused after a write, or failed, takes the whole chunk along: it runs again, one handler after another.

use futures_util::future::join_all;
use sagamore_database::Tx;

use super::events::Inputs;
use super::{Answer, Ended, Mode, Prepared, Room, Stop, Trace};
use crate::barrier::Known;
use crate::guard::guarded;
use crate::intake::Asked;
use crate::meter::Meter;

impl Room<'_> {
    pub(super) async fn answer_all(
        &self,
        tx: &Tx,
        chunk: &[Asked],
        known: &[Known],
        inputs: &[Inputs],
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, Stop> {
        let all = chunk.iter().zip(known).zip(inputs);
        let each = all.map(|((asked, known), inputs)| self.answer_beside(tx.counting(), asked, known, inputs));
        let mut answers = Vec::with_capacity(chunk.len());
        for (answer, own) in join_all(each).await {
            meter.timeouts += own.timeouts;
            meter.panics += own.panics;
            answers.push(Some(answer?));
        }
        Ok(answers)
    }

    /// One command on a handle of its own.
    async fn answer_beside(
        &self,
        tx: Tx,
        asked: &Asked,
        known: &Known,
        inputs: &Inputs,
    ) -> (Result<Answer, Stop>, Meter) {
        let mut meter = Meter::default();
        let running = match self.prepare(tx.clone(), asked, known, inputs) {
            Prepared::Answered(answer) => return (Ok(answer), meter),
            Prepared::Running(running) => running,
        };
        let ended = guarded(running, self.options.handler_limit, &mut meter).await;
        // whichever of them a failed statement belongs to, it has aborted the transaction of all
        let trace = Trace { clean: tx.rows_written() == 0, aborted: tx.aborted() };
        let answer = match self.judge(ended, trace, Mode::Together) {
            Ok(Ended::Kept(outcome)) => Ok(Answer::fresh(outcome)),
            Ok(Ended::Undone(_)) => Err(Stop::Apart),
            Err(stop) => Err(stop),
        };
        (answer, meter)
    }
}
