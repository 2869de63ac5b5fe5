//! The thread that commits on disk, so that no executor blocks during a sync.

use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::writer::{GroupOutcome, Writer};
use crate::error::Error;

/// The sender to the thread. Dropping it waits for a running commit.
pub(super) struct Committer {
    /// Carries at most one writer, because only one exists.
    commits: Option<Sender<Box<Writer>>>,
    thread: OnceLock<JoinHandle<()>>,
}

impl Committer {
    /// Creates a committer without a thread; [`Committer::start`] starts it.
    pub(super) fn new() -> (Committer, Receiver<Box<Writer>>) {
        let (sender, receiver) = channel();
        (Committer { commits: Some(sender), thread: OnceLock::new() }, receiver)
    }

    /// Starts the thread, which passes each writer on to `release`. `release` must hold no strong
    /// reference to the database: the thread ends when the committer is dropped.
    pub(super) fn start(
        &self,
        commits: Receiver<Box<Writer>>,
        release: impl Fn(&GroupOutcome, Box<Writer>) + Send + 'static,
    ) -> Result<(), Error> {
        let thread = std::thread::Builder::new()
            .name("sqlite-commit".into())
            .spawn(move || run(&commits, release))
            .map_err(|why| Error::Unavailable(format!("start the committing thread: {why}")))?;
        let _ = self.thread.set(thread); // started only once
        Ok(())
    }

    /// Commits the outer transaction on the thread. Returns the writer if there is no thread.
    pub(super) fn commit(&self, writer: Box<Writer>) -> Result<(), Box<Writer>> {
        match &self.commits {
            Some(commits) => commits.send(writer).map_err(|unsent| unsent.0),
            None => Err(writer),
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.commits = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join(); // the thread has printed its own panic
        }
    }
}

/// Passes the writer on before it answers. A caller that drops the database after its answer thus
/// finds the database closed.
fn run(commits: &Receiver<Box<Writer>>, release: impl Fn(&GroupOutcome, Box<Writer>)) {
    while let Ok(mut writer) = commits.recv() {
        let outcome = writer.finish();
        release(&outcome, writer);
        outcome.answer();
    }
}
