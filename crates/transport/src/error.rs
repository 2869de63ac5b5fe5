//! What can go wrong with a transport.

/// A fault of the transport.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, or is shut down. Try again later.
    #[error("the transport is not available: {0}")]
    Unavailable(String),
    /// There is no such topic; create it first.
    #[error("there is no topic '{0}': create it with `sagamore topics apply`")]
    UnknownTopic(String),
    /// The record is larger than the transport takes.
    #[error("a record of {bytes} bytes for topic '{topic}' is larger than the {bytes_max} that are taken")]
    TooLarge {
        /// Where it was to go.
        topic: String,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        bytes_max: usize,
    },
    /// The log has reached its size limit because a group does not keep up.
    #[error("the log is full: {0}")]
    Full(String),
    /// Another consumer of the group has taken over: this one gets nothing more.
    #[error("fenced: another consumer of group '{0}' has taken over")]
    Fenced(String),
    /// Another process works on the same data.
    #[error("{0}")]
    InUse(String),
    /// The data on disk is not what was written.
    #[error("the log is damaged: {0}")]
    Damaged(String),
}

impl Error {
    /// Whether trying again, later, may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Unavailable(_) | Error::Full(_) => true,
            Error::UnknownTopic(_) | Error::TooLarge { .. } | Error::Fenced(_) => false,
            Error::InUse(_) | Error::Damaged(_) => false,
        }
    }
}
