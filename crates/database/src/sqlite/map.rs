//! SQLite's errors, sorted by what the caller does about them.

use rusqlite::ErrorCode;

use crate::error::Error;

/// What went wrong in a statement, or in a commit that certainly did not happen.
pub(super) fn error(error: rusqlite::Error) -> Error {
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OperationAborted
            | ErrorCode::OperationInterrupted
            | ErrorCode::SchemaChanged,
        ) => Error::Conflict(text),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => Error::Constraint(text),
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase,
        ) => Error::Unavailable(text),
        Some(_) | None => Error::Statement(text),
    }
}

/// What a failed COMMIT means for the `members` who share it. A deferred constraint that one of them breaks is a reason
/// for the others to try again; after a failure of the disk nobody knows what a restart will find.
pub(super) fn commit_error(failure: rusqlite::Error, members: usize) -> Error {
    match error(failure) {
        Error::Constraint(why) if members > 1 => Error::Conflict(why),
        known @ (Error::Constraint(_) | Error::Conflict(_)) => known,
        unknown => Error::CommitUnknown(unknown.to_string()),
    }
}
