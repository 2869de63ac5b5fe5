//! The outbox: starts chains within a service's own transaction. The first event is stored (see
//! `emitted.rs`) and sent after the commit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sagamore_core::message::Event;
use sagamore_core::typed::Message;
use sagamore_core::{Body, Direction, Name, Outcome, SagaId, StepKey, Timestamp, TraceContext};
use sagamore_database::{Clock, Tx};
use tokio::sync::Notify;

use crate::barrier::{self, Verdict};
use crate::decided::Fault;
use crate::emitted::{self, stored_events};

/// Maximum bytes of the first event's body, as for a reply. A larger one could never be sent.
const BEGINNING_BYTES_MAX: usize = 512 * 1024;
/// Starts chains within a service's own transaction.
#[derive(Clone, Default)]
pub struct Outbox {
    woken: Arc<Wake>,
    clock: Clock,
}

#[derive(Default)]
struct Wake {
    there: AtomicBool,
    notify: Notify,
}

/// A request to start a chain.
#[derive(Clone, Debug)]
pub struct ChainStart<'a> {
    /// The chain: the name of its plan and its business key.
    pub chain: &'a SagaId,
    /// The version of the plan.
    pub version: u32,
    /// The reaction of this service that starts chains.
    pub reaction: &'a str,
    /// The present time: [`Outbox::now`].
    pub at: Timestamp,
    /// The trace of the request. The chain's events continue it.
    pub trace: Option<TraceContext>,
}

/// The outcome of a [`ChainStart`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartOutcome {
    /// The chain starts when the transaction is committed.
    New,
    /// The chain was started earlier. Nothing was written.
    Before,
    /// The chain was cancelled before its start and never starts. Nothing was written.
    Never,
}

impl<'a> ChainStart<'a> {
    /// A start by version 1 of the plan, without a trace. `at` is the present time:
    /// [`Outbox::now`].
    pub fn new(chain: &'a SagaId, reaction: &'a str, at: Timestamp) -> ChainStart<'a> {
        ChainStart { chain, version: 1, reaction, at, trace: None }
    }

    /// Sets the version of the plan.
    pub fn version(self, version: u32) -> ChainStart<'a> {
        ChainStart { version, ..self }
    }

    /// Sets the trace of the request, or none.
    pub fn trace(self, trace: impl Into<Option<TraceContext>>) -> ChainStart<'a> {
        ChainStart { trace: trace.into(), ..self }
    }

    fn event<E: Message>(&self, event: &E) -> Result<Event, Fault> {
        let (step, name, body) = (Name::new(self.reaction)?, Name::new(E::NAME)?, Body::of(event)?);
        let bytes = body.as_str().len();
        if bytes > BEGINNING_BYTES_MAX {
            let most = BEGINNING_BYTES_MAX;
            return Err(Fault::new(format!(
                "'{name}' has {bytes} bytes, but at most {most} are allowed"
            )));
        }
        if body.has_nul() {
            let why = format!("'{name}' has a text with U+0000, which PostgreSQL cannot store");
            return Err(Fault::new(why));
        }
        let key =
            StepKey { saga: self.chain.clone(), step, direction: Direction::Action, generation: 1 };
        let trace = self.trace.clone();
        Ok(Event {
            key,
            version: self.version,
            name,
            causation: None,
            hop: 0,
            at: self.at,
            body,
            trace,
        })
    }
}

/// Returns the outcome of a start that the barrier already knows; `None` for a new chain.
fn known_before(verdict: &Verdict) -> Result<Option<StartOutcome>, Fault> {
    match verdict {
        Verdict::Act => Ok(None),
        Verdict::Answered(Outcome::Done(_)) => Ok(Some(StartOutcome::Before)),
        Verdict::Answered(Outcome::Refused(_)) | Verdict::NothingToUndo => {
            Ok(Some(StartOutcome::Never))
        }
        Verdict::Answered(Outcome::Fault(why)) => Err(Fault::new(why.clone())), // a damaged row
        Verdict::Undo(_) => Err(Fault::new("an action has nothing to undo")),
    }
}

