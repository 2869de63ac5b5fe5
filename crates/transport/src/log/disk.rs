//! The disk of the log: numbered files that are only appended to. A directory, or memory in tests.

use std::any::Any;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;

/// Storage of the log's files.
pub trait Disk: Send + Sync {
    /// Locks the disk for one log until the returned guard is dropped.
    fn lock(&self) -> Result<Box<dyn Any + Send + Sync>, Error>;

    /// Returns the numbers of the existing files, ascending.
    fn list(&self) -> io::Result<Vec<u32>>;

    /// Opens or creates a file. Its name, but not its content, is durable on return.
    fn open(&self, number: u32) -> io::Result<Arc<dyn File>>;

    /// Removes a file durably. Open handles can still read it.
    fn remove(&self, number: u32) -> io::Result<()>;

    /// Returns the file's name, for error messages.
    fn name(&self, number: u32) -> String;
}

/// One file. Each method succeeds completely or fails. A failed write may leave a part of its
/// bytes.
pub trait File: Send + Sync {
    /// Writes all bytes at a position. They survive the death of the process, but not a power loss.
    fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads exactly `length` bytes.
    fn read(&self, position: u64, length: usize) -> io::Result<Vec<u8>>;

    /// Makes all earlier writes survive a power loss.
    fn sync(&self) -> io::Result<()>;

    /// Truncates the file to `length` bytes.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Returns the file's length.
    fn length(&self) -> io::Result<u64>;
}

/// Creates a directory and its parents. New ones survive a power loss, as their later content does.
pub fn create_directory(path: &Path) -> io::Result<()> {
    let is_new = |directory: &&Path| !directory.as_os_str().is_empty() && !directory.is_dir();
    let new: Vec<&Path> = path.ancestors().take_while(is_new).collect();
    fs::create_dir_all(path)?;
    for above in new.iter().filter_map(|directory| directory.parent()) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        fs::File::open(above)?.sync_all()?;
    }
    Ok(())
}

/// A directory of a real file system.
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Opens or creates the directory at `path`.
    pub fn at(path: &Path) -> Result<Directory, Error> {
        create_directory(path).map_err(|error| {
            Error::Unavailable(format!("create directory {}: {error}", path.display()))
        })?;
        Ok(Directory { path: path.to_owned() })
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }

    fn file(&self, number: u32) -> PathBuf {
        self.path.join(format!("{number:010}.log"))
    }
}

impl Disk for Directory {
    fn lock(&self) -> Result<Box<dyn Any + Send + Sync>, Error> {
        let path = self.path.join("lock");
        let failed =
            |error: io::Error| Error::Unavailable(format!("lock {}: {error}", path.display()));
        let open =
            fs::File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(Error::InUse(self.in_use(&mut file))),
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Box::new(Locked(file)))
    }

    fn list(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_suffix(".log"))
                .and_then(|stem| stem.parse::<u32>().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn open(&self, number: u32) -> io::Result<Arc<dyn File>> {
        let path = self.file(number);
        let file =
            fs::File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        self.sync()?;
        Ok(Arc::new(file))
    }

    fn remove(&self, number: u32) -> io::Result<()> {
        fs::remove_file(self.file(number))?;
        self.sync()
    }

    fn name(&self, number: u32) -> String {
        self.file(number).display().to_string()
    }
}

struct Locked(fs::File);

impl Drop for Locked {
    /// Releases the lock explicitly. Closing is not enough, because a process that is being forked
    /// holds the file until it executes.
    fn drop(&mut self) {
        // if it fails, the close that follows releases the lock
        let _unlocked = self.0.unlock();
    }
}

impl Directory {
    fn in_use(&self, lock: &mut fs::File) -> String {
        let mut pid = String::new();
        let by = match lock.read_to_string(&mut pid) {
            Ok(_) if !pid.is_empty() => format!("process {pid}"),
            Ok(_) | Err(_) => "another process".to_owned(),
        };
        format!(
            "{} is in use by {by}: stop that process, or configure another directory",
            self.path.display()
        )
    }
}

impl File for fs::File {
    fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, position)
    }

    fn read(&self, position: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.read_exact_at(&mut bytes, position)?;
        Ok(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
