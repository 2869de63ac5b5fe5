//! What can go wrong in a database, sorted by what the caller does about it.

/// A fault of the database. A business "no" is never one of these.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, or is shut down.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A deadlock, a serialisation failure, a lock that was not had in time: the transaction may simply be run again.
    #[error("the database asks to try again: {0}")]
    Conflict(String),
    /// A constraint said no: this data cannot be stored.
    #[error("the data breaks a constraint: {0}")]
    Constraint(String),
    /// The statement itself is wrong (syntax, unknown table, a parameter that is missing or of the wrong type).
    #[error("the statement is wrong: {0}")]
    Statement(String),
    /// A column does not hold what the program expects.
    #[error("column {column} holds something else than {wanted}")]
    Column {
        /// The column's name or number.
        column: String,
        /// The Rust type that was asked for.
        wanted: &'static str,
    },
    /// A statement before this one failed with this error. Until a rollback to the savepoint before it nothing else succeeds.
    #[error("the transaction is aborted: a statement before this one failed: {0}")]
    Aborted(Box<Error>),
    /// The transaction was committed or rolled back before.
    #[error("the transaction is over")]
    Over,
    /// Whether the commit happened is not known: everything that rested on it is to be read again.
    #[error("it is not known whether the commit happened: {0}")]
    CommitUnknown(String),
    /// The server would not take this name, or cut it.
    #[error(transparent)]
    Name(#[from] sagamore_core::limits::UnfitName),
    /// Another process works on the same data.
    #[error("{0}")]
    InUse(String),
    /// The schema needs a newer program.
    #[error("the schema asks for program version {needed} or newer, this is {have}")]
    ProgramTooOld {
        /// What the schema states.
        needed: u32,
        /// What this program is.
        have: u32,
    },
}

impl Error {
    /// Whether trying again, later, may succeed.
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

    /// The error itself; of an aborted transaction the one that aborted it.
    pub fn root(&self) -> &Error {
        match self {
            Error::Aborted(cause) => cause.root(),
            other => other,
        }
    }
}
