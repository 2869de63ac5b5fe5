//! The writing connection and its open transactions. Transactions that wait for the writer share
//! one outer transaction.

use rusqlite::Connection;
use sagamore_core::planted::{Bug, planted};
use tokio::sync::oneshot;

use super::map;
use crate::error::Error;

/// The receiver of the outer commit's outcome for an ended transaction.
pub(super) type Answer = oneshot::Sender<Result<(), Error>>;

/// A member of a group.
struct Member {
    answer: Answer,
    /// Whether the member has work in the outer transaction. Otherwise it only read, or was rolled
    /// back.
    commits: bool,
}

/// The outcome of an outer transaction, for its group.
pub(super) struct GroupOutcome {
    group: Vec<Member>,
    outcome: Result<(), Error>,
}

/// The single writing connection.
pub(super) struct Writer {
    connection: Connection,
    stage: Stage,
    /// The number of savepoints of the current transaction.
    savepoints: usize,
    /// The transactions that ended inside the outer one. **Invariant:** none of them is answered
    /// before the outer commit, because each may have read another's writes.
    group: Vec<Member>,
}

/// The state of the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No transaction is open.
    Idle,
    /// The first transaction of a group, which is the outer one.
    First,
    /// A later transaction of a group, which is a savepoint of the outer one.
    Joined,
    /// Only the outer transaction is open, with the group's committed work.
    Between,
    /// SQLite rolled the outer transaction back by itself, as it does when the disk is full.
    Lost,
}

impl Writer {
    pub(super) fn new(connection: Connection) -> Box<Writer> {
        Box::new(Writer { connection, stage: Stage::Idle, savepoints: 0, group: Vec::new() })
    }

    /// Returns the number of transactions that ended inside the outer one.
    pub(super) fn members(&self) -> usize {
        self.group.len()
    }

    /// Returns the number of rows ever changed on this connection.
    pub(super) fn rows_written(&self) -> u64 {
        self.connection.total_changes()
    }

