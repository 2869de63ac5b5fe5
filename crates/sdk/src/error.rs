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
}

impl Error {
    /// Whether trying again, later, may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Database(error) => error.is_transient(),
            Error::Transport(error) => error.is_transient(),
            Error::Clock { .. } => true,
        }
    }
}
