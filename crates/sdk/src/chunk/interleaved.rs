//! The handlers of a chunk interleaved: the statements of commands that share no key take one round trip together.
//!
//! Commands run in waves, by their keys (see [`waves`]). Between two waves, or parts of a large one, the chunk may end early.
//! A handler that refuses after a write, or fails, rolls the whole chunk back: it runs again, one handler after another.

use futures_util::future::join_all;
use sagamore_database::Tx;

use super::events::Inputs;
use super::{Answer, Begun, Ended, Mode, Prepared, Room, Silence, Stop, Trace};
use crate::barrier::Known;
use crate::guard::guarded;
use crate::handler::Running;
use crate::intake::Asked;
use crate::keys::waves;
use crate::meter::Meter;

/// Commands that interleave before it is known how large their answers are.
const FIRST_MAX: usize = 64;

/// A handler with a handle of its own, and the place of its command.
struct Ready {
    place: usize,
    tx: Tx,
    begun: Begun,
}

impl Room<'_> {
    /// Whether the handlers of a chunk may interleave.
    pub(super) fn interleaves(&self) -> bool {
        !self.service.keys().is_empty() && self.blamed.is_none()
    }

    /// Answers the commands of a chunk, until the answers have too many bytes; `None` for those that are left.
    pub(super) async fn answer_all(
        &self,
        tx: &Tx,
        chunk: &[Asked],
        known: &[Known],
        inputs: &[Inputs],
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, Stop> {
        let (mut answers, mut ready) = (vec![None; chunk.len()], Vec::new());
        let (mut count, mut bytes) = (0, 0);
        for (place, ((asked, known), inputs)) in chunk.iter().zip(known).zip(inputs).enumerate() {
            let tx = tx.counting();
            match self.prepare(tx.clone(), asked, known, inputs) {
                Prepared::Running(begun) => ready.push(Some(Ready { place, tx, begun })),
                Prepared::Answered(answer) if bytes < self.bytes_max => {
                    (count, bytes) = (count + 1, bytes + answer.bytes());
                    answers[place] = Some(answer);
                }
                Prepared::Answered(_) => {}
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
                let fitting = if count == 0 { FIRST_MAX } else { (self.bytes_max - bytes) * count / bytes };
                let each = wave.by_ref().take(fitting.max(1)).map(|Ready { place, tx, begun }| async move {
                    (place, self.answer_beside(tx, begun.running).await)
                });
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

    /// One handler on a handle of its own.
    async fn answer_beside(&self, tx: Tx, running: Running) -> (Result<Answer, Stop>, Meter) {
        let mut meter = Meter::default();
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
