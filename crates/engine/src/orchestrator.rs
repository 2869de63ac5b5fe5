//! The coordinator: `turn` is one batch from input to acknowledgement, `run` repeats it.
//!
//! A turn that fails or is dropped anywhere acknowledges nothing; after a drop the sagas are taken over again. `run` has
//! leases renewed by a task of their own, `renewal`.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_core::definition::Definition;
use sagamore_database::{Clock, Database};
use sagamore_transport::{Consumer, Error as TransportError, Transport, wire};
use tokio::sync::mpsc;

use crate::error::Error;
use crate::handle::{Gauges, Handle};
use crate::live::{Live, Room};
use crate::options::Options;
use crate::pulse::Pulse;
use crate::registry::Registry;
use crate::renewal::{Keepers, Probe, Renewal};
use crate::request::Request;
use crate::store::{Epochs, Store};
use crate::turn::{Abroad, Aside, Batch, Blocked, Debts, Pace, Rejection, Strays, Sweep, Takeover};

/// The longest pause after a turn that failed.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Drives sagas: what comes in, what follows, what goes out.
pub struct Orchestrator {
    pub(crate) options: Arc<Options>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: Store,
    /// The time of the store's database.
    pub(crate) clock: Clock,
    pub(crate) transport: Arc<dyn Transport>,
    /// None until partitions are owned.
    pub(crate) replies: Option<Box<dyn Consumer>>,
    /// Where partitions are shared: those that replies are taken from.
    pub(crate) listening: Vec<u32>,
    pub(crate) requests: mpsc::Receiver<Request>,
    /// Requests that `wait` has taken out of the queue.
    pub(crate) inbox: Vec<Request>,
    pub(crate) live: Live,
    pub(crate) strays: Strays,
    /// Reply partition -> the offset behind the last reply that was taken.
    pub(crate) progress: BTreeMap<u32, u64>,
    /// None until the partitions are taken over, and again after a turn that was dropped.
    pub(crate) epochs: Option<Epochs>,
    /// The time of the last turn.
    pub(crate) turned_at: Option<Timestamp>,
    /// Read who owns what, without waiting for the next renewal.
    pub(crate) surveys_at_once: bool,
    pub(crate) takeover: Takeover,
    pub(crate) pulse: Arc<Pulse>,
    /// Whether this machine's clock and that of the database are so far apart that nothing may be forgotten.
    pub(crate) clocks_disagree: bool,
    pub(crate) abroad: Abroad,
    pub(crate) aside: Aside,
    /// Sagas that cannot be stored.
    pub(crate) blocked: Blocked,
    pub(crate) debts: Debts,
    /// Commands that the transport rejected, until their sagas are decided: no attempt twice.
    pub(crate) rejections: Vec<Rejection>,
    pub(crate) sweep: Sweep,
    /// How much a turn takes.
    pub(crate) pace: Pace,
    pub(crate) gauges: Arc<Gauges>,
    /// Tells the time in the middle of a turn; none: a turn takes no time.
    pub(crate) mid_turn: Option<Now>,
}

/// Tells the time.
pub(crate) type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turned {
    /// Requests, replies and due sagas that were taken, and sagas that a takeover read; none: there was nothing to do.
    pub inputs: usize,
    /// Sagas that were changed.
    pub sagas: usize,
    /// Commands that were sent.
    pub commands: usize,
}

impl Orchestrator {
    /// Brings the schema up to date, registers the definitions and creates the topics. The sagas that are under way
    /// are taken over by the first turn.
    pub async fn open(
        options: Options,
        database: Database,
        transport: Arc<dyn Transport>,
        definitions: Vec<Definition>,
    ) -> Result<(Orchestrator, Handle), Error> {
        let options = Arc::new(options);
        let clock = Clock::of(&database);
        let store = Store::open(database, &options.reply_topic).await?;
        store.register(&definitions).await?;
        transport.create_topic(&options.reply_topic, options.reply_partitions).await?;
        transport
            .create_topic(&wire::dead_letter_topic(&options.reply_topic), options.reply_partitions)
            .await?;
        transport.create_topic(wire::HORIZON_TOPIC, 1).await?;
        if options.lease.is_some() {
            transport.create_topic(wire::PROBE_TOPIC, 1).await?;
        }
        let registry = Arc::new(Registry::default());
        for definition in definitions {
            for step in &definition.steps {
                let participant = &step.action.participant;
                let partitions = options.partitions_for(participant);
                transport.create_topic(&wire::command_topic(participant), partitions).await?;
            }
            registry.add(definition, true);
        }
        let replies = match options.lease {
            Some(_) => {
                store.share(options.reply_partitions).await?;
                None
            }
            None => Some(transport.subscribe(options.subscription()).await?),
        };
        let (gauges, pulse) = (Arc::new(Gauges::default()), Arc::new(Pulse::default()));
        let (handle, requests) = Handle::new(
            options.clone(),
            registry.clone(),
            store.clone(),
            clock.clone(),
            gauges.clone(),
            pulse.clone(),
        );
        let orchestrator = Orchestrator {
            live: Live::new(Room { sagas: options.live_max, bytes: options.live_bytes_max }),
            options,
            registry,
            store,
            clock,
            transport,
            replies,
            listening: Vec::new(),
            requests,
            inbox: Vec::new(),
            strays: Strays::default(),
            progress: BTreeMap::new(),
            epochs: None,
            turned_at: None,
            clocks_disagree: false,
            surveys_at_once: true,
            takeover: Takeover::default(),
            pulse,
            abroad: Abroad::default(),
            aside: Aside::default(),
            blocked: Blocked::default(),
            debts: Debts::default(),
            rejections: Vec::new(),
            sweep: Sweep::default(),
            pace: Pace::default(),
            gauges,
            mid_turn: None,
        };
        Ok((orchestrator, handle))
    }

