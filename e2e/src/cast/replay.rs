//! A running replay.

use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::POLL;

/// The process of a replay and its output.
pub struct Replay {
    pub(super) child: Child,
    pub(super) output: PathBuf,
    pub(super) begun: Instant,
}

impl Replay {
    /// Whether the replay has ended.
    pub fn is_over(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for the replay to end and returns its report.
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
            let stderr =
                std::fs::read_to_string(self.output.with_extension("log")).unwrap_or_default();
            format!("the replay printed no report: {stderr}")
        })
    }
}
