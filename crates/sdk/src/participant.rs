//! The participant: receives commands, runs the service's handlers and replies, in turns.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Horizon, ReplyTo, Timestamp};
use sagamore_database::lifetime::{self, Readings};
use sagamore_database::{Clock, Database};
use sagamore_transport::wire::{HORIZON_TOPIC, command_topic, dead_letter_topic};
use sagamore_transport::{Consumer, Mark, Subscription, Transport};

use crate::barrier;
use crate::chunk::{ChunkContext, quiet_max};
use crate::emitted;
use crate::error::Error;
use crate::inbox::{self, InboxEntry, InboxRemoval};
use crate::intake::{Intake, WorkItem};
use crate::load::{Load, Queue};
use crate::meter::Meter;
use crate::options::Options;
use crate::outbox::Outbox;
use crate::outgoing::{Outgoing, RejectedEvent};
use crate::relay::Relay;
use crate::service::Service;
use crate::sweep::Sweep;
use crate::unsynced::{SettledRows, Unsynced};

/// The default time limit of a handler in [`Participant::run`], shorter than a transaction may be
/// idle.
const HANDLER_LIMIT: Duration = Duration::from_secs(2);
/// The program's version in the barrier's schema.
const PROGRAM: u32 = 1;
/// The interval between checks of the inbox and the outbox, unless the outbox is woken.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum concurrent sweeps: one per publisher of horizons, of which there is an orchestrator and
/// an observer.
const SWEEPS_MAX: usize = 8;
/// The time limit of the transport's sync at shutdown.
const FINISH_MAX: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The result of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnReport {
    /// The number of messages taken; 0 if there was nothing to do.
    pub taken: usize,
}

/// A running service.
pub struct Participant {
    service: Service,
    database: Database,
    /// The clock of the service's database.
    clock: Clock,
    transport: Arc<dyn Transport>,
    options: Options,
    load: Load,
    consumer: Option<Box<dyn Consumer>>,
    /// Whether delivered records are unfinished, so that the consumer must rewind.
    unsettled: bool,
    /// The clock readings that retention is based on.
    readings: Readings,
    /// Whether the clocks of machine and database differ too much to remove any rows.
    clocks_disagree: bool,
    /// Pending removals from the barrier, executed between messages.
    sweeps: VecDeque<Sweep>,
    outbox: Outbox,
    /// The time of the next check of the inbox and the outbox.
    look_due: Timestamp,
    /// Rows of the inbox and the outbox that wait for a sync of the transport.
    unsynced: Unsynced,
    failures: u32,
    pause: Duration,
}

impl Participant {
    /// Creates a participant. Its first turn migrates the schema and subscribes.
    pub fn new(
        service: Service,
        database: Database,
        transport: Arc<dyn Transport>,
        options: Options,
    ) -> Participant {
        let clock = Clock::of(&database);
        Participant {
            outbox: Outbox::by(clock.clone()),
            service,
            database,
            clock,
            transport,
            load: Load::of(&options),
            options,
            consumer: None,
            unsettled: false,
            readings: Readings::default(),
            clocks_disagree: false,
            sweeps: VecDeque::new(),
            look_due: Timestamp(i64::MIN),
            unsynced: Unsynced::default(),
            failures: 0,
            pause: Duration::ZERO,
        }
    }

    /// Migrates the schema, so that tables can be read and chains started before the first turn.
    pub async fn prepare(&mut self) -> Result<(), Error> {
        migrate(&self.service, &self.database).await
    }

    /// Brings the schema up to date and subscribes, before the first turn. From then on the embedded
    /// log retains what the service has not consumed, even if its database is unavailable for long.
    pub async fn subscribe(&mut self) -> Result<(), Error> {
        if self.consumer.is_none() {
            let consumer =
                open(&self.service, &self.database, self.transport.as_ref(), &self.options).await?;
            self.consumer = Some(consumer);
        }
        Ok(())
    }

    /// Takes the available messages and finishes them: `Ok` means committed, answered and
    /// acknowledged.
    ///
    /// # Errors
    /// Only answered messages are acknowledged. The next turn takes half as many and starts with
    /// the first unanswered one. If the future is dropped, nothing is acknowledged.
    pub async fn turn(
        &mut self,
        now: Timestamp,
        rng: &mut fastrand::Rng,
    ) -> Result<TurnReport, Error> {
        let mut meter = Meter::default();
        let turned = self.take(now, &mut meter).await;
        if turned.is_ok() {
            self.sweep(&mut meter).await;
        }
        meter.report(self.service.name().as_str(), self.lag());
        self.failures = match &turned {
            Ok(_) => {
                self.load.succeeded();
                0
            }
            Err(_) if self.load.failed() => 1, // a smaller turn may succeed at once
            Err(_) => self.failures.saturating_add(1),
        };
        self.pause = pause(self.failures, self.options.pause_max, rng);
        turned
    }

