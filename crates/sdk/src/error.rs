//! The errors of a participant's turn. Nothing was acknowledged, so the next turn starts with the
//! same messages.

/// A fault outside of any handler.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The service's database failed.
    #[error(transparent)]
    Database(#[from] sagamore_database::Error),
    /// The database rejects a chunk. The next turns take fewer messages, until the responsible one
    /// is alone and is answered with a fault.
    #[error("cannot commit a chunk of {size} messages: {error}")]
    #[expect(missing_docs, reason = "the message names both fields")]
    Chunk { size: usize, error: sagamore_database::Error },
    /// The transport failed.
    #[error(transparent)]
    Transport(#[from] sagamore_transport::Error),
    /// The database would end a handler's transaction before the handler's limit stops it.
    #[error(
        "a handler may take {limit:?}, but the database ends a transaction that is idle for \
         {idle:?}: lower \
         `handler_limit`, or raise `idle_in_transaction_timeout`"
    )]
    #[expect(missing_docs, reason = "the message names both fields")]
    HandlerLimit { limit: std::time::Duration, idle: std::time::Duration },
}

impl Error {
    /// Wraps the error of a chunk of `size` messages.
    pub(crate) fn of_chunk(size: usize, error: sagamore_database::Error) -> Error {
        match size > 1 && !error.is_transient() {
            true => Error::Chunk { size, error },
            false => Error::Database(error),
        }
    }

    /// Returns whether a later retry may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Database(error) => error.is_transient(),
            Error::Transport(error) => error.is_transient(),
            Error::Chunk { .. } => true,
            Error::HandlerLimit { .. } => false,
        }
    }
}
