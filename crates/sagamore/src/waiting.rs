//! What a process, or a command, waits for before it can do its work: told on stderr, each reason once, and to whoever asks.

use std::fmt::Display;
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
    /// Because of this.
    pub fn because(&self, why: &dyn Display) {
        let why = Some(why.to_string());
        let mut reason = self.reason.write().unwrap_or_else(PoisonError::into_inner);
        if *reason != why {
            errln!("waiting: {}", why.as_deref().unwrap_or_default());
            *reason = why;
        }
    }

    /// It was there in the end.
    pub fn is_over(&self) {
        *self.reason.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What is waited for; none when it is over.
    pub fn reason(&self) -> Option<String> {
        self.reason.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
