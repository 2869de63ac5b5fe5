//! The embedded log: one sequence of segment files for all topics, partitions and committed offsets.
//!
//! Whatever prefix of it survives a crash, no committed offset in it is ahead of a record that is lost with the tail.
//! One process at a time works on a log; within it, `Log` is shared freely.

mod consumer;
mod frame;
mod groups;
mod index;
mod recover;
mod retire;
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

/// The embedded durable log. Clones share it; when the last one and the last consumer are gone, it is synced and closed.
///
/// What is published survives the death of the process at once, and that of the machine once the syncing thread has
/// followed (about [`Options::sync_pause`] later, or after [`Log::sync`]): [`Transport::synced`] waits for that.
///
/// A partition has one consumer in each group: a second one takes over, and the first one's calls fail from then on
/// with [`Error::Fenced`].
#[derive(Clone)]
pub struct Log {
    handle: Arc<Handle>,
    repair: Repair,
}

/// The bounds of a log.
#[derive(Clone, Debug)]
pub struct Options {
    /// A file is finished at about this size; at most 1 GiB.
    pub segment_bytes: u64,
    /// The size from which records are refused that add to the backlog; a quarter above it all are.
    pub size_bytes_max: u64,
    /// How much is kept of a topic that no group has ever subscribed to, like dead letters; then the oldest ones go.
    pub retention_bytes: u64,
    /// The largest record, with its key, headers and a few bytes around them.
    pub record_bytes_max: usize,
    /// How much of the youngest records is held in memory as well.
    pub recent_bytes_max: usize,
    /// How much one poll gives, about; but always one record.
    pub poll_bytes_max: usize,
    /// How long the syncing thread rests between two syncs.
    pub sync_pause: Duration,
}

/// What had to be done to a log before it could be used: after a crash the last file may end in the middle of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// The file that was cut, if one was.
    pub file: Option<String>,
    /// How many bytes were cut off its end.
    pub bytes_cut: u64,
}

/// Figures of a log since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How large its files are together.
    pub bytes: u64,
    /// How many files.
    pub segments: u64,
    /// Records published.
    pub records: u64,
    /// Batches published.
    pub batches: u64,
    /// Syncs.
    pub syncs: u64,
    /// What the death of the machine would lose now.
    pub unsynced_bytes: u64,
}

impl Default for Options {
    /// 64 MiB a file, 8 GiB in all, 256 MiB of a topic that nobody reads, 1 MiB a record, 32 MiB in memory.
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
    /// Opens the log in a directory, made when it is not there, with a thread that syncs behind the writers.
    /// [`Error::InUse`] when another process has it; [`Error::Damaged`] when more is broken than a torn end.
    pub fn open(directory: &Path, options: Options) -> Result<Log, Error> {
        let disk = disk::Directory::at(directory)?;
        let lock = disk.lock()?;
        let (state, repair) = recover::recover(Arc::new(disk), bounded(options))?;
        Ok(Log { handle: Arc::new(Handle::with_thread(state, lock)?), repair })
    }

    /// Opens the log on any disk, without a thread: it is synced by [`Log::sync`] and where it has to be.
    pub fn on(disk: Arc<dyn Disk>, options: Options) -> Result<Log, Error> {
        let lock = disk.lock()?;
        let (state, repair) = recover::recover(disk, bounded(options))?;
        Ok(Log { handle: Arc::new(Handle::new(state, lock)), repair })
    }

    /// What opening had to repair.
    pub fn repair(&self) -> &Repair {
        &self.repair
    }

    /// Everything published and committed so far survives the death of the machine.
    pub fn sync(&self) -> Result<(), Error> {
        self.handle.state().sync()
    }

    /// The figures now.
    pub fn stats(&self) -> Stats {
        let state = self.handle.state();
        let unsynced = state.segments.iter().map(|segment| segment.length - segment.synced).sum();
        Stats { bytes: state.bytes(), segments: state.segments.len() as u64, unsynced_bytes: unsynced, ..state.stats }
    }

    fn publish_now(&self, records: Vec<Record>) -> Vec<Result<(), Error>> {
        if records.is_empty() {
            return Vec::new();
        }
        let mut woken = Vec::new();
        let published = self.handle.state().publish(records, &mut woken);
        self.handle.something_to_sync(); // also after an error: a part of the batch may be there
        woken.iter().for_each(|seat| seat.notify.notify_one());
        published
    }
}

/// Positions in a segment have 32 bits.
fn bounded(options: Options) -> Options {
    let record_bytes_max = options.record_bytes_max.min(64 << 20);
    Options { segment_bytes: options.segment_bytes.clamp(1, 1 << 30), record_bytes_max, ..options }
}

impl Transport for Log {
    fn create_topic<'a>(&'a self, topic: &'a str, partitions: u32) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let is_new = self.handle.state().create_topic(topic, partitions)?;
            if is_new { self.sync() } else { Ok(()) } // a topic outlives the machine from here on
        })
    }

    fn publish_each(&self, records: Vec<Record>) -> BoxFuture<'_, Vec<Result<(), Error>>> {
        Box::pin(async move { self.publish_now(records) })
    }

    /// Without the syncing thread it syncs by itself.
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

    fn subscribe(&self, subscription: Subscription) -> BoxFuture<'_, Result<Box<dyn Consumer>, Error>> {
        Box::pin(async move {
            let seated = self.handle.state().subscribe(&subscription)?;
            self.handle.something_to_sync();
            let consumer: Box<dyn Consumer> = Box::new(LogConsumer::new(self.handle.clone(), seated));
            Ok(consumer)
        })
    }
}