    /// Sets the clock that tells, in the middle of a turn, when the transport acknowledged a command. It is the clock that
    /// the `now` of each turn is read from. Without one a turn takes no time.
    pub fn set_clock(&mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) {
        self.mid_turn = Some(Arc::new(clock));
    }

    /// One batch: take -> load -> decide -> commit -> publish -> acknowledge -> wake. Never waits for work to come.
    /// After an error nothing of the batch was acknowledged that is not seen through by the next turn; dropped at any
    /// await, the next turn takes all sagas over anew.
    pub async fn turn(&mut self, now: Timestamp, rng: &mut fastrand::Rng) -> Result<Turned, Error> {
        let pulse = self.pulse.clone();
        let _turning = pulse.turn();
        self.note_time(now);
        let mut epochs = match self.epochs.take() {
            Some(epochs) => epochs,
            None if self.options.lease.is_some() => {
                self.forget_all(); // what the rows say is ours is claimed and subscribed to again
                self.hang_up();
                Epochs::default()
            }
            None => self.take_over().await?,
        };
        let turned = match self.keep_ownership(&mut epochs, now).await {
            Ok(()) => self.work(&epochs, now, rng).await,
            Err(error) => Err(error),
        };
        match &turned {
            Ok(turned) if turned.inputs > 0 => self.pace.succeeded(),
            Ok(_) => {}
            Err(_) => self.pace.failed(self.options.batch_max),
        }
        match turned {
            Err(Error::OwnershipLost { .. }) => self.survey_at_once(),
            // Who listens now may have been gone for long: what the rows say is ours is listened to anew.
            Err(Error::Transport(TransportError::Fenced(_))) if self.options.lease.is_some() => {
                self.hang_up()
            }
            _ => {}
        }
        self.epochs = Some(epochs);
        turned
    }

    async fn work(
        &mut self,
        epochs: &Epochs,
        now: Timestamp,
        rng: &mut fastrand::Rng,
    ) -> Result<Turned, Error> {
        self.read_lifetime(now).await?;
        self.make_good(epochs, now).await?;
        self.pulse.beat();
        let mut batch = self.take_inputs(epochs, now).await?;
        self.note_swept(std::mem::take(&mut batch.swept)).await;
        let mut turned = Turned { inputs: batch.inputs, ..Turned::default() };
        if batch.inputs > 0 {
            let rejections = batch.rejections;
            self.see_through(epochs, batch, &mut turned, now, rng).await?;
            self.rejections.drain(..rejections); // decided; those of this turn are behind them
        }
        turned.inputs += self.take_page(epochs, now).await?;
        self.mark_aside(epochs).await;
        self.write_faults().await;
        self.look_abroad(now).await?;
        self.sweep(epochs, now).await;
        Ok(turned)
    }

    /// Settles and publishes a batch, one part after another; all of it is acknowledged at the end.
    async fn see_through(
        &mut self,
        epochs: &Epochs,
        batch: Batch,
        turned: &mut Turned,
        now: Timestamp,
        rng: &mut fastrand::Rng,
    ) -> Result<(), Error> {
        self.debts.untaken = true; // until the last part is settled
        let mut dead_letters = batch.dead_letters;
        let mut parts = self.parts(batch.arrivals).await?;
        parts.reverse();
        while let Some(part) = parts.pop() {
            let settled = self.settle(epochs, part, now, rng).await?;
            self.pulse.beat();
            self.debts.untaken = !parts.is_empty();
            turned.sagas += settled.sagas;
            turned.commands += settled.commands.len();
            dead_letters.extend(settled.dead_letters);
            let sent = self.send(settled.commands, std::mem::take(&mut dead_letters), now).await;
            self.measure(*turned);
            self.answer_abroad(settled.refused).await;
            self.answer(settled.answers); // what is committed holds, whether it could be sent or not
            sent?;
            self.hand_over(settled.handed, now, rng).await?;
        }
        self.acknowledge().await
    }

