//! The reason why a process or command waits at its start. It is written to stderr once per reason
//! and shown to clients.

use std::fmt::Display;
use std::io::Write;
use std::sync::{Arc, PoisonError, RwLock};

/// A wait at the start. Clones share it.
#[derive(Clone)]
pub struct StartupWait {
    reason: Arc<RwLock<Option<String>>>,
}

impl Default for StartupWait {
    fn default() -> StartupWait {
        StartupWait {
            reason: Arc::new(RwLock::new(Some(
                "waiting for the first response of a server".to_owned(),
            ))),
        }
    }
}

impl StartupWait {
    /// Stores the reason, and writes it to stderr if it is new.
    pub fn set_reason(&self, why: &dyn Display) {
        let why = Some(why.to_string());
        let mut reason = self.reason.write().unwrap_or_else(PoisonError::into_inner);
        if *reason != why {
            // a closed stderr is no reason to stop
            let _ = writeln!(
                std::io::stderr().lock(),
                "waiting: {}",
                why.as_deref().unwrap_or_default()
            );
            *reason = why;
        }
    }

    /// Ends the wait.
    pub fn end(&self) {
        *self.reason.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns the reason; `None` after the end of the wait.
    pub fn reason(&self) -> Option<String> {
        self.reason.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
