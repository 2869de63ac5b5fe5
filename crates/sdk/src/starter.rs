//! Starts of chains. Requests that arrive together share one transaction. Requests that may repeat
//! an earlier one get transactions of their own.
//!
//! **Invariant:** a start commits all of these or none: the service's own work, the event that
//! starts the chain, and the request's idempotency key.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;
use sagamore_core::id::check_idempotency_key;
use sagamore_core::{Message, SagaId, Timestamp, TraceContext};
use sagamore_database::database::Open;
use sagamore_database::{Database, Statement, Tx, given_row};
use tokio::sync::Semaphore;

use crate::decided::{Decided, Fault, done, refused};
use crate::group_commit::{GroupCommit, Submission};
use crate::outbox::{ChainStart, Outbox, StartOutcome};

/// Maximum starts in one transaction.
const BATCH_MAX: usize = 500;
/// Maximum concurrent starts with transactions of their own. The service needs its other
/// connections.
const ALONE_MAX: usize = 3;

/// A request that starts a chain, with the work that the service does in the same transaction.
///
/// ```
/// # extern crate sagamore_sdk as sagamore;
/// # use sagamore::{Decided, Fault, Message, StartsChain, Tx, done, refused};
/// #[derive(Clone, Message)]
/// struct Visit { guest: String }
/// #[derive(Message)]
/// #[message(name = "bell.rung")]
/// struct BellRung { guest: String }
/// enum Refused { Known, KeyUsed }
///
/// impl StartsChain for Visit {
///     type Event = BellRung;
///     type Refusal = Refused;
///     const PLAN: &'static str = "visit";
///     const REACTION: &'static str = "ring";
///
///     fn key(&self) -> &str { &self.guest }
///     async fn start(self, tx: Tx) -> Decided<BellRung, Refused> {
///         let sql = "INSERT INTO visit (guest) VALUES ($1) ON CONFLICT (guest) DO NOTHING";
///         match tx.execute(sql, (&self.guest,)).await? {
///             0 => refused(Refused::Known),
///             _ => done(BellRung { guest: self.guest }),
///         }
///     }
///     fn is_repeat(refusal: &Refused) -> bool { matches!(refusal, Refused::Known) }
///     fn is_same(&self, before: &BellRung) -> bool { self.guest == before.guest }
///     fn key_used() -> Refused { Refused::KeyUsed }
/// }
/// ```
pub trait StartsChain: Clone + Send + Sync + 'static {
    /// The event that starts the chain.
    type Event: Message + Sync;
    /// A refusal of the service.
    type Refusal: Send + 'static;
    /// The name of the chain's plan.
    const PLAN: &'static str;
    /// The version of the chain's plan.
    const VERSION: u32 = 1;
    /// The reaction of this service that starts chains.
    const REACTION: &'static str;
    /// Whether the starts of one batch may be interleaved in their transaction, which saves round
    /// trips. True only if each start is one guarded statement (`INSERT .. ON CONFLICT DO NOTHING`)
    /// and a refused start writes nothing. Otherwise they run one after another, and a refused
    /// start is rolled back.
    const INTERLEAVES: bool = false;

    /// Returns the business key of the chain.
    fn key(&self) -> &str;

    /// Does the service's own work, and returns the event that starts the chain. A refusal must not
    /// have written anything, because requests that arrive together share the transaction.
    fn start(self, tx: Tx) -> impl Future<Output = Decided<Self::Event, Self::Refusal>> + Send;

    /// Returns whether this refusal means that an earlier request did the work.
    fn is_repeat(refusal: &Self::Refusal) -> bool;

    /// Returns whether the earlier request, which led to this event, was the same as this one.
    fn is_same(&self, before: &Self::Event) -> bool;

    /// Returns the refusal of an idempotency key that belongs to another request.
    fn key_used() -> Self::Refusal;
}

/// A request to start a chain, with its idempotency key, time and trace.
#[derive(Clone, Debug)]
pub struct StartRequest<S> {
    /// The request.
    pub request: S,
    /// The client's own key for the request. It belongs to one chain.
    pub idempotency_key: Option<String>,
    /// The time of the request: [`Outbox::now`].
    pub at: Timestamp,
    /// The trace of the request. The chain's events continue it.
    pub trace: Option<TraceContext>,
}

