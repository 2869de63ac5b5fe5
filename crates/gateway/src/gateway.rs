//! The gateway of one participant. [`Gateway::turn`] lists its phases, and each is a file here.
//!
//! **Invariant:** the offset of a command is committed after the transport has acknowledged its
//! reply. A crash repeats calls, and loses none.

mod acknowledge;
mod call;
mod meter;
mod publish;
mod receive;
mod swept;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::{Name, ReplyTo, Timestamp};
use sagamore_database::{Clock, Database};
use sagamore_transport::wire::{HORIZON_TOPIC, command_topic, dead_letter_topic};
use sagamore_transport::{Consumer, Error as TransportError, Subscription, Transport};

use crate::announcing::Announcing;
use crate::binding::{Binding, Egress};
use crate::client::Client;
use crate::contract::Contracts;
use crate::error::Error;
use crate::lanes::Lanes;
use crate::ledger::Ledger;
use crate::sent::{Removal, Sent};
use crate::token::ReplyKeys;
use call::{Caller, Calls};
use publish::Owed;
use receive::CommandItem;

/// The pause after a first failure.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// Options of a gateway.
#[derive(Clone, Debug)]
pub struct Options {
    /// The keys of reply tokens; `None`: requests have no token.
    pub reply_keys: Option<ReplyKeys>,
    /// Partitions of topics that the gateway creates.
    pub partitions: u32,
    /// Maximum records that are taken and not committed. A slow call holds back the offsets behind
    /// it, and a crash repeats them.
    pub records_max: usize,
    /// Bytes of commands in hand from which no more are taken. The last poll may exceed it by one
    /// record per call.
    pub bytes_max: usize,
    /// The time after the end of a saga or chain for which its rows stay. It is that of
    /// orchestrators and observers.
    pub retention: Duration,
    /// The longest pause after a failed turn.
    pub pause_max: Duration,
    /// Time limit of the commands in hand at shutdown. The next process repeats later ones.
    pub stop_max: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            reply_keys: None,
            partitions: 4,
            records_max: 4_096,
            bytes_max: 16 << 20,
            retention: Duration::from_secs(30 * 24 * 3_600),
            pause_max: Duration::from_secs(5),
            stop_max: Duration::from_secs(3),
        }
    }
}

/// A gateway of one participant: commands in, HTTP requests, replies out.
pub struct Gateway {
    participant: Name,
    transport: Arc<dyn Transport>,
    contracts: Arc<dyn Contracts>,
    options: Options,
    concurrency: usize,
    clock: Clock,
    /// The subscription. `None`: the next turn subscribes.
    consumer: Option<Box<dyn Consumer>>,
    ledger: Ledger,
    lanes: Lanes<CommandItem>,
    /// Bytes of the commands in lanes and calls.
    bytes: usize,
    calls: Calls,
    announcing: Announcing,
    owed: Vec<Owed>,
    /// The removal in progress, with the address of its acknowledgement.
    removal: Option<(Removal, ReplyTo)>,
    failures: u32,
    /// Whether the last connection attempt failed.
    is_away: bool,
}

impl Gateway {
    /// Creates a gateway. Its first turn subscribes. `database` stores the commands that must not
    /// be sent twice; a gateway without one rejects such commands with a fault.
    ///
    /// # Errors
    /// The URL is outside of the permitted addresses, or its TLS files cannot be used.
    pub fn new(
        participant: Name,
        binding: Binding,
        egress: &Egress,
        transport: Arc<dyn Transport>,
        contracts: Arc<dyn Contracts>,
        database: Option<Database>,
        options: Options,
    ) -> Result<Gateway, Error> {
        egress.check(&binding.endpoint)?;
        let clock = Clock::process();
        let binding = Arc::new(binding);
        Ok(Gateway {
            concurrency: binding.concurrency.max(1),
            announcing: Announcing {
                participant: participant.clone(),
                client: Client::of(&binding)?,
                binding: binding.clone(),
                transport: transport.clone(),
                clock: clock.clone(),
            },
            calls: Calls::of(Caller {
                client: Client::of(&binding)?,
                binding,
                participant: participant.clone(),
                reply_keys: options.reply_keys.clone(),
                clock: clock.clone(),
                sent: database.map(|database| Sent::new(database, options.retention)),
            }),
            participant,
            transport,
            contracts,
            options,
            clock,
            consumer: None,
            ledger: Ledger::default(),
            lanes: Lanes::default(),
            bytes: 0,
            owed: Vec::new(),
            removal: None,
            failures: 0,
            is_away: false,
        })
    }

