//! Errors of the engine, and of the requests to it.

use sagamore_core::definition::{InputError, Misfit, Misfits, SchemaPlace};
use sagamore_core::id::{Malformed, Name, SagaId};
use sagamore_core::saga::IgnoreReason;
use sagamore_database::Error as DatabaseError;

use crate::unreadable::Unreadable;
use crate::version_kind::VersionKind;

/// A fault of the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A fault of the database.
    #[error("engine database: {0}")]
    Database(#[from] sagamore_database::Error),
    /// A fault of the transport.
    #[error("engine transport: {0}")]
    Transport(#[from] sagamore_transport::Error),
    /// Another orchestrator has claimed the partition: this one's decisions for it no longer count.
    #[error("another orchestrator owns partition {partition}, or another one of this batch")]
    OwnershipLost {
        /// One of the lost reply partitions.
        partition: u32,
    },
    /// The version is registered with other contents.
    #[error(
        "{name} version {version} is registered with other contents: raise the version when the \
         definition or the plan changes"
    )]
    DefinitionChanged {
        /// The name of the definition or plan.
        name: Name,
        /// The version with two contents.
        version: u32,
    },
    /// The stored definitions have reached a bound.
    #[error("the definitions cannot be stored: {0}")]
    DefinitionsFull(String),
    /// Participants cannot handle the messages of two versions.
    #[error("{0}")]
    Incompatible(String),
    /// A definition is invalid.
    #[error(transparent)]
    BadDefinition(#[from] sagamore_core::definition::Error),
    /// A schema of a definition is invalid.
    #[error("definition '{name}': {errors}")]
    BadSchema {
        /// The name of the definition.
        name: Name,
        /// The invalid schemas with their reasons.
        errors: String,
    },
    /// A plan is invalid.
    #[error(transparent)]
    BadPlan(#[from] sagamore_core::plan::Error),
    /// Stored data is unreadable.
    #[error("stored data of {what} cannot be read: {why}")]
    BadData {
        /// The key of the row.
        what: String,
        /// The flaw in the row.
        why: String,
    },
    /// The saga is set aside: a newer program wrote its row or journal, or one of them is damaged.
    #[error("saga {} cannot be read by this program: {}", .0.id, .0.why)]
    Unreadable(Box<Unreadable>),
    /// Other writers repeatedly changed the same sagas first.
    #[error("another orchestrator changed the sagas of this batch in every attempt")]
    Contended,
}

/// The reason why a start was not accepted. Nothing was stored, unless the variant states
/// otherwise.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StartError {
    /// No definition of this name is registered.
    #[error("definition '{name}' is not registered; registered: {known}")]
    UnknownDefinition {
        /// The name in the request.
        name: String,
        /// The registered names, separated by commas.
        known: String,
    },
    /// The definition has no such version.
    #[error("definition '{name}' has no version {version}; its versions: {known}")]
    UnknownVersion {
        /// The name in the request.
        name: String,
        /// The version in the request.
        version: u32,
        /// The versions, separated by commas.
        known: String,
    },
    /// The version is retired.
    #[error("version {version} of definition '{name}' is retired; its versions: {known}")]
    RetiredVersion {
        /// The name in the request.
        name: String,
        /// The version in the request.
        version: u32,
        /// The versions, separated by commas.
        known: String,
    },
    /// The definition has no active version, and the request names none.
    #[error(
        "definition '{name}' has no active version: activate one, or name a version; its versions: \
         {known}"
    )]
    NoActiveVersion {
        /// The name in the request.
        name: String,
        /// The versions, separated by commas.
        known: String,
    },
    /// The business key is malformed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The input does not fit the definition. The pointers are relative to the input.
    #[error("the input does not fit the definition: {detail}")]
    BadInput {
        /// The human-readable reason.
        detail: String,
        /// The parts that do not fit.
        misfits: Misfits,
    },
    /// The input is too large.
    #[error("the input has {bytes} bytes, more than the limit of {bytes_max}")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The saga exists with another input.
    #[error("saga {0} exists with another input")]
    OtherInput(SagaId),
    /// The idempotency key was used with another request.
    #[error("the idempotency key was used before, with another request")]
    OtherRequest,
    /// Too many sagas or requests are in progress.
    #[error("too many sagas are in progress: retry in {retry_after_s} s")]
    Busy {
        /// Seconds to wait before a retry.
        retry_after_s: u32,
    },
    /// The engine cannot confirm the write. The saga may be stored, and a repeated start is safe.
    #[error("the start could not be stored: {0}; a repeated start is safe")]
    Unavailable(String),
}

