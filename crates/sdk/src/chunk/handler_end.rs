//! The end of a handler: its outcome, and whether its writes stay.

use sagamore_core::message::Outcome;
use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Body, Refusal};
use sagamore_database::Error as DatabaseError;

use super::attempt::{Mode, Stop};
use super::context::ChunkContext;
use crate::decided::Decided;
use crate::text::cut;

/// The handler's effect on its transaction.
pub(super) struct Trace {
    /// The handler is known to have written nothing.
    pub clean: bool,
    /// The statement error that aborted the transaction.
    pub aborted: Option<DatabaseError>,
}

/// The end of a handler.
pub(super) enum HandlerEnd {
    Kept(Outcome),
    /// The handler's writes must be rolled back.
    Undone(Outcome),
}

impl ChunkContext<'_> {
    /// Decides what a handler's end means for its writes.
    pub(super) fn judge(
        &self,
        ended: Decided<Body, Refusal>,
        trace: Trace,
        mode: Mode,
    ) -> Result<HandlerEnd, Stop> {
        Ok(match ended {
            Ok(Ok(_)) if let Some(error) = trace.aborted => ignored(&error, mode)?,
            Ok(Ok(output)) if output.as_str().len() > self.options.reply_bytes_max => {
                let (bytes, bytes_max) = (output.as_str().len(), self.options.reply_bytes_max);
                HandlerEnd::Undone(Outcome::Fault(format!(
                    "the reply has {bytes} bytes, but at most {bytes_max} are allowed"
                )))
            }
            Ok(Ok(output)) if output.has_nul() => HandlerEnd::Undone(Outcome::Fault(
                "the output has a text with U+0000, which PostgreSQL cannot store".to_owned(),
            )),
            Ok(Ok(output)) => HandlerEnd::Kept(Outcome::Done(output)),
            Ok(Err(Refusal { code, message })) => {
                let outcome =
                    Outcome::Refused(Refusal { code: cut(&code), message: cut(&message) });
                let clean = trace.clean && trace.aborted.is_none();
                if clean || planted(Bug::PartialChunk) {
                    HandlerEnd::Kept(outcome)
                } else {
                    HandlerEnd::Undone(outcome)
                }
            }
            Err(fault) => broken(fault.database(), &fault.to_string(), mode)?,
        })
    }
}

/// Handles a statement error that the handler ignored: the transaction accepts no further
/// statement.
pub(super) fn ignored(error: &DatabaseError, mode: Mode) -> Result<HandlerEnd, Stop> {
    broken(Some(error), &format!("the handler ignored the error of a statement: {error}"), mode)
}

/// Decides what a handler's fault, or the database error in it, means.
fn broken(error: Option<&DatabaseError>, text: &str, mode: Mode) -> Result<HandlerEnd, Stop> {
    match error.map(DatabaseError::root) {
        Some(error @ (DatabaseError::Unavailable(_) | DatabaseError::CommitUnknown(_))) => {
            Err(Stop::Failed(error.clone()))
        }
        Some(error @ DatabaseError::Conflict(_)) if mode != (Mode::Apart { last: true }) => {
            Err(Stop::Again(error.clone()))
        }
        Some(_) | None => Ok(HandlerEnd::Undone(Outcome::Fault(cut(text)))),
    }
}
