//! The sequence of files: which ones there are, which one is written, and what each holds.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::error::Error;
use crate::log::disk::{Disk, File};
use crate::log::index::Slot;

/// One file.
pub(super) struct Segment {
    pub number: u32,
    pub file: Arc<dyn File>,
    /// How much of it is frames.
    pub length: u64,
    /// How much of that survives the death of the machine.
    pub synced: u64,
    /// A write failed, and what it left behind is still there.
    pub ragged: bool,
    /// By slot: the least and the greatest offset of its records that were ever here.
    spans: Vec<Option<(u64, u64)>>,
}

impl Segment {
    /// An open file with that much in it.
    pub fn new(number: u32, file: Arc<dyn File>, length: u64) -> Segment {
        Segment { number, file, length, synced: length, ragged: false, spans: Vec::new() }
    }

    /// A new file with nothing in it.
    pub fn create(disk: &dyn Disk, number: u32) -> Result<Segment, Error> {
        let file = disk.open(number).map_err(|error| fault("create", &disk.name(number), &error))?;
        Ok(Segment::new(number, file, 0))
    }

    /// Writes frames behind the others. After an error none of them is there.
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

    /// Everything in it survives the death of the machine.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.synced < self.length {
            self.file.sync()?;
            self.synced = self.length;
        }
        Ok(())
    }

    /// A record is (also) here.
    pub fn holds(&mut self, slot: Slot, offset: u64) {
        if self.spans.len() <= slot {
            self.spans.resize(slot + 1, None);
        }
        let span = self.spans[slot].get_or_insert((offset, offset));
        *span = (span.0.min(offset), span.1.max(offset));
    }

    /// Of each partition that has records here, the offsets among which they are.
    pub fn spans(&self) -> impl Iterator<Item = (Slot, RangeInclusive<u64>)> {
        self.spans.iter().enumerate().filter_map(|(slot, span)| span.map(|(first, last)| (slot, first..=last)))
    }
}

/// A failed operation on a file.
pub(super) fn fault(verb: &str, name: &str, error: &io::Error) -> Error {
    let text = format!("{verb} {name}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full(text),
        _ => Error::Unavailable(text),
    }
}
