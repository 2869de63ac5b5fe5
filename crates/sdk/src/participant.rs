//! The participant: receives commands, runs the service's handlers and replies, in turns.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_core::announcement::ANNOUNCEMENT_INTERVAL;
use sagamore_database::{Clock, Database};
use sagamore_transport::Transport;

use crate::announcer::Announcer;
use crate::chunk::quiet_max;
use crate::error::Error;
use crate::meter::Meter;
use crate::options::Options;
use crate::outbox::Outbox;
use crate::service::Service;
use crate::turn::TurnState;

/// The default time limit of a handler in [`Participant::run`], shorter than a transaction may be
/// idle.
const HANDLER_LIMIT: Duration = Duration::from_secs(2);
/// The time limit of the transport's sync at shutdown.
const FINISH_MAX: Duration = Duration::from_secs(5);
/// The time limit of the last announcement.
const LEAVE_MAX: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The result of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnReport {
    /// The number of messages taken; 0 if there was nothing to do.
    pub taken: usize,
}

/// A running service.
pub struct Participant {
    state: TurnState,
    /// The clock of the service's database.
    clock: Clock,
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
        let state = TurnState::new(service, database, transport, options, clock.clone());
        Participant { state, clock, failures: 0, pause: Duration::ZERO }
    }

    /// Migrates the schema, so that tables can be read and chains started before the first turn.
    pub async fn prepare(&mut self) -> Result<(), Error> {
        self.state.migrate().await
    }

    /// Brings the schema up to date and subscribes, before the first turn. From then on the
    /// embedded log retains what the service has not consumed, even if its database is unavailable
    /// for long.
    pub async fn subscribe(&mut self) -> Result<(), Error> {
        self.state.subscribe().await
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
        let taken = self.state.turn(now, &mut meter).await;
        meter.report(self.state.service.name().as_str(), self.lag());
        let load = &mut self.state.load;
        self.failures = match &taken {
            Ok(_) => {
                load.succeeded();
                0
            }
            Err(_) if load.failed() => 1, // a smaller turn may succeed at once
            Err(_) => self.failures.saturating_add(1),
        };
        self.pause = pause(self.failures, self.state.options.pause_max, rng);
        Ok(TurnReport { taken: taken? })
    }

    /// Returns the pause before the next turn; zero unless the last one failed.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Returns the service's outbox, for starting chains.
    pub fn outbox(&self) -> Outbox {
        self.state.outbox.clone()
    }

    /// Returns the number of waiting messages, if known.
    pub fn lag(&self) -> Option<u64> {
        self.state.consumer.as_ref().map(|consumer| consumer.lag())
    }

    /// Runs turns until `shutdown`, and finishes a running turn. Announces the process while turns
    /// succeed, and its end.
    ///
    /// # Errors
    /// An error that no retry can fix.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let mut rng = fastrand::Rng::new();
        let mut shutdown = std::pin::pin!(shutdown);
        let limit = *self.state.options.handler_limit.get_or_insert(HANDLER_LIMIT);
        // part of the idle limit may have passed before the handler starts
        if let Some(idle) =
            self.state.database.idle_limit().filter(|idle| limit >= *idle - quiet_max(*idle))
        {
            return Err(Error::HandlerLimit { limit, idle });
        }
        let mut announcer = Announcer::of(&self.state.service, &mut rng);
        loop {
            self.state.retention.clocks_disagree = self.clock.disagrees();
            let turned = match self.clock.sample().await {
                Ok(()) => self.turn(self.now(), &mut rng).await,
                Err(error) => {
                    self.pause = self.state.options.pause_max;
                    Err(error.into())
                }
            };
            match &turned {
                Err(error) if error.is_transient() || is_missing_topic(error) => {
                    if is_missing_topic(error) {
                        // the next turn creates the topic and subscribes
                        self.state.consumer = None;
                    }
                    tracing::warn!(
                        service = %self.state.service.name(), %error, pause = ?self.pause,
                        "turn failed"
                    );
                }
                Err(_) => return turned.map(drop),
                Ok(_) => announcer.announce(&self.state.transport, self.now()),
            }
            let pause = match turned {
                Ok(_) => announcer.pause(self.now()).max(PAUSE_MIN),
                Err(_) => ANNOUNCEMENT_INTERVAL, // the pause after a failure is shorter
            };
            tokio::select! {
                biased;
                () = &mut shutdown => {
                    self.finish().await;
                    let leaving = announcer.leave(self.state.transport.as_ref(), self.now());
                    // without it, the process is known to be gone 90 s later
                    let _ = tokio::time::timeout(LEAVE_MAX, leaving).await;
                    return Ok(());
                }
                () = self.rest(turned) => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_ms())
    }

    /// Marks published rows once the transport has synced them. Rows that cannot be marked in time
    /// are published again by the next process, under the same ids.
    async fn finish(&mut self) {
        let finished = tokio::time::timeout(FINISH_MAX, self.state.finish()).await;
        let service = self.state.service.name();
        match finished {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%service, %error, "cannot mark published rows"),
            Err(_) => {
                tracing::warn!(
                    %service, limit = ?FINISH_MAX, "published rows were not synced in time"
                )
            }
        }
    }

    /// Waits until there may be work.
    async fn rest(&mut self, turned: Result<TurnReport, Error>) {
        let TurnState { service, consumer, outbox, retention, .. } = &mut self.state;
        match (turned, consumer) {
            (Ok(TurnReport { taken: 0 }), Some(consumer))
                if service.is_choreographed() && retention.is_idle() =>
            {
                tokio::select! {
                    () = consumer.ready() => {}
                    () = outbox.woken() => {}
                    () = tokio::time::sleep(TurnState::CHECK_INTERVAL) => {}
                }
            }
            (Ok(TurnReport { taken: 0 }), Some(consumer)) if retention.is_idle() => {
                consumer.ready().await
            }
            (Ok(_), _) => tokio::task::yield_now().await,
            (Err(_), _) => tokio::time::sleep(self.pause).await,
        }
    }
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
        let database = Database::postgres(postgres).expect("the URL is valid");
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
