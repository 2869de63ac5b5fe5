//! SQLite's errors, grouped by the caller's reaction.

use rusqlite::ErrorCode;

use crate::error::Error;

/// Converts the error of a statement, or of a commit that certainly failed.
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
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
            Error::Constraint(text)
        }
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

/// Converts the error of a COMMIT that `members` transactions share. If one of them violates a
/// deferred constraint, the others must retry. After a disk failure the outcome is unknown until a
/// restart.
pub(super) fn commit_error(failure: rusqlite::Error, members: usize) -> Error {
    match error(failure) {
        Error::Constraint(why) if members > 1 => Error::Conflict(why),
        known @ (Error::Constraint(_) | Error::Conflict(_)) => known,
        unknown => Error::CommitUnknown(unknown.to_string()),
    }
}
