//! What a handler gives back: done, refused, or a fault.

use std::fmt;

/// The outer error is a fault (tried again), the inner one a refusal (stored, final): `?` can only ever mean a fault.
pub type Decided<T, R> = Result<Result<T, R>, Fault>;

/// It holds; `output` is all that later steps and its own undo need.
pub fn done<T, R>(output: T) -> Decided<T, R> {
    Ok(Ok(output))
}

/// The business says no. What the handler wrote before is undone.
pub fn refused<T, R>(refusal: R) -> Decided<T, R> {
    Ok(Err(refusal))
}

/// Something broke. Made from any error by `?`; whoever asked will ask again.
#[derive(Debug)]
pub struct Fault {
    cause: Box<dyn std::error::Error + Send + Sync>,
    passing: bool,
}

impl Fault {
    /// A fault that is only a text.
    pub fn new(text: impl Into<String>) -> Fault {
        Fault { cause: text.into().into(), passing: false }
    }

    /// The same, where the same may well succeed when it is simply asked for again.
    pub fn passing(text: impl Into<String>) -> Fault {
        Fault { cause: text.into().into(), passing: true }
    }

    /// Whether the same handler may well succeed when it is simply run again.
    pub fn is_transient(&self) -> bool {
        self.passing || self.database().is_some_and(sagamore_database::Error::is_transient)
    }

    /// Whether the database is away, or did not say what became of a commit.
    pub fn is_of_a_database_that_is_away(&self) -> bool {
        use sagamore_database::Error;
        matches!(self.database().map(Error::root), Some(Error::Unavailable(_) | Error::CommitUnknown(_)))
    }

    /// The database's error, when it was one.
    pub(crate) fn database(&self) -> Option<&sagamore_database::Error> {
        self.cause.downcast_ref()
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Fault {
    fn from(error: E) -> Fault {
        Fault { cause: Box::new(error), passing: false }
    }
}

/// For `main`, and whoever else takes any error.
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
    fn a_fault_is_an_error_for_whoever_takes_any() {
        let broke = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> { Err(Fault::new("out of luck"))? };
        assert_eq!(broke().expect_err("it broke").to_string(), "out of luck");
    }

    #[test]
    fn a_fault_is_transient_when_the_database_says_so() {
        let check = |fault: Fault, transient| assert_eq!(fault.is_transient(), transient, "{fault}");
        check(sagamore_database::Error::Conflict("deadlock".into()).into(), true);
        check(sagamore_database::Error::Over.into(), false);
        check("x".parse::<i64>().expect_err("x is no number").into(), false);
        check(Fault::new("out of luck"), false);
        check(Fault::passing("out of luck, for now"), true);
    }
}