    /// Subscribes, so that a process that starts its gateways knows that its topics exist.
    ///
    /// # Errors
    /// The transport or the database failed.
    pub async fn subscribe(&mut self) -> Result<(), Error> {
        self.consumer().await.map(drop)
    }

    /// Takes available commands, starts calls and finishes those that have ended. Does not wait for
    /// a call.
    ///
    /// # Errors
    /// The transport or the database failed. No reply is lost: the next turn publishes it.
    async fn turn(&mut self) -> Result<(), Error> {
        self.receive().await?;
        self.call();
        self.publish().await?;
        self.acknowledge().await
    }

    /// Runs turns until `shutdown`, and then finishes the commands in hand for a limited time.
    ///
    /// # Errors
    /// An error that no retry can fix.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let mut shutdown: Pin<Box<dyn Future<Output = ()> + Send + '_>> = Box::pin(shutdown);
        let _announcing = self.announcing.clone().spawn();
        loop {
            let turned = self.turn().await;
            self.report();
            match turned {
                Ok(()) => self.failures = 0,
                Err(error) if error.is_transient() => self.fail(&error),
                Err(error) => return Err(error),
            }
            tokio::select! {
                biased;
                () = &mut shutdown => return self.finish().await,
                () = self.rest() => {}
            }
        }
    }

    fn fail(&mut self, error: &Error) {
        self.failures = self.failures.saturating_add(1);
        let pause = self.pause();
        tracing::warn!(participant = %self.participant, %error, ?pause, "gateway failed");
    }

    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let pause = PAUSE_MIN.saturating_mul(1 << doublings).min(self.options.pause_max);
        pause.mul_f64(1.0 - fastrand::f64() / 2.0)
    }

    /// Waits until a call ends or a command may be available.
    async fn rest(&mut self) {
        if self.failures > 0 {
            return tokio::time::sleep(self.pause()).await;
        }
        if self.removal.is_some() || self.calls.has_ended() {
            return tokio::task::yield_now().await;
        }
        let has_room = self.room() > 0;
        match &mut self.consumer {
            Some(consumer) if has_room => tokio::select! {
                () = consumer.ready() => {}
                () = self.calls.ended() => {}
            },
            _ => self.calls.ended().await,
        }
    }

    /// Finishes the commands in hand within the time limit, publishes their replies and commits.
    async fn finish(mut self) -> Result<(), Error> {
        let limit = self.options.stop_max;
        let finished = tokio::time::timeout(limit, async {
            self.call(); // calls may have ended in a turn that failed
            self.publish().await?;
            while self.calls.running() > 0 {
                self.calls.ended().await;
                self.call();
                self.publish().await?;
            }
            self.publish().await?;
            self.acknowledge().await?;
            self.transport.synced().await.map_err(Error::from)
        });
        match finished.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(participant = %self.participant, %error, "cannot publish replies")
            }
            Err(_) => {
                tracing::warn!(participant = %self.participant, ?limit, "calls are repeated later")
            }
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now_ms())
    }

    /// Returns the number of commands that may be taken now.
    fn room(&self) -> usize {
        let in_hand = self.lanes.len() + self.calls.running() + self.owed.len();
        if self.bytes >= self.options.bytes_max {
            return 0;
        }
        let records = self.options.records_max.saturating_sub(self.ledger.len());
        self.concurrency.saturating_sub(in_hand).min(records)
    }

    /// Returns the subscription, and subscribes if there is none.
    async fn consumer(&mut self) -> Result<&mut Box<dyn Consumer>, Error> {
        let opened = match self.consumer.take() {
            Some(consumer) => consumer,
            None => self.open().await?,
        };
        Ok(self.consumer.insert(opened))
    }

    /// Drops the subscription if it has failed. Records in hand stay, and their redelivery is
    /// ignored.
    fn or_resubscribe<T>(
        &mut self,
        result: Result<T, TransportError>,
    ) -> Result<T, TransportError> {
        if result.is_err() {
            self.consumer = None;
        }
        result
    }

    async fn open(&mut self) -> Result<Box<dyn Consumer>, Error> {
        let topic = command_topic(&self.participant);
        let dead_letters = dead_letter_topic(&topic);
        self.transport.create_topic(&topic, self.options.partitions).await?;
        self.transport.create_topic(&dead_letters, self.options.partitions).await?;
        self.transport.create_topic(HORIZON_TOPIC, 1).await?;
        let (group, topics) = (self.participant.as_str().into(), vec![topic, HORIZON_TOPIC.into()]);
        Ok(self.transport.subscribe(Subscription { group, topics, partitions: None }).await?)
    }
}
