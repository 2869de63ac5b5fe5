//! The errors of a gateway. Failures of a participant are outcomes of its calls, not errors.

use sagamore_database::Error as DatabaseError;
use sagamore_transport::Error as TransportError;

/// An error of a gateway.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The transport failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The gateway's database failed.
    #[error("the gateway's database: {0}")]
    Database(#[from] DatabaseError),
    /// The store of plans cannot be read, so that nothing is known about an unknown plan.
    #[error("cannot read the stored plans: {0}")]
    Plans(String),
    /// A reaction's plan is unknown, or has no such reaction any more.
    #[error("version {version} of the plan of chain {chain} is unknown: register it with `apply`")]
    UnknownPlan {
        /// The chain.
        chain: String,
        /// The version.
        version: u32,
    },
    /// The participant's URL cannot be called.
    #[error(transparent)]
    Binding(#[from] crate::binding::Unfit),
}

impl Error {
    /// Returns whether a later retry may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            // each subscription creates the topics
            Error::Transport(TransportError::UnknownTopic(_)) => true,
            Error::Transport(error) => error.is_transient(),
            Error::Database(error) => error.is_transient(),
            Error::Plans(_) | Error::UnknownPlan { .. } => true,
            Error::Binding(_) => false,
        }
    }
}
