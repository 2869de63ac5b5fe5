//! The thread that commits on disk, so that nobody's executor stands still during a sync.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{OnceLock, Weak};
use std::thread::JoinHandle;

use super::turn::Shared;
use super::writer::Writer;
use crate::error::Error;

/// The way to the thread. Dropped, it waits for the commit that is under way.
pub(super) struct Committer {
    /// Holds one writer at most: there is only one.
    commits: Option<Sender<Box<Writer>>>,
    thread: OnceLock<JoinHandle<()>>,
}

impl Committer {
    /// A way that leads nowhere until [`Committer::start`].
    pub(super) fn new() -> (Committer, Receiver<Box<Writer>>) {
        let (sender, receiver) = channel();
        (Committer { commits: Some(sender), thread: OnceLock::new() }, receiver)
    }

    /// Starts the thread. It keeps nothing alive: it ends with the database.
    pub(super) fn start(&self, commits: Receiver<Box<Writer>>, shared: Weak<Shared>) -> Result<(), Error> {
        let thread = std::thread::Builder::new()
            .name("sqlite-commit".into())
            .spawn(move || run(&commits, &shared))
            .map_err(|why| Error::Unavailable(format!("start the committing thread: {why}")))?;
        let _ = self.thread.set(thread); // there is one thread
        Ok(())
    }

    /// Has the outer transaction committed; gives the writer back when there is no thread.
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
            let _ = thread.join(); // a panic of that thread was printed by it
        }
    }
}

/// The writer goes on before anybody is answered: who has all answers and drops the database has it closed, then.
fn run(commits: &Receiver<Box<Writer>>, shared: &Weak<Shared>) {
    while let Ok(mut writer) = commits.recv() {
        let finished = writer.finish();
        match shared.upgrade() {
            Some(shared) => {
                shared.count(&finished);
                shared.pass_on(writer);
            }
            None => drop(writer),
        }
        finished.answer();
    }
}
