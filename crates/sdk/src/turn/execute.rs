//! Execution: one chunk of work in one local transaction.

use sagamore_core::Timestamp;

use super::state::TurnState;
use crate::answer::Answer;
use crate::chunk::ChunkContext;
use crate::error::Error;
use crate::meter::Meter;
use crate::work::WorkItem;

impl TurnState {
    /// Executes a chunk and commits it. Items that the chunk did not reach return `None`.
    ///
    /// A single item whose result the database rejects is answered with a fault.
    ///
    /// # Errors
    /// No item was answered, but the chunk may have been committed. A redelivery then finds its
    /// rows.
    pub(super) async fn execute(
        &mut self,
        chunk: &[WorkItem],
        now: Timestamp,
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, Error> {
        let context = ChunkContext {
            service: &self.service,
            database: &self.database,
            options: &self.options,
            bytes_max: self.load.bytes(),
            now,
            blamed: None,
        };
        let answers = match context.execute(chunk, meter).await {
            Err(error) if chunk.len() == 1 && self.load.blames_the_command(&error) => {
                context.set_aside(chunk, &error, meter).await?
            }
            answers => answers.map_err(|error| Error::of_chunk(chunk.len(), error))?,
        };
        meter.chunk(answers.iter().flatten());
        Ok(answers)
    }
}
