//! The errors of a database, grouped by the caller's reaction.

/// An error of the database, never a business refusal.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The database is unreachable or shut down.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A deadlock, a serialization failure or a lock timeout. Run the transaction again.
    #[error("the database reports a conflict, run the transaction again: {0}")]
    Conflict(String),
    /// The data violates a constraint and cannot be stored.
    #[error("the data violates a constraint: {0}")]
    Constraint(String),
    /// The statement is invalid: syntax, an unknown table, or a missing or mistyped parameter.
    #[error("invalid statement: {0}")]
    Statement(String),
    /// A column has an unexpected type or content.
    #[error("column {column} does not hold {wanted}")]
    Column {
        /// The name or number of the column.
        column: String,
        /// The expected Rust type.
        wanted: &'static str,
    },
    /// An earlier statement failed with this error. The transaction continues only after a rollback
    /// to the savepoint before it.
    #[error("the transaction is aborted: an earlier statement failed: {0}")]
    Aborted(Box<Error>),
    /// The transaction was already committed or rolled back.
    #[error("the transaction is over")]
    Over,
    /// The outcome of the commit is unknown. Read again all data that depends on it.
    #[error("the outcome of the commit is unknown: {0}")]
    CommitUnknown(String),
    /// The server would reject or truncate this name.
    #[error(transparent)]
    Name(#[from] sagamore_core::limits::UnfitName),
    /// Another process uses the same data.
    #[error("{0}")]
    InUse(String),
    /// The schema requires a newer program.
    #[error(
        "the schema requires program version {needed} or newer, but this is version {have}: \
         upgrade the program"
    )]
    ProgramTooOld {
        /// The version that the schema requires.
        needed: u32,
        /// The version of this program.
        have: u32,
    },
}

impl Error {
    /// Returns whether a later retry may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Unavailable(_) | Error::Conflict(_) | Error::CommitUnknown(_) => true,
            Error::Aborted(cause) => cause.is_transient(),
            Error::Constraint(_)
            | Error::Statement(_)
            | Error::Column { .. }
            | Error::Over
            | Error::Name(_)
            | Error::InUse(_)
            | Error::ProgramTooOld { .. } => false,
        }
    }

    /// Returns the error itself, or for an aborted transaction the error that aborted it.
    pub fn root(&self) -> &Error {
        match self {
            Error::Aborted(cause) => cause.root(),
            other => other,
        }
    }
}