    /// Opens a transaction.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        self.savepoints = 0;
        match self.stage {
            Stage::Idle => {
                if !self.connection.is_autocommit() {
                    self.control("ROLLBACK")?; // an earlier rollback failed
                }
                self.control("BEGIN IMMEDIATE")?;
                self.stage = Stage::First;
            }
            Stage::Between => {
                self.control("SAVEPOINT member")?;
                self.stage = Stage::Joined;
            }
            Stage::First | Stage::Joined | Stage::Lost => {
                unreachable!("a guard ends before the next one begins")
            }
        }
        Ok(())
    }

    /// Runs an operation on the open transaction.
    pub(super) fn run<T>(
        &mut self,
        act: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.stage == Stage::Lost {
            return Err(lost());
        }
        let outcome = act(&self.connection);
        if outcome.is_err() {
            self.notice_loss();
        }
        outcome
    }

    /// Rolls the open transaction back. If it was joined to an outer one, `answer` receives the
    /// outcome of the rows that it read there.
    pub(super) fn leave(&mut self, answer: Answer) {
        let outcome = if self.stage == Stage::Lost { Err(lost()) } else { Ok(()) };
        let joined = self.stage == Stage::Joined;
        self.undo();
        match self.stage {
            Stage::Between => self.group.push(Member { answer, commits: false }),
            _ if joined => drop(answer.send(Err(lost()))),
            _ => drop(answer.send(outcome)),
        }
    }

    /// Commits the open transaction into the outer one. `answer` receives the outcome of the outer
    /// commit.
    pub(super) fn join(&mut self, answer: Answer) -> Result<(), Error> {
        match self.stage {
            Stage::First => {
                for _ in 0..self.savepoints {
                    self.control("RELEASE inner")?;
                }
            }
            Stage::Joined => self.control("RELEASE member")?,
            Stage::Lost => return Err(lost()),
            Stage::Idle | Stage::Between => {
                unreachable!("a transaction is open until its guard ends")
            }
        }
        let joined = self.stage == Stage::Joined;
        self.stage = Stage::Between;
        if joined && planted(Bug::JoinedAnsweredEarly) {
            let _ = answer.send(Ok(()));
            return Ok(());
        }
        self.group.push(Member { answer, commits: true });
        Ok(())
    }

    /// Rolls back the open transaction, if there is one. The group's work stays.
    pub(super) fn undo(&mut self) {
        let undone = match self.stage {
            Stage::Idle | Stage::Between => return,
            Stage::First => self.control("ROLLBACK"),
            Stage::Joined => {
                self.control("ROLLBACK TO member").and_then(|()| self.control("RELEASE member"))
            }
            Stage::Lost => Ok(()),
        };
        self.stage = match self.stage {
            Stage::Joined if undone.is_ok() => Stage::Between,
            Stage::Joined => {
                self.drop_group();
                let _ = self.control("ROLLBACK"); // the next transaction repeats the rollback
                Stage::Idle
            }
            Stage::Idle | Stage::First | Stage::Between | Stage::Lost => Stage::Idle,
        };
    }

    /// Commits the outer transaction, with a sync on disk.
    pub(super) fn finish(&mut self) -> GroupOutcome {
        let group = std::mem::take(&mut self.group);
        self.stage = Stage::Idle;
        let outcome =
            self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.raw_execute());
        let outcome = match outcome {
            Ok(_) => Ok(()),
            Err(failure) => {
                if !self.connection.is_autocommit() {
                    let _ = self.control("ROLLBACK"); // the next transaction repeats the rollback
                }
                Err(map::commit_error(failure, commits(&group)))
            }
        };
        GroupOutcome { group, outcome }
    }

    /// Opens a savepoint inside the transaction.
    pub(super) fn savepoint(&mut self) -> Result<(), Error> {
        self.run(|connection| control(connection, "SAVEPOINT inner"))?;
        self.savepoints += 1;
        Ok(())
    }

    /// Releases the innermost savepoint.
    pub(super) fn release(&mut self) -> Result<(), Error> {
        self.has_savepoint()?;
        self.run(|connection| control(connection, "RELEASE inner"))?;
        self.savepoints -= 1;
        Ok(())
    }

    /// Rolls back to the innermost savepoint and removes it.
    pub(super) fn rollback_to(&mut self) -> Result<(), Error> {
        self.has_savepoint()?;
        self.run(|connection| {
            control(connection, "ROLLBACK TO inner")?;
            control(connection, "RELEASE inner")
        })?;
        self.savepoints -= 1;
        Ok(())
    }

    fn has_savepoint(&self) -> Result<(), Error> {
        match self.savepoints {
            0 => Err(Error::Statement("no savepoint is open".into())),
            _ => Ok(()),
        }
    }

    fn control(&mut self, sql: &str) -> Result<(), Error> {
        let outcome = control(&self.connection, sql);
        if outcome.is_err() {
            self.notice_loss();
        }
        outcome
    }

    /// Detects that SQLite has rolled back everything, including the group's work. Continuing would
    /// commit each statement separately.
    fn notice_loss(&mut self) {
        let inside = match self.stage {
            Stage::First | Stage::Joined | Stage::Between => true,
            Stage::Idle | Stage::Lost => false,
        };
        if inside && self.connection.is_autocommit() {
            self.stage = Stage::Lost;
            self.drop_group();
        }
    }

    fn drop_group(&mut self) {
        GroupOutcome { group: std::mem::take(&mut self.group), outcome: Err(lost()) }.answer();
    }
}

impl GroupOutcome {
    /// Returns the number of committed transactions; `None` after a failure.
    pub(super) fn committed(&self) -> Option<usize> {
        self.outcome.is_ok().then(|| commits(&self.group))
    }

    /// Answers all members of the group.
    pub(super) fn answer(self) {
        for Member { answer, commits } in self.group {
            let outcome = match &self.outcome {
                // this member violated nothing, but its reads are invalid
                Err(Error::Constraint(why)) if !commits => Err(Error::Conflict(why.clone())),
                outcome => outcome.clone(),
            };
            let _ = answer.send(outcome); // the caller may have dropped its receiver
        }
    }
}

fn commits(group: &[Member]) -> usize {
    group.iter().filter(|member| member.commits).count()
}

fn control(connection: &Connection, sql: &str) -> Result<(), Error> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.raw_execute())
        .map_err(map::error)?;
    Ok(())
}

fn lost() -> Error {
    Error::Unavailable("SQLite rolled the transaction back. Is the disk full?".into())
}
