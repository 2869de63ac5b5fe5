//! The observer: consumes the events of choreographies, stores them, and derives each chain's
//! status.
//!
//! No chain depends on it. It may lag behind, or start over by replaying the topics. The only
//! events that it publishes are those of missed deadlines, if enabled, and retention horizons.

mod begun;
mod chains;
mod due;
mod foreign;
mod plans;
mod positions;
mod reading;
mod resolve;
mod retention;
mod rows;
mod schema;
mod statements;
mod status;
mod store;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::plan::Plan;
use sagamore_core::{Name, SagaId, Timestamp};
use sagamore_database::{Clock, Database};
use sagamore_transport::wire::{HORIZON_TOPIC, decode_event, encode_event};
use sagamore_transport::{
    Consumer, Delivery, Error as TransportError, Mark, Reach, Record, Subscription, Transport,
};

use crate::announcements::{AnnouncementReader, ReaderTask};
use crate::error::Error;
use crate::turn::{Pace, poll};
use crate::versions::{CheckedContents, RegistrationMode};

pub use begun::{BegunChain, ChainBeginning};
pub use chains::{ChainDetail, Chains, Reading};
pub use plans::KnownPlan;
pub use resolve::ResolveError;
pub use retention::{NAMES, NAMES_MAX};
pub use rows::{ChainHeader, Observed};
pub use status::ChainStatus;

use due::{RETENTION, Retention, is_due};
use plans::{PlanTable, PollTask, TopicCreator};
use positions::ReadRange;
use reading::{SEEN_INTERVAL, UNSEEN_MAX};
use store::{FoldedChain, Store, TICK};

/// The time in which observers that start together record the partitions they read.
const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// Maximum age of [`EndOffsets`]: after it the ends of the partitions are read again, although the
/// consumer has not reached them.
const END_OFFSETS_AGE_MAX: Duration = Duration::from_secs(600);
/// The pause before republishing an event that the transport rejected.
const REJECTED_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause after a failed turn.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Bounds and settings of the observer.
#[derive(Clone, Debug)]
pub struct ObserverOptions {
    /// Consumer group of its subscription.
    pub group: String,
    /// Partitions of a topic that the observer creates.
    pub partitions: u32,
    /// Maximum events per turn.
    pub batch_max: usize,
    /// Maximum bytes of events per turn. A single larger event is still taken.
    pub batch_bytes_max: usize,
    /// Retention of chains after their end, in the observer's tables and in the services' barriers.
    pub retention: Duration,
    /// Whether to publish the plan's overdue event for a chain that misses its deadline.
    pub tells_overdue: bool,
}

impl Default for ObserverOptions {
    fn default() -> ObserverOptions {
        ObserverOptions {
            group: "sagamore.observer".into(),
            partitions: 4,
            batch_max: 1_000,
            batch_bytes_max: 16 * 1024 * 1024,
            retention: RETENTION,
            tells_overdue: false,
        }
    }
}

/// The ends of the partitions at one moment.
struct EndOffsets {
    at: Timestamp,
    reaches: Vec<Reach>,
}

/// Consumes events and stores chains.
pub struct Observer {
    options: ObserverOptions,
    store: Store,
    /// The clock of the store's database. Several observers compare their progress by this clock.
    clock: Clock,
    transport: Arc<dyn Transport>,
    consumer: Option<Box<dyn Consumer>>,
    /// The topics of the subscription. Without any there is none.
    topics: Vec<Arc<str>>,
    /// The plans that the subscription and `unknown` reflect.
    seen_plans: Arc<PlanTable>,
    /// Whether delivered records were not stored, so that the consumer must rewind.
    unsettled: bool,
    tick_due: Option<Timestamp>,
    /// The position that the consumer must reach before the next check for overdue chains.
    ahead: Option<EndOffsets>,
    /// The time when the ends of its partitions were first known.
    begun_at: Option<Timestamp>,
    /// The time to record its partitions as read again, and their number at the last record.
    seen_due: Option<Timestamp>,
    partitions: usize,
    /// Whether there may be stuck chains whose overdue event was never published.
    stuck: bool,
    /// Plans whose chains may be stored with an unknown version.
    unknown: Vec<Arc<Plan>>,
    retention: Retention,
    /// The adaptive size of a turn.
    pace: Pace,
    /// Whether the clocks of machine and database differ too much to remove any rows.
    clocks_disagree: bool,
    /// Notifies the readers in this process of changes and progress.
    chains: Chains,
}