    async fn take(&mut self, now: Timestamp, meter: &mut Meter) -> Result<TurnReport, Error> {
        let Participant {
            service,
            database,
            transport,
            options,
            load,
            outbox,
            look_due,
            unsynced,
            ..
        } = self;
        let consumer = match &mut self.consumer {
            Some(consumer) => consumer,
            none => none.insert(open(service, database, transport.as_ref(), options).await?),
        };
        if self.readings.is_overtaken(now.0) {
            self.readings.take(database, now.0).await?; // before any row is stamped
            self.sweeps.clear(); // rows may be stamped below the old horizon
        }
        if std::mem::replace(&mut self.unsettled, true)
            && let Err(error) = consumer.rewind().await
        {
            if error.is_transient() {
                self.consumer = None; // the next turn resubscribes
            } // a consumer that was fenced off keeps its subscription
            return Err(error.into());
        }
        let mut taken = consumer.poll(load.messages()).await?;
        let polled = taken.len();
        let mut due = Vec::new();
        let looks = now >= *look_due || *look_due > now.plus(CHECK_INTERVAL);
        if service.is_choreographed() && (outbox.take() || looks) {
            let relay =
                Relay { service: service.name(), database, transport: transport.as_ref(), now };
            if service.begins_chains()
                && let Err(error) = relay.run(unsynced).await
            {
                // a failed relay does not fail the messages of this service
                tracing::warn!(service = %service.name(), %error, "cannot send the first events of chains, retrying");
            }
            due = unsynced.due(service.name(), database, now, load.messages()).await?;
            taken.extend(due.iter().map(|due| due.delivered(service.name())));
            *look_due = now.plus(CHECK_INTERVAL);
        }
        load.took(taken.len());
        if !taken.is_empty() {
            let mut intake = Intake::of(service, &options.plans, &taken[..polled], now);
            let (mut removals, strange) =
                intake.take_due(service, (polled..).zip(due), now.minus(options.early_max));
            let Intake { work, unreadable, later, expired, horizons } = intake;
            meter.expired += expired as u64;
            meter.later += later as u64;
            meter.unreadable += (unreadable.len() - later) as u64;
            let places = work
                .iter()
                .map(|work| work.place)
                .chain(unreadable.iter().map(|(place, _)| *place));
            let mut outgoing = Outgoing::new(service.name(), &taken, places, now);
            unreadable.into_iter().for_each(|(place, reason)| outgoing.reject(place, &reason));
            if planted(Bug::OffsetBeforeAcknowledgement) {
                consumer.commit(Mark::behind(&taken[..polled])).await?;
            }
            let context = ChunkContext {
                service,
                database,
                options,
                bytes_max: load.bytes(),
                polled,
                now,
                blamed: None,
            };
            let executed =
                execute(&context, load, work, &mut outgoing, transport.as_ref(), meter).await;
            meter.dead_letters += outgoing.dead_letters() as u64;
            meter.lost_letters += outgoing.lost_letters() as u64;
            let acknowledged = consumer.commit(outgoing.marks(polled)).await;
            removals.extend(executed?); // an earlier error takes precedence
            acknowledged?;
            unsynced.follow(transport.as_ref(), SettledRows { removals, ..SettledRows::default() });
            inbox::put_off(database, &strange, now).await?;
            self.plan_sweeps(horizons, now).await?;
        }
        settle(&self.database, self.unsynced.take()).await?;
        self.unsettled = false;
        Ok(TurnReport { taken: taken.len() })
    }

    /// Schedules the removals that horizons allow, unless the clocks disagree.
    async fn plan_sweeps(
        &mut self,
        horizons: Vec<(Horizon, Option<ReplyTo>)>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let retention = self.options.barrier_retention;
        for (horizon, reply_to) in horizons {
            if self.clocks_disagree {
                tracing::warn!(service = %self.service.name(), "clocks differ too much: the barrier keeps its rows");
                continue;
            }
            let lifetime = self.readings.take(&self.database, now.0).await?;
            let set_back_to = lifetime.earliest_setback(Timestamp::default().plus(retention).0);
            let Some(mut sweep) = Sweep::of(horizon, reply_to, retention, now) else { continue };
            sweep.spare_from(set_back_to.map(Timestamp));
            self.sweeps.retain(|older| !sweep.replaces(older));
            if self.sweeps.len() < SWEEPS_MAX {
                self.sweeps.push_back(sweep); // otherwise the next horizon is used
            }
        }
        Ok(())
    }

