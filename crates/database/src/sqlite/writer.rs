//! The writing connection, and what is open on it: transactions that are waited for share one outer transaction.

use rusqlite::Connection;
use sagamore_core::planted::{Bug, planted};
use tokio::sync::oneshot;

use super::map;
use crate::error::Error;

/// Where one whose transaction has ended waits for the outer commit.
pub(super) type Answer = oneshot::Sender<Result<(), Error>>;

/// One of a group.
struct Member {
    answer: Answer,
    /// It has work in the outer transaction; otherwise it has only read there, or has undone what it wrote.
    commits: bool,
}

/// What became of an outer transaction, for its group.
pub(super) struct Finished {
    group: Vec<Member>,
    outcome: Result<(), Error>,
}

/// The one connection that writes.
pub(super) struct Writer {
    connection: Connection,
    stage: Stage,
    /// How many savepoints the present transaction opened inside itself.
    savepoints: usize,
    /// Those whose transactions ended inside of the outer one. **Invariant:** none of them is answered before it is
    /// committed: each may have read what the others wrote.
    group: Vec<Member>,
}

/// What is open on the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing.
    Idle,
    /// The first transaction of a group: it is the outer one.
    First,
    /// A later transaction of a group: a savepoint of the outer one.
    Joined,
    /// The outer transaction, with what the group has committed into it.
    Between,
    /// Nothing any more: SQLite rolled the outer transaction back by itself, as it does when the disk is full.
    Lost,
}

impl Writer {
    pub(super) fn new(connection: Connection) -> Box<Writer> {
        Box::new(Writer { connection, stage: Stage::Idle, savepoints: 0, group: Vec::new() })
    }

    /// How many transactions have ended inside of the outer one.
    pub(super) fn members(&self) -> usize {
        self.group.len()
    }

    /// How many rows were ever changed on this connection.
    pub(super) fn rows_written(&self) -> u64 {
        self.connection.total_changes()
    }

    /// Opens a transaction.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        self.savepoints = 0;
        match self.stage {
            Stage::Idle => {
                if !self.connection.is_autocommit() {
                    self.control("ROLLBACK")?; // it failed when it was due
                }
                self.control("BEGIN IMMEDIATE")?;
                self.stage = Stage::First;
            }
            Stage::Between => {
                self.control("SAVEPOINT member")?;
                self.stage = Stage::Joined;
            }
            Stage::First | Stage::Joined | Stage::Lost => unreachable!("a turn ends before the next one begins"),
        }
        Ok(())
    }

    /// Works on the open transaction.
    pub(super) fn run<T>(&mut self, act: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        if self.stage == Stage::Lost {
            return Err(lost());
        }
        let outcome = act(&self.connection);
        if outcome.is_err() {
            self.notice_loss();
        }
        outcome
    }

    /// Rolls the open transaction back. When it was joined to an outer one, `answer` learns what becomes of what it has
    /// read there.
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

    /// Commits the open transaction into the outer one; `answer` learns what becomes of that.
    pub(super) fn join(&mut self, answer: Answer) -> Result<(), Error> {
        match self.stage {
            Stage::First => {
                for _ in 0..self.savepoints {
                    self.control("RELEASE inner")?;
                }
            }
            Stage::Joined => self.control("RELEASE member")?,
            Stage::Lost => return Err(lost()),
            Stage::Idle | Stage::Between => unreachable!("a transaction is open until its turn ends"),
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

    /// Rolls the open transaction back, if there is one; the group's work stays.
    pub(super) fn undo(&mut self) {
        let undone = match self.stage {
            Stage::Idle | Stage::Between => return,
            Stage::First => self.control("ROLLBACK"),
            Stage::Joined => self.control("ROLLBACK TO member").and_then(|()| self.control("RELEASE member")),
            Stage::Lost => Ok(()),
        };
        self.stage = match self.stage {
            Stage::Joined if undone.is_ok() => Stage::Between,
            Stage::Joined => {
                self.drop_group();
                let _ = self.control("ROLLBACK"); // tried again by the next transaction
                Stage::Idle
            }
            Stage::Idle | Stage::First | Stage::Between | Stage::Lost => Stage::Idle,
        };
    }

    /// Commits the outer transaction; on disk this syncs.
    pub(super) fn finish(&mut self) -> Finished {
        let group = std::mem::take(&mut self.group);
        self.stage = Stage::Idle;
        let outcome = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.raw_execute());
        let outcome = match outcome {
            Ok(_) => Ok(()),
            Err(failure) => {
                if !self.connection.is_autocommit() {
                    let _ = self.control("ROLLBACK"); // tried again by the next transaction
                }
                Err(map::commit_error(failure, commits(&group)))
            }
        };
        Finished { group, outcome }
    }

    /// Opens a savepoint inside the transaction.
    pub(super) fn savepoint(&mut self) -> Result<(), Error> {
        self.run(|connection| control(connection, "SAVEPOINT inner"))?;
        self.savepoints += 1;
        Ok(())
    }

    /// Forgets the innermost savepoint.
    pub(super) fn release(&mut self) -> Result<(), Error> {
        self.has_savepoint()?;
        self.run(|connection| control(connection, "RELEASE inner"))?;
        self.savepoints -= 1;
        Ok(())
    }

    /// Undoes what was done since the innermost savepoint, and forgets it.
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

    /// After some errors SQLite has rolled back everything, the group's work too. To go on would be to commit each
    /// statement by itself.
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
        Finished { group: std::mem::take(&mut self.group), outcome: Err(lost()) }.answer();
    }
}

impl Finished {
    /// How many transactions it committed; none when it failed.
    pub(super) fn committed(&self) -> Option<usize> {
        self.outcome.is_ok().then(|| commits(&self.group))
    }

    /// Answers all of the group.
    pub(super) fn answer(self) {
        for Member { answer, commits } in self.group {
            let outcome = match &self.outcome {
                // it is to blame for nothing: what it has read is void
                Err(Error::Constraint(why)) if !commits => Err(Error::Conflict(why.clone())),
                outcome => outcome.clone(),
            };
            let _ = answer.send(outcome); // who does not wait any more needs no answer
        }
    }
}

fn commits(group: &[Member]) -> usize {
    group.iter().filter(|member| member.commits).count()
}

fn control(connection: &Connection, sql: &str) -> Result<(), Error> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.raw_execute()).map_err(map::error)?;
    Ok(())
}

fn lost() -> Error {
    Error::Unavailable("SQLite had to roll the transaction back (is the disk full?)".into())
}