    /// Turns until `shutdown`, then stops between two turns. Ends early only with an error that no retry mends.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let (mut rng, mut pause) = (fastrand::Rng::new(), Duration::from_millis(10));
        let clock = self.clock.clone();
        self.set_clock(move || Timestamp(clock.now_ms()));
        let keepers = self.options.lease.map(|_| Keepers::spawn(self.renewal(), self.probe()));
        tokio::pin!(shutdown);
        loop {
            self.clocks_disagree = self.clock.disagrees();
            let turned = match self.clock.sample().await {
                Ok(()) => self.turn(self.now(), &mut rng).await,
                Err(error) => Err(error.into()),
            };
            match turned {
                Ok(turned) if turned.inputs > 0 => pause = Duration::from_millis(10),
                Ok(_) => tokio::select! {
                    biased;
                    () = &mut shutdown => break,
                    () = self.wait(self.now()) => continue,
                },
                Err(error) if self.outlives(&error) => {
                    tracing::warn!(%error, "turn failed, trying again");
                    self.turn_away(&error);
                    tokio::time::sleep(pause).await;
                    let lease = self.options.lease.unwrap_or(PAUSE_MAX); // not to be slept away
                    pause = (pause * 2).min(PAUSE_MAX).min(lease / 6);
                }
                Err(error) => return Err(error),
            }
            if futures_util::FutureExt::now_or_never(&mut shutdown).is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        if let Some(keepers) = keepers {
            keepers.stop().await;
        }
        self.leave().await;
        Ok(())
    }

    /// The present time of the store's database.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_ms())
    }

    /// The renewal of this orchestrator's leases, for a caller that drives turns itself. `run` has one of its own.
    pub fn renewal(&self) -> Renewal {
        let (options, store, clock) =
            (self.options.clone(), self.store.clone(), self.clock.clone());
        Renewal { options, store, clock, pulse: self.pulse.clone() }
    }

    /// The probe of this orchestrator's transport, for a caller that drives turns itself. `run` has one of its own.
    pub fn probe(&self) -> Probe {
        let (options, transport, pulse) =
            (self.options.clone(), self.transport.clone(), self.pulse.clone());
        Probe { options, transport, pulse, acknowledged_seen: 0 }
    }

    /// Whether sagas of gained partitions are still to be read.
    pub fn takes_over(&self) -> bool {
        !self.takeover.is_over()
    }

    /// Whether the next turn may mend it. Who shares the partitions can lose some and goes on with the others.
    pub fn outlives(&self, error: &Error) -> bool {
        let shared = self.options.lease.is_some();
        match error {
            Error::OwnershipLost { .. } | Error::Transport(TransportError::Fenced(_)) if shared => {
                true
            }
            Error::Transport(TransportError::UnknownTopic(_)) => true, // somebody may be creating it again
            error => error.is_transient(),
        }
    }

    /// Until there may be something to do: a request, a reply, or something due.
    async fn wait(&mut self, now: Timestamp) {
        if self.takes_over() || !self.rejections.is_empty() {
            return;
        }
        let survey = (self.options.lease.is_some() && self.surveys_at_once).then_some(now);
        let of_sagas = [self.live.next_due(), self.strays.next_due(), self.blocked.next_due()];
        let due = of_sagas.into_iter().chain([self.next_sweep(), survey, self.abroad.next_due()]);
        let due = due.flatten().min();
        let pause = due.map_or(Duration::from_secs(3600), |due| due.since(now));
        tokio::select! {
            Some(request) = self.requests.recv() => self.inbox.push(request),
            () = ready(&mut self.replies) => {}
            () = self.pulse.surveyed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// Tells the handles and the metrics how things stand.
    pub(crate) fn measure(&self, turned: Turned) {
        self.gauges.in_flight.store(self.live.in_flight(), Ordering::Relaxed);
        self.gauges
            .oldest
            .store(self.live.oldest().map_or(i64::MAX, |since| since.0), Ordering::Relaxed);
        let (running, compensating, stuck) = self.live.by_status();
        for (state, count) in
            [("running", running), ("compensating", compensating), ("stuck", stuck)]
        {
            metrics::gauge!("sagamore_sagas", "state" => state).set(as_gauge(count));
        }
        let (held, bytes) = self.live.held();
        self.gauges.live_bytes.store(bytes, Ordering::Relaxed);
        metrics::gauge!("sagamore_live_sagas").set(as_gauge(held));
        metrics::gauge!("sagamore_live_bytes").set(as_gauge(bytes));
        metrics::histogram!("sagamore_turn_inputs").record(as_gauge(turned.inputs));
        metrics::histogram!("sagamore_turn_sagas").record(as_gauge(turned.sagas));
        metrics::counter!("sagamore_commands_total").increment(turned.commands as u64);
        let lag = self.replies.as_ref().map_or(0, |replies| replies.lag());
        metrics::gauge!("sagamore_replies_lag").set(lag as f64);
    }
}

/// Until a reply may be there; for ever while none can come.
async fn ready(replies: &mut Option<Box<dyn Consumer>>) {
    match replies {
        Some(replies) => replies.ready().await,
        None => std::future::pending().await,
    }
}

pub(crate) fn as_gauge(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    /// A runtime with several threads may carry it.
    #[test]
    fn an_orchestrators_run_may_move_between_threads() {
        fn is_send<T: Send>(_: impl FnOnce(super::Orchestrator) -> T) {}
        is_send(|orchestrator| orchestrator.run(std::future::pending()));
    }
}
