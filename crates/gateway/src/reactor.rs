//! The reactor of one participant: events that trigger its reactions become HTTP requests, and the
//! events in the responses are published. [`Reactor::turn`] lists its phases.
//!
//! **Invariant:** an event's offset is committed after its reactions are stored, and a reaction is
//! at rest after its event is published and durable. A crash repeats calls with the same key, and
//! publishes the same events with the same ids.

mod letter;
mod receive;
mod start;
mod work;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::{Name, Timestamp};
use sagamore_database::{Clock, Database};
use sagamore_transport::wire::{HORIZON_TOPIC, dead_letter_topic};
use sagamore_transport::{Consumer, Error as TransportError, Subscription, Transport};
use tokio::task::{Id, JoinSet};

use crate::binding::{Binding, Egress};
use crate::error::Error;
use crate::gateway::Options;
use crate::local::LocalParticipant;
use crate::plans::Plans;
use crate::reaction_store::{ReactionKey, ReactionRemoval, ReactionStore};
use work::{Callee, Caller};

/// The pause after a first failure.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The interval between two polls for work that is due.
const POLL: Duration = Duration::from_millis(250);
/// The time beyond a call's limit after which another process may repeat it.
const LEASE_MARGIN: Duration = Duration::from_secs(15);
/// Maximum concurrent calls of a participant in this process.
const LOCAL_CALLS_MAX: usize = 1_000;

/// The limits of a participant's calls.
struct Limits {
    concurrency: usize,
    timeout: Duration,
}

/// The task of a reaction.
struct Running {
    task: Id,
    /// The bytes of the reaction's state when it began.
    bytes: usize,
}

/// A reactor of one participant: events in, HTTP requests, events out.
pub struct Reactor {
    participant: Name,
    transport: Arc<dyn Transport>,
    plans: Plans,
    options: Options,
    concurrency: usize,
    lease: Duration,
    clock: Clock,
    database: Database,
    /// The table; `None` until it is created.
    store: Option<ReactionStore>,
    caller: Caller,
    /// The topics of the subscription.
    topics: Vec<Arc<str>>,
    consumer: Option<Box<dyn Consumer>>,
    /// The horizons of observers.
    horizons: Option<Box<dyn Consumer>>,
    tasks: JoinSet<()>,
    /// The reactions of the tasks.
    running: HashMap<ReactionKey, Running>,
    removal: Option<ReactionRemoval>,
    failures: u32,
}

impl Reactor {
    /// Creates a reactor of an HTTP service. Its first turn subscribes to the events that the plans
    /// name, and later turns to those of further plans.
    ///
    /// # Errors
    /// The URL is outside of the permitted addresses, or its TLS files cannot be used.
    pub fn new(
        participant: Name,
        binding: Binding,
        egress: &Egress,
        transport: Arc<dyn Transport>,
        plans: Plans,
        database: Database,
        options: Options,
    ) -> Result<Reactor, Error> {
        egress.check(&binding.endpoint)?;
        let limits = Limits { concurrency: binding.concurrency, timeout: binding.timeout };
        let callee = Callee::of(binding)?;
        Ok(Reactor::of(participant, callee, limits, transport, plans, database, options))
    }

    /// Creates a reactor of a participant in this process. A call that takes longer than `timeout`
    /// may be repeated while it runs.
    pub fn local(
        participant: Name,
        local: Arc<dyn LocalParticipant>,
        timeout: Duration,
        transport: Arc<dyn Transport>,
        plans: Plans,
        database: Database,
        options: Options,
    ) -> Reactor {
        let limits = Limits { concurrency: LOCAL_CALLS_MAX, timeout };
        let callee = Callee::Local(local);
        Reactor::of(participant, callee, limits, transport, plans, database, options)
    }

    fn of(
        participant: Name,
        callee: Callee,
        limits: Limits,
        transport: Arc<dyn Transport>,
        plans: Plans,
        database: Database,
        options: Options,
    ) -> Reactor {
        let clock = Clock::of(&database);
        let caller = Caller { callee, transport: transport.clone(), clock: clock.clone() };
        Reactor {
            concurrency: limits.concurrency.max(1),
            lease: limits.timeout.saturating_add(LEASE_MARGIN),
            caller,
            participant,
            transport,
            plans,
            options,
            clock,
            database,
            store: None,
            topics: Vec::new(),
            consumer: None,
            horizons: None,
            tasks: JoinSet::new(),
            running: HashMap::new(),
            removal: None,
            failures: 0,
        }
    }

