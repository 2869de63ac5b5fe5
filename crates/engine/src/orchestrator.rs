//! The orchestrator: `turn` processes one batch from input to acknowledgement, and `run` repeats
//! it.
//!
//! A turn that fails or is dropped acknowledges nothing. After a drop the sagas are taken over
//! again. During `run`, separate tasks renew the leases, see `renewal`.

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

use crate::announcements::{AnnouncementReader, ReaderTask};
use crate::definitions::{DefinitionWatch, Registrar, WatchTask};
use crate::error::Error;
use crate::handle::{Gauges, Handle};
use crate::live::{LiveSagas, MemoryLimits};
use crate::options::Options;
use crate::pulse::Pulse;
use crate::registry::Registry;
use crate::renewal::{Keepers, Probe, Renewal};
use crate::request::Request;
use crate::store::{Epochs, Store};
use crate::turn::{
    Batch, BlockedSagas, Debts, Pace, PendingMarks, Rejection, RemoteSagas, Strays, Sweep, Takeover,
};

/// The longest pause after a failed turn.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Drives sagas: takes inputs, decides, stores and sends.
pub struct Orchestrator {
    pub(crate) options: Arc<Options>,
    pub(crate) registry: Arc<Registry>,
    registrar: Arc<Registrar>,
    pub(crate) store: Store,
    /// The clock of the store's database.
    pub(crate) clock: Clock,
    pub(crate) transport: Arc<dyn Transport>,
    /// The consumer of replies. `None` while no partition is owned.
    pub(crate) replies: Option<Box<dyn Consumer>>,
    /// The partitions subscribed to, if partitions are shared.
    pub(crate) subscribed_to: Vec<u32>,
    pub(crate) requests: mpsc::Receiver<Request>,
    /// Requests taken out of the queue.
    pub(crate) inbox: Vec<Request>,
    pub(crate) live: LiveSagas,
    pub(crate) strays: Strays,
    /// The offset after the last taken reply, by reply partition.
    pub(crate) progress: BTreeMap<u32, u64>,
    /// The owned partitions. `None` before the first takeover and after a dropped turn.
    pub(crate) epochs: Option<Epochs>,
    /// The time of the last turn.
    pub(crate) turned_at: Option<Timestamp>,
    /// Whether the next turn reads a survey without waiting for a renewal.
    pub(crate) surveys_at_once: bool,
    pub(crate) takeover: Takeover,
    pub(crate) pulse: Arc<Pulse>,
    /// Whether the clocks of machine and database differ too much to remove any rows.
    pub(crate) clocks_disagree: bool,
    pub(crate) remote: RemoteSagas,
    pub(crate) pending_marks: PendingMarks,
    /// Sagas that cannot be stored.
    pub(crate) blocked: BlockedSagas,
    pub(crate) debts: Debts,
    /// Rejected commands whose sagas are not decided yet, each attempt once.
    pub(crate) rejections: Vec<Rejection>,
    pub(crate) sweep: Sweep,
    /// The adaptive size of a turn.
    pub(crate) pace: Pace,
    pub(crate) gauges: Arc<Gauges>,
    /// The clock during a turn. `None`: a turn takes no time.
    pub(crate) mid_turn: Option<Now>,
}

/// Returns the current time.
pub(crate) type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The result of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnReport {
    /// Requests, replies and due sagas taken, and sagas read by a takeover; 0 if there was nothing
    /// to do.
    pub inputs: usize,
    /// Sagas that were changed.
    pub sagas: usize,
    /// Commands that were sent.
    pub commands: usize,
}

