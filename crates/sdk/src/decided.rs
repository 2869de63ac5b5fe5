//! The result of a handler: done, refused, or a fault.

use std::fmt;

/// The result of a handler. The outer error is a fault (retried), the inner one a refusal (stored,
/// final): `?` always means a fault.
pub type Decided<T, R> = Result<Result<T, R>, Fault>;

/// Returns success. Later steps and the step's own undo receive `output`.
pub fn done<T, R>(output: T) -> Decided<T, R> {
    Ok(Ok(output))
}

/// Returns a business refusal. The handler's writes are rolled back.
pub fn refused<T, R>(refusal: R) -> Decided<T, R> {
    Ok(Err(refusal))
}

/// A technical failure. `?` converts any error into one, and the command is resent.
#[derive(Debug)]
pub struct Fault {
    cause: Box<dyn std::error::Error + Send + Sync>,
    passing: bool,
}

impl Fault {
    /// Creates a fault from a text.
    pub fn new(text: impl Into<String>) -> Fault {
        Fault { cause: text.into().into(), passing: false }
    }

    /// Creates a fault from a text, for a failure that a simple retry may overcome.
    pub fn passing(text: impl Into<String>) -> Fault {
        Fault { cause: text.into().into(), passing: true }
    }

    /// Returns whether a simple retry may succeed.
    pub fn is_transient(&self) -> bool {
        self.passing || self.database().is_some_and(sagamore_database::Error::is_transient)
    }

    /// Returns whether the database is unavailable, or did not report the outcome of a commit.
    pub fn is_of_a_database_that_is_away(&self) -> bool {
        use sagamore_database::Error;
        matches!(
            self.database().map(Error::root),
            Some(Error::Unavailable(_) | Error::CommitUnknown(_))
        )
    }

    /// Returns the database error that caused the fault, if there is one.
    pub(crate) fn database(&self) -> Option<&sagamore_database::Error> {
        self.cause.downcast_ref()
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Fault {
    fn from(error: E) -> Fault {
        Fault { cause: Box::new(error), passing: false }
    }
}

/// Converts a fault for `main` and other callers that accept any error.
impl From<Fault> for Box<dyn std::error::Error + Send + Sync> {
    fn from(fault: Fault) -> Self {
        fault.cause
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_converts_into_a_boxed_error() {
        let broke = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            Err(Fault::new("out of luck"))?
        };
        assert_eq!(broke().expect_err("it broke").to_string(), "out of luck");
    }

    #[test]
    fn a_fault_is_transient_when_the_database_says_so() {
        let check =
            |fault: Fault, transient| assert_eq!(fault.is_transient(), transient, "{fault}");
        check(sagamore_database::Error::Conflict("deadlock".into()).into(), true);
        check(sagamore_database::Error::Over.into(), false);
        check("x".parse::<i64>().expect_err("x is no number").into(), false);
        check(Fault::new("out of luck"), false);
        check(Fault::passing("out of luck, for now"), true);
    }
}
