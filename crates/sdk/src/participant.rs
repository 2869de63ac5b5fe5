//! The participant: takes commands, has the service's handlers carry them out, and answers. In turns.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Horizon, Name, ReplyTo, Timestamp};
use sagamore_database::lifetime::{self, Readings};
use sagamore_database::{Clock, Database};
use sagamore_transport::wire::{HORIZON_TOPIC, command_topic, dead_letter_topic};
use sagamore_transport::{Consumer, Mark, Subscription, Transport};

use crate::barrier;
use crate::chunk::{Room, quiet_max};
use crate::emitted;
use crate::error::Error;
use crate::inbox::{self, Kept, Over};
use crate::intake::{Asked, Intake};
use crate::load::{Load, Queue};
use crate::meter::Meter;
use crate::outbox::Outbox;
use crate::outgoing::{Outgoing, Unsent};
use crate::relay::Relay;
use crate::service::Service;
use crate::sweep::Sweep;
use crate::unsynced::{Settled, Unsynced};

/// How long a handler may take when a program that runs does not say: less than a transaction may be idle.
const HANDLER_LIMIT: Duration = Duration::from_secs(2);
/// What the barrier's schema knows this program as.
const PROGRAM: u32 = 1;
/// How often is looked for what waits in the inbox and the outbox, unless the outbox is woken.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Horizons that are looked at by turns: there are an orchestrator's and an observer's.
const SWEEPS_MAX: usize = 8;
/// How long a stop waits for the transport's sync.
const FINISH_MAX: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// Bounds and limits.
#[derive(Clone, Debug)]
pub struct Options {
    /// Messages that one turn takes at most; half as many after each turn that failed.
    pub messages_max: usize,
    /// Bytes of answers at which a chunk is committed and published, before the next one begins; half as many after each
    /// turn that failed. (What a turn takes is bounded in bytes by the transport.)
    pub chunk_bytes_max: usize,
    /// How often a chunk is run when the database asks to try again, at least 2.
    pub attempts_max: u32,
    /// How long one handler may take, less than the database lets a transaction be idle; needs tokio's timer. None:
    /// [`Participant::run`] chooses, a turn has no limit.
    pub handler_limit: Option<Duration>,
    /// Partitions of the command topic, when it is not there yet.
    pub partitions: u32,
    /// How large a reply's body may be, in bytes; a larger one is a fault of its handler.
    pub reply_bytes_max: usize,
    /// The longest pause after a turn that failed.
    pub pause_max: Duration,
    /// How long a saga is remembered after its end. Whatever of it can still be delivered, or be sent again out of the dead
    /// letters, has to be younger.
    pub barrier_retention: Duration,
    /// How long an event may wait for another one that a reaction needs as well; then it is a dead letter.
    pub early_max: Duration,
    /// The plans that this program knows, each with its version: an event of a later version is a dead letter. Versions of
    /// other plans are not compared.
    pub plans: Vec<(Name, u32)>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            messages_max: 1_000,
            chunk_bytes_max: 4 << 20,
            attempts_max: 3,
            handler_limit: None,
            partitions: 4,
            reply_bytes_max: 512 * 1024,
            pause_max: Duration::from_secs(5),
            barrier_retention: Duration::from_secs(30 * 24 * 3600),
            early_max: Duration::from_secs(24 * 3600),
            plans: Vec::new(),
        }
    }
}

/// What a turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turned {
    /// How many messages it took; none: there was nothing to do.
    pub taken: usize,
}

/// A service at work.
pub struct Participant {
    service: Service,
    database: Database,
    /// The time of the service's database.
    clock: Clock,
    transport: Arc<dyn Transport>,
    options: Options,
    load: Load,
    consumer: Option<Box<dyn Consumer>>,
    /// Whether what the consumer has given is not seen through: it has to go back.
    unsettled: bool,
    /// What retention goes by.
    readings: Readings,
    /// Whether this machine's clock and that of the database are so far apart that nothing may be forgotten.
    clocks_disagree: bool,
    /// What is to be removed from the barrier, between the messages.
    sweeps: VecDeque<Sweep>,
    outbox: Outbox,
    /// When to look again for what waits in the inbox and the outbox.
    look_due: Timestamp,
    /// Rows of the inbox and the outbox that follow a sync of the transport.
    unsynced: Unsynced,
    failures: u32,
    pause: Duration,
}

