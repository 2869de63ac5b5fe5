//! The embedded log: one sequence of segment files for all topics, partitions and committed
//! offsets.
//!
//! In every prefix of it that survives a crash, no committed offset is ahead of a lost record. One
//! process at a time uses a log. Within the process, `Log` is shared freely.

mod consumer;
mod frame;
mod groups;
mod index;
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
use std::time::Duration;

use crate::error::Error;
use crate::port::{BoxFuture, Consumer, Subscription, Transport};
use crate::record::Record;

use consumer::LogConsumer;
use sync::Handle;

pub use disk::{Disk, File, create_directory};
pub use memory::MemoryDisk;

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

/// The bounds of a log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size at which a file is finished; at most 1 GiB.
    pub segment_bytes: u64,
    /// Size of the log from which records are rejected that add to a backlog. All are rejected at a
    /// quarter more.
    pub size_bytes_max: u64,
    /// Bytes retained of a topic without any consumer group, such as dead letters. The oldest are
    /// removed first.
    pub retention_bytes: u64,
    /// Maximum bytes of a record with key, headers and framing.
    pub record_bytes_max: usize,
    /// Maximum bytes of the youngest records that are also held in memory.
    pub recent_bytes_max: usize,
    /// Approximate maximum bytes of one poll, which returns at least one record.
    pub poll_bytes_max: usize,
    /// The pause of the syncing thread between two syncs.
    pub sync_pause: Duration,
}

/// The repair of a log at its opening. After a crash the last file may end in the middle of a
/// record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// The name of the truncated file, if there is one.
    pub file: Option<String>,
    /// The number of bytes that were truncated.
    pub bytes_cut: u64,
}

/// Statistics of a log since its opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of all files.
    pub bytes: u64,
    /// Number of files.
    pub segments: u64,
    /// Number of published records.
    pub records: u64,
    /// Number of published batches.
    pub batches: u64,
    /// Number of syncs.
    pub syncs: u64,
    /// Bytes that a power loss would lose now.
    pub unsynced_bytes: u64,
}

impl Default for Options {
    /// 64 MiB per file, 8 GiB in total, 256 MiB of a topic without consumers, 1 MiB per record, 32
    /// MiB in memory.
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            size_bytes_max: 8 << 30,
            retention_bytes: 256 << 20,
            record_bytes_max: 1 << 20,
            recent_bytes_max: 32 << 20,
            poll_bytes_max: 4 << 20,
            sync_pause: Duration::from_millis(10),
        }
    }
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
        let (state, repair) = recover::recover(Arc::new(disk), bounded(options))?;
        Ok(Log { handle: Arc::new(Handle::with_thread(state, lock)?), repair })
    }

    /// Opens the log on any disk, without a thread: only [`Log::sync`] and the log's own needs sync
    /// it.
    pub fn on(disk: Arc<dyn Disk>, options: Options) -> Result<Log, Error> {
        let lock = disk.lock()?;
        let (state, repair) = recover::recover(disk, bounded(options))?;
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

/// Bounds the options: positions in a segment have 32 bits.
fn bounded(options: Options) -> Options {
    let record_bytes_max = options.record_bytes_max.min(64 << 20);
    Options { segment_bytes: options.segment_bytes.clamp(1, 1 << 30), record_bytes_max, ..options }
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
