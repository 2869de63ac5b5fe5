//! One chunk: claim, handlers, stored answers, one commit. It ends early once its answers exceed a
//! bound of bytes; the remaining commands start the next chunk.

mod silence;

mod attempt;
mod context;

mod handler_end;
mod inputs;

mod prepare;

mod interleaved;
mod one_after_another;

mod events;
#[cfg(test)]
mod one_by_one;

use sagamore_core::StepKey;
use sagamore_core::message::Outcome;
use sagamore_database::{Error as DatabaseError, Open};

use crate::answer::Answer;
use crate::barrier;
use crate::meter::Meter;
use crate::work::WorkItem;
use attempt::{Mode, Stop};
pub(crate) use context::ChunkContext;
pub(crate) use silence::quiet_max;

/// The outcome of a command that this chunk does not reach: its step is released.
static LEFT: Outcome = Outcome::Fault(String::new());

impl ChunkContext<'_> {
    /// Executes a chunk and commits it. Commands that the chunk did not reach return `None`; at
    /// least one is reached. After an error no command was answered, but the chunk may have been
    /// committed.
    pub(crate) async fn execute(
        &self,
        chunk: &[WorkItem],
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, DatabaseError> {
        let (mut attempt, mut mode) = (1, Mode::Together);
        let attempts_max = self.options.attempts_max.max(2); // the last attempt uses savepoints
        loop {
            match self.attempt(chunk, mode, meter).await {
                Ok(answers) => {
                    let answered = chunk
                        .iter()
                        .zip(&answers)
                        .filter_map(|(item, answer)| Some((item, answer.as_ref()?)));
                    answered.for_each(|(item, answer)| alarm(item, answer));
                    return Ok(answers);
                }
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Apart) => mode = Mode::Apart { last: attempt >= attempts_max },
                Err(Stop::Again(error)) if attempt >= attempts_max => return Err(error),
                Err(Stop::Again(error)) => {
                    tracing::debug!(%error, attempt, "retry chunk");
                    meter.conflicts += 1;
                    attempt += 1;
                    if attempt == attempts_max {
                        mode = Mode::Apart { last: true };
                    }
                }
            }
        }
    }

    /// Answers a command with a fault without calling its handler, because the database rejects its
    /// result.
    ///
    /// # Errors
    /// The database also rejects the fault.
    pub(crate) async fn set_aside(
        &self,
        chunk: &[WorkItem],
        error: &DatabaseError,
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, DatabaseError> {
        ChunkContext { blamed: Some(error), ..*self }.execute(chunk, meter).await
    }

    async fn attempt(
        &self,
        chunk: &[WorkItem],
        mode: Mode,
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, Stop> {
        let open = self.database.begin().await.map_err(Stop::of)?;
        match self.work(&open, chunk, mode, meter).await {
            Ok(answers) => {
                open.commit().await.map_err(Stop::of)?;
                Ok(answers)
            }
            Err(stop @ Stop::Failed(_)) => Err(stop), // dropping the transaction rolls it back
            Err(stop @ (Stop::Apart | Stop::Again(_))) => {
                open.rollback().await.map_err(Stop::of)?;
                Err(stop)
            }
        }
    }

    async fn work(
        &self,
        open: &Open,
        chunk: &[WorkItem],
        mode: Mode,
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, Stop> {
        let tx = open.tx();
        let keys: Vec<&StepKey> = chunk.iter().map(|item| &item.key).collect();
        let claimed =
            barrier::claim_within(&tx, &keys, self.now, self.bytes_max).await.map_err(Stop::of)?;
        // commands beyond the bound are left in order, because a later one may share the key of an
        // earlier one
        let (whole, known) = (chunk, claimed.known);
        let chunk = &whole[..claimed.read];
        let inputs = self.inputs(&tx, chunk, &known).await.map_err(Stop::of)?;
        let mut answers = match mode {
            Mode::Together if self.interleaves() => {
                self.answer_interleaved(&tx, chunk, &known, &inputs, meter).await?
            }
            Mode::Together | Mode::Apart { .. } => {
                self.answer_in_order(open, chunk, &known, &inputs, mode, meter).await?
            }
        };
        answers.resize(whole.len(), None);
        let stored: Vec<_> = whole
            .iter()
            .zip(&known)
            .zip(&answers)
            .filter_map(|((item, known), answer)| match answer {
                Some(answer) => answer.fresh.then_some((&item.key, known, &answer.outcome)),
                None => Some((&item.key, known, &LEFT)),
            })
            .collect();
        barrier::store(&tx, &stored, self.now).await.map_err(|error| mode.stop(error))?;
        self.attach_events(&tx, chunk, &inputs, &mut answers)
            .await
            .map_err(|error| mode.stop(error))?;
        Ok(answers)
    }
}

fn alarm(item: &WorkItem, answer: &Answer) {
    if let (Outcome::Fault(reason), false) = (&answer.outcome, answer.waits) {
        let key = &item.key;
        tracing::error!(
            saga = %key.saga, step = %key.step, direction = %key.direction, reason, "fault"
        );
    }
}
