//! The engine's interface: start, cancel, rescue, wait, read. One bounded queue leads from handles
//! to the next turn.

mod definitions;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use sagamore_core::body::Body;
use sagamore_core::definition::{Definition, Misfit, Misfits};
use sagamore_core::id::{self, Name, SagaId};
use sagamore_core::saga::{Input, Rescue, Status};
use sagamore_core::{Timestamp, TraceContext};
use sagamore_database::Clock;
use tokio::sync::{mpsc, oneshot};

use crate::definitions::Registrar;
use crate::error::{Error, StartError, VerbError};
use crate::options::Options;
use crate::pulse::Pulse;
use crate::request::{
    Idempotency, Recipient, Request, StartRequest, Started, Summary, VerbRequest,
};
use crate::store::{Detail, Filter, Header, Page, Standing, Store};

/// The pause before a wait that a failed turn dropped is repeated.
const WAIT_PAUSE: Duration = Duration::from_millis(20);
/// The pause after which a caller of a busy engine may retry.
const RETRY_AFTER_S: u32 = 1;

/// A client of an orchestrator, cheap to clone.
#[derive(Clone)]
pub struct Handle {
    queue: mpsc::Sender<Request>,
    registrar: Arc<Registrar>,
    store: Store,
    clock: Clock,
    gauges: Arc<Gauges>,
    pulse: Arc<Pulse>,
    options: Arc<Options>,
}

/// State of the orchestrator that its handles read directly.
pub(crate) struct Gauges {
    /// Sagas that are not at rest.
    pub in_flight: AtomicUsize,
    /// The time since which the longest waiting saga has waited, in ms since 1970; `i64::MAX` if
    /// none waits.
    pub oldest: AtomicI64,
    /// The number of reply partitions owned under leases; 0 without a lease.
    pub partitions: AtomicUsize,
    /// Total bytes of the requests that wait for a turn.
    pub request_bytes: AtomicUsize,
    /// Total bytes of the sagas in memory.
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
    /// Counts a request that waits for a turn without having been queued.
    pub fn added(&self, request: &Request) {
        self.request_bytes.fetch_add(request.bytes(), Ordering::Relaxed);
    }

    /// Discounts a request that has left the queue.
    pub fn taken(&self, request: &Request) {
        self.request_bytes.fetch_sub(request.bytes(), Ordering::Relaxed);
    }
}

/// A request to start a saga.
#[derive(Clone, Debug)]
pub struct Start {
    /// The name of the definition.
    pub definition: Name,
    /// The version that the saga runs by. `None`: the active one.
    pub version: Option<u32>,
    /// The business key. Each definition has one saga per key.
    pub key: String,
    /// The value that the definition's steps refer to as `input`.
    pub input: Body,
    /// The client's key for this request. A repeat with the same key returns the existing saga.
    pub idempotency_key: Option<String>,
    /// The trace of the client's request. The saga's commands continue it.
    pub trace: Option<TraceContext>,
}

impl Start {
    /// Creates a start by the active version, without an idempotency key and without a trace.
    pub fn new(definition: Name, key: impl Into<String>, input: Body) -> Start {
        let (version, idempotency_key, trace) = (None, None, None);
        Start { definition, version, key: key.into(), input, idempotency_key, trace }
    }

    /// Sets the version that the saga runs by, or the active one.
    pub fn version(self, version: impl Into<Option<u32>>) -> Start {
        Start { version: version.into(), ..self }
    }

    /// Sets the client's key for this request, or none.
    pub fn idempotency_key(self, key: impl Into<Option<String>>) -> Start {
        Start { idempotency_key: key.into(), ..self }
    }

    /// Sets the trace of the client's request, or none.
    pub fn trace(self, trace: impl Into<Option<TraceContext>>) -> Start {
        Start { trace: trace.into(), ..self }
    }
}

/// The reason why a request was not queued.
enum QueueError {
    Full,
    Closed,
}

impl Handle {
    pub(crate) fn new(
        options: Arc<Options>,
        registrar: Arc<Registrar>,
        clock: Clock,
        gauges: Arc<Gauges>,
        pulse: Arc<Pulse>,
    ) -> (Handle, mpsc::Receiver<Request>) {
        let (queue, requests) = mpsc::channel(options.requests_max);
        let store = registrar.store.clone();
        (Handle { queue, registrar, store, clock, gauges, pulse, options }, requests)
    }

