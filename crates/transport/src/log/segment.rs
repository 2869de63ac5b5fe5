//! The sequence of segment files, and the offsets in each.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::error::Error;
use crate::log::disk::{Disk, File};
use crate::log::index::Slot;

/// One segment file.
pub(super) struct Segment {
    pub number: u32,
    pub file: Arc<dyn File>,
    /// Bytes of complete frames.
    pub length: u64,
    /// Bytes that survive a power loss.
    pub synced: u64,
    /// Whether a failed write left bytes behind.
    pub ragged: bool,
    /// By slot: the least and the greatest offset of the records that were ever in this segment.
    spans: Vec<Option<(u64, u64)>>,
}

impl Segment {
    /// Opens a segment whose file has `length` bytes.
    pub fn new(number: u32, file: Arc<dyn File>, length: u64) -> Segment {
        Segment { number, file, length, synced: length, ragged: false, spans: Vec::new() }
    }

    /// Creates an empty segment.
    pub fn create(disk: &dyn Disk, number: u32) -> Result<Segment, Error> {
        let file =
            disk.open(number).map_err(|error| fault("create", &disk.name(number), &error))?;
        Ok(Segment::new(number, file, 0))
    }

    /// Appends frames. After an error none of them is part of the segment.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.ragged {
            self.file.truncate(self.length)?;
            self.ragged = false;
        }
        if let Err(error) = self.file.write(self.length, bytes) {
            self.ragged = self.file.truncate(self.length).is_err();
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Syncs the segment, so that it survives a power loss.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.synced < self.length {
            self.file.sync()?;
            self.synced = self.length;
        }
        Ok(())
    }

    /// Records that the segment contains a record.
    pub fn holds(&mut self, slot: Slot, offset: u64) {
        if self.spans.len() <= slot {
            self.spans.resize(slot + 1, None);
        }
        let span = self.spans[slot].get_or_insert((offset, offset));
        *span = (span.0.min(offset), span.1.max(offset));
    }

    /// Iterates over the offset ranges of the partitions with records in the segment.
    pub fn spans(&self) -> impl Iterator<Item = (Slot, RangeInclusive<u64>)> {
        self.spans
            .iter()
            .enumerate()
            .filter_map(|(slot, span)| span.map(|(first, last)| (slot, first..=last)))
    }
}

/// Converts an error of a file operation.
pub(super) fn fault(verb: &str, name: &str, error: &io::Error) -> Error {
    let text = format!("{verb} {name}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full(text),
        _ => Error::Unavailable(text),
    }
}
