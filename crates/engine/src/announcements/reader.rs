//! The task that reads announcements and stores the latest one of each process.

use std::sync::Arc;
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_core::announcement::Announcement;
use sagamore_database::{Clock, Database};
use sagamore_transport::wire::{PARTICIPANTS_TOPIC, decode_announcement};
use sagamore_transport::{Consumer, Delivery, Mark, Subscription, Transport};
use tokio::task::JoinHandle;

use super::rows::Announcements;
use crate::error::Error;

/// Maximum announcements of a turn.
const BATCH_MAX: usize = 32;
/// Retention of the latest announcement of a process.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// The interval between removals of old rows.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);
/// Stored announcements after which rows are removed before the interval has passed.
const PRUNE_AFTER: usize = 1_000;
/// The pauses after consecutive errors: the first one, doubled by each up to the last one.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The end of the name of a reader's consumer group, after that of its orchestrator or observer.
pub const GROUP_SUFFIX: &str = ".participants";

/// Reads announcements. The readers of one group share the work.
pub struct AnnouncementReader {
    announcements: Announcements,
    transport: Arc<dyn Transport>,
    group: Arc<str>,
    /// The subscription. `None`: the next turn subscribes.
    consumer: Option<Box<dyn Consumer>>,
    prune_due: Option<Timestamp>,
    /// Announcements that were stored since rows were removed.
    stored: usize,
}

impl AnnouncementReader {
    /// Creates the reader of a database, whose consumer group derives from that of its owner.
    pub(crate) fn of(
        database: Database,
        transport: Arc<dyn Transport>,
        group: &str,
        clock: Clock,
    ) -> AnnouncementReader {
        let (consumer, prune_due, stored) = Default::default();
        let group = format!("{group}{GROUP_SUFFIX}").into();
        let announcements = Announcements::of(database, clock, None);
        AnnouncementReader { announcements, transport, group, consumer, prune_due, stored }
    }

    /// Stores the available announcements, and returns the number of records. An unreadable one is
    /// counted, logged and skipped.
    ///
    /// # Errors
    /// The transport or the database failed. The next turn reads the records again.
    pub async fn turn(&mut self, now: Timestamp) -> Result<usize, Error> {
        let turned = self.take(now).await;
        if turned.is_err() {
            self.consumer = None; // the next one starts at the committed offset
        }
        turned
    }

    async fn take(&mut self, now: Timestamp) -> Result<usize, Error> {
        let consumer = match &mut self.consumer {
            Some(consumer) => consumer,
            empty => empty.insert(subscribe(self.transport.as_ref(), &self.group).await?),
        };
        let taken = consumer.poll(BATCH_MAX).await?;
        if !taken.is_empty() {
            let read: Vec<Announcement> = taken.iter().filter_map(decode).collect();
            self.announcements.note(&read, now).await?;
            consumer.commit(Mark::behind(&taken)).await?;
            self.stored += read.len();
        }
        let is_due = self.prune_due.is_none_or(|due| now >= due || due.since(now) > PRUNE_INTERVAL);
        if is_due || self.stored >= PRUNE_AFTER {
            self.announcements.prune(now.minus(RETENTION)).await?;
            (self.prune_due, self.stored) = (Some(now.plus(PRUNE_INTERVAL)), 0);
        }
        Ok(taken.len())
    }

    async fn run(mut self) {
        let mut pause = PAUSES.0;
        loop {
            let turned = match self.announcements.now().await {
                Ok(now) => self.turn(now).await,
                Err(error) => Err(error),
            };
            if turned.is_ok() {
                pause = PAUSES.0;
            }
            match (turned, &mut self.consumer) {
                (Ok(0), Some(consumer)) => tokio::select! {
                    () = consumer.ready() => {}
                    () = tokio::time::sleep(PRUNE_INTERVAL) => {}
                },
                (Ok(_), _) => {}
                (Err(error), _) => {
                    if pause == PAUSES.0 {
                        tracing::warn!(%error, "cannot read announcements, retrying");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }
}

async fn subscribe(
    transport: &dyn Transport,
    group: &Arc<str>,
) -> Result<Box<dyn Consumer>, Error> {
    transport.create_topic(PARTICIPANTS_TOPIC, 1).await?;
    let topics = vec![PARTICIPANTS_TOPIC.into()];
    let subscription = Subscription { group: group.clone(), topics, partitions: None };
    Ok(transport.subscribe(subscription).await?)
}

fn decode(delivery: &Delivery) -> Option<Announcement> {
    let decoded = match &delivery.unreadable {
        None => decode_announcement(&delivery.record).map_err(|defect| defect.to_string()),
        Some(reason) => Err(reason.to_string()),
    };
    let unreadable = |reason: String| {
        tracing::warn!(offset = delivery.offset, reason, "cannot read an announcement, skipping");
        metrics::counter!("sagamore_unreadable_announcements_total").increment(1);
    };
    decoded.map_err(unreadable).ok()
}

/// The reading task. Aborted on drop.
pub(crate) struct ReaderTask(JoinHandle<()>);

impl ReaderTask {
    pub fn spawn(reader: AnnouncementReader) -> ReaderTask {
        ReaderTask(tokio::spawn(reader.run()))
    }
}

impl Drop for ReaderTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
