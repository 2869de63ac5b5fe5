//! The only door: start, cancel, rescue, wait, read. One bounded queue leads from here to the next turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use sagamore_core::body::Body;
use sagamore_core::definition::Definition;
use sagamore_core::id::{self, Name, SagaId};
use sagamore_core::saga::{Input, Rescue, Status};
use sagamore_core::{Timestamp, TraceContext};
use sagamore_database::Clock;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, StartError, VerbError};
use crate::options::Options;
use crate::pulse::Pulse;
use crate::registry::Registry;
use crate::request::{Asker, Idempotency, Request, StartRequest, VerbRequest};
use crate::store::{Detail, Filter, Header, Page, Standing, Store};

/// The pause before a wait that a failed turn has dropped is taken up again.
const WAIT_AGAIN: Duration = Duration::from_millis(20);
/// What a busy engine tells its callers to wait.
const RETRY_AFTER_S: u32 = 1;

/// A way in, cheap to clone.
#[derive(Clone)]
pub struct Handle {
    queue: mpsc::Sender<Request>,
    registry: Arc<Registry>,
    store: Store,
    clock: Clock,
    gauges: Arc<Gauges>,
    pulse: Arc<Pulse>,
    options: Arc<Options>,
}

/// What the orchestrator tells its handles without a message.
pub(crate) struct Gauges {
    /// Sagas that have not come to rest.
    pub in_flight: AtomicUsize,
    /// Since when the longest waiting saga has waited, in ms since 1970; the greatest number when none waits.
    pub oldest: AtomicI64,
    /// How many reply partitions are owned; as many as can be while there is no lease.
    pub partitions: AtomicUsize,
    /// The requests that wait for a turn, in bytes.
    pub request_bytes: AtomicUsize,
    /// The sagas in memory, in bytes.
    pub live_bytes: AtomicUsize,
}

impl Default for Gauges {
    fn default() -> Gauges {
        let (in_flight, request_bytes, partitions, live_bytes) = Default::default();
        Gauges {
            in_flight,
            oldest: AtomicI64::new(i64::MAX),
            partitions,
            request_bytes,
            live_bytes,
        }
    }
}

impl Gauges {
    /// A request waits for a turn without having been queued.
    pub fn added(&self, request: &Request) {
        self.request_bytes.fetch_add(request.bytes(), Ordering::Relaxed);
    }

    /// A request has left the queue.
    pub fn taken(&self, request: &Request) {
        self.request_bytes.fetch_sub(request.bytes(), Ordering::Relaxed);
    }
}

/// A request to start a saga.
#[derive(Clone, Debug)]
pub struct Start {
    /// The name of the definition. The saga runs by its newest version.
    pub definition: Name,
    /// The business key. There is one saga of a definition for each key.
    pub key: String,
    /// The value that the definition's steps refer to as `input`.
    pub input: Body,
    /// The client's own key for this request. A repeat with the same key returns the saga that exists.
    pub idempotency_key: Option<String>,
    /// The trace of the client's request. The saga's commands continue it.
    pub trace: Option<TraceContext>,
}

impl Start {
    /// A start without an idempotency key and without a trace.
    pub fn new(definition: Name, key: impl Into<String>, input: Body) -> Start {
        Start { definition, key: key.into(), input, idempotency_key: None, trace: None }
    }

    /// Sets the client's own key for this request, or none.
    pub fn idempotency_key(self, key: impl Into<Option<String>>) -> Start {
        Start { idempotency_key: key.into(), ..self }
    }

    /// Sets the trace of the client's request, or none.
    pub fn trace(self, trace: impl Into<Option<TraceContext>>) -> Start {
        Start { trace: trace.into(), ..self }
    }
}

/// An accepted start: stored, whatever happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The saga.
    pub id: SagaId,
    /// It was there before, with the same input.
    pub existed: bool,
    /// Where it stands.
    pub status: Status,
    /// Its revision.
    pub revision: u64,
}

/// A saga that is at rest: ended, or stuck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The saga.
    pub id: SagaId,
    /// `Completed`, `Compensated` or `Stuck`.
    pub status: Status,
    /// Its revision.
    pub revision: u64,
    /// When it ended, if it has.
    pub ended_at: Option<Timestamp>,
}

/// Why a request was not queued.
enum Unqueued {
    Full,
    Closed,
}

impl Handle {
    pub(crate) fn new(
        options: Arc<Options>,
        registry: Arc<Registry>,
        store: Store,
        clock: Clock,
        gauges: Arc<Gauges>,
        pulse: Arc<Pulse>,
    ) -> (Handle, mpsc::Receiver<Request>) {
        let (queue, requests) = mpsc::channel(options.requests_max);
        (Handle { queue, registry, store, clock, gauges, pulse, options }, requests)
    }