    /// Executes one page of a pending removal. A failed one is dropped, because another horizon
    /// follows.
    async fn sweep(&mut self, meter: &mut Meter) {
        if self.clocks_disagree {
            self.sweeps.clear();
        }
        let Some(mut sweep) = self.sweeps.pop_front() else { return };
        match sweep.page(&self.service, &self.database, self.transport.as_ref()).await {
            Ok((removed, done)) => {
                meter.swept += removed;
                self.sweeps.extend(Some(sweep).filter(|_| !done));
            }
            Err(error) => {
                tracing::warn!(service = %self.service.name(), %error, "cannot sweep the barrier")
            }
        }
    }

    /// Returns the pause before the next turn; zero unless the last one failed.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Returns the service's outbox, for starting chains.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Returns the number of waiting messages, if known.
    pub fn lag(&self) -> Option<u64> {
        self.consumer.as_ref().map(|consumer| consumer.lag())
    }

    /// Runs turns until `shutdown`, and finishes a running turn.
    ///
    /// # Errors
    /// An error that no retry can fix.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let mut rng = fastrand::Rng::new();
        let mut shutdown = std::pin::pin!(shutdown);
        let limit = *self.options.handler_limit.get_or_insert(HANDLER_LIMIT);
        // part of the idle limit may have passed before the handler starts
        if let Some(idle) =
            self.database.idle_limit().filter(|idle| limit >= *idle - quiet_max(*idle))
        {
            return Err(Error::HandlerLimit { limit, idle });
        }
        loop {
            self.clocks_disagree = self.clock.disagrees();
            let turned = match self.clock.sample().await {
                Ok(()) => self.turn(Timestamp(self.clock.now_ms()), &mut rng).await,
                Err(error) => {
                    self.pause = self.options.pause_max;
                    Err(error.into())
                }
            };
            match &turned {
                Err(error) if error.is_transient() || is_missing_topic(error) => {
                    if is_missing_topic(error) {
                        self.consumer = None; // the next turn creates the topic and subscribes
                    }
                    tracing::warn!(service = %self.service.name(), %error, pause = ?self.pause, "turn failed");
                }
                Err(_) => return turned.map(drop),
                Ok(_) => {}
            }
            tokio::select! {
                biased;
                () = &mut shutdown => {
                    self.finish().await;
                    return Ok(());
                }
                () = self.rest(turned) => {}
            }
        }
    }

    /// Marks published rows once the transport has synced them. Rows that cannot be marked in time
    /// are published again by the next process, under the same ids.
    async fn finish(&mut self) {
        let Participant { database, transport, unsynced, service, .. } = self;
        let flush = async {
            settle(database, unsynced.finish().await).await?;
            transport.synced().await?; // the committed offsets
            Ok::<(), Error>(())
        };
        match tokio::time::timeout(FINISH_MAX, flush).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(service = %service.name(), %error, "cannot mark published rows")
            }
            Err(_) => {
                tracing::warn!(service = %service.name(), limit = ?FINISH_MAX, "published rows were not synced in time")
            }
        }
    }

    /// Waits until there may be work.
    async fn rest(&mut self, turned: Result<TurnReport, Error>) {
        match (turned, &mut self.consumer) {
            (Ok(TurnReport { taken: 0 }), Some(consumer))
                if self.service.is_choreographed() && self.sweeps.is_empty() =>
            {
                tokio::select! {
                    () = consumer.ready() => {}
                    () = self.outbox.woken() => {}
                    () = tokio::time::sleep(CHECK_INTERVAL) => {}
                }
            }
            (Ok(TurnReport { taken: 0 }), Some(consumer)) if self.sweeps.is_empty() => {
                consumer.ready().await
            }
            (Ok(_), _) => tokio::task::yield_now().await,
            (Err(_), _) => tokio::time::sleep(self.pause).await,
        }
    }
}

/// Writes the rows whose records are synced: sent events and removals from the inbox.
async fn settle(
    database: &Database,
    SettledRows { sent, removals }: SettledRows,
) -> Result<(), Error> {
    if sent.is_empty() && removals.is_empty() {
        return Ok(());
    }
    let open = database.begin().await?;
    emitted::mark_sent(&open.tx(), &sent).await?;
    inbox::remove(&open.tx(), &removals).await?;
    Ok(open.commit().await?)
}