impl Orchestrator {
    /// Migrates the schema, registers the definitions and creates the topics. The first turn takes
    /// over unfinished sagas.
    pub async fn open(
        options: Options,
        database: Database,
        transport: Arc<dyn Transport>,
        definitions: Vec<Definition>,
    ) -> Result<(Orchestrator, Handle), Error> {
        let options = Arc::new(options);
        let clock = Clock::of(&database);
        let store = Store::open(database, &options.reply_topic).await?;
        let registrar = Arc::new(Registrar::new(
            store.clone(),
            transport.clone(),
            options.clone(),
            clock.clone(),
        ));
        registrar.open(definitions).await?;
        create_own_topics(&*transport, &options).await?;
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
            registrar.clone(),
            clock.clone(),
            gauges.clone(),
            pulse.clone(),
        );
        let orchestrator = Orchestrator {
            live: LiveSagas::new(MemoryLimits {
                sagas: options.live_max,
                bytes: options.live_bytes_max,
            }),
            options,
            registry: registrar.registry.clone(),
            registrar,
            store,
            clock,
            transport,
            replies,
            subscribed_to: Vec::new(),
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
            remote: RemoteSagas::default(),
            pending_marks: PendingMarks::default(),
            blocked: BlockedSagas::default(),
            debts: Debts::default(),
            rejections: Vec::new(),
            sweep: Sweep::default(),
            pace: Pace::default(),
            gauges,
            mid_turn: None,
        };
        Ok((orchestrator, handle))
    }

    /// Sets the clock that is read during a turn when the transport acknowledges commands. It must
    /// be the clock of each turn's `now`. Without one, a turn takes no time.
    pub fn set_clock(&mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) {
        self.mid_turn = Some(Arc::new(clock));
    }

    /// Processes one batch: take, load, decide, commit, publish, acknowledge, wake. Never waits for
    /// work.
    ///
    /// # Errors
    /// The next turn sends what was committed, and takes unsettled replies again. If the future is
    /// dropped, the next turn takes over all sagas again.
    pub async fn turn(
        &mut self,
        now: Timestamp,
        rng: &mut fastrand::Rng,
    ) -> Result<TurnReport, Error> {
        let pulse = self.pulse.clone();
        let _turning = pulse.turn();
        self.note_time(now);
        let mut epochs = match self.epochs.take() {
            Some(epochs) => epochs,
            None if self.options.lease.is_some() => {
                // the partitions that its rows name are claimed and subscribed to again
                self.reset();
                self.unsubscribe();
                Epochs::default()
            }
            None => self.take_over().await?,
        };
        let turned = match self.update_ownership(&mut epochs, now).await {
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
            // the consumer may have been fenced for long: drop it, and subscribe again
            Err(Error::Transport(TransportError::Fenced(_))) if self.options.lease.is_some() => {
                self.unsubscribe()
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
    ) -> Result<TurnReport, Error> {
        self.read_lifetime(now).await?;
        self.complete_debts(epochs, now).await?;
        self.pulse.beat();
        let mut batch = self.take_inputs(epochs, now).await?;
        self.note_swept(std::mem::take(&mut batch.swept)).await;
        let mut turned = TurnReport { inputs: batch.inputs, ..TurnReport::default() };
        if batch.inputs > 0 {
            let rejections = batch.rejections;
            self.process(epochs, batch, &mut turned, now, rng).await?;
            self.rejections.drain(..rejections); // decided; those of this turn come after them
        }
        turned.inputs += self.take_page(epochs, now).await?;
        self.mark_aside(epochs).await;
        self.write_faults().await;
        self.poll_remote(now).await?;
        self.sweep(epochs, now).await;
        Ok(turned)
    }

    /// Settles and publishes a batch part by part, and acknowledges all of it at the end.
    async fn process(
        &mut self,
        epochs: &Epochs,
        batch: Batch,
        turned: &mut TurnReport,
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
            self.answer_remote(settled.refused).await;
            // a commit holds, whether or not its commands could be sent
            self.answer(settled.answers);
            sent?;
            self.hand_over(settled.handed, now, rng).await?;
        }
        self.acknowledge().await
    }

    /// Runs turns until `shutdown`, and finishes a running turn.
    ///
    /// # Errors
    /// An error that no retry can fix.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let (mut rng, mut pause) = (fastrand::Rng::new(), Duration::from_millis(10));
        let clock = self.clock.clone();
        self.set_clock(move || Timestamp(clock.now_ms()));
        let keepers = self.options.lease.map(|_| Keepers::spawn(self.renewal(), self.probe()));
        let _watch = WatchTask::spawn(self.definition_watch());
        let _reader = ReaderTask::spawn(self.announcement_reader());
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
                    tracing::warn!(%error, "turn failed, retrying");
                    self.reject_requests(&error);
                    tokio::time::sleep(pause).await;
                    // a long pause would outlast the lease
                    let lease = self.options.lease.unwrap_or(PAUSE_MAX);
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

    /// Returns the current time of the store's database.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_ms())
    }

    /// Returns the renewal of this orchestrator's leases, for a caller that drives turns itself.
    /// `run` spawns its own. It has its own connections: requests that hold all others delay none.
    pub fn renewal(&self) -> Renewal {
        let (options, store, clock) =
            (self.options.clone(), self.store.apart(), self.clock.clone());
        Renewal { options, store, clock, pulse: self.pulse.clone() }
    }

    /// Returns the probe of this orchestrator's transport, for a caller that drives turns itself.
    /// `run` spawns its own.
    pub fn probe(&self) -> Probe {
        let (options, transport, pulse) =
            (self.options.clone(), self.transport.clone(), self.pulse.clone());
        Probe { options, transport, pulse, acknowledged_seen: 0 }
    }

    /// Returns the poll for changes that other processes make to definitions, for a caller that
    /// drives turns itself. `run` spawns its own.
    pub fn definition_watch(&self) -> DefinitionWatch {
        DefinitionWatch::of(self.registrar.clone())
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

    /// Whether a takeover has sagas left to read.
    pub fn takes_over(&self) -> bool {
        !self.takeover.is_over()
    }

    /// Whether the next turn may succeed after this error. With shared partitions, an orchestrator
    /// that lost some continues with the others.
    pub fn outlives(&self, error: &Error) -> bool {
        let shared = self.options.lease.is_some();
        match error {
            Error::OwnershipLost { .. } | Error::Transport(TransportError::Fenced(_)) if shared => {
                true
            }
            // the topic may be about to be recreated
            Error::Transport(TransportError::UnknownTopic(_)) => true,
            error => error.is_transient(),
        }
    }

    /// Waits for a request, a reply, a survey or a timer.
    async fn wait(&mut self, now: Timestamp) {
        if self.takes_over() || !self.rejections.is_empty() {
            return;
        }
        let survey = (self.options.lease.is_some() && self.surveys_at_once).then_some(now);
        let of_sagas = [self.live.next_due(), self.strays.next_due(), self.blocked.next_due()];
        let due = of_sagas.into_iter().chain([self.next_sweep(), survey, self.remote.next_due()]);
        let due = due.flatten().min();
        let pause = due.map_or(Duration::from_secs(3600), |due| due.since(now));
        tokio::select! {
            Some(request) = self.requests.recv() => self.inbox.push(request),
            () = ready(&mut self.replies) => {}
            () = self.pulse.surveyed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// Updates the gauges and metrics.
    pub(crate) fn measure(&self, turned: TurnReport) {
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

/// Creates the topics of the orchestrators themselves.
async fn create_own_topics(transport: &dyn Transport, options: &Options) -> Result<(), Error> {
    let Options { reply_topic, reply_partitions, lease, .. } = options;
    transport.create_topic(reply_topic, *reply_partitions).await?;
    transport.create_topic(&wire::dead_letter_topic(reply_topic), *reply_partitions).await?;
    transport.create_topic(wire::HORIZON_TOPIC, 1).await?;
    if lease.is_some() {
        transport.create_topic(wire::PROBE_TOPIC, 1).await?;
    }
    Ok(())
}

/// Waits for a reply; indefinitely without a consumer.
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
    /// A runtime with several threads must be able to drive it.
    #[test]
    fn an_orchestrators_run_may_move_between_threads() {
        fn is_send<T: Send>(_: impl FnOnce(super::Orchestrator) -> T) {}
        is_send(|orchestrator| orchestrator.run(std::future::pending()));
    }
}