    /// The present time by the clock that counts for sagas: the database server's, where there is one.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_ms())
    }

    /// Starts a saga, or gives the one that exists with this key and input. After `Ok` it survives any crash.
    pub async fn start(&self, start: Start) -> Result<Started, StartError> {
        let accepted = self.request_start(start, None)?;
        accepted.await.unwrap_or_else(|_| Err(StartError::Unavailable("the engine stopped".into())))
    }

    /// Starts a saga and waits at most `patience` for it to come to rest; `None` when it has not by then.
    pub async fn start_and_wait(
        &self,
        start: Start,
        patience: Duration,
    ) -> Result<(Started, Option<Summary>), StartError> {
        let (rest, at_rest) = oneshot::channel();
        let accepted = self.request_start(start, Some(rest))?;
        let gone = || StartError::Unavailable("the engine stopped".into());
        let started = accepted.await.unwrap_or_else(|_| Err(gone()))?;
        let until = tokio::time::Instant::now() + patience;
        let summary = match tokio::time::timeout_at(until, at_rest).await {
            Ok(Ok(Ok(summary))) => Some(summary),
            Ok(Ok(Err(_))) | Err(_) => None,
            // a turn failed that knew of the wait: wait again
            Ok(Err(_)) => self.wait_until(started.id.clone(), until).await.unwrap_or_default(),
        };
        match summary {
            Some(summary) => Ok((started, Some(summary))),
            None => Ok(self.stands_now(started).await),
        }
    }

    /// Where a saga stands once a wait for it has run out: what was so at its start is over. Where that cannot be read its
    /// acceptance still holds.
    async fn stands_now(&self, started: Started) -> (Started, Option<Summary>) {
        let Ok(Some(Detail { header, .. })) = self.store.show(&self.registry, &started.id).await
        else {
            return (started, None);
        };
        let Header { status, revision, ended_at, .. } = header;
        let rests = status.has_ended() || status == Status::Stuck;
        let summary = rests.then(|| Summary { id: started.id.clone(), status, revision, ended_at });
        (Started { status, revision, ..started }, summary)
    }

    /// Queues a start; gives the place where its acceptance is told.
    fn request_start(
        &self,
        start: Start,
        rest: Option<oneshot::Sender<Result<Summary, VerbError>>>,
    ) -> Result<oneshot::Receiver<Result<Started, StartError>>, StartError> {
        let id = SagaId::new(&start.definition, &start.key)?;
        let definition = self.definition(&start.definition)?;
        let (bytes, bytes_max) = (start.input.as_str().len(), self.options.input_bytes_max);
        if bytes > bytes_max {
            return Err(StartError::TooLarge { bytes, bytes_max });
        }
        definition.check_start(&start.key, &start.input).map_err(StartError::BadInput)?;
        if holds_a_nul(start.input.as_str()) {
            return Err(StartError::BadInput(
                "it holds the character \\u0000, which databases cannot store".into(),
            ));
        }
        if self.gauges.in_flight.load(Ordering::Relaxed) >= self.options.in_flight_max {
            return Err(StartError::Busy { retry_after_s: RETRY_AFTER_S });
        }
        if let Some(key) = &start.idempotency_key {
            check_idempotency_key(key)?;
        }
        let idempotency = start.idempotency_key.map(|key| Idempotency::of(key, &id, &start.input));
        let (accepted, answer) = oneshot::channel();
        let request = StartRequest {
            id,
            definition,
            input: start.input,
            trace: start.trace,
            idempotency,
            accepted,
            rest,
        };
        match self.push(Request::Start(request)) {
            Ok(()) => Ok(answer),
            Err(Unqueued::Full) => Err(StartError::Busy { retry_after_s: RETRY_AFTER_S }),
            Err(Unqueued::Closed) => Err(StartError::Unavailable("the engine is stopping".into())),
        }
    }

    /// Queues a request, if there is room for it in number and in bytes.
    fn push(&self, request: Request) -> Result<(), Unqueued> {
        let (bytes, waiting) = (request.bytes(), &self.gauges.request_bytes);
        if waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > self.options.request_bytes_max {
            waiting.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Unqueued::Full);
        }
        self.queue.try_send(request).map_err(|error| {
            waiting.fetch_sub(bytes, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => Unqueued::Full,
                mpsc::error::TrySendError::Closed(_) => Unqueued::Closed,
            }
        })
    }

    /// Asks for a saga to be undone. Gives where it stands then; the outcome is the saga's. A saga that does not
    /// exist yet is stored as compensated, so that a start that comes later finds it cancelled.
    ///
    /// # Errors
    /// A saga that has ended, is past its point of no return, or is stuck while it is undone takes no cancel.
    pub async fn cancel(&self, id: SagaId) -> Result<Status, VerbError> {
        self.cancel_because(id, None).await
    }

    /// [`Handle::cancel`] with the reason of the person who wants it, which is kept in the journal.
    pub async fn cancel_because(
        &self,
        id: SagaId,
        reason: Option<String>,
    ) -> Result<Status, VerbError> {
        let absent = Name::new(id.definition()).ok().and_then(|name| self.registry.latest(&name));
        self.verb(id, absent, Input::Cancel { reason }).await
    }

    /// An operator's word on a stuck step.
    pub async fn rescue(&self, id: SagaId, rescue: Rescue) -> Result<Status, VerbError> {
        self.verb(id, None, Input::Rescue(rescue)).await
    }

    /// Has the owner of a saga that is set aside read it again, once its row or journal is repaired. The saga then goes on: what it
    /// has outstanding is sent again. Fails with the reason as long as the saga cannot be read.
    pub async fn reread(&self, id: SagaId) -> Result<Status, VerbError> {
        self.verb(id, None, Input::Tick).await
    }

    async fn verb(
        &self,
        id: SagaId,
        absent: Option<Arc<Definition>>,
        input: Input,
    ) -> Result<Status, VerbError> {
        let (done, answer) = oneshot::channel();
        self.enqueue(Request::Verb(VerbRequest { id, absent, input, asker: Asker::Here(done) }))?;
        answer.await.unwrap_or_else(|_| Err(VerbError::Unavailable("the engine stopped".into())))
    }

    /// Waits at most `patience` for a saga to come to rest; `None` when it has not by then.
    pub async fn wait(&self, id: SagaId, patience: Duration) -> Result<Option<Summary>, VerbError> {
        self.wait_until(id, tokio::time::Instant::now() + patience).await
    }

    async fn wait_until(
        &self,
        id: SagaId,
        until: tokio::time::Instant,
    ) -> Result<Option<Summary>, VerbError> {
        loop {
            let (rest, at_rest) = oneshot::channel();
            self.enqueue(Request::Watch { id: id.clone(), rest })?;
            match tokio::time::timeout_at(until, at_rest).await {
                Ok(Ok(answer)) => return answer.map(Some),
                Err(_) => return Ok(None),
                Ok(Err(_)) => tokio::time::sleep(WAIT_AGAIN).await, // a turn failed that knew of the wait
            }
        }
    }

    fn enqueue(&self, request: Request) -> Result<(), VerbError> {
        self.push(request).map_err(|error| match error {
            Unqueued::Full => VerbError::Busy { retry_after_s: RETRY_AFTER_S },
            Unqueued::Closed => VerbError::Unavailable("the engine is stopping".into()),
        })
    }

    /// One saga with its journal, as stored; `None` when there is none.
    pub async fn show(&self, id: &SagaId) -> Result<Option<Detail>, Error> {
        let mut detail = self.store.show(&self.registry, id).await?;
        if let Some(detail) = &mut detail {
            detail.saga.redraw(self.now()); // as its owner does
        }
        Ok(detail)
    }

    /// A page of sagas, the newest first.
    pub async fn list(&self, filter: &Filter) -> Result<Page, Error> {
        self.store.list(filter).await
    }

    /// The names of the registered definitions.
    pub fn definitions(&self) -> Vec<Arc<Definition>> {
        self.registry.all_latest()
    }

    /// How many sagas have not come to rest.
    pub fn in_flight(&self) -> usize {
        self.gauges.in_flight.load(Ordering::Relaxed)
    }

    /// How many bytes the sagas in memory take.
    pub fn live_bytes(&self) -> usize {
        self.gauges.live_bytes.load(Ordering::Relaxed)
    }

    /// Since when the longest waiting saga has waited for the same answers, however often they were asked for.
    pub fn oldest_outstanding(&self) -> Option<Timestamp> {
        let since = self.gauges.oldest.load(Ordering::Relaxed);
        (since != i64::MAX).then_some(Timestamp(since))
    }

    /// How many reply partitions this orchestrator owns. None: it takes no starts, and others do what there is to do.
    pub fn partitions_owned(&self) -> usize {
        self.gauges.partitions.load(Ordering::Relaxed)
    }

    /// Where this orchestrator stood among the others at its last renewal; without a lease it is the only member.
    pub fn standing(&self) -> Standing {
        if self.options.lease.is_some() { self.pulse.standing() } else { Standing::Member }
    }

    /// Why the last publish was not acknowledged; None when it was.
    pub fn publish_fault(&self) -> Option<String> {
        self.pulse.fault()
    }

    /// Whether an orchestrator still takes requests.
    pub fn is_open(&self) -> bool {
        !self.queue.is_closed()
    }

    fn definition(&self, name: &Name) -> Result<Arc<Definition>, StartError> {
        self.registry.latest(name).ok_or_else(|| StartError::UnknownDefinition {
            name: name.to_string(),
            known: self.registry.names().join(", "),
        })
    }
}

/// Whether a JSON text holds an escaped NUL: `\u0000` behind an even number of backslashes.
fn holds_a_nul(json: &str) -> bool {
    json.match_indices("\\u0000").any(|(at, _)| {
        let behind = json[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
        behind % 2 == 0
    })
}

fn check_idempotency_key(key: &str) -> Result<(), StartError> {
    id::check_idempotency_key(key).map_err(|why| StartError::BadInput(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::holds_a_nul;

    #[test]
    fn an_escaped_nul_is_told_from_an_escaped_backslash() {
        assert!(holds_a_nul(r#"{"a":"x\u0000"}"#));
        assert!(holds_a_nul(r#"{"a":"\\\u0000"}"#));
        assert!(!holds_a_nul(r#"{"a":"\\u0000"}"#));
        assert!(!holds_a_nul(r#"{"a":"u0000"}"#));
    }
}
