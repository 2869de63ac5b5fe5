//! The check of data against a definition's schemas. Core stores schemas; another crate compiles
//! them and attaches the check.

use std::fmt;
use std::sync::Arc;

use crate::body::Body;
use crate::id::Name;

/// Maximum misfits listed in a message.
const NAMED_MAX: usize = 5;

/// A part of a value that does not fit its schema or its definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The part as a JSON pointer (RFC 6901). Empty for the whole value.
    pub pointer: String,
    /// The violated rule, without the value itself.
    pub detail: String,
}

/// The parts of a value that do not fit. At least one, and a bounded number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", named(.0))]
pub struct Misfits(pub Vec<Misfit>);

/// A check of data against the compiled schemas of a definition. Data without a schema fits.
pub trait SchemaCheck: Send + Sync {
    /// Checks the input of a start.
    ///
    /// # Errors
    /// Returns the parts that do not fit.
    fn check_input(&self, input: &Body) -> Result<(), Misfits>;

    /// Checks the output of the action with this message.
    ///
    /// # Errors
    /// Returns the parts that do not fit.
    fn check_output(&self, message: &Name, output: &Body) -> Result<(), Misfits>;
}

/// The check that belongs to a definition in memory. It is not part of the definition's content.
#[derive(Clone, Default)]
pub(super) struct AttachedCheck(Option<Arc<dyn SchemaCheck>>);

impl AttachedCheck {
    pub fn of(check: Arc<dyn SchemaCheck>) -> AttachedCheck {
        AttachedCheck(Some(check))
    }

    pub fn is_attached(&self) -> bool {
        self.0.is_some()
    }

    pub fn check_output(&self, message: &Name, output: &Body) -> Result<(), Misfits> {
        self.0.as_ref().map_or(Ok(()), |check| check.check_output(message, output))
    }

    pub fn check_input(&self, input: &Body) -> Result<(), Misfits> {
        self.0.as_ref().map_or(Ok(()), |check| check.check_input(input))
    }
}

impl Misfit {
    /// Returns a misfit of a top-level field.
    pub fn of_field(field: &str, detail: impl Into<String>) -> Misfit {
        let pointer = format!("/{}", field.replace('~', "~0").replace('/', "~1"));
        Misfit { pointer, detail: detail.into() }
    }

    /// Returns a misfit of the whole value.
    pub fn of_all(detail: impl Into<String>) -> Misfit {
        Misfit { pointer: String::new(), detail: detail.into() }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str(&self.detail),
            pointer => write!(f, "{pointer}: {}", self.detail),
        }
    }
}

impl fmt::Debug for AttachedCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "attached" } else { "none" })
    }
}

/// All checks are equal: definitions of the same content are equal, with or without a check.
impl PartialEq for AttachedCheck {
    fn eq(&self, _: &AttachedCheck) -> bool {
        true
    }
}

fn named(misfits: &[Misfit]) -> String {
    let texts: Vec<String> = misfits.iter().take(NAMED_MAX).map(Misfit::to_string).collect();
    let mut text = texts.join("; ");
    if misfits.len() > NAMED_MAX {
        text.push_str(&format!("; and {} more", misfits.len() - NAMED_MAX));
    }
    text
}
