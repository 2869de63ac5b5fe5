//! PostgreSQL's errors, grouped by the caller's reaction.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

use crate::error::Error;

/// Converts the error of a statement, or of a commit that certainly failed.
pub(super) fn error(error: &tokio_postgres::Error) -> Error {
    let Some(told) = error.as_db_error() else {
        return Error::Unavailable(chain(error));
    };
    let detail = told.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
    sorted(
        told.code(),
        told.routine(),
        format!("{}{detail} [{}]", told.message(), told.code().code()),
    )
}

/// Converts the error of a COMMIT. The outcome is known only if the server itself rejected it.
pub(super) fn commit_error(failure: &tokio_postgres::Error) -> Error {
    match error(failure) {
        known @ (Error::Constraint(_)
        | Error::Conflict(_)
        | Error::Statement(_)
        | Error::Aborted(_)) => known,
        unknown => Error::CommitUnknown(unknown.to_string()),
    }
}

/// Returns an error with its causes, in one line.
pub(super) fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(why) = cause {
        let why_text = why.to_string();
        if !text.ends_with(&why_text) {
            text.push_str(": ");
            text.push_str(&why_text);
        }
        cause = why.source();
    }
    text
}

/// Groups by the error code, whose first two characters are its class.
fn sorted(code: &SqlState, routine: Option<&str>, text: String) -> Error {
    match code.code() {
        // serialization failure, deadlock, lock timeout, statement timeout or cancellation
        "40001" | "40P01" | "55P03" | "57014" => Error::Conflict(text),
        // a prepared statement whose table was altered: it is prepared again
        "0A000" if routine == Some("RevalidateCachedQuery") => Error::Conflict(text),
        // a transaction that was idle or open for too long: the connection is lost
        "25P03" | "25P04" => Error::Unavailable(text),
        // an earlier statement failed and its answer was not read yet: that error is the cause
        "25P02" => Error::Aborted(Box::new(Error::Conflict(text))),
        // read-only: the server was demoted or its disk is full, which is temporary
        "25006" => Error::Unavailable(text),
        code => match code.get(..2) {
            // errors of data and integrity, and rows too large for an index
            Some("22" | "23" | "54") => Error::Constraint(text),
            // connections, credentials, resources, operator intervention, system errors, corruption
            Some("08" | "28" | "53" | "57" | "58" | "F0" | "XX") => Error::Unavailable(text),
            _ => Error::Statement(text),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_the_caller_does() {
        let check = |code: &str, expected: fn(String) -> Error| {
            assert_eq!(
                sorted(&SqlState::from_code(code), None, code.into()),
                expected(code.into())
            );
        };
        for code in ["40001", "40P01", "55P03", "57014"] {
            check(code, Error::Conflict);
        }
        for code in ["23505", "23503", "23514", "23502", "22001", "22003", "54000"] {
            check(code, Error::Constraint);
        }
        for code in [
            "08006", "57P01", "57P03", "53300", "53100", "28P01", "25P03", "25006", "58030",
            "XX001",
        ] {
            check(code, Error::Unavailable);
        }
        for code in ["42601", "42P01", "42703", "42501", "0A000", "3D000"] {
            check(code, Error::Statement);
        }
        check("25P02", |text| Error::Aborted(Box::new(Error::Conflict(text))));
        let altered = sorted(
            &SqlState::FEATURE_NOT_SUPPORTED,
            Some("RevalidateCachedQuery"),
            "altered".into(),
        );
        assert_eq!(altered, Error::Conflict("altered".into()));
    }
}