impl Outbox {
    /// Creates the outbox of the service whose database has this clock.
    pub(crate) fn by(clock: Clock) -> Outbox {
        Outbox { woken: Arc::default(), clock }
    }

    /// Returns the present time of the service's database, for [`ChainStart::at`]. On PostgreSQL it
    /// is the server's, whatever this machine's clock shows.
    pub async fn now(&self) -> Result<Timestamp, Fault> {
        self.clock.sample().await?;
        Ok(Timestamp(self.clock.now_ms()))
    }

    /// Starts a chain with this event within the transaction. Any process of the service sends the
    /// event after the commit. [`Outbox::wake`] makes this process send it at once.
    pub async fn begin<E: Message>(
        &self,
        tx: &Tx,
        beginning: ChainStart<'_>,
        event: &E,
    ) -> Result<StartOutcome, Fault> {
        let begun = self.begin_each(tx, vec![(beginning, event)]).await?.pop();
        begun.ok_or_else(|| Fault::new("no chain was started"))
    }

    /// Starts several distinct chains like [`Outbox::begin`], in four round trips for all.
    pub async fn begin_each<E: Message>(
        &self,
        tx: &Tx,
        beginnings: Vec<(ChainStart<'_>, &E)>,
    ) -> Result<Vec<StartOutcome>, Fault> {
        let Some(at) = beginnings.iter().map(|(beginning, _)| beginning.at).max() else {
            return Ok(Vec::new());
        };
        let events = beginnings.iter().map(|(beginning, event)| beginning.event(*event));
        let events = events.collect::<Result<Vec<Event>, Fault>>()?;
        let keys: Vec<&StepKey> = events.iter().map(|event| &event.key).collect();
        if keys.iter().collect::<BTreeSet<_>>().len() < keys.len() {
            return Err(Fault::new("the same chain is started twice in one call"));
        }
        let known = barrier::claim(tx, &keys, at).await?;
        let before = keys.iter().zip(&known).map(|(key, known)| known_before(&known.verdict(key)));
        let before = before.collect::<Result<Vec<Option<StartOutcome>>, Fault>>()?;
        let new = events
            .iter()
            .zip(&before)
            .filter(|(_, before)| before.is_none())
            .map(|(event, _)| event);
        let stored = emitted::store_unsent(tx, new).await?;
        let (mut begun, mut answers) = (Vec::with_capacity(events.len()), Vec::new());
        for ((event, known), before) in events.iter().zip(&known).zip(before) {
            let (came, outcome) = match before {
                Some(before) => (before, None),
                None if stored.contains(&event.key) => {
                    (StartOutcome::New, Some(Outcome::Done(event.body.clone())))
                }
                // started so long ago that the barrier's rows were removed
                None => (StartOutcome::Before, Some(Outcome::Fault(String::new()))),
            };
            begun.push(came);
            answers.extend(outcome.map(|outcome| (&event.key, known, outcome)));
        }
        let answers: Vec<_> =
            answers.iter().map(|(key, known, outcome)| (*key, *known, outcome)).collect();
        barrier::store(tx, &answers, at).await?;
        Ok(begun)
    }

    /// Returns the event that started this chain here, if any.
    pub async fn begun<E: Message>(
        &self,
        tx: &Tx,
        chain: &SagaId,
        reaction: &str,
    ) -> Result<Option<E>, Fault> {
        let (saga, direction) = (chain.clone(), Direction::Action);
        let key = StepKey { saga, step: Name::new(reaction)?, direction, generation: 1 };
        let event = stored_events(tx, &[&key]).await?.pop().transpose()?.flatten();
        Ok(event.map(|event| event.body.read()).transpose()?)
    }

    /// Makes this process send stored events at once. Call it after the commit.
    pub fn wake(&self) {
        self.woken.there.store(true, Ordering::Release);
        self.woken.notify.notify_one();
    }

    /// Returns whether the outbox was woken since the last call.
    pub(crate) fn take(&self) -> bool {
        self.woken.there.swap(false, Ordering::AcqRel)
    }

    /// Waits until the outbox is woken.
    pub(crate) async fn woken(&self) {
        self.woken.notify.notified().await;
    }
}