    /// Stores available events, starts the work that is due, and collects what has ended. Does not
    /// wait for a call.
    async fn turn(&mut self) -> Result<(), Error> {
        self.clock.sample().await?;
        self.collect();
        self.subscribe().await?;
        let received = self.receive().await;
        self.start().await?; // an event that must wait delays no work
        received?;
        self.sweep().await
    }

    /// Runs turns until `shutdown`, and then finishes the calls in progress for a limited time.
    ///
    /// # Errors
    /// An error that no retry can fix.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let mut shutdown: Pin<Box<dyn Future<Output = ()> + Send + '_>> = Box::pin(shutdown);
        loop {
            match self.turn().await {
                Ok(()) => self.failures = 0,
                Err(error) if error.is_transient() => {
                    if matches!(error, Error::Transport(_)) {
                        (self.consumer, self.horizons) = (None, None);
                    }
                    self.failures = self.failures.saturating_add(1);
                    let participant = &self.participant;
                    tracing::warn!(%participant, %error, "reactor failed, retrying");
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = self.rest() => {}
            }
        }
        let finished = async { while self.tasks.join_next().await.is_some() {} };
        drop(tokio::time::timeout(self.options.stop_max, finished).await);
        Ok(())
    }

    /// Waits until an event may be available, a call ends or work may be due.
    async fn rest(&mut self) {
        if self.failures > 0 {
            let doublings = (self.failures - 1).min(16);
            let pause = PAUSE_MIN.saturating_mul(1 << doublings).min(self.options.pause_max);
            return tokio::time::sleep(pause.mul_f64(1.0 - fastrand::f64() / 2.0)).await;
        }
        let has_room = self.running.len() < self.concurrency;
        tokio::select! {
            () = ready(&mut self.consumer), if has_room => {}
            Some(ended) = self.tasks.join_next_with_id() => self.ended(ended.map(|(id, _)| id)),
            () = self.plans.changed() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_ms())
    }

    /// Returns the table, which exists afterwards.
    async fn store(&mut self) -> Result<ReactionStore, Error> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let (database, participant) = (self.database.clone(), self.participant.clone());
        let opened = ReactionStore::open(database, participant, self.options.retention).await?;
        opened.take_over(self.now()).await?;
        Ok(self.store.insert(opened).clone())
    }

    /// Subscribes to the events of the known plans, and again when they change. Without any it
    /// subscribes to nothing.
    async fn subscribe(&mut self) -> Result<(), Error> {
        let topics: Vec<Arc<str>> = self.plans.topics(&self.participant).into_iter().collect();
        if topics != self.topics {
            (self.topics, self.consumer) = (topics, None);
        }
        if self.consumer.is_some() || self.topics.is_empty() {
            return Ok(());
        }
        for topic in &self.topics {
            self.transport.create_topic(topic, self.options.partitions).await?;
            let dead_letters = dead_letter_topic(topic);
            self.transport.create_topic(&dead_letters, self.options.partitions).await?;
        }
        self.transport.create_topic(HORIZON_TOPIC, 1).await?;
        let group: Arc<str> = self.participant.as_str().into();
        let subscription = |group, topics| Subscription { group, topics, partitions: None };
        let own: Arc<str> = format!("{}.reactions", self.participant).into();
        let horizons = subscription(own, vec![HORIZON_TOPIC.into()]);
        self.horizons = Some(self.transport.subscribe(horizons).await?);
        let events = subscription(group, self.topics.clone());
        self.consumer = Some(self.transport.subscribe(events).await?);
        Ok(())
    }

    /// Drops the subscription if it has failed: its records are redelivered.
    fn or_resubscribe<T>(
        &mut self,
        result: Result<T, TransportError>,
    ) -> Result<T, TransportError> {
        if result.is_err() {
            (self.consumer, self.horizons) = (None, None);
        }
        result
    }
}

async fn ready(consumer: &mut Option<Box<dyn Consumer>>) {
    match consumer {
        Some(consumer) => consumer.ready().await,
        None => std::future::pending().await,
    }
}
