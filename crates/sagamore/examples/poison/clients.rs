//! The clients whose sagas run beside the poisoned one. Each runs one saga after another and
//! measures the duration of each.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sagamore_core::Body;
use sagamore_core::saga::Status;
use sagamore_engine::{Handle, Start};
use tokio::task::JoinSet;

use crate::cast::Errand;

/// A saga that is not at rest within this time counts as affected.
const PATIENCE: Duration = Duration::from_secs(30);
/// The next business key, shared by all clients.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// The figures of the sagas beside the poisoned one.
pub struct Figures {
    pub others: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub longest: Duration,
    /// Sagas that did not complete, with their status.
    pub incomplete: Vec<String>,
}

#[derive(Default)]
struct Shared {
    ends: AtomicBool,
    took: Mutex<Vec<Duration>>,
    incomplete: Mutex<Vec<String>>,
}

/// Running clients.
pub struct Clients {
    shared: Arc<Shared>,
    tasks: JoinSet<Result<()>>,
}

impl Clients {
    pub fn start(handles: &[Handle], count: usize) -> Clients {
        let (shared, mut tasks) = (Arc::new(Shared::default()), JoinSet::new());
        for number in 0..count {
            tasks.spawn(work(handles[number % handles.len()].clone(), shared.clone()));
        }
        Clients { shared, tasks }
    }

    /// Discards the measurements so far.
    pub fn measure(&self) {
        self.shared.took.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Ends every client after its current saga.
    pub async fn stop(mut self) -> Result<Figures> {
        self.shared.ends.store(true, Ordering::Relaxed);
        while let Some(client) = self.tasks.join_next().await {
            client??;
        }
        let mut took =
            std::mem::take(&mut *self.shared.took.lock().unwrap_or_else(PoisonError::into_inner));
        took.sort_unstable();
        let at = |percent: usize| {
            took.get(took.len() * percent / 100).copied().context("no saga was measured")
        };
        let longest = took.last().copied().context("no saga was measured")?;
        let incomplete = std::mem::take(
            &mut *self.shared.incomplete.lock().unwrap_or_else(PoisonError::into_inner),
        );
        Ok(Figures { others: took.len(), p50: at(50)?, p99: at(99)?, longest, incomplete })
    }
}

async fn work(handle: Handle, shared: Arc<Shared>) -> Result<()> {
    while !shared.ends.load(Ordering::Relaxed) {
        let key = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
        let input = Body::of(&Errand { key: key.clone(), mode: "plain".to_owned() })?;
        let begun = Instant::now();
        let start = Start::new("errand".parse()?, &key, input);
        let (_, rest) = handle.start_and_wait(start, PATIENCE).await?;
        shared.took.lock().unwrap_or_else(PoisonError::into_inner).push(begun.elapsed());
        if rest.as_ref().is_none_or(|rest| rest.status != Status::Completed) {
            let became = rest.map_or("not at rest".to_owned(), |rest| format!("{:?}", rest.status));
            shared
                .incomplete
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(format!("{key}: {became}"));
        }
    }
    Ok(())
}
