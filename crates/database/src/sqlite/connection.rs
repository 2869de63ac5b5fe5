//! Opening connections, and excluding a second process.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::map;
use crate::error::Error;

/// Capacity of the statement cache, larger than the number of statements in the program.
const STATEMENTS_CACHED: usize = 256;
/// Maximum time that a statement waits, inline, for another process that holds the file, such as an
/// SQLite shell.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// Attempts to lock the file. A process that has just closed the database may still hold the lock.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Opens the writing connection.
pub(super) fn open(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(map::error)?;
    prepare(&connection)?;
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
             PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -32000;",
        )
        .map_err(map::error)?;
    Ok(connection)
}

/// Opens a reading connection.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(map::error)?;
    prepare(&connection)?;
    connection.execute_batch("PRAGMA query_only = ON").map_err(map::error)?;
    Ok(connection)
}

/// Opens a new database in memory.
pub(super) fn memory() -> Result<Connection, Error> {
    let connection = Connection::open_in_memory().map_err(map::error)?;
    prepare(&connection)?;
    Ok(connection)
}

/// Creates the directories above `path`. New directories survive a power loss, like the files that
/// are later created in them.
pub(super) fn create_directory(path: &Path) -> Result<(), Error> {
    let failed = |why: std::io::Error| {
        Error::Unavailable(format!("create the directory of {}: {why}", path.display()))
    };
    let is_new = |directory: &&Path| !directory.as_os_str().is_empty() && !directory.is_dir();
    let new: Vec<PathBuf> =
        path.ancestors().skip(1).take_while(is_new).map(Path::to_owned).collect();
    if let Some(directory) = new.first() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    for above in new.iter().filter_map(|directory| directory.parent()) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        File::open(above).and_then(|directory| directory.sync_all()).map_err(failed)?;
    }
    Ok(())
}

/// Locks the file beside the database. The operating system releases the lock when the process
/// ends.
pub(super) fn lock(path: &Path) -> Result<File, Error> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let name = PathBuf::from(name);
    let failed =
        |why: std::io::Error| Error::Unavailable(format!("lock {}: {why}", name.display()));
    let file =
        File::options().create(true).write(true).truncate(false).open(&name).map_err(failed)?;
    for attempt in 0..LOCK_ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(why)) => return Err(failed(why)),
            Err(TryLockError::WouldBlock) if attempt + 1 < LOCK_ATTEMPTS => {
                std::thread::sleep(LOCK_PAUSE)
            }
            Err(TryLockError::WouldBlock) => {}
        }
    }
    Err(Error::InUse(format!(
        "another process has {} open: stop that one, or configure another data directory",
        path.display()
    )))
}

fn prepare(connection: &Connection) -> Result<(), Error> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    connection.busy_timeout(BUSY_TIMEOUT).map_err(map::error)?;
    connection
        .execute_batch("PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY")
        .map_err(map::error)
}
