//! The reason why a process, or a command, waits before its work: written to stderr once for each reason, and shown to clients.

use std::fmt::Display;
use std::io::Write;
use std::sync::{Arc, PoisonError, RwLock};

/// A wait. Clones share it.
#[derive(Clone)]
pub struct Waiting {
    reason: Arc<RwLock<Option<String>>>,
}

impl Default for Waiting {
    fn default() -> Waiting {
        Waiting { reason: Arc::new(RwLock::new(Some("no server has answered yet".to_owned()))) }
    }
}

impl Waiting {
    /// Stores the reason, and writes it to stderr when it is new.
    pub fn because(&self, why: &dyn Display) {
        let why = Some(why.to_string());
        let mut reason = self.reason.write().unwrap_or_else(PoisonError::into_inner);
        if *reason != why {
            // stderr may be closed, which is no reason to stop
            let _ = writeln!(
                std::io::stderr().lock(),
                "waiting: {}",
                why.as_deref().unwrap_or_default()
            );
            *reason = why;
        }
    }

    /// Ends the wait.
    pub fn is_over(&self) {
        *self.reason.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns the reason; none when the wait is over.
    pub fn reason(&self) -> Option<String> {
        self.reason.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