impl Participant {
    /// A participant that has done nothing yet: its first turn brings the schema up to date and subscribes.
    pub fn new(service: Service, database: Database, transport: Arc<dyn Transport>, options: Options) -> Participant {
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

    /// Brings the schema up to date, so that its tables can be read, and chains begun, before the first turn.
    pub async fn prepare(&mut self) -> Result<(), Error> {
        migrate(&self.service, &self.database).await
    }

    /// Takes what is there and sees it through: after `Ok` it is committed, answered and acknowledged.
    /// After an error only what was answered is acknowledged; the next turn takes half as many messages and begins with the
    /// first that was not. When the future was dropped, nothing was acknowledged.
    pub async fn turn(&mut self, now: Timestamp, rng: &mut fastrand::Rng) -> Result<Turned, Error> {
        let mut meter = Meter::default();
        let turned = self.take(now, &mut meter).await;
        if turned.is_ok() {
            self.sweep(&mut meter).await;
        }
        meter.tell(self.service.name().as_str(), self.lag());
        self.failures = match &turned {
            Ok(_) => {
                self.load.succeeded();
                0
            }
            Err(_) if self.load.failed() => 1, // less may succeed at once
            Err(_) => self.failures.saturating_add(1),
        };
        self.pause = pause(self.failures, self.options.pause_max, rng);
        turned
    }

    async fn take(&mut self, now: Timestamp, meter: &mut Meter) -> Result<Turned, Error> {
        let Participant { service, database, transport, options, load, outbox, look_due, unsynced, .. } = self;
        let consumer = match &mut self.consumer {
            Some(consumer) => consumer,
            none => none.insert(open(service, database, transport.as_ref(), options).await?),
        };
        if self.readings.is_overtaken(now.0) {
            self.readings.take(database, now.0).await?; // before anything is stamped
            self.sweeps.clear(); // rows may be stamped below what they allow: another horizon arrives
        }
        if std::mem::replace(&mut self.unsettled, true)
            && let Err(error) = consumer.rewind().await
        {
            if error.is_transient() {
                self.consumer = None; // whatever became of it, the next turn subscribes anew
            } // but who has lost the place to another does not fight for it
            return Err(error.into());
        }
        let mut taken = consumer.poll(load.messages()).await?;
        let polled = taken.len();
        let mut due = Vec::new();
        let looks = now >= *look_due || *look_due > now.plus(LOOK_EVERY);
        if service.is_choreographed() && (outbox.take() || looks) {
            let relay = Relay { service: service.name(), database, transport: transport.as_ref(), now };
            if service.begins_chains()
                && let Err(error) = relay.run(unsynced).await
            {
                // what has come to this service does not fail with it
                tracing::warn!(service = %service.name(), %error, "send what begins chains, trying again");
            }
            due = unsynced.due(service.name(), database, now, load.messages()).await?;
            taken.extend(due.iter().map(|due| due.delivered(service.name())));
            *look_due = now.plus(LOOK_EVERY);
        }
        load.took(taken.len());
        if !taken.is_empty() {
            let mut intake = Intake::of(service, &options.plans, &taken[..polled], now);
            let (mut over, strange) = intake.take_due(service, (polled..).zip(due), now.minus(options.early_max));
            let Intake { asked, unreadable, later, expired, horizons } = intake;
            meter.expired += expired as u64;
            meter.later += later as u64;
            meter.unreadable += (unreadable.len() - later) as u64;
            let places = asked.iter().map(|asked| asked.place).chain(unreadable.iter().map(|(place, _)| *place));
            let mut outgoing = Outgoing::new(service.name(), &taken, places, now);
            unreadable.into_iter().for_each(|(place, reason)| outgoing.reject(place, &reason));
            if planted(Bug::OffsetBeforeAcknowledgement) {
                consumer.commit(Mark::behind(&taken[..polled])).await?;
            }
            let room = Room { service, database, options, bytes_max: load.bytes(), polled, now, blamed: None };
            let executed = execute(&room, load, asked, &mut outgoing, transport.as_ref(), meter).await;
            meter.dead_letters += outgoing.dead_letters() as u64;
            meter.lost_letters += outgoing.lost_letters() as u64;
            let acknowledged = consumer.commit(outgoing.marks(polled)).await;
            over.extend(executed?); // it failed before its acknowledgement did
            acknowledged?;
            unsynced.follow(transport.as_ref(), Settled { over, ..Settled::default() });
            inbox::put_off(database, &strange, now).await?;
            self.plan_sweeps(horizons, now).await?;
        }
        settle(&self.database, self.unsynced.take()).await?;
        self.unsettled = false;
        Ok(Turned { taken: taken.len() })
    }

    /// Notes what horizons allow to forget, unless the clocks disagree.
    async fn plan_sweeps(&mut self, horizons: Vec<(Horizon, Option<ReplyTo>)>, now: Timestamp) -> Result<(), Error> {
        let retention = self.options.barrier_retention;
        for (horizon, reply_to) in horizons {
            if self.clocks_disagree {
                tracing::warn!(service = %self.service.name(), "the clocks are too far apart: nothing is forgotten");
                continue;
            }
            let lifetime = self.readings.take(&self.database, now.0).await?;
            let set_back_to = lifetime.earliest_setback(Timestamp::default().plus(retention).0);
            let Some(mut sweep) = Sweep::of(horizon, reply_to, retention, now) else { continue };
            sweep.spare_from(set_back_to.map(Timestamp));
            self.sweeps.retain(|older| !sweep.replaces(older));
            if self.sweeps.len() < SWEEPS_MAX {
                self.sweeps.push_back(sweep); // else there will be another horizon
            }
        }
        Ok(())
    }

    /// One page of what the last horizon allows. One that fails is given up: there will be another horizon.
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
            Err(error) => tracing::warn!(service = %self.service.name(), %error, "sweep the barrier"),
        }
    }

    /// How long to wait before the next turn: zero unless the last one failed.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Where the service begins chains.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// How many messages wait, when that is known.
    pub fn lag(&self) -> Option<u64> {
        self.consumer.as_ref().map(|consumer| consumer.lag())
    }

    /// Turns until `shutdown`; a turn that has begun is finished. Ends early only with an error that no retry mends.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let mut rng = fastrand::Rng::new();
        let mut shutdown = std::pin::pin!(shutdown);
        let limit = *self.options.handler_limit.get_or_insert(HANDLER_LIMIT);
        // a little of it may have passed before the handler begins
        if let Some(idle) = self.database.idle_limit().filter(|idle| limit >= *idle - quiet_max(*idle)) {
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
                        self.consumer = None; // the next turn creates what is missing, and subscribes
                    }
                    tracing::warn!(service = %self.service.name(), %error, pause = ?self.pause, "turn");
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

    /// The end of a good stop: what is published is marked as soon as the transport has synced it. What cannot be marked in
    /// time is published again by the next process, under the same ids.
    async fn finish(&mut self) {
        let Participant { database, transport, unsynced, service, .. } = self;
        let flush = async {
            settle(database, unsynced.finish().await).await?;
            transport.synced().await?; // the offsets of what was taken
            Ok::<(), Error>(())
        };
        match tokio::time::timeout(FINISH_MAX, flush).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(service = %service.name(), %error, "mark what was published"),
            Err(_) => tracing::warn!(service = %service.name(), limit = ?FINISH_MAX, "no sync of what was published"),
        }
    }

    /// Until there may be something to do.
    async fn rest(&mut self, turned: Result<Turned, Error>) {
        match (turned, &mut self.consumer) {
            (Ok(Turned { taken: 0 }), Some(consumer)) if self.service.is_choreographed() && self.sweeps.is_empty() => {
                tokio::select! {
                    () = consumer.ready() => {}
                    () = self.outbox.woken() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
            (Ok(Turned { taken: 0 }), Some(consumer)) if self.sweeps.is_empty() => consumer.ready().await,
            (Ok(_), _) => tokio::task::yield_now().await,
            (Err(_), _) => tokio::time::sleep(self.pause).await,
        }
    }
}

/// Writes what is synced: what was sent, and what waits no more.
async fn settle(database: &Database, Settled { sent, over }: Settled) -> Result<(), Error> {
    if sent.is_empty() && over.is_empty() {
        return Ok(());
    }
    let open = database.begin().await?;
    emitted::mark_sent(&open.tx(), &sent).await?;
    inbox::remove(&open.tx(), &over).await?;
    Ok(open.commit().await?)
}

/// Executes commands chunk by chunk and publishes the answers of each before the next begins. Returns what waits no more in
/// the inbox.
async fn execute(
    room: &Room<'_>,
    load: &Load,
    asked: Vec<Asked>,
    outgoing: &mut Outgoing<'_>,
    transport: &dyn Transport,
    meter: &mut Meter,
) -> Result<Vec<Over>, Error> {
    let (mut queue, mut over) = (Queue::of(asked, load.messages()), Vec::new());
    while let Some(chunk) = queue.next() {
        let answers = match room.execute(&chunk, meter).await {
            Err(error) if chunk.len() == 1 && load.blames_the_command(&error) => {
                room.set_aside(&chunk, &error, meter).await?
            }
            answers => answers.map_err(|error| Error::of_chunk(chunk.len(), error))?,
        };
        meter.chunk(answers.iter().flatten());
        let (mut left, mut executed) = (Vec::new(), 0);
        for (asked, answer) in chunk.into_iter().zip(answers) {
            let Some(answer) = answer else {
                left.push(asked);
                continue;
            };
            executed += 1;
            if asked.place >= room.polled && answer.is_final() {
                over.push(answer.over(&asked));
            }
            outgoing.answer(asked, answer);
        }
        queue.put_back(left, executed);
        outgoing.publish(transport).await?;
        let unsent = outgoing.take_unsent();
        over.retain(|over| !unsent.iter().any(|unsent| unsent.key == over.key));
        put_off_unsent(room, &unsent).await?;
        outgoing.kept(&unsent);
    }
    outgoing.publish(transport).await?; // dead letters, where nothing had to be executed
    Ok(over)
}

/// Keeps the causes of events whose topic rejects them: they are taken out of the inbox again, and lead to the same events.
async fn put_off_unsent(room: &Room<'_>, unsent: &[Unsent]) -> Result<(), Error> {
    if unsent.is_empty() {
        return Ok(());
    }
    let kept = unsent.iter().map(|Unsent { key, cause, why, .. }| {
        tracing::warn!(service = %room.service.name(), chain = %key.saga, step = %key.step, why, "an event cannot be sent yet");
        Kept { key, event: cause, pause: inbox::AFTER_FAULT, why: Some(why) }
    });
    let kept: Vec<Kept<'_>> = kept.collect();
    let open = room.database.begin().await?;
    inbox::keep(&open.tx(), &kept, room.now).await?;
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
    let subscription = Subscription { group: service.name().as_str().into(), topics, partitions: None };
    Ok(transport.subscribe(subscription).await?)
}

/// Whether a topic is missing. Somebody may be creating it again, and each subscription creates those of this service.
fn is_missing_topic(error: &Error) -> bool {
    matches!(error, Error::Transport(sagamore_transport::Error::UnknownTopic(_)))
}

/// 50 ms, twice as long with every failure up to the longest, and up to a half of it less.
fn pause(failures: u32, longest: Duration, rng: &mut fastrand::Rng) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    let pause = PAUSE_MIN.saturating_mul(1 << doublings.min(16)).min(longest);
    pause.mul_f64(1.0 - rng.f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else the database would end the transaction, and the turn with it, before the handler's own fault is told.
    #[tokio::test]
    async fn a_handler_may_not_take_longer_than_a_transaction_may_be_idle() {
        let postgres = sagamore_database::postgres::Options::new("postgres://nobody@127.0.0.1:1/none");
        assert!(HANDLER_LIMIT < postgres.idle_in_transaction_timeout);
        let database = Database::postgres(postgres).expect("the address is one");
        let disk = Arc::new(sagamore_transport::MemoryDisk::new());
        let log =
            sagamore_transport::Log::on(disk, sagamore_transport::log::Options::default()).expect("an empty disk");
        let options = Options { handler_limit: Some(Duration::from_secs(3)), ..Options::default() };
        let participant = Participant::new(Service::named("slow"), database, Arc::new(log), options);
        let why = participant.run(std::future::pending()).await.expect_err("it is told").to_string();
        assert!(why.contains("3s") && why.contains("2.5s"), "{why}");
    }
}
