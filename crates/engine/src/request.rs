//! What waits in the queue between the handle and the next turn.

use sagamore_core::TraceContext;
use sagamore_core::body::Body;
use sagamore_core::definition::Definition;
use sagamore_core::id::SagaId;
use sagamore_core::saga::{Input, Status};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::sync::oneshot;

use crate::error::{StartError, VerbError};
use crate::handle::{Started, Summary};

/// One request, with the places where its answers go. A dropped answer tells the caller that the engine went away.
pub(crate) enum Request {
    Start(StartRequest),
    Verb(VerbRequest),
    Watch { id: SagaId, rest: oneshot::Sender<Result<Summary, VerbError>> },
}

/// A saga is to begin.
pub(crate) struct StartRequest {
    pub id: SagaId,
    pub definition: Arc<Definition>,
    pub input: Body,
    pub trace: Option<TraceContext>,
    pub idempotency: Option<Idempotency>,
    pub accepted: oneshot::Sender<Result<Started, StartError>>,
    pub rest: Option<oneshot::Sender<Result<Summary, VerbError>>>,
}

/// The client's own key for the request, and what the request was.
#[derive(Clone)]
pub(crate) struct Idempotency {
    pub key: String,
    /// With the version of its kind in front: `2:` and SHA-256 over the saga and what its input says.
    pub request_hash: String,
}

/// What stands before a hash of what the request says. Rows without a version are of its text.
const BY_MEANING: &str = "2:";

impl Idempotency {
    /// The key of a start of this saga with this input.
    pub fn of(key: String, id: &SagaId, input: &Body) -> Idempotency {
        let digest = hash(id, &input.meaning_hash());
        Idempotency { key, request_hash: format!("{BY_MEANING}{digest}") }
    }

    /// Whether a stored hash is of the same request. A hash that an older program stored is compared as it did: by the
    /// text of the input.
    pub fn is_of(&self, stored: &str, id: &SagaId, input: &Body) -> bool {
        match stored.contains(':') {
            true => stored == self.request_hash,
            false => stored == hash(id, input.as_str()),
        }
    }
}

/// SHA-256 over a saga's id and what it was started with, in lower-case hex.
fn hash(id: &SagaId, input: &str) -> String {
    let digest =
        Sha256::new().chain_update(id.as_str()).chain_update([0]).chain_update(input).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Somebody wants something of a saga.
pub(crate) struct VerbRequest {
    pub id: SagaId,
    /// The definition to create it by when it does not exist: a cancel that comes before the start.
    pub absent: Option<Arc<Definition>>,
    pub input: Input,
    pub asker: Asker,
}

/// Where the answer to a verb goes.
pub(crate) enum Asker {
    /// To a caller of this process.
    Here(oneshot::Sender<Result<Status, VerbError>>),
    /// Into the row with this id, which another orchestrator left: in the transaction of what follows from the verb.
    Elsewhere(String),
}

impl Request {
    /// What it takes while it waits, in bytes, roughly.
    pub fn bytes(&self) -> usize {
        const BESIDE: usize = 256;
        let text = match self {
            Request::Start(start) => start.input.as_str().len(),
            Request::Verb(VerbRequest { input: Input::Rescue(rescue), .. }) => rescue.reason.len(),
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

/// The summary of a saga that has come to rest.
pub(crate) fn summary(saga: &sagamore_core::Saga) -> Summary {
    Summary {
        id: saga.id.clone(),
        status: saga.status,
        revision: saga.revision,
        ended_at: saga.status.has_ended().then_some(saga.changed_at),
    }
}