    /// Returns the current time by the sagas' clock: that of the database server, if there is one.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_ms())
    }

    /// Starts a saga, or returns the existing one with this key and input. After `Ok` it survives
    /// any crash.
    pub async fn start(&self, start: Start) -> Result<Started, StartError> {
        let accepted = self.request_start(start, None).await?;
        accepted.await.unwrap_or_else(|_| Err(StartError::Unavailable("the engine stopped".into())))
    }

    /// Starts a saga and waits up to `patience` until it is at rest. The summary is `None` after
    /// that time.
    pub async fn start_and_wait(
        &self,
        start: Start,
        patience: Duration,
    ) -> Result<(Started, Option<Summary>), StartError> {
        let (rest, at_rest) = oneshot::channel();
        let accepted = self.request_start(start, Some(rest)).await?;
        let gone = || StartError::Unavailable("the engine stopped".into());
        let started = accepted.await.unwrap_or_else(|_| Err(gone()))?;
        let until = tokio::time::Instant::now() + patience;
        let summary = match tokio::time::timeout_at(until, at_rest).await {
            Ok(Ok(Ok(summary))) => Some(summary),
            Ok(Ok(Err(_))) | Err(_) => None,
            // the turn that knew of the wait failed: wait again
            Ok(Err(_)) => self.wait_until(started.id.clone(), until).await.unwrap_or_default(),
        };
        match summary {
            Some(summary) => Ok((started, Some(summary))),
            None => Ok(self.stands_now(started).await),
        }
    }

    /// Reads the saga's status after a wait without result, since the one at its start is outdated.
    /// If it cannot be read, the acceptance still holds.
    async fn stands_now(&self, started: Started) -> (Started, Option<Summary>) {
        let Ok(Some(Detail { header, .. })) =
            self.store.show(&self.registrar.registry, &started.id).await
        else {
            return (started, None);
        };
        let Header { status, revision, ended_at, .. } = header;
        let rests = status.has_ended() || status == Status::Stuck;
        let summary = rests.then(|| Summary { id: started.id.clone(), status, revision, ended_at });
        (Started { status, revision, ..started }, summary)
    }

    /// Queues a start, and returns the receiver of its acceptance.
    async fn request_start(
        &self,
        start: Start,
        rest: Option<oneshot::Sender<Result<Summary, VerbError>>>,
    ) -> Result<oneshot::Receiver<Result<Started, StartError>>, StartError> {
        let id = SagaId::new(&start.definition, &start.key)?;
        let definition = self.registrar.of_start(&start.definition, start.version).await?;
        let (bytes, bytes_max) = (start.input.as_str().len(), self.options.input_bytes_max);
        if bytes > bytes_max {
            return Err(StartError::TooLarge { bytes, bytes_max });
        }
        definition.check_start(&start.key, &start.input)?;
        if start.input.has_nul() {
            let why = "it contains the character \\u0000, which databases cannot store";
            return Err(StartError::bad_input(why));
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
            Err(QueueError::Full) => Err(StartError::Busy { retry_after_s: RETRY_AFTER_S }),
            Err(QueueError::Closed) => {
                Err(StartError::Unavailable("the engine is stopping".into()))
            }
        }
    }

    /// Queues a request, if its number and bytes are within the limits.
    fn push(&self, request: Request) -> Result<(), QueueError> {
        let (bytes, waiting) = (request.bytes(), &self.gauges.request_bytes);
        if waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > self.options.request_bytes_max {
            waiting.fetch_sub(bytes, Ordering::Relaxed);
            return Err(QueueError::Full);
        }
        self.queue.try_send(request).map_err(|error| {
            waiting.fetch_sub(bytes, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => QueueError::Full,
                mpsc::error::TrySendError::Closed(_) => QueueError::Closed,
            }
        })
    }

    /// Cancels a saga and returns its status. A running saga then compensates.
    ///
    /// Cancelling a missing saga stores it as compensated. A later start returns the cancelled
    /// saga.
    ///
    /// # Errors
    /// A saga that has ended, is past its point of no return, or is stuck while it compensates
    /// cannot be cancelled.
    pub async fn cancel(&self, id: SagaId) -> Result<Status, VerbError> {
        self.cancel_because(id, None).await
    }

    /// Like [`Handle::cancel`], with an operator's reason, which the journal stores.
    pub async fn cancel_because(
        &self,
        id: SagaId,
        reason: Option<String>,
    ) -> Result<Status, VerbError> {
        let absent = match Name::new(id.definition()) {
            Ok(name) => self.registrar.of_start(&name, None).await.ok(),
            Err(_) => None,
        };
        self.verb(id, absent, Input::Cancel { reason }).await
    }

    /// Applies an operator's decision on a stuck step.
    ///
    /// # Errors
    /// The verb does not apply to the step, or the manually entered output does not fit it.
    pub async fn rescue(&self, id: SagaId, rescue: Rescue) -> Result<Status, VerbError> {
        let bytes = rescue.output.as_ref().map_or(0, |output| output.as_str().len());
        let bytes_max = self.options.input_bytes_max;
        if bytes > bytes_max {
            let why = format!("it has {bytes} bytes, more than the limit of {bytes_max}");
            return Err(VerbError::BadOutput(Misfits(vec![Misfit::of_all(why)])));
        }
        self.verb(id, None, Input::Rescue(rescue)).await
    }

    /// Makes the owner read a saga again that is set aside, after its row or journal was repaired.
    /// The saga continues, and its outstanding commands are resent.
    ///
    /// # Errors
    /// The reason, if the saga still cannot be read.
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
        self.enqueue(Request::Verb(VerbRequest {
            id,
            absent,
            input,
            recipient: Recipient::Here(done),
        }))?;
        answer.await.unwrap_or_else(|_| Err(VerbError::Unavailable("the engine stopped".into())))
    }

    /// Waits up to `patience` until a saga is at rest. Returns `None` after that time.
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
                // the turn that knew of the wait failed
                Ok(Err(_)) => tokio::time::sleep(WAIT_PAUSE).await,
            }
        }
    }

    fn enqueue(&self, request: Request) -> Result<(), VerbError> {
        self.push(request).map_err(|error| match error {
            QueueError::Full => VerbError::Busy { retry_after_s: RETRY_AFTER_S },
            QueueError::Closed => VerbError::Unavailable("the engine is stopping".into()),
        })
    }

    /// Reads a saga with its journal, as stored. Returns `None` if it does not exist.
    pub async fn show(&self, id: &SagaId) -> Result<Option<Detail>, Error> {
        let mut detail = self.store.show(&self.registrar.registry, id).await?;
        if let Some(detail) = &mut detail {
            detail.saga.redraw(self.now()); // as its owner does
        }
        Ok(detail)
    }

    /// Reads a page of sagas, newest first.
    pub async fn list(&self, filter: &Filter) -> Result<Page, Error> {
        self.store.list(filter).await
    }

    /// Returns the number of sagas that are not at rest.
    pub fn in_flight(&self) -> usize {
        self.gauges.in_flight.load(Ordering::Relaxed)
    }

    /// Returns the total bytes of the sagas in memory.
    pub fn live_bytes(&self) -> usize {
        self.gauges.live_bytes.load(Ordering::Relaxed)
    }

    /// Returns the time since which the longest waiting saga has waited for replies, resends
    /// included.
    pub fn oldest_outstanding(&self) -> Option<Timestamp> {
        let since = self.gauges.oldest.load(Ordering::Relaxed);
        (since != i64::MAX).then_some(Timestamp(since))
    }

    /// Returns the number of reply partitions under this orchestrator's leases. With 0 it rejects
    /// starts, and other orchestrators drive the sagas. Meaningless without a lease: always 0.
    pub fn partitions_owned(&self) -> usize {
        self.gauges.partitions.load(Ordering::Relaxed)
    }

    /// Returns this orchestrator's standing at its last renewal. Without a lease it is always a
    /// member.
    pub fn standing(&self) -> Standing {
        if self.options.lease.is_some() { self.pulse.standing() } else { Standing::Member }
    }

    /// Returns the error of the last publish. `None` if it was acknowledged.
    pub fn publish_fault(&self) -> Option<String> {
        self.pulse.fault()
    }

    /// Returns the time limit that the running turn has exceeded without a step, as of the last
    /// renewal. Its leases are no longer renewed.
    pub fn turn_hangs(&self) -> Option<Duration> {
        self.pulse.is_hung().then_some(self.options.turn_max)
    }

    /// Whether an orchestrator still takes requests.
    pub fn is_open(&self) -> bool {
        !self.queue.is_closed()
    }
}

fn check_idempotency_key(key: &str) -> Result<(), StartError> {
    id::check_idempotency_key(key).map_err(|why| StartError::bad_input(why.to_string()))
}