impl<S> StartRequest<S> {
    /// Creates a request without an idempotency key and without a trace.
    pub fn new(request: S, at: Timestamp) -> StartRequest<S> {
        StartRequest { request, idempotency_key: None, at, trace: None }
    }
}

type Answer<S> = Decided<StartOutcome, <S as StartsChain>::Refusal>;
type Waiting<S> = Submission<StartRequest<S>, Answer<S>>;

/// Starts chains in batches. Clones share the batches.
pub struct ChainStarter<S: StartsChain> {
    batches: GroupCommit<StartRequest<S>, Answer<S>>,
    outbox: Outbox,
}

impl<S: StartsChain> Clone for ChainStarter<S> {
    fn clone(&self) -> ChainStarter<S> {
        ChainStarter { batches: self.batches.clone(), outbox: self.outbox.clone() }
    }
}

impl<S: StartsChain> ChainStarter<S> {
    /// Spawns the starter as a task of the current runtime. It ends when the last clone is dropped.
    pub fn spawn(database: Database, outbox: Outbox) -> ChainStarter<S> {
        let (alone, own) = (Alone::default(), outbox.clone());
        let batches = GroupCommit::of(BATCH_MAX, move |batch: Vec<Waiting<S>>| {
            let (database, outbox, alone) = (database.clone(), outbox.clone(), alone.clone());
            async move {
                let requests: Vec<&StartRequest<S>> =
                    batch.iter().map(|waiting| &waiting.request).collect();
                let new = start_new(&database, &outbox, &requests).await;
                for (index, waiting) in batch.into_iter().enumerate() {
                    match answer_to(&new, index) {
                        Some(answer) => waiting.answer(answer),
                        None => alone.start(&database, &outbox, waiting),
                    }
                }
            }
        });
        ChainStarter { batches, outbox: own }
    }

    /// Starts a chain, or returns the outcome of an equal request before it.
    ///
    /// # Errors
    /// Returns a refusal of the service, or a transient fault: too many requests wait, or the
    /// outcome of the commit is unknown. Repeating the request is safe.
    pub async fn start(&self, request: S) -> Answer<S> {
        self.start_with(request, None, None).await
    }

    /// Starts a chain with the client's own key, which is stored with the chain, and the request's
    /// trace.
    pub async fn start_with(
        &self,
        request: S,
        key: Option<String>,
        trace: Option<TraceContext>,
    ) -> Answer<S> {
        let at = self.outbox.now().await?;
        self.batches.submit(StartRequest { request, idempotency_key: key, at, trace }).await?
    }
}

/// Starts beside the batches. A start that waits for another session does not delay any batch.
#[derive(Clone)]
struct Alone {
    waiting: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Default for Alone {
    fn default() -> Alone {
        Alone {
            waiting: Arc::new(Semaphore::new(BATCH_MAX)),
            running: Arc::new(Semaphore::new(ALONE_MAX)),
        }
    }
}

impl Alone {
    fn start<S: StartsChain>(&self, database: &Database, outbox: &Outbox, waiting: Waiting<S>) {
        let Ok(place) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return waiting.answer(Err(Fault::passing(
                "too many starts wait for transactions of their own, and this one did nothing: \
                 repeat it",
            )));
        };
        let (database, outbox, running) =
            (database.clone(), outbox.clone(), Arc::clone(&self.running));
        tokio::spawn(async move {
            let _running = running.acquire().await; // the semaphore is never closed
            let request = waiting.request.clone();
            waiting.answer(start_alone(&database, &outbox, request).await);
            drop(place);
        });
    }
}

