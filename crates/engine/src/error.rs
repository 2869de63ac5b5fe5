//! What can go wrong in the engine, and what a caller is told.

use sagamore_core::id::{Malformed, Name, SagaId};
use sagamore_core::saga::Ignored;
use sagamore_database::Error as DatabaseError;

use crate::store::Unreadable;

/// A fault of the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error("engine database: {0}")]
    Database(#[from] sagamore_database::Error),
    /// The transport.
    #[error("engine transport: {0}")]
    Transport(#[from] sagamore_transport::Error),
    /// Another orchestrator has taken the partition: nothing that this one decides counts any more.
    #[error("partition {partition}, or another of this batch, belongs to another orchestrator now")]
    OwnershipLost {
        /// One of the reply partitions in question.
        partition: u32,
    },
    /// The same version was registered before with other contents.
    #[error(
        "{name} version {version} is registered with other contents: raise the version when the definition or the plan changes"
    )]
    DefinitionChanged {
        /// The definition.
        name: Name,
        /// The version that both have.
        version: u32,
    },
    /// A definition that cannot run.
    #[error(transparent)]
    BadDefinition(#[from] sagamore_core::definition::Error),
    /// A plan that does not hold.
    #[error(transparent)]
    BadPlan(#[from] sagamore_core::plan::Error),
    /// What is stored cannot be understood.
    #[error("stored data of {what} cannot be read: {why}")]
    BadData {
        /// Which row.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A saga that is set aside: a newer program wrote its row or its journal, or one of them is damaged.
    #[error("saga {} cannot be read by this program: {}", .0.id, .0.why)]
    Unreadable(Box<Unreadable>),
    /// The same sagas were changed by somebody else again and again.
    #[error("the sagas of this batch keep being changed by another orchestrator")]
    Contended,
}

/// Why a start was not accepted. Nothing was stored, unless it says so.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StartError {
    /// No definition of this name is registered.
    #[error("there is no definition '{name}'; there are: {known}")]
    UnknownDefinition {
        /// What was asked for.
        name: String,
        /// What there is, with commas.
        known: String,
    },
    /// The business key is not one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The input is not what the definition refers to.
    #[error("the input does not fit the definition: {0}")]
    BadInput(String),
    /// The input is too large.
    #[error("the input has {bytes} bytes, more than the {bytes_max} that are taken")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The saga exists with another input.
    #[error("saga {0} exists with another input")]
    OtherInput(SagaId),
    /// The idempotency key was used with another request.
    #[error("the idempotency key was used before, with another request")]
    OtherRequest,
    /// Too much is under way.
    #[error("too many sagas are under way: try again in {retry_after_s} s")]
    Busy {
        /// When to try again, in seconds.
        retry_after_s: u32,
    },
    /// The engine cannot store it now. It may be stored all the same: starting it again is safe.
    #[error("the start could not be stored: {0}; starting it again is safe")]
    Unavailable(String),
}

/// Why a verb changed nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VerbError {
    /// There is no such saga.
    #[error("there is no saga {0}")]
    NotFound(SagaId),
    /// The saga does not take the verb as it stands.
    #[error("{0}")]
    Ignored(Ignored),
    /// Too much is under way.
    #[error("too many requests wait: try again in {retry_after_s} s")]
    Busy {
        /// When to try again, in seconds.
        retry_after_s: u32,
    },
    /// The engine cannot store it now.
    #[error("the request could not be stored: {0}; making it again is safe")]
    Unavailable(String),
}

impl Error {
    /// Whether trying again, later, may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Database(error) => error.is_transient(),
            Error::Transport(error) => error.is_transient(),
            Error::Contended => true,
            Error::OwnershipLost { .. } | Error::DefinitionChanged { .. } => false,
            Error::BadDefinition(_)
            | Error::BadPlan(_)
            | Error::BadData { .. }
            | Error::Unreadable(_) => false,
        }
    }

    /// Whether the fault is one row's data: whatever reads several rows sets that one aside.
    pub(crate) fn is_of_one_row(&self) -> bool {
        match self {
            Error::BadData { .. }
            | Error::Unreadable(_)
            | Error::Database(DatabaseError::Column { .. }) => true,
            Error::Database(_) | Error::Transport(_) | Error::OwnershipLost { .. } => false,
            Error::DefinitionChanged { .. }
            | Error::BadDefinition(_)
            | Error::BadPlan(_)
            | Error::Contended => false,
        }
    }
}
