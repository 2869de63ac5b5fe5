//! The opening of a log: reads all segments in order, truncates a torn tail, and rebuilds the
//! index.

use std::sync::Arc;

use crate::error::Error;
use crate::log::disk::{Disk, File};
use crate::log::frame::{self, Frame, HEAD_BYTES};
use crate::log::groups::Groups;
use crate::log::index::{Index, Place};
use crate::log::options::{Options, Repair, Stats};
use crate::log::segment::{Segment, fault};
use crate::log::state::State;
use crate::log::synced::SyncProgress;

/// Opens the log on a disk.
pub(super) fn recover(disk: Arc<dyn Disk>, options: Options) -> Result<(State, Repair), Error> {
    let mut numbers = disk.list().map_err(|error| fault("list", "the log's files", &error))?;
    let mut repair = drop_unbegun(disk.as_ref(), &mut numbers)?;
    let mut state = State {
        options,
        disk,
        segments: Default::default(),
        index: Index::default(),
        groups: Groups::default(),
        moved: false,
        broken: None,
        synced: SyncProgress::new(),
        stats: Stats::default(),
        buffer: Vec::new(),
    };
    for number in &numbers {
        let last = Some(number) == numbers.last();
        let cut = state.load(*number, last)?;
        if cut > 0 {
            repair.file = Some(state.disk.name(*number));
            repair.bytes_cut += cut;
        }
    }
    state.close_gaps()?;
    state.begin(numbers.last().copied())?;
    state.retire()?;
    Ok((state, repair))
}

/// Removes the last file if it has no complete snapshot and is not the only file. It was never
/// used, because the disk was full at its creation.
///
/// The log may have continued in the previous file. That file is then the last one, which a crash
/// may have torn.
fn drop_unbegun(disk: &dyn Disk, numbers: &mut Vec<u32>) -> Result<Repair, Error> {
    let [.., _, last] = numbers[..] else { return Ok(Repair::default()) };
    let failed = |verb: &str, error: std::io::Error| fault(verb, &disk.name(last), &error);
    let file = disk.open(last).map_err(|error| failed("open", error))?;
    let bytes = file.length().map_err(|error| failed("measure", error))?;
    if is_begun(file.as_ref(), bytes).map_err(|error| failed("read", error))? {
        return Ok(Repair::default());
    }
    disk.remove(last).map_err(|error| failed("remove", error))?;
    numbers.pop();
    Ok(Repair { file: (bytes > 0).then(|| disk.name(last)), bytes_cut: bytes })
}

/// Returns whether the file starts with a whole frame.
fn is_begun(file: &dyn File, bytes: u64) -> std::io::Result<bool> {
    if bytes < HEAD_BYTES as u64 {
        return Ok(false);
    }
    let length = frame::length(&file.read(0, HEAD_BYTES)?).filter(|length| *length as u64 <= bytes);
    Ok(match length {
        Some(length) => frame::payload(&file.read(0, length)?).is_some(),
        None => false,
    })
}

impl State {
    /// Reads one segment. Returns the number of truncated bytes.
    fn load(&mut self, number: u32, last: bool) -> Result<u64, Error> {
        let disk = self.disk.clone();
        let failed = |verb: &str, error: std::io::Error| fault(verb, &disk.name(number), &error);
        let file = disk.open(number).map_err(|error| failed("open", error))?;
        let length = file.length().map_err(|error| failed("measure", error))?;
        let whole = usize::try_from(length)
            .map_err(|_| Error::Damaged(format!("{length} bytes in one file")))?;
        let bytes = file.read(0, whole).map_err(|error| failed("read", error))?;
        let mut segment = Segment::new(number, file, 0);
        let mut at = 0;
        while let Some(payload) = frame::payload(&bytes[at..]) {
            let length = HEAD_BYTES + payload.len();
            let place =
                Place { segment: number, position: position(at)?, length: position(length)? };
            let known = frame::parse(payload)
                .and_then(|frame| self.learn(frame, at == 0, place, &mut segment));
            known.ok_or_else(|| {
                self.damaged(number, at, "was written by another program or a newer version")
            })?;
            at += length;
        }
        let cut = (whole - at) as u64;
        if cut > 0 && !last {
            return Err(self.damaged(number, at, "is damaged, and later files follow"));
        }
        if cut > 0 {
            segment.file.truncate(at as u64).map_err(|error| failed("truncate", error))?;
        }
        // a process that died may have left unsynced bytes, which must be synced before new bytes
        // depend on them
        segment.file.sync().map_err(|error| failed("sync", error))?;
        segment.length = at as u64;
        segment.synced = segment.length;
        self.segments.push_back(segment);
        Ok(cut)
    }

    /// Adds one frame to the state; `None` if it is inconsistent.
    fn learn(
        &mut self,
        frame: Frame,
        first: bool,
        place: Place,
        segment: &mut Segment,
    ) -> Option<()> {
        match frame {
            Frame::Snapshot(topics, groups) if first => {
                topics.iter().for_each(|topic| self.index.learn(topic));
                groups.iter().try_for_each(|marks| self.groups.learn(&self.index, marks))
            }
            Frame::Record(at) if !first => {
                let slot = self.index.slot(at.topic, at.partition)?;
                self.index.partitions[slot].put(at.offset, place);
                segment.holds(slot, at.offset);
                Some(())
            }
            Frame::Offsets(marks) if !first => self.groups.learn(&self.index, &marks),
            Frame::Topic(topic) if !first => {
                self.index.learn(&topic);
                Some(())
            }
            Frame::Snapshot(..) | Frame::Record(_) | Frame::Offsets(_) | Frame::Topic(_) => None,
        }
    }

    /// Ensures that no offset before a group's mark is reused, and that no record is missing that a
    /// group still needs.
    fn close_gaps(&mut self) -> Result<(), Error> {
        let marks: Vec<_> = self.groups.marks().collect();
        for (slot, mark) in marks {
            self.index.partitions[slot].extend_to(mark);
        }
        for slot in 0..self.index.partitions.len() {
            let first = self.index.partitions[slot].close_gaps();
            if let Some(floor) = self.groups.floor(slot).filter(|floor| *floor < first) {
                let (topic, partition) =
                    (&self.index.topic_of(slot).name, self.index.partitions[slot].number);
                return Err(Error::Damaged(format!(
                    "records {floor} to {} of topic '{topic}', partition {partition}, are missing: \
                     a file of the log \
                     was removed. Restore it, or move the whole directory away to start with an \
                     empty log",
                    first - 1
                )));
            }
        }
        Ok(())
    }

    /// Ensures that there is a current segment that starts with a snapshot.
    fn begin(&mut self, last: Option<u32>) -> Result<(), Error> {
        if last.is_none() {
            self.segments.push_back(Segment::create(self.disk.as_ref(), 1)?);
        }
        if self.current().length == 0 {
            let (topics, groups) = (self.index.states(), self.groups.states(&self.index));
            self.buffer.clear();
            frame::put_snapshot(&mut self.buffer, &topics, &groups);
            self.write()?;
            self.sync()?;
        }
        Ok(())
    }

    fn damaged(&self, number: u32, at: usize, what: &str) -> Error {
        Error::Damaged(format!(
            "{}: the frame at byte {at} {what}. Restore the file from a copy, or move the whole \
             directory away to \
             start with an empty log: the coordinator resends outstanding commands",
            self.disk.name(number)
        ))
    }
}

fn position(at: usize) -> Result<u32, Error> {
    u32::try_from(at).map_err(|_| Error::Damaged(format!("a file of more than {} bytes", u32::MAX)))
}
