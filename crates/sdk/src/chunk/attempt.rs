//! One attempt at a chunk: the way its commands share a transaction, and the reasons to roll it
//! back.

use sagamore_database::Error as DatabaseError;

/// The way in which the commands of a chunk share its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// All commands in one transaction without savepoints. A rollback affects the whole chunk.
    Together,
    /// Each handler under its own savepoint. With `last`, a retriable database error becomes a
    /// fault.
    Apart { last: bool },
}

/// The reason for rolling an attempt back.
pub(super) enum Stop {
    /// One command must be rolled back alone.
    Apart,
    /// A conflict, such as a deadlock.
    Again(DatabaseError),
    /// The database is unavailable, or a commit's outcome is unknown.
    Failed(DatabaseError),
}

impl Mode {
    /// Decides what an error of the barrier's own statements means. Unless the database is
    /// unavailable, the chunk is repeated with savepoints.
    pub(super) fn stop(self, error: DatabaseError) -> Stop {
        match self {
            Mode::Together if !error.is_transient() => Stop::Apart,
            Mode::Together | Mode::Apart { .. } => Stop::of(error),
        }
    }
}

impl Stop {
    pub(super) fn of(error: DatabaseError) -> Stop {
        match error {
            DatabaseError::Conflict(_) => Stop::Again(error),
            DatabaseError::Aborted(cause) => Stop::of(*cause),
            DatabaseError::Unavailable(_)
            | DatabaseError::CommitUnknown(_)
            | DatabaseError::Constraint(_)
            | DatabaseError::Statement(_)
            | DatabaseError::Column { .. }
            | DatabaseError::Over
            | DatabaseError::Name(_)
            | DatabaseError::InUse(_)
            | DatabaseError::ProgramTooOld { .. } => Stop::Failed(error),
        }
    }
}
