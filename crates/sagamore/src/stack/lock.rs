//! The lock of a data directory. The operating system releases it at the end of the process, even
//! after a crash.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::error::Error;

/// A held lock of a data directory.
pub struct Lock {
    file: File,
}

impl Lock {
    /// Locks the directory, or returns the id of the process that holds the lock.
    pub fn take(data: &Path) -> Result<Lock, Error> {
        let broken = |source| Error::Directory { path: data.to_owned(), source };
        let path = data.join("sagamore.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(broken)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(broken)?;
                return Err(Error::InUse { path: data.to_owned(), pid: pid.trim().to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(broken(source)),
        }
        file.set_len(0).map_err(broken)?;
        writeln!(file, "{}", std::process::id()).map_err(broken)?;
        Ok(Lock { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // removing the file would let two processes lock two files of the same name
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_directory_reports_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let held = Lock::take(directory.path()).unwrap();
        let Err(Error::InUse { pid, .. }) = Lock::take(directory.path()) else {
            panic!("locked twice")
        };
        assert_eq!(pid, std::process::id().to_string());
        drop(held);
        assert!(Lock::take(directory.path()).is_ok());
    }
}