/// The reason why a definition or plan was not registered, activated or retired. Nothing was
/// stored, unless the variant states otherwise.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The version is stored with other contents.
    #[error(
        "{name} version {version} is registered with other contents: raise the version when the \
         {kind} changes"
    )]
    Changed {
        /// The kind of contents.
        kind: VersionKind,
        /// The name of the definition or plan.
        name: Name,
        /// The version with two contents.
        version: u32,
    },
    /// The version is not stored.
    #[error("{kind} '{name}' has no version {version}; its versions: {known}")]
    Unknown {
        /// The kind of contents.
        kind: VersionKind,
        /// The name in the request.
        name: Name,
        /// The version in the request.
        version: u32,
        /// The versions, separated by commas.
        known: String,
    },
    /// The version is retired, so it cannot become active.
    #[error("version {version} of {kind} '{name}' is retired: apply it again first")]
    Retired {
        /// The kind of contents.
        kind: VersionKind,
        /// The name of the definition or plan.
        name: Name,
        /// The retired version.
        version: u32,
    },
    /// The definition or plan is too large.
    #[error("{kind} '{name}' has {bytes} bytes as JSON, more than the limit of {bytes_max}")]
    TooLarge {
        /// The kind of contents.
        kind: VersionKind,
        /// The name of the definition or plan.
        name: Name,
        /// Its version.
        version: u32,
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The stored versions have reached a bound.
    #[error("{0}")]
    TooMany(String),
    /// Participants cannot handle the messages of this version and of a stored one.
    #[error(
        "version {version} of '{name}' does not fit version {other}, which is not retired: {}: \
         retire version {other}, or give the message another name",
        changed(.changes)
    )]
    Incompatible {
        /// The name of the definition.
        name: Name,
        /// The rejected version.
        version: u32,
        /// The stored version.
        other: u32,
        /// The changed schemas, each with the reason.
        changes: Vec<(SchemaPlace, String)>,
    },
    /// A schema of the definition is invalid.
    #[error("definition '{name}': {errors}")]
    BadSchema {
        /// The name of the definition.
        name: Name,
        /// The invalid schemas with their reasons.
        errors: String,
    },
    /// The definition violates a rule.
    #[error(transparent)]
    Invalid(#[from] sagamore_core::definition::Error),
    /// The plan violates a rule.
    #[error(transparent)]
    InvalidPlan(#[from] sagamore_core::plan::Error),
    /// A fault of the engine. The change may be stored, and a repeated request is safe.
    #[error(transparent)]
    Fault(#[from] Error),
}

fn changed(changes: &[(SchemaPlace, String)]) -> String {
    let texts: Vec<&str> = changes.iter().map(|(_, detail)| detail.as_str()).collect();
    texts.join("; ")
}

impl StartError {
    /// The error of an input that does not fit as a whole.
    pub(crate) fn bad_input(detail: impl Into<String>) -> StartError {
        let detail = detail.into();
        let misfits = Misfits(vec![Misfit::of_all(detail.clone())]);
        StartError::BadInput { detail, misfits }
    }
}

impl From<InputError> for StartError {
    fn from(error: InputError) -> StartError {
        StartError::BadInput { detail: error.to_string(), misfits: error.misfits() }
    }
}

impl From<RegistrationError> for Error {
    fn from(error: RegistrationError) -> Error {
        let text = error.to_string();
        match error {
            RegistrationError::Changed { name, version, .. } => {
                Error::DefinitionChanged { name, version }
            }
            RegistrationError::Incompatible { .. } => Error::Incompatible(text),
            RegistrationError::Unknown { .. }
            | RegistrationError::Retired { .. }
            | RegistrationError::TooLarge { .. }
            | RegistrationError::TooMany(_) => Error::DefinitionsFull(text),
            RegistrationError::BadSchema { name, errors } => Error::BadSchema { name, errors },
            RegistrationError::Invalid(error) => Error::BadDefinition(error),
            RegistrationError::InvalidPlan(error) => Error::BadPlan(error),
            RegistrationError::Fault(error) => error,
        }
    }
}

/// The reason why an event started no chain. Nothing was stored, unless the variant states
/// otherwise.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// No plan begins with the event, or the named version is unknown or retired.
    #[error("no active plan begins with '{event}'; first events of active plans: {known}")]
    UnknownEvent {
        /// The type of the event.
        event: Name,
        /// The events that begin chains.
        known: String,
    },
    /// Several plans begin with the event.
    #[error("several plans begin with '{event}': name one by sagadefinition: {plans}")]
    SeveralPlans {
        /// The type of the event.
        event: Name,
        /// The plans.
        plans: String,
    },
    /// An attribute or the data is invalid.
    #[error("{0}")]
    BadEvent(String),
    /// The business key is malformed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The data is too large.
    #[error("the data has {bytes} bytes, more than the limit of {bytes_max}")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The client used the id before, for another event, plan or version.
    #[error("id '{id}' was used for another event, plan or version, which began chain {chain}")]
    OtherEvent {
        /// The client's id.
        id: String,
        /// The chain of the first request.
        chain: SagaId,
    },
    /// The chain exists with another first event, or by another version.
    #[error("chain {0} was begun by another event or version")]
    OtherBeginning(SagaId),
    /// Too many requests are in progress.
    #[error("too many chains are being begun: retry in 1 s")]
    Busy,
    /// This process only reads chains.
    #[error("this process has no transport for events: begin chains at the observer")]
    NoTransport,
    /// The chain may have been started. A repeated request with the same id is safe.
    #[error("the event could not be stored and sent: {0}; a repeat with the same id is safe")]
    Fault(#[from] Error),
}

/// The reason why a verb changed nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VerbError {
    /// The saga does not exist.
    #[error("saga {0} does not exist")]
    NotFound(SagaId),
    /// The verb is illegal in the saga's current state.
    #[error("{0}")]
    Ignored(IgnoreReason),
    /// The output that the operator entered does not fit the step.
    #[error("the output does not fit the step: {0}")]
    BadOutput(Misfits),
    /// Too many requests are queued.
    #[error("too many requests are queued: retry in {retry_after_s} s")]
    Busy {
        /// Seconds to wait before a retry.
        retry_after_s: u32,
    },
    /// The engine cannot confirm the write. A repeated request is safe.
    #[error("the request could not be stored: {0}; a repeated request is safe")]
    Unavailable(String),
}

impl Error {
    /// Whether a later retry may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Database(error) => error.is_transient(),
            Error::Transport(error) => error.is_transient(),
            Error::Contended => true,
            Error::OwnershipLost { .. } | Error::DefinitionChanged { .. } => false,
            Error::BadDefinition(_)
            | Error::BadPlan(_)
            | Error::BadSchema { .. }
            | Error::Incompatible(_)
            | Error::DefinitionsFull(_)
            | Error::BadData { .. }
            | Error::Unreadable(_) => false,
        }
    }

    /// Whether the fault lies in one row's data. A reader of several rows then sets that one aside.
    pub(crate) fn is_of_one_row(&self) -> bool {
        match self {
            Error::BadData { .. }
            | Error::Unreadable(_)
            | Error::Database(DatabaseError::Column { .. }) => true,
            Error::Database(_) | Error::Transport(_) | Error::OwnershipLost { .. } => false,
            Error::DefinitionChanged { .. }
            | Error::BadDefinition(_)
            | Error::BadPlan(_)
            | Error::BadSchema { .. }
            | Error::Incompatible(_)
            | Error::DefinitionsFull(_)
            | Error::Contended => false,
        }
    }
}

/// Maximum names or versions that an error lists.
const LISTED_MAX: usize = 20;

/// Joins at most [`LISTED_MAX`] items with commas.
pub(crate) fn listed<T: ToString>(items: impl ExactSizeIterator<Item = T>) -> String {
    let more = items.len().saturating_sub(LISTED_MAX);
    let mut text =
        items.take(LISTED_MAX).map(|item| item.to_string()).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(", and {more} more"));
    }
    if text.is_empty() { "none".to_owned() } else { text }
}