impl Observer {
    /// Migrates the tables and subscribes. From then on the embedded log retains every event until
    /// the observer has consumed it. Nothing is consumed before the first turn.
    pub async fn open(
        options: ObserverOptions,
        database: Database,
        transport: Arc<dyn Transport>,
        plans: Vec<Plan>,
    ) -> Result<(Observer, Chains), Error> {
        let clock = Clock::of(&database);
        let mut store = Store::open(database, Vec::new()).await?;
        if options.tells_overdue {
            store.enable_overdue();
        }
        clock.sample().await?;
        let (now, creator) = (
            Timestamp(clock.now_ms()),
            TopicCreator { transport: transport.clone(), partitions: options.partitions },
        );
        let plans = CheckedContents::of(plans)?;
        let registered = store.plans.register(&plans, RegistrationMode::Deploy, None, (now, false));
        registered.await?;
        let topics = store.topics();
        let consumer = subscribe(&creator, &topics, &options).await?;
        let mut chains = Chains::new(store.clone(), clock.clone(), Reading::Nothing);
        (chains.topics, chains.retention) = (Some(creator), options.retention);
        let seen_plans = store.plans.table();
        let observer = Observer {
            stuck: options.tells_overdue,
            options,
            partitions: 0,
            unknown: seen_plans.plans().cloned().collect(),
            seen_plans,
            topics,
            store,
            clock,
            transport,
            consumer,
            unsettled: false,
            tick_due: None,
            ahead: None,
            begun_at: None,
            seen_due: None,
            retention: Retention::default(),
            pace: Pace::default(),
            clocks_disagree: false,
            chains: chains.clone(),
        };
        Ok((observer, chains))
    }

    /// Consumes the available events, stores them and returns their number.
    ///
    /// Periodically checks for overdue chains, as of a moment up to which all events are consumed.
    /// An unread event may be the one that a chain waits for. A failed turn halves the size of the
    /// next one, down to one event; a successful one doubles it.
    pub async fn turn(&mut self, now: Timestamp) -> Result<usize, Error> {
        let turned = self.take_turn(now).await;
        match turned {
            Ok(0) => {}
            Ok(_) => self.pace.succeeded(),
            Err(_) => self.pace.failed(self.options.batch_max),
        }
        turned
    }

    async fn take_turn(&mut self, now: Timestamp) -> Result<usize, Error> {
        self.read_lifetime(now).await?;
        self.follow_plans();
        if self.consumer.is_none() {
            let creator = self.topic_creator();
            self.consumer = subscribe(&creator, &self.topics, &self.options).await?;
        }
        let Some(consumer) = &mut self.consumer else {
            self.chains.set_reading(Reading::But(0)); // no plan has events
            self.find_overdue(now).await?;
            return Ok(0);
        };
        if std::mem::replace(&mut self.unsettled, true) {
            consumer.rewind().await?;
        }
        let (max, bytes_max) = (self.options.batch_max, self.options.batch_bytes_max);
        let taken =
            poll(consumer.as_mut(), self.pace.inputs(max), self.pace.bytes(bytes_max)).await?;
        let mut changed = BTreeMap::new();
        if !taken.is_empty() {
            if self.store.has_deadlines(&taken) {
                // the overdue event is published until it is seen, so it must be durable by then
                self.transport.synced().await?;
            }
            let kept =
                self.store.store_events(&by_chain(&taken, now), ReadRange::of(&taken), now).await?;
            changed = kept.into_iter().map(|chain| (chain.id, chain.status)).collect();
            consumer.commit(Mark::behind(&taken)).await?;
        }
        self.unsettled = false;
        let lag = consumer.lag();
        let reads =
            lag == 0 || self.chains.reading() != Reading::Nothing || !consumer.marks().is_empty();
        self.chains.set_reading(if reads { Reading::But(lag) } else { Reading::Nothing });
        metrics::gauge!("sagamore_observer_lag").set(lag as f64);
        let late = self.find_overdue(now).await?;
        changed.extend(late.into_iter().map(|late| (late.id, late.status)));
        if !changed.is_empty() {
            self.chains.notify(Arc::new(changed));
        }
        Ok(taken.len())
    }

    /// Adapts to plans that were registered since the last turn. Chains of unknown versions are
    /// folded again, and the next subscription includes the new topics.
    fn follow_plans(&mut self) {
        let plans = self.store.plans.table();
        if Arc::ptr_eq(&plans, &self.seen_plans) {
            return;
        }
        self.unknown = plans.plans().cloned().collect();
        self.seen_plans = plans;
        let topics = self.store.topics();
        if topics != self.topics {
            self.topics = topics;
            self.resubscribe();
        }
    }

    fn topic_creator(&self) -> TopicCreator {
        let (transport, partitions) = (self.transport.clone(), self.options.partitions);
        TopicCreator { transport, partitions }
    }

    /// Drops the subscription. The next turn subscribes again and consumes from the committed
    /// offsets.
    fn resubscribe(&mut self) {
        (self.consumer, self.ahead, self.seen_due) = (None, None, None);
        self.chains.set_reading(Reading::Nothing);
        self.unsettled = false;
    }

