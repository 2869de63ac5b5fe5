//! The queue for the single writer: fair, and robust against futures that are dropped anywhere.
//!
//! **Invariant:** the writer is in one place: idle, in a [`WriterGuard`], or with the committing
//! thread. Dropping a guard passes the writer to the next waiter. No step waits for a group to
//! fill.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::commit::Committer;
use super::writer::{GroupOutcome, Writer};
use crate::error::Error;
use crate::port::Stats;

/// Maximum transactions that share a commit, so that the first one's answer is not delayed
/// indefinitely.
const GROUP_MAX: usize = 64;
/// Maximum transactions in the queue.
const LINE_MAX: usize = 10_000;

/// The shared state of all handles of one database.
pub(super) struct WriterQueue {
    line: Mutex<Line>,
    transactions: AtomicU64,
    commits: AtomicU64,
    /// `None` in memory, where commits are inline.
    committer: Option<Committer>,
    /// The lock file, released last.
    _lock: Option<File>,
}

struct Line {
    /// The writer, while no transaction waits.
    idle: Option<Box<Writer>>,
    waiting: VecDeque<oneshot::Sender<WriterGuard>>,
}

/// Exclusive access to the writer. Dropping it rolls back the open transaction and passes the
/// writer to the next waiter.
pub(super) struct WriterGuard {
    writer: Option<Box<Writer>>,
    queue: Arc<WriterQueue>,
}

impl WriterQueue {
    pub(super) fn in_memory(connection: Connection) -> Arc<WriterQueue> {
        Arc::new(WriterQueue::new(connection, None, None))
    }

    pub(super) fn on_disk(connection: Connection, lock: File) -> Result<Arc<WriterQueue>, Error> {
        let (committer, commits) = Committer::new();
        let queue = Arc::new(WriterQueue::new(connection, Some(committer), Some(lock)));
        if let Some(committer) = &queue.committer {
            let weak = Arc::downgrade(&queue);
            committer.start(commits, move |outcome, writer| match weak.upgrade() {
                Some(queue) => {
                    queue.count(outcome);
                    queue.pass_on(writer);
                }
                None => drop(writer),
            })?;
        }
        Ok(queue)
    }

    fn new(
        connection: Connection,
        committer: Option<Committer>,
        lock: Option<File>,
    ) -> WriterQueue {
        let line = Line { idle: Some(Writer::new(connection)), waiting: VecDeque::new() };
        let (transactions, commits) = Default::default();
        WriterQueue { line: Mutex::new(line), transactions, commits, committer, _lock: lock }
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            transactions: self.transactions.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
        }
    }

    /// Waits in the queue. A dropped future leaves the queue, and a guard granted in the meantime
    /// passes to the next waiter.
    pub(super) async fn acquire(self: &Arc<WriterQueue>) -> Result<WriterGuard, Error> {
        let waiting = {
            let mut line = self.line();
            if let Some(writer) = line.idle.take() {
                return Ok(WriterGuard { writer: Some(writer), queue: Arc::clone(self) });
            }
            if line.waiting.len() >= LINE_MAX {
                line.waiting.retain(|waiting| !waiting.is_closed());
            }
            if line.waiting.len() >= LINE_MAX {
                return Err(Error::Unavailable(format!(
                    "{LINE_MAX} transactions already wait for the writer: retry later"
                )));
            }
            let (guard, waiting) = oneshot::channel();
            line.waiting.push_back(guard);
            waiting
        };
        waiting.await.map_err(|_| Error::Unavailable("the database is closed".into()))
    }

    /// Passes the writer, with no transaction open but the outer one, to the next user.
    pub(super) fn pass_on(self: &Arc<WriterQueue>, mut writer: Box<Writer>) {
        loop {
            let next = {
                let mut line = self.line();
                let next =
                    if writer.members() < GROUP_MAX { line.waiting.pop_front() } else { None };
                if next.is_none() && writer.members() == 0 {
                    line.idle = Some(writer);
                    return;
                }
                next
            };
            writer = match next {
                Some(next) => {
                    match next.send(WriterGuard { writer: Some(writer), queue: Arc::clone(self) }) {
                        Ok(()) => return,
                        Err(guard) => guard.into_writer(),
                    }
                }
                None => match self.send_to_commit(writer) {
                    Ok(()) => return,
                    Err(mut writer) => {
                        self.finish(&mut writer);
                        writer
                    }
                },
            }
        }
    }

    /// Counts an outer commit, if it succeeded.
    pub(super) fn count(&self, finished: &GroupOutcome) {
        if let Some(transactions) = finished.committed() {
            self.transactions.fetch_add(transactions as u64, Ordering::Relaxed);
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn send_to_commit(&self, writer: Box<Writer>) -> Result<(), Box<Writer>> {
        match &self.committer {
            Some(committer) => committer.commit(writer),
            None => Err(writer),
        }
    }

    fn finish(&self, writer: &mut Writer) {
        let finished = writer.finish();
        self.count(&finished);
        finished.answer();
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriterGuard {
    /// Returns the writer.
    pub(super) fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("a guard has the writer until it ends")
    }

    /// Commits the open transaction and consumes the guard. The answer arrives after the outer
    /// commit.
    pub(super) fn commit(mut self) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        let (answer, answered) = oneshot::channel();
        self.writer().join(answer)?;
        Ok(answered) // dropping the guard passes the writer on
    }

    /// Rolls the open transaction back and consumes the guard. If it was joined to an outer
    /// transaction, the answer arrives after the outer commit.
    pub(super) fn rollback(mut self) -> oneshot::Receiver<Result<(), Error>> {
        let (answer, answered) = oneshot::channel();
        self.writer().leave(answer);
        answered
    }

    /// Reads committed rows. The outer transaction is committed first, so that the read includes
    /// its work.
    pub(super) fn committed<T>(
        mut self,
        read: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let queue = Arc::clone(&self.queue);
        let writer = self.writer();
        if writer.members() > 0 {
            queue.finish(writer);
        }
        writer.run(read)
    }

    fn into_writer(mut self) -> Box<Writer> {
        self.writer.take().expect("a guard has the writer until it ends")
    }
}

impl Drop for WriterGuard {
    fn drop(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            writer.undo();
            self.queue.pass_on(writer);
        }
    }
}
