//! A disk in memory that tracks synced bytes and can lose the others at any byte.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::error::Error;
use crate::log::disk::{Disk, File};

/// A disk in memory. Clones share it. A log that is opened on it after a crash finds the surviving
/// bytes.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    files: BTreeMap<u32, Arc<Mutex<Content>>>,
    /// The generation of the log that uses the disk. After a crash the old log's writes fail.
    life: u64,
    held: Option<Arc<AtomicBool>>,
    bytes_max: Option<u64>,
    syncs_fail: bool,
}

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    synced: usize,
}

impl MemoryDisk {
    /// Creates an empty disk.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// Returns the bytes that a power loss would lose.
    pub fn unsynced_bytes(&self) -> u64 {
        self.contents().files.values().map(|file| content(file).unsynced() as u64).sum()
    }

    /// Returns the bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.contents().bytes()
    }

    /// Simulates a crash: only the first `keep_bytes` of the unsynced bytes remain, and the open
    /// log can no longer write. With `u64::MAX` only the process dies, and every byte remains.
    pub fn lose_unsynced_tail(&self, keep_bytes: u64) {
        let mut contents = self.contents();
        let mut keep = usize::try_from(keep_bytes).unwrap_or(usize::MAX);
        for file in contents.files.values() {
            let mut file = content(file);
            let kept = file.unsynced().min(keep);
            let length = file.synced + kept;
            file.bytes.truncate(length);
            file.synced = length;
            keep -= kept;
        }
        contents.life += 1;
        contents.held = None;
    }

    /// Limits the disk to this many bytes from now on; `None` removes the limit.
    pub fn limit_bytes(&self, bytes_max: Option<u64>) {
        self.contents().bytes_max = bytes_max;
    }

    /// Makes every sync from now on fail or succeed.
    pub fn fail_syncs(&self, fail: bool) {
        self.contents().syncs_fail = fail;
    }

    /// Returns a copy of the disk with all bytes synced and no lock.
    pub fn copy(&self) -> MemoryDisk {
        let copied = |file: &Arc<Mutex<Content>>| {
            let bytes = content(file).bytes.clone();
            Arc::new(Mutex::new(Content { synced: bytes.len(), bytes }))
        };
        let files =
            self.contents().files.iter().map(|(number, file)| (*number, copied(file))).collect();
        MemoryDisk(Arc::new(Mutex::new(Contents { files, ..Contents::default() })))
    }

    /// Changes the bytes of a file, as a broken disk would.
    pub fn tamper(&self, number: u32, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(file) = self.contents().files.get(&number) {
            let mut file = content(file);
            change(&mut file.bytes);
            file.synced = file.synced.min(file.bytes.len());
        }
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("nothing panics while the disk is held")
    }
}

impl Contents {
    fn bytes(&self) -> u64 {
        self.files.values().map(|file| content(file).bytes.len() as u64).sum()
    }
}

impl Content {
    fn unsynced(&self) -> usize {
        self.bytes.len() - self.synced
    }
}

fn content(file: &Arc<Mutex<Content>>) -> MutexGuard<'_, Content> {
    file.lock().expect("nothing panics while a file is held")
}

struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Disk for MemoryDisk {
    fn lock(&self) -> Result<Box<dyn Any + Send + Sync>, Error> {
        let mut contents = self.contents();
        if contents.held.as_ref().is_some_and(|held| held.load(Ordering::Acquire)) {
            return Err(Error::InUse("the memory disk is in use by another log".to_owned()));
        }
        let held = Arc::new(AtomicBool::new(true));
        contents.held = Some(held.clone());
        Ok(Box::new(Held(held)))
    }

    fn list(&self) -> io::Result<Vec<u32>> {
        Ok(self.contents().files.keys().copied().collect())
    }

    fn open(&self, number: u32) -> io::Result<Arc<dyn File>> {
        let mut contents = self.contents();
        let life = contents.life;
        let content = contents.files.entry(number).or_default().clone();
        Ok(Arc::new(MemoryFile { disk: self.clone(), content, life }))
    }

    fn remove(&self, number: u32) -> io::Result<()> {
        self.contents()
            .files
            .remove(&number)
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn name(&self, number: u32) -> String {
        format!("memory file {number}")
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    content: Arc<Mutex<Content>>,
    life: u64,
}

impl MemoryFile {
    /// Returns the free bytes.
    fn room(&self) -> io::Result<usize> {
        let contents = self.disk.contents();
        if contents.life != self.life {
            return Err(io::Error::other("the machine has died since the file was opened"));
        }
        let left = contents.bytes_max.map(|bytes_max| bytes_max.saturating_sub(contents.bytes()));
        Ok(left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX)))
    }
}

impl File for MemoryFile {
    fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let room = self.room()?;
        let mut content = content(&self.content);
        if position != content.bytes.len() as u64 {
            return Err(io::Error::other("the log writes at the end of a file only"));
        }
        content.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read(&self, position: u64, length: usize) -> io::Result<Vec<u8>> {
        let content = content(&self.content);
        let start = usize::try_from(position).unwrap_or(usize::MAX);
        let bytes = content.bytes.get(start..).and_then(|rest| rest.get(..length));
        bytes.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn sync(&self) -> io::Result<()> {
        self.room()?;
        if self.disk.contents().syncs_fail {
            return Err(io::Error::other("the disk does not sync"));
        }
        let mut content = content(&self.content);
        content.synced = content.bytes.len();
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.room()?;
        let mut content = content(&self.content);
        content.bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        content.synced = content.synced.min(content.bytes.len());
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(content(&self.content).bytes.len() as u64)
    }
}
