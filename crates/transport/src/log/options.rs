//! The bounds of a log, and its figures.

use std::time::Duration;

/// The bounds of a log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size at which a file is finished; at most 1 GiB.
    pub segment_bytes: u64,
    /// Size of the log at which records that add to a backlog are rejected. At 125 % of it all
    /// records are rejected.
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

impl Options {
    /// Bounds the options: positions in a segment have 32 bits.
    pub(super) fn bounded(self) -> Options {
        let record_bytes_max = self.record_bytes_max.min(64 << 20);
        Options { segment_bytes: self.segment_bytes.clamp(1, 1 << 30), record_bytes_max, ..self }
    }
}