    /// Returns the chains that have become overdue. Returns none until the consumer has reached the
    /// partition ends that it read last.
    async fn find_overdue(&mut self, now: Timestamp) -> Result<Vec<FoldedChain>, Error> {
        if is_due(self.tick_due, now, TICK) {
            self.tick_due = Some(now.plus(TICK));
            self.tick(now).await?;
            if self.ahead.as_ref().is_some_and(|ahead| now.since(ahead.at) > END_OFFSETS_AGE_MAX) {
                self.ahead = None; // the topic may have been recreated
            }
            if self.ahead.is_none()
                && (self.horizon_is_due(now) || self.store.is_any_due(now).await?)
            {
                self.ahead = self.reaches().await?.map(|reaches| EndOffsets { at: now, reaches });
            }
        }
        let (Some(consumer), Some(ahead)) = (&self.consumer, self.ahead.take()) else {
            return Ok(Vec::new());
        };
        let marks = consumer.marks();
        if !ahead.is_of(&marks) {
            return Ok(Vec::new()); // the group has reassigned the partitions
        }
        if !ahead.is_passed(&marks) {
            self.ahead = Some(ahead);
            return Ok(Vec::new());
        }
        self.judge(ahead, now).await
    }

    /// Reads the ends of the assigned partitions. Returns `None` without partitions, or if a broker
    /// does not answer.
    async fn reaches(&mut self) -> Result<Option<Vec<Reach>>, Error> {
        let Some(consumer) = &mut self.consumer else { return Ok(None) };
        match consumer.reaches().await {
            Ok(reaches) => Ok(reaches.filter(|reaches| !reaches.is_empty())),
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "cannot read the ends of the partitions, retrying");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Performs the periodic work of a tick, which depends on no events.
    async fn tick(&mut self, now: Timestamp) -> Result<(), Error> {
        self.forget(now).await?;
        self.count(now).await?;
        self.store.send_unsent(&self.topic_creator(), now).await?;
        if let Some(plan) = self.unknown.last()
            && !self.store.make_due(plan).await?
        {
            self.unknown.pop();
        }
        if self.stuck {
            self.stuck = self.store.make_stuck_due().await?;
        }
        let partitions = self.consumer.as_ref().map_or(0, |consumer| consumer.marks().len());
        let others = partitions != self.partitions;
        if (others || is_due(self.seen_due, now, SEEN_INTERVAL))
            && let Some(reaches) = self.reaches().await?
        {
            self.begun_at.get_or_insert(now);
            let others = self.store.record_reading(&reaches, now).await?;
            self.chains.sees_all(!others);
            (self.seen_due, self.partitions) = (Some(now.plus(SEEN_INTERVAL)), reaches.len());
        }
        Ok(())
    }

    /// Records that all events up to `ahead` are stored, and then checks for overdue chains.
    async fn judge(
        &mut self,
        EndOffsets { at, reaches }: EndOffsets,
        now: Timestamp,
    ) -> Result<Vec<FoldedChain>, Error> {
        let reaches: Vec<Reach> =
            reaches.into_iter().map(|reach| Reach { mark: reach.end, ..reach }).collect();
        // a new observer cannot know yet which partitions others read, so it waits for all of them
        let begun_at = *self.begun_at.get_or_insert(now);
        let unseen = if now.since(begun_at) > UNSEEN_MAX {
            now.minus(UNSEEN_MAX)
        } else {
            Timestamp(i64::MIN)
        };
        let read_until = self.store.record_read_until(&reaches, at, unseen, now).await?;
        if now.since(begun_at) < SETTLED_AFTER {
            return Ok(Vec::new());
        }
        let late = self.store.find_overdue(read_until, self.pace).await?;
        if self.options.tells_overdue {
            self.publish_overdue(&late, now).await?;
        }
        self.publish_horizon(read_until, now).await?;
        Ok(late)
    }

    /// Publishes overdue events. For a rejected one the reason is stored in its chain, and it is
    /// published again later. The others continue.
    async fn publish_overdue(&mut self, late: &[FoldedChain], now: Timestamp) -> Result<(), Error> {
        let (chains, records): (Vec<&SagaId>, Vec<Record>) = overdue(late).into_iter().unzip();
        if records.is_empty() {
            return Ok(());
        }
        let (mut rejected, mut failed) = (Vec::new(), Ok(()));
        for (chain, outcome) in chains.into_iter().zip(self.transport.publish_each(records).await) {
            match outcome {
                Ok(()) => {}
                Err(error) if error.is_rejection() => {
                    tracing::error!(%chain, %error, "cannot publish overdue event, retrying later");
                    rejected.push((chain, format!("its overdue event cannot be sent: {error}")));
                }
                Err(error) => failed = Err(error),
            }
        }
        metrics::counter!("sagamore_observer_unsent_total").increment(rejected.len() as u64);
        self.store.put_off(&rejected, now.plus(REJECTED_PAUSE)).await?;
        Ok(failed?)
    }

    /// Returns the reader of announcements, for a caller that drives turns itself. `run` spawns its
    /// own.
    pub fn announcement_reader(&self) -> AnnouncementReader {
        AnnouncementReader::of(
            self.store.database.clone(),
            self.transport.clone(),
            &self.options.group,
            self.clock.clone(),
        )
    }

    /// Runs turns until `shutdown`.
    ///
    /// # Errors
    /// An error that no retry can fix.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let (mut pause, mut shutdown) = (Duration::from_millis(10), std::pin::pin!(shutdown));
        let plans = self.store.plans.clone();
        let _poll = PollTask::spawn(plans.clone());
        let _reader = ReaderTask::spawn(self.announcement_reader());
        loop {
            self.clocks_disagree = self.clock.disagrees();
            let turned = match self.clock.sample().await {
                Ok(()) => self.turn(Timestamp(self.clock.now_ms())).await,
                Err(error) => Err(error.into()),
            };
            match turned {
                Ok(0) => {
                    tokio::select! {
                        biased;
                        () = &mut shutdown => return Ok(()),
                        () = ready(&mut self.consumer) => {}
                        () = plans.changed() => {}
                        () = tokio::time::sleep(TICK) => {}
                    }
                    continue;
                }
                Ok(_) => pause = Duration::from_millis(10),
                Err(error) if error.is_transient() || is_missing_topic(&error) => {
                    tracing::warn!(%error, "cannot observe, retrying");
                    self.resubscribe(); // the consumer's state is unknown after an error
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
            if futures_util::FutureExt::now_or_never(&mut shutdown).is_some() {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Whether a topic is missing. It may be about to be recreated.
fn is_missing_topic(error: &Error) -> bool {
    matches!(error, Error::Transport(TransportError::UnknownTopic(_)))
}

impl EndOffsets {
    /// Whether the ends were read of exactly these partitions.
    fn is_of(&self, marks: &[Mark]) -> bool {
        let is_read = |mark: &Mark| self.reaches.iter().any(|reach| reach.is_at(mark));
        marks.len() == self.reaches.len() && marks.iter().all(is_read)
    }

    /// Whether everything before the ends is committed.
    fn is_passed(&self, marks: &[Mark]) -> bool {
        let passed =
            |reach: &Reach| marks.iter().any(|mark| reach.is_at(mark) && mark.next >= reach.end);
        self.reaches.iter().all(passed)
    }
}

async fn ready(consumer: &mut Option<Box<dyn Consumer>>) {
    match consumer {
        Some(consumer) => consumer.ready().await,
        None => std::future::pending().await,
    }
}

/// Builds the overdue event of each stuck chain. Its id never changes, so it is published at every
/// check until it is seen. Resolved chains have none.
fn overdue(late: &[FoldedChain]) -> Vec<(&SagaId, Record)> {
    let observer = Name::new("observer").expect("a name");
    let stuck = late.iter().filter(|late| late.status == ChainStatus::Stuck);
    stuck.filter_map(|late| Some((&late.id, encode_event(&late.overdue()?, &observer)))).collect()
}

/// Creates missing topics and subscribes to all of them. Returns `None` without topics.
async fn subscribe(
    creator: &TopicCreator,
    topics: &[Arc<str>],
    options: &ObserverOptions,
) -> Result<Option<Box<dyn Consumer>>, Error> {
    creator.create(topics).await?;
    creator.transport.create_topic(HORIZON_TOPIC, 1).await?;
    if topics.is_empty() {
        return Ok(None);
    }
    let (group, topics) = (options.group.as_str().into(), topics.to_vec());
    Ok(Some(creator.transport.subscribe(Subscription { group, topics, partitions: None }).await?))
}

/// Groups events by chain. Undecodable records are only counted, since each consumer of the topic
/// makes its own dead letter.
fn by_chain(taken: &[Delivery], now: Timestamp) -> BTreeMap<SagaId, Vec<Observed>> {
    let mut chains: BTreeMap<SagaId, Vec<Observed>> = BTreeMap::new();
    for delivery in taken {
        let decoded = match &delivery.unreadable {
            None => decode_event(&delivery.record).map_err(|defect| defect.to_string()),
            Some(reason) => Err(reason.to_string()),
        };
        match decoded {
            Ok(event) => {
                chains.entry(event.chain().clone()).or_default().push(Observed::of(event, now))
            }
            Err(reason) => {
                let flaw = if delivery.unreadable.is_some() { "unreadable" } else { "undecodable" };
                foreign::reject(&delivery.record.topic, flaw, &reason);
            }
        }
    }
    chains
}
