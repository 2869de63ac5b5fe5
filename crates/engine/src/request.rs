//! Requests queued from a `Handle` to the orchestrator's next turn.

use sagamore_core::body::Body;
use sagamore_core::definition::Definition;
use sagamore_core::id::SagaId;
use sagamore_core::saga::{Input, Status};
use sagamore_core::{Timestamp, TraceContext};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::sync::oneshot;

use crate::error::{StartError, VerbError};

/// A request with the channels of its answers. A caller whose channel is dropped sees that the
/// engine stopped.
pub(crate) enum Request {
    Start(StartRequest),
    Verb(VerbRequest),
    Watch { id: SagaId, rest: oneshot::Sender<Result<Summary, VerbError>> },
}

/// An accepted start: the saga is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The saga's id.
    pub id: SagaId,
    /// Whether the saga existed before, with the same input.
    pub existed: bool,
    /// The saga's status.
    pub status: Status,
    /// The saga's revision.
    pub revision: u64,
}

/// A saga that is at rest: ended, or stuck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The saga's id.
    pub id: SagaId,
    /// `Completed`, `Compensated` or `Stuck`.
    pub status: Status,
    /// The saga's revision.
    pub revision: u64,
    /// The time of the end. `None` if the saga is stuck.
    pub ended_at: Option<Timestamp>,
}

/// A request to start a saga.
pub(crate) struct StartRequest {
    pub id: SagaId,
    pub definition: Arc<Definition>,
    pub input: Body,
    pub trace: Option<TraceContext>,
    pub idempotency: Option<Idempotency>,
    pub accepted: oneshot::Sender<Result<Started, StartError>>,
    pub rest: Option<oneshot::Sender<Result<Summary, VerbError>>>,
}

/// The client's key for a request, with the request's hash.
#[derive(Clone)]
pub(crate) struct Idempotency {
    pub key: String,
    /// The hash, prefixed with its version: `2:` and SHA-256 over the saga's id and the meaning of
    /// its input.
    pub request_hash: String,
}

/// The version prefix of a hash by meaning. Rows without a version have a hash of the input's text.
const BY_MEANING: &str = "2:";

impl Idempotency {
    /// Builds the key of a start of this saga with this input.
    pub fn of(key: String, id: &SagaId, input: &Body) -> Idempotency {
        let digest = hash(id, &input.meaning_hash());
        Idempotency { key, request_hash: format!("{BY_MEANING}{digest}") }
    }

    /// Whether a stored hash belongs to the same request. A hash without version, from an older
    /// program, is compared by the text of the input.
    pub fn is_of(&self, stored: &str, id: &SagaId, input: &Body) -> bool {
        match stored.contains(':') {
            true => stored == self.request_hash,
            false => stored == hash(id, input.as_str()),
        }
    }
}

/// Returns the SHA-256 of a saga's id and its input, in lower-case hex.
fn hash(id: &SagaId, input: &str) -> String {
    let digest =
        Sha256::new().chain_update(id.as_str()).chain_update([0]).chain_update(input).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A request that changes a saga.
pub(crate) struct VerbRequest {
    pub id: SagaId,
    /// The definition by which a cancel before the start creates the missing saga.
    pub absent: Option<Arc<Definition>>,
    pub input: Input,
    pub recipient: Recipient,
}

/// The recipient of a verb's answer.
pub(crate) enum Recipient {
    /// A caller in this process.
    Here(oneshot::Sender<Result<Status, VerbError>>),
    /// The row with this id, which another orchestrator stored. It is answered in the transaction
    /// of the outcome.
    Elsewhere(String),
}

impl Request {
    /// Estimates the bytes of the waiting request.
    pub fn bytes(&self) -> usize {
        const BESIDE: usize = 256;
        let text = match self {
            Request::Start(start) => start.input.as_str().len(),
            Request::Verb(VerbRequest { input: Input::Rescue(rescue), .. }) => {
                let output = rescue.output.as_ref().map_or(0, |output| output.as_str().len());
                rescue.reason.len() + output
            }
            Request::Verb(VerbRequest { input: Input::Cancel { reason }, .. }) => {
                reason.as_ref().map_or(0, String::len)
            }
            Request::Verb(_) | Request::Watch { .. } => 0,
        };
        BESIDE + self.id().as_str().len() + text
    }

    pub fn id(&self) -> &SagaId {
        match self {
            Request::Start(start) => &start.id,
            Request::Verb(verb) => &verb.id,
            Request::Watch { id, .. } => id,
        }
    }
}

/// Returns the summary of a saga that is at rest.
pub(crate) fn summary(saga: &sagamore_core::Saga) -> Summary {
    Summary {
        id: saga.id.clone(),
        status: saga.status,
        revision: saga.revision,
        ended_at: saga.status.has_ended().then_some(saga.changed_at),
    }
}
