//! The embedded log: one sequence of segment files for all topics, partitions and committed
//! offsets.
//!
//! In every prefix of it that survives a crash, no committed offset is ahead of a lost record. One
//! process at a time uses a log. Within the process, `Log` is shared freely.

mod consumer;
mod frame;
mod groups;
mod index;
mod options;
mod recover;
mod retire;
mod seat;
mod segment;
mod state;
mod sync;
mod synced;

mod disk;
mod memory;

use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::port::{BoxFuture, Consumer, Subscription, Transport};
use crate::record::Record;

use consumer::LogConsumer;
use sync::Handle;

pub use disk::{Disk, File, create_directory};
pub use memory::MemoryDisk;
pub use options::{Options, Repair, Stats};

/// The embedded durable log. Clones share it. Dropping the last clone and the last consumer syncs
/// and closes it.
///
/// Published records survive the death of the process at once. They survive a power loss once the
/// syncing thread has run, about [`Options::sync_pause`] later, or after [`Log::sync`].
/// [`Transport::synced`] waits for that.
///
/// A partition has one consumer per group. A second one takes over, and the first one's calls then
/// fail with [`Error::Fenced`].
#[derive(Clone)]
pub struct Log {
    handle: Arc<Handle>,
    repair: Repair,
}

impl Log {
    /// Opens or creates the log in a directory, with a thread that syncs in the background.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process uses it, [`Error::Damaged`] for damage beyond a torn
    /// end.
    pub fn open(directory: &Path, options: Options) -> Result<Log, Error> {
        let disk = disk::Directory::at(directory)?;
        let lock = disk.lock()?;
        let (state, repair) = recover::recover(Arc::new(disk), options.bounded())?;
        Ok(Log { handle: Arc::new(Handle::with_thread(state, lock)?), repair })
    }

    /// Opens the log on any disk, without a thread: only [`Log::sync`] and the log's own needs sync
    /// it.
    pub fn on(disk: Arc<dyn Disk>, options: Options) -> Result<Log, Error> {
        let lock = disk.lock()?;
        let (state, repair) = recover::recover(disk, options.bounded())?;
        Ok(Log { handle: Arc::new(Handle::new(state, lock)), repair })
    }

    /// Returns the repair at opening.
    pub fn repair(&self) -> &Repair {
        &self.repair
    }

    /// Syncs the log: all records and offsets so far survive a power loss.
    pub fn sync(&self) -> Result<(), Error> {
        self.handle.state().sync()
    }

    /// Returns the current statistics.
    pub fn stats(&self) -> Stats {
        let state = self.handle.state();
        let unsynced = state.segments.iter().map(|segment| segment.length - segment.synced).sum();
        Stats {
            bytes: state.bytes(),
            segments: state.segments.len() as u64,
            unsynced_bytes: unsynced,
            ..state.stats
        }
    }

    fn publish_now(&self, records: Vec<Record>) -> Vec<Result<(), Error>> {
        if records.is_empty() {
            return Vec::new();
        }
        let mut woken = Vec::new();
        let published = self.handle.state().publish(records, &mut woken);
        // also after an error, because a part of the batch may be written
        self.handle.request_sync();
        woken.iter().for_each(|seat| seat.notify.notify_one());
        published
    }
}

impl Transport for Log {
    fn create_topic<'a>(
        &'a self,
        topic: &'a str,
        partitions: u32,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let is_new = self.handle.state().create_topic(topic, partitions)?;
            if is_new { self.sync() } else { Ok(()) } // the topic survives a power loss
        })
    }

    fn topic_exists<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move { Ok(self.handle.state().has_topic(topic)) })
    }

    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>> {
        Box::pin(async move { self.publish_now(records) })
    }

    /// Without the syncing thread, the future itself syncs.
    fn synced(&self) -> BoxFuture<'static, Result<(), Error>> {
        let mut state = self.handle.state();
        let end = state.end();
        if self.handle.has_thread() {
            return Box::pin(state.synced.until(end));
        }
        let handle = self.handle.clone();
        Box::pin(async move { handle.state().sync_until(end) })
    }

    fn check_size(&self, record: &Record) -> Result<(), Error> {
        self.handle.state().check_size(record)
    }

    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        Box::pin(async move {
            let seated = self.handle.state().subscribe(&subscription)?;
            self.handle.request_sync();
            let consumer: Box<dyn Consumer> =
                Box::new(LogConsumer::new(self.handle.clone(), seated));
            Ok(consumer)
        })
    }
}