/// Starts one chain in a transaction of its own. A repeated request has the outcome
/// [`StartOutcome::Before`]. [`StartOutcome::Never`] means that the chain was cancelled before its
/// start.
pub async fn start_alone<S: StartsChain>(
    database: &Database,
    outbox: &Outbox,
    request: StartRequest<S>,
) -> Answer<S> {
    let StartRequest { request, idempotency_key, at, trace } = request;
    if let Some(key) = &idempotency_key {
        check_idempotency_key(key)?;
    }
    let id = id_of(&request); // parsed later, because the service's own work may refuse a bad key
    let open = database.begin().await?;
    let known = match &idempotency_key {
        Some(key) => chain_with(&open.tx(), key).await?,
        None => None,
    };
    if known.as_ref().is_some_and(|known| *known != id) {
        open.rollback().await?;
        return refused(S::key_used());
    }
    let own = idempotency_key.as_ref().filter(|_| known.is_none()).map(|key| (key, &id));
    let event = match request.clone().start(open.tx()).await? {
        Ok(event) => event,
        Err(refusal) if !S::is_repeat(&refusal) => {
            open.rollback().await?; // the cause of the refusal may not be committed yet
            return refused(refusal);
        }
        Err(refusal) => {
            let before: Option<S::Event> =
                outbox.begun(&open.tx(), &id.parse()?, S::REACTION).await?;
            if !before.is_some_and(|before| request.is_same(&before)) {
                open.rollback().await?;
                return refused(if known.is_some() { S::key_used() } else { refusal });
            }
            match own {
                Some(own) => {
                    store_keys(&open.tx(), vec![own]).await?;
                    open.commit().await?;
                }
                None => open.rollback().await?,
            }
            return done(StartOutcome::Before);
        }
    };
    let chain = id.parse()?;
    let start = chain_start::<S>(&chain, at).trace(trace);
    if outbox.begin(&open.tx(), start, &event).await? != StartOutcome::New {
        open.rollback().await?;
        return done(StartOutcome::Never);
    }
    store_keys(&open.tx(), own.into_iter().collect()).await?;
    open.commit().await?;
    outbox.wake();
    done(StartOutcome::New)
}

/// Starts the chains of new requests in one transaction, then each other chain in its own.
pub async fn start_each<S: StartsChain>(
    database: &Database,
    outbox: &Outbox,
    requests: Vec<StartRequest<S>>,
) -> Vec<Answer<S>> {
    let new = start_new(database, outbox, &requests.iter().collect::<Vec<_>>()).await;
    let mut answers = Vec::with_capacity(requests.len());
    for (index, request) in requests.into_iter().enumerate() {
        answers.push(match answer_to(&new, index) {
            Some(answer) => answer,
            None => start_alone(database, outbox, request).await,
        });
    }
    answers
}

/// Returns the answer to a request of a batch, or `None` if it needs a transaction of its own.
fn answer_to<R>(
    new: &Result<HashSet<usize>, Fault>,
    index: usize,
) -> Option<Decided<StartOutcome, R>> {
    match new {
        Ok(new) => new.contains(&index).then(|| done(StartOutcome::New)),
        Err(fault) if fault.is_of_a_database_that_is_away() => {
            Some(Err(Fault::passing(fault.to_string())))
        }
        Err(_) => None, // one request of the batch may be at fault
    }
}

/// Starts the chains of new requests, all of them or none. Returns the places of these requests. A
/// request is not new if its idempotency key is stored or occurs twice.
async fn start_new<S: StartsChain>(
    database: &Database,
    outbox: &Outbox,
    requests: &[&StartRequest<S>],
) -> Result<HashSet<usize>, Fault> {
    let at = requests.iter().map(|request| request.at).max().unwrap_or_default();
    let open = database.begin().await?;
    let mut sorted = with_new_keys(&open.tx(), requests).await?;
    // the same order everywhere: no deadlocks
    sorted.sort_by(|(_, one), (_, other)| one.request.key().cmp(other.request.key()));
    // what a batch of one has written is rolled back with the transaction
    let started = if S::INTERLEAVES || sorted.len() == 1 {
        join_all(sorted.iter().map(|(_, request)| request.request.clone().start(open.tx()))).await
    } else {
        one_by_one(&open, &sorted).await?
    };
    let mut events = Vec::new();
    for ((index, request), started) in sorted.iter().zip(started) {
        // a refused start leaves nothing behind
        if let Ok(event) = started? {
            events.push((*index, *request, id_of(&request.request), event));
        }
    }
    if events.is_empty() {
        open.rollback().await?;
        return Ok(HashSet::new());
    }
    let keys = events
        .iter()
        .filter_map(|(_, request, id, _)| Some((request.idempotency_key.as_ref()?, id)));
    store_keys(&open.tx(), keys.collect()).await?;
    let chains =
        events.iter().map(|(_, _, id, _)| id.parse()).collect::<Result<Vec<SagaId>, _>>()?;
    let starts = chains.iter().zip(&events).map(|(chain, (_, request, _, event))| {
        (chain_start::<S>(chain, at).trace(request.trace.clone()), event)
    });
    let outcomes = outbox.begin_each(&open.tx(), starts.collect()).await?;
    if outcomes.iter().any(|outcome| *outcome != StartOutcome::New) {
        open.rollback().await?;
        return Ok(HashSet::new());
    }
    open.commit().await?;
    outbox.wake();
    Ok(events.iter().map(|(index, ..)| *index).collect())
}

