//! Why a turn of a participant came to nothing. Whatever it was, nothing was acknowledged: the next turn begins again.

/// A fault outside of any handler.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The service's database.
    #[error(transparent)]
    Database(#[from] sagamore_database::Error),
    /// The transport.
    #[error(transparent)]
    Transport(#[from] sagamore_transport::Error),
    /// Two clocks are so far apart that what is stamped would be forgotten at once, or never.
    #[error(
        "this machine's clock and the database's are {apart:?} apart: set them right (chrony, ntpd); until then nothing is taken"
    )]
    Clock {
        /// By how much.
        apart: std::time::Duration,
    },
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
    /// Whether trying again, later, may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Database(error) => error.is_transient(),
            Error::Transport(error) => error.is_transient(),
            Error::Clock { .. } => true,
            Error::HandlerLimit { .. } => false,
        }
    }
}
