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
}

impl Error {
    /// Whether trying again, later, may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Database(error) => error.is_transient(),
            Error::Transport(error) => error.is_transient(),
        }
    }
}