/// Runs starts one after another, each in a savepoint. Ends with the first fault.
async fn one_by_one<S: StartsChain>(
    open: &Open,
    sorted: &[(usize, &StartRequest<S>)],
) -> Result<Vec<Decided<S::Event, S::Refusal>>, Fault> {
    let mut started = Vec::with_capacity(sorted.len());
    for (_, request) in sorted {
        open.savepoint().await?;
        let decided = request.request.clone().start(open.tx()).await?;
        match &decided {
            Ok(_) => open.release().await?,
            Err(_) => open.rollback_to().await?,
        }
        started.push(Ok(decided));
    }
    Ok(started)
}

/// Returns the id of the request's chain, which may be malformed.
fn id_of<S: StartsChain>(request: &S) -> String {
    format!("{}:{}", S::PLAN, request.key())
}

fn chain_start<S: StartsChain>(chain: &SagaId, at: Timestamp) -> ChainStart<'_> {
    ChainStart::new(chain, S::REACTION, at).version(S::VERSION)
}

given_row! {
    /// An idempotency key.
    struct Key<'a> {
        key: &'a str,
    }
}

given_row! {
    /// An idempotency key with its chain.
    struct ChainKey<'a> {
        key: &'a str,
        chain: &'a str,
    }
}

static STORED_KEYS: Statement<Key<'_>> =
    Statement::new("SELECT chain_key.key FROM given, chain_key WHERE chain_key.key = given.key");

static STORE_KEY: Statement<ChainKey<'_>> = Statement::insert("chain_key", "");

/// Returns each new request with its place: requests without an idempotency key, and requests whose
/// key no chain and no other request has.
async fn with_new_keys<'a, S>(
    tx: &Tx,
    requests: &[&'a StartRequest<S>],
) -> Result<Vec<(usize, &'a StartRequest<S>)>, Fault> {
    let numbered = || requests.iter().copied().enumerate();
    let is_sound = |request: &StartRequest<S>| {
        request.idempotency_key.as_ref().is_none_or(|key| check_idempotency_key(key).is_ok())
    };
    let keys = requests.iter().filter(|request| is_sound(request));
    let keys = keys.filter_map(|request| Some(Key { key: request.idempotency_key.as_ref()? }));
    if requests.iter().all(|request| request.idempotency_key.is_none()) {
        return Ok(numbered().collect());
    }
    let known = tx.query_rows(&STORED_KEYS, keys).await?;
    let mut taken =
        known.iter().map(|row| row.get("key")).collect::<Result<HashSet<String>, _>>()?;
    let is_new = |(_, request): &(usize, &StartRequest<S>)| {
        is_sound(request)
            && request.idempotency_key.as_ref().is_none_or(|key| taken.insert(key.clone()))
    };
    Ok(numbered().filter(is_new).collect())
}

/// Returns the chain to which this idempotency key belongs.
async fn chain_with(tx: &Tx, key: &str) -> Result<Option<String>, Fault> {
    let rows = tx.query("SELECT chain FROM chain_key WHERE key = $1", (key,)).await?;
    Ok(rows.first().map(|row| row.get("chain")).transpose()?)
}

/// Stores keys, each with its chain. A key that another transaction has stored meanwhile violates
/// the constraint.
async fn store_keys(tx: &Tx, mut keys: Vec<(&String, &String)>) -> Result<(), Fault> {
    keys.sort_unstable(); // the same order everywhere: no deadlocks
    tx.execute_rows(&STORE_KEY, keys.into_iter().map(|(key, chain)| ChainKey { key, chain }))
        .await?;
    Ok(())
}
