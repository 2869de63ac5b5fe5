//! Why a turn of a participant came to nothing. Whatever it was, nothing was acknowledged: the next turn begins again.

/// A fault outside of any handler.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The service's database.
    #[error(transparent)]
    Database(#[from] sagamore_database::Error),
    /// The database does not take what a chunk leads to. The next turn takes fewer messages, until the one that is to blame is
    /// alone and becomes a fault.
    #[error("a chunk of {size} messages cannot be committed: {error}")]
    Chunk {
        /// Messages in the chunk.
        size: usize,
        /// What the database says.
        error: sagamore_database::Error,
    },
    /// The transport.
    #[error(transparent)]
    Transport(#[from] sagamore_transport::Error),
    /// The database would end the transaction of a handler before the handler is stopped.
    #[error(
        "a handler may take {limit:?}, and the database ends a transaction that is idle for {idle:?}: make `handler_limit` less, or \
         `idle_in_transaction_timeout` more"
    )]
    HandlerLimit {
        /// The handlers' limit.
        limit: std::time::Duration,
        /// The transactions'.
        idle: std::time::Duration,
    },
}

impl Error {
    /// What a chunk of `size` messages failed with.
    pub(crate) fn of_chunk(size: usize, error: sagamore_database::Error) -> Error {
        match size > 1 && !error.is_transient() {
            true => Error::Chunk { size, error },
            false => Error::Database(error),
        }
    }

    /// Whether trying again, later, may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Database(error) => error.is_transient(),
            Error::Transport(error) => error.is_transient(),
            Error::Chunk { .. } => true,
            Error::HandlerLimit { .. } => false,
        }
    }
}