/// Executes commands chunk by chunk, and publishes the answers of each chunk before the next one.
/// Returns the removals from the inbox.
async fn execute(
    context: &ChunkContext<'_>,
    load: &Load,
    work: Vec<WorkItem>,
    outgoing: &mut Outgoing<'_>,
    transport: &dyn Transport,
    meter: &mut Meter,
) -> Result<Vec<InboxRemoval>, Error> {
    let (mut queue, mut removals) = (Queue::of(work, load.messages()), Vec::new());
    while let Some(chunk) = queue.next() {
        let answers = match context.execute(&chunk, meter).await {
            Err(error) if chunk.len() == 1 && load.blames_the_command(&error) => {
                context.set_aside(&chunk, &error, meter).await?
            }
            answers => answers.map_err(|error| Error::of_chunk(chunk.len(), error))?,
        };
        meter.chunk(answers.iter().flatten());
        let (mut left, mut executed) = (Vec::new(), 0);
        for (work, answer) in chunk.into_iter().zip(answers) {
            let Some(answer) = answer else {
                left.push(work);
                continue;
            };
            executed += 1;
            if work.place >= context.polled && answer.is_final() {
                removals.push(answer.removal(&work));
            }
            outgoing.answer(work, answer);
        }
        queue.put_back(left, executed);
        outgoing.publish(transport).await?;
        let unsent = outgoing.take_unsent();
        removals.retain(|removal| !unsent.iter().any(|unsent| unsent.key == removal.key));
        put_off_unsent(context, &unsent).await?;
        outgoing.stored(&unsent);
    }
    outgoing.publish(transport).await?; // dead letters of a turn without requests
    Ok(removals)
}

/// Stores the causes of events that their topics reject. The inbox redelivers them, and they lead
/// to the same events.
async fn put_off_unsent(context: &ChunkContext<'_>, unsent: &[RejectedEvent]) -> Result<(), Error> {
    if unsent.is_empty() {
        return Ok(());
    }
    let entries = unsent.iter().map(|RejectedEvent { key, cause, why, .. }| {
        tracing::warn!(service = %context.service.name(), chain = %key.saga, step = %key.step, why, "cannot send an event yet");
        InboxEntry { key, event: cause, pause: inbox::AFTER_FAULT, why: Some(why) }
    });
    let entries: Vec<InboxEntry<'_>> = entries.collect();
    let open = context.database.begin().await?;
    inbox::store(&open.tx(), &entries, context.now).await?;
    Ok(open.commit().await?)
}

async fn migrate(service: &Service, database: &Database) -> Result<(), Error> {
    database.migrate("barrier", barrier::MIGRATIONS, PROGRAM).await?;
    database.migrate("lifetime", lifetime::MIGRATIONS, PROGRAM).await?;
    database.migrate(service.name().as_str(), &service.schema(), service.program_version()).await?;
    if service.is_choreographed() {
        database.migrate("events", emitted::MIGRATIONS, PROGRAM).await?;
    }
    Ok(())
}

async fn open(
    service: &Service,
    database: &Database,
    transport: &dyn Transport,
    options: &Options,
) -> Result<Box<dyn Consumer>, Error> {
    migrate(service, database).await?;
    let mut topics: Vec<Arc<str>> = Vec::new();
    if service.is_commanded() {
        topics.push(command_topic(service.name()));
    }
    if service.is_choreographed() {
        topics.extend(service.reacts_to().map(Arc::from));
        emitted::end_leases(database).await?;
        for told in service.tells() {
            transport.create_topic(told, options.partitions).await?;
        }
    }
    for topic in &topics {
        transport.create_topic(topic, options.partitions).await?;
        transport.create_topic(&dead_letter_topic(topic), options.partitions).await?;
    }
    transport.create_topic(HORIZON_TOPIC, 1).await?;
    topics.push(HORIZON_TOPIC.into());
    let subscription =
        Subscription { group: service.name().as_str().into(), topics, partitions: None };
    Ok(transport.subscribe(subscription).await?)
}

/// Returns whether a topic is missing. Each subscription creates the topics of this service.
fn is_missing_topic(error: &Error) -> bool {
    matches!(error, Error::Transport(sagamore_transport::Error::UnknownTopic(_)))
}

/// Returns the pause after consecutive failures: 50 ms, doubled by each up to `longest`, minus up
/// to half at random.
fn pause(failures: u32, longest: Duration, rng: &mut fastrand::Rng) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    let pause = PAUSE_MIN.saturating_mul(1 << doublings.min(16)).min(longest);
    pause.mul_f64(1.0 - rng.f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the database would end the transaction, and fail the turn, before the handler's
    /// timeout.
    #[tokio::test]
    async fn the_handler_limit_is_shorter_than_the_idle_limit() {
        let postgres =
            sagamore_database::postgres::Options::new("postgres://nobody@127.0.0.1:1/none");
        assert!(HANDLER_LIMIT < postgres.idle_in_transaction_timeout);
        let database = Database::postgres(postgres).expect("the address is one");
        let disk = Arc::new(sagamore_transport::MemoryDisk::new());
        let log = sagamore_transport::Log::on(disk, sagamore_transport::log::Options::default())
            .expect("an empty disk");
        let options = Options { handler_limit: Some(Duration::from_secs(3)), ..Options::default() };
        let participant =
            Participant::new(Service::named("slow"), database, Arc::new(log), options);
        let why = participant
            .run(std::future::pending())
            .await
            .expect_err("the limit is rejected")
            .to_string();
        assert!(why.contains("3s") && why.contains("2.5s"), "{why}");
    }
}
