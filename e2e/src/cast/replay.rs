//! A replay that is under way.

use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::POLL;

/// A replay at work.
pub struct Replay {
    pub(super) child: Child,
    pub(super) output: PathBuf,
    pub(super) begun: Instant,
}

impl Replay {
    /// Whether it has ended.
    pub fn is_over(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Its report, once it has ended.
    pub(super) fn wait(mut self, limit: Duration) -> Result<Value> {
        while self.child.try_wait()?.is_none() {
            if self.begun.elapsed() > limit {
                self.child.kill()?;
                bail!(
                    "the replay has not ended after {} s; see {}",
                    limit.as_secs(),
                    self.output.display()
                );
            }
            std::thread::sleep(POLL);
        }
        let text = std::fs::read_to_string(&self.output)?;
        serde_json::from_str(&text).with_context(|| {
            let said =
                std::fs::read_to_string(self.output.with_extension("log")).unwrap_or_default();
            format!("the replay gave no report: {said}")
        })
    }
}
