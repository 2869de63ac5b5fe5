//! The state that a participant carries from turn to turn, and its subscription.

use std::sync::Arc;
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_database::{Clock, Database, lifetime};
use sagamore_transport::wire::{HORIZON_TOPIC, command_topic, dead_letter_topic};
use sagamore_transport::{Consumer, Subscription, Transport};

use crate::barrier;
use crate::emitted;
use crate::error::Error;
use crate::load::Load;
use crate::options::Options;
use crate::outbox::Outbox;
use crate::retention::Retention;
use crate::service::Service;
use crate::unsynced::Unsynced;

/// The program's version in the barrier's schema.
const PROGRAM: u32 = 1;

/// The state of a participant. Its phases take `&mut self`: a consumer is [`Send`] but not `Sync`,
/// so a shared reference would tie a turn to one thread.
pub(crate) struct TurnState {
    pub service: Service,
    pub database: Database,
    pub transport: Arc<dyn Transport>,
    pub options: Options,
    pub load: Load,
    /// The subscription. `None`: the next turn subscribes.
    pub consumer: Option<Box<dyn Consumer>>,
    /// Whether delivered records are unfinished, so that the consumer must rewind.
    pub unsettled: bool,
    pub outbox: Outbox,
    /// The time of the next check of the inbox and the outbox.
    pub check_due: Timestamp,
    /// Rows of the inbox and the outbox that wait for a sync of the transport.
    pub unsynced: Unsynced,
    pub retention: Retention,
}

impl TurnState {
    /// The interval between checks of the inbox and the outbox, unless the outbox is woken.
    pub(crate) const CHECK_INTERVAL: Duration = Duration::from_millis(500);

    /// Creates the state of a participant without a subscription.
    pub(crate) fn new(
        service: Service,
        database: Database,
        transport: Arc<dyn Transport>,
        options: Options,
        clock: Clock,
    ) -> TurnState {
        TurnState {
            outbox: Outbox::by(clock),
            service,
            database,
            transport,
            load: Load::of(&options),
            options,
            consumer: None,
            unsettled: false,
            check_due: Timestamp(i64::MIN),
            unsynced: Unsynced::default(),
            retention: Retention::default(),
        }
    }

    /// Migrates the schema of the service and of its barrier.
    pub(crate) async fn migrate(&mut self) -> Result<(), Error> {
        let (service, database) = (&self.service, &self.database);
        database.migrate("barrier", barrier::MIGRATIONS, PROGRAM).await?;
        database.migrate("lifetime", lifetime::MIGRATIONS, PROGRAM).await?;
        database
            .migrate(service.name().as_str(), &service.schema(), service.program_version())
            .await?;
        if service.is_choreographed() {
            database.migrate("events", emitted::MIGRATIONS, PROGRAM).await?;
        }
        Ok(())
    }

    /// Returns the subscription, and subscribes if there is none.
    pub(super) async fn consumer(&mut self) -> Result<&mut Box<dyn Consumer>, Error> {
        let opened = match self.consumer.take() {
            Some(consumer) => consumer,
            None => self.open().await?,
        };
        Ok(self.consumer.insert(opened))
    }

    /// Subscribes, unless it has: migrates the schema and creates the topics first.
    pub(crate) async fn subscribe(&mut self) -> Result<(), Error> {
        self.consumer().await.map(drop)
    }

    async fn open(&mut self) -> Result<Box<dyn Consumer>, Error> {
        self.migrate().await?;
        let (service, transport) = (&self.service, self.transport.as_ref());
        let mut topics: Vec<Arc<str>> = Vec::new();
        if service.is_commanded() {
            topics.push(command_topic(service.name()));
        }
        if service.is_choreographed() {
            topics.extend(service.reacts_to().map(Arc::from));
            emitted::end_leases(&self.database).await?;
            for emitted in service.tells() {
                transport.create_topic(emitted, self.options.partitions).await?;
            }
        }
        for topic in &topics {
            transport.create_topic(topic, self.options.partitions).await?;
            transport.create_topic(&dead_letter_topic(topic), self.options.partitions).await?;
        }
        transport.create_topic(HORIZON_TOPIC, 1).await?;
        topics.push(HORIZON_TOPIC.into());
        let group = service.name().as_str().into();
        Ok(transport.subscribe(Subscription { group, topics, partitions: None }).await?)
    }
}
