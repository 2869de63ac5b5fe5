//! One chunk: claim, handlers, stored answers, one commit. It ends early once its answers exceed a
//! bound of bytes; the remaining commands start the next chunk.

mod answer;
mod events;
mod interleaved;
#[cfg(test)]
mod one_by_one;
mod silence;

use sagamore_core::message::{Outcome, code};
use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Body, Direction, Name, Refusal, StepKey, Timestamp};
use sagamore_database::{Database, Error as DatabaseError, Open, Tx};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::barrier::{self, StepHistory, Verdict};
use crate::decided::Decided;
use crate::guard::{cut, guarded, panic_text};
use crate::handler::{Handler, Running, Unreadable};
use crate::intake::{By, WorkItem};
use crate::keys::{CommandKeys, Key};
use crate::meter::Meter;
use crate::participant::Options;
use crate::service::Service;
pub(crate) use answer::Answer;
use events::{Inputs, Last};
use silence::Silence;
pub(crate) use silence::quiet_max;

/// Number of timeouts per turn after which further handlers are skipped and answered with a fault.
const TIMEOUTS_MAX: u64 = 5;

/// The outcome of a command that this chunk does not reach: its step is released.
static LEFT: Outcome = Outcome::Fault(String::new());

/// Shared context for executing the chunks of a turn.
#[derive(Clone, Copy)]
pub(crate) struct ChunkContext<'a> {
    pub service: &'a Service,
    pub database: &'a Database,
    pub options: &'a Options,
    /// Bytes of answers after which a chunk ends.
    pub bytes_max: usize,
    /// Number of records from the transport. Later places are from the inbox.
    pub polled: usize,
    pub now: Timestamp,
    /// The database error that the chunk's single command caused.
    pub blamed: Option<&'a DatabaseError>,
}

/// The way in which the commands of a chunk share its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// All commands in one transaction without savepoints. A rollback affects the whole chunk.
    Together,
    /// Each handler under its own savepoint. With `last`, a retriable database error becomes a
    /// fault.
    Apart { last: bool },
}

/// The reason for rolling an attempt back.
enum Stop {
    /// One command must be rolled back alone.
    Apart,
    /// A conflict, such as a deadlock.
    Again(DatabaseError),
    /// The database is unavailable, or a commit's outcome is unknown.
    Failed(DatabaseError),
}

/// The next action for a command.
enum Preparation {
    Answered(Answer),
    Running(ReadyHandler),
}

/// A handler that was not polled yet.
struct ReadyHandler {
    running: Running,
    /// The keys of its messages; `None` if it must run alone.
    keys: Option<Vec<Key>>,
}

/// The handler's effect on its transaction.
struct Trace {
    /// The handler is known to have written nothing.
    clean: bool,
    /// The statement error that aborted the transaction.
    aborted: Option<DatabaseError>,
}

/// The end of a handler.
enum HandlerEnd {
    Kept(Outcome),
    /// The handler's writes must be rolled back.
    Undone(Outcome),
}

impl ChunkContext<'_> {
    /// Executes a chunk and commits it. Commands that the chunk did not reach return `None`; at
    /// least one is reached. After an error no command was answered, but the chunk may have been
    /// committed.
    pub(crate) async fn execute(
        &self,
        chunk: &[WorkItem],
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, DatabaseError> {
        let (mut attempt, mut mode) = (1, Mode::Together);
        let attempts_max = self.options.attempts_max.max(2); // the last attempt uses savepoints
        loop {
            match self.attempt(chunk, mode, meter).await {
                Ok(answers) => {
                    let answered = chunk
                        .iter()
                        .zip(&answers)
                        .filter_map(|(item, answer)| Some((item, answer.as_ref()?)));
                    answered.for_each(|(item, answer)| alarm(item, answer));
                    return Ok(answers);
                }
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Apart) => mode = Mode::Apart { last: attempt >= attempts_max },
                Err(Stop::Again(error)) if attempt >= attempts_max => return Err(error),
                Err(Stop::Again(error)) => {
                    tracing::debug!(%error, attempt, "retry chunk");
                    meter.conflicts += 1;
                    attempt += 1;
                    if attempt == attempts_max {
                        mode = Mode::Apart { last: true };
                    }
                }
            }
        }
    }

    /// Answers a command with a fault without calling its handler, because the database rejects its
    /// result.
    ///
    /// # Errors
    /// The database also rejects the fault.
    pub(crate) async fn set_aside(
        &self,
        chunk: &[WorkItem],
        error: &DatabaseError,
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, DatabaseError> {
        ChunkContext { blamed: Some(error), ..*self }.execute(chunk, meter).await
    }

    async fn attempt(
        &self,
        chunk: &[WorkItem],
        mode: Mode,
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, Stop> {
        let open = self.database.begin().await.map_err(Stop::of)?;
        match self.work(&open, chunk, mode, meter).await {
            Ok(answers) => {
                open.commit().await.map_err(Stop::of)?;
                Ok(answers)
            }
            Err(stop @ Stop::Failed(_)) => Err(stop), // dropping the transaction rolls it back
            Err(stop @ (Stop::Apart | Stop::Again(_))) => {
                open.rollback().await.map_err(Stop::of)?;
                Err(stop)
            }
        }
    }

    async fn work(
        &self,
        open: &Open,
        chunk: &[WorkItem],
        mode: Mode,
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, Stop> {
        let tx = open.tx();
        let keys: Vec<&StepKey> = chunk.iter().map(|item| &item.key).collect();
        let claimed =
            barrier::claim_within(&tx, &keys, self.now, self.bytes_max).await.map_err(Stop::of)?;
        // commands beyond the bound are left in order, because a later one may share the key of an
        // earlier one
        let (whole, known) = (chunk, claimed.known);
        let chunk = &whole[..claimed.read];
        let inputs = self.inputs(&tx, chunk, &known).await.map_err(Stop::of)?;
        let mut answers = match mode {
            Mode::Together if self.interleaves() => {
                self.answer_all(&tx, chunk, &known, &inputs, meter).await?
            }
            Mode::Together | Mode::Apart { .. } => {
                let (mut answers, mut bytes) = (Vec::with_capacity(chunk.len()), 0);
                let mut silence = Silence::of(self.database);
                for ((item, known), inputs) in chunk.iter().zip(&known).zip(&inputs) {
                    if bytes >= self.bytes_max {
                        break;
                    }
                    silence.end(&tx).await.map_err(Stop::of)?;
                    let answer = self.answer(open, item, known, inputs, mode, meter).await?;
                    bytes += answer.bytes();
                    answers.push(Some(answer));
                }
                answers.resize(chunk.len(), None);
                answers
            }
        };
        answers.resize(whole.len(), None);
        let stored: Vec<_> = whole
            .iter()
            .zip(&known)
            .zip(&answers)
            .filter_map(|((item, known), answer)| match answer {
                Some(answer) => answer.fresh.then_some((&item.key, known, &answer.outcome)),
                None => Some((&item.key, known, &LEFT)),
            })
            .collect();
        barrier::store(&tx, &stored, self.now).await.map_err(|error| mode.stop(error))?;
        self.attach_events(&tx, chunk, &inputs, &mut answers)
            .await
            .map_err(|error| mode.stop(error))?;
        Ok(answers)
    }

    async fn answer(
        &self,
        open: &Open,
        item: &WorkItem,
        known: &StepHistory,
        inputs: &Inputs,
        mode: Mode,
        meter: &mut Meter,
    ) -> Result<Answer, Stop> {
        let prepared = self.prepare(open.tx(), item, known, inputs);
        if let (Some(error), false) = (self.blamed, prepared.is_known()) {
            return Ok(Answer::fresh(Outcome::Fault(cut(&format!(
                "cannot store its outcome: {error}"
            )))));
        }
        match prepared {
            Preparation::Running(_) if meter.timeouts >= TIMEOUTS_MAX => {
                let outcome =
                    Outcome::Fault("skipped: other handlers of this turn took too long".to_owned());
                Ok(Answer::fresh(outcome))
            }
            Preparation::Running(begun) => {
                Ok(Answer::fresh(self.settle(open, begun.running, mode, meter).await?))
            }
            Preparation::Answered(answer) => Ok(answer),
        }
    }

    /// Returns the answer of a command that needs no handler, or its handler on `tx`, not yet
    /// polled.
    fn prepare(
        &self,
        tx: Tx,
        item: &WorkItem,
        known: &StepHistory,
        inputs: &Inputs,
    ) -> Preparation {
        let (case, verdict) = known.judge(&item.key);
        let service = self.service.name().to_string();
        metrics::counter!("sagamore_barrier_total", "service" => service, "case" => case.as_str())
            .increment(1);
        let begun = match verdict {
            Verdict::Answered(_)
                if planted(Bug::OverdueIgnoresPivot) && self.last(item) == Some(Last::Overdue) =>
            {
                return never(Last::Overdue);
            }
            Verdict::Answered(outcome) => {
                let poison = self.poison(item);
                return Preparation::Answered(Answer {
                    poison,
                    fresh: false,
                    ..Answer::fresh(outcome)
                });
            }
            Verdict::NothingToUndo => {
                let outcome = Outcome::Done(Body::empty());
                return Preparation::Answered(Answer {
                    poison: self.poison(item),
                    ..Answer::fresh(outcome)
                });
            }
            Verdict::Act => match inputs {
                _ if let Some(last) = self.last(item) => return never(last),
                Inputs::Missing { names, since } => {
                    let why = format!("waits for {}", names.join(", "));
                    let early = self.now.since(*since) > self.options.early_max;
                    let poison =
                        early.then(|| format!("{why} for more than {:?}", self.options.early_max));
                    return Preparation::Answered(Answer {
                        waits: true,
                        poison,
                        ..Answer::fresh(Outcome::Fault(why))
                    });
                }
                Inputs::Command | Inputs::All { .. } => self.begin_unharmed(item, tx, inputs, None),
            },
            Verdict::Undo(output) => self.begin_unharmed(item, tx, inputs, Some(&output)),
        };
        match begun {
            Ok(begun) => Preparation::Running(begun),
            Err(Unreadable::Body(reason)) => {
                let outcome = Outcome::Refused(Refusal::new(code::UNDECODABLE, cut(&reason)));
                Preparation::Answered(Answer { poison: Some(reason), ..Answer::fresh(outcome) })
            }
            Err(Unreadable::Output(reason)) => {
                Preparation::Answered(Answer::fresh(Outcome::Fault(cut(&reason))))
            }
            Err(Unreadable::Panic(text)) => {
                let why = format!("reading the message panicked: {text}");
                Preparation::Answered(Answer::fresh(Outcome::Fault(cut(&why))))
            }
        }
    }

    /// Calls [`ChunkContext::begin`] and turns a panic into a fault: messages and keys are read by the
    /// service's own code.
    fn begin_unharmed(
        &self,
        item: &WorkItem,
        tx: Tx,
        inputs: &Inputs,
        output: Option<&Body>,
    ) -> Result<ReadyHandler, Unreadable> {
        let begun = catch_unwind(AssertUnwindSafe(|| {
            let mut keys = self.service.keys().of_command();
            let running = self.begin(item, tx, inputs, output, &mut keys)?;
            Ok(ReadyHandler { running, keys: keys.found() })
        }));
        begun.unwrap_or_else(|panic| Err(Unreadable::Panic(panic_text(panic.as_ref()).to_owned())))
    }

    /// Finds the handler: only names that the service declared lead to code.
    fn begin(
        &self,
        item: &WorkItem,
        tx: Tx,
        inputs: &Inputs,
        output: Option<&Body>,
        keys: &mut CommandKeys<'_>,
    ) -> Result<Running, Unreadable> {
        if let By::Event(_) = item.by {
            return self.react(item, tx, inputs, output, keys);
        }
        let (name, body) =
            item.message.as_ref().map_err(|reason| Unreadable::Body(reason.clone()))?;
        match (self.service.handler(name), output) {
            (Some(Handler::Action { run, .. }), None) => run(tx, body, keys),
            (Some(Handler::Compensation { run }), Some(output)) => run(tx, body, output, keys),
            (Some(Handler::Compensation { .. }) | None, None) => {
                Err(Unreadable::Body(self.unknown(name, Direction::Action)))
            }
            // Only a refusal ends an undo permanently. The next version of this program may know
            // the message.
            (Some(Handler::Action { .. }) | None, Some(_)) => {
                Err(Unreadable::Output(self.unknown(name, Direction::Compensation)))
            }
        }
    }

    /// Returns why the record is a dead letter although its handler is not called. The check is
    /// repeated for each delivery, because a crash between commit and publish would otherwise lose
    /// the dead letter.
    fn poison(&self, item: &WorkItem) -> Option<String> {
        if let By::Event(_) = item.by {
            return None; // reported at the first delivery
        }
        let (name, body) = match &item.message {
            Ok(message) => message,
            Err(reason) => return Some(reason.clone()),
        };
        match (item.key.direction, self.service.handler(name)) {
            (Direction::Action, Some(Handler::Action { check, .. })) => {
                check(body).err().map(|error| error.to_string())
            }
            (Direction::Action, Some(Handler::Compensation { .. }) | None) => {
                Some(self.unknown(name, Direction::Action))
            }
            (Direction::Compensation, _) => None,
        }
    }

    fn unknown(&self, name: &Name, direction: Direction) -> String {
        let known: Vec<&str> = self.service.knows().collect();
        let service = self.service.name();
        format!("service '{service}' has no {direction} '{name}'; it knows: {}", known.join(", "))
    }

    /// Runs a handler to its end. Rolls its writes back unless it succeeded.
    async fn settle(
        &self,
        open: &Open,
        running: Running,
        mode: Mode,
        meter: &mut Meter,
    ) -> Result<Outcome, Stop> {
        if mode != Mode::Together {
            open.savepoint().await.map_err(Stop::of)?;
        }
        let tx = open.tx();
        let written = tx.rows_written();
        let ended = guarded(running, self.options.handler_limit, meter).await;
        let trace = Trace { clean: tx.rows_written() == written, aborted: tx.aborted() };
        self.keep_or_undo(open, self.judge(ended, trace, mode)?, mode).await
    }

    /// Decides what a handler's end means for its writes.
    fn judge(
        &self,
        ended: Decided<Body, Refusal>,
        trace: Trace,
        mode: Mode,
    ) -> Result<HandlerEnd, Stop> {
        Ok(match ended {
            Ok(Ok(_)) if let Some(error) = trace.aborted => ignored(&error, mode)?,
            Ok(Ok(output)) if output.as_str().len() > self.options.reply_bytes_max => {
                let (bytes, bytes_max) = (output.as_str().len(), self.options.reply_bytes_max);
                HandlerEnd::Undone(Outcome::Fault(format!(
                    "the reply has {bytes} bytes, but at most {bytes_max} are allowed"
                )))
            }
            Ok(Ok(output)) => HandlerEnd::Kept(Outcome::Done(output)),
            Ok(Err(Refusal { code, message })) => {
                let outcome =
                    Outcome::Refused(Refusal { code: cut(&code), message: cut(&message) });
                let clean = trace.clean && trace.aborted.is_none();
                if clean || planted(Bug::PartialChunk) {
                    HandlerEnd::Kept(outcome)
                } else {
                    HandlerEnd::Undone(outcome)
                }
            }
            Err(fault) => broken(fault.database(), &fault.to_string(), mode)?,
        })
    }

    async fn keep_or_undo(
        &self,
        open: &Open,
        ended: HandlerEnd,
        mode: Mode,
    ) -> Result<Outcome, Stop> {
        let undone = match (mode, ended) {
            (Mode::Together, HandlerEnd::Kept(outcome)) => return Ok(outcome),
            (Mode::Together, HandlerEnd::Undone(_)) => return Err(Stop::Apart),
            (Mode::Apart { .. }, HandlerEnd::Kept(outcome @ Outcome::Done(_))) => {
                match open.release().await {
                    Ok(()) => return Ok(outcome),
                    // a statement failed that the handler did not await
                    Err(error) => match ignored(&error, mode)? {
                        HandlerEnd::Kept(outcome) | HandlerEnd::Undone(outcome) => outcome,
                    },
                }
            }
            // A refusal is always rolled back. A failed statement, which the handler took as its
            // reason to refuse, has aborted the transaction up to the savepoint.
            (Mode::Apart { .. }, HandlerEnd::Kept(outcome) | HandlerEnd::Undone(outcome)) => {
                outcome
            }
        };
        open.rollback_to().await.map_err(Stop::of)?;
        Ok(undone)
    }
}

/// Handles a statement error that the handler ignored: the transaction accepts no further
/// statement.
fn ignored(error: &DatabaseError, mode: Mode) -> Result<HandlerEnd, Stop> {
    broken(Some(error), &format!("the handler ignored the error of a statement: {error}"), mode)
}

/// Decides what a handler's fault, or the database error in it, means.
fn broken(error: Option<&DatabaseError>, text: &str, mode: Mode) -> Result<HandlerEnd, Stop> {
    match error.map(DatabaseError::root) {
        Some(error @ (DatabaseError::Unavailable(_) | DatabaseError::CommitUnknown(_))) => {
            Err(Stop::Failed(error.clone()))
        }
        Some(error @ DatabaseError::Conflict(_)) if mode != (Mode::Apart { last: true }) => {
            Err(Stop::Again(error.clone()))
        }
        Some(_) | None => Ok(HandlerEnd::Undone(Outcome::Fault(cut(text)))),
    }
}

impl Preparation {
    /// Returns whether nothing new must be stored.
    fn is_known(&self) -> bool {
        match self {
            Preparation::Answered(answer) => answer.waits || !answer.fresh,
            Preparation::Running(_) => false,
        }
    }
}

impl Mode {
    /// Decides what an error of the barrier's own statements means. Unless the database is
    /// unavailable, the chunk is repeated with savepoints.
    fn stop(self, error: DatabaseError) -> Stop {
        match self {
            Mode::Together if !error.is_transient() => Stop::Apart,
            Mode::Together | Mode::Apart { .. } => Stop::of(error),
        }
    }
}

impl Stop {
    fn of(error: DatabaseError) -> Stop {
        match error {
            DatabaseError::Conflict(_) => Stop::Again(error),
            DatabaseError::Aborted(cause) => Stop::of(*cause),
            DatabaseError::Unavailable(_)
            | DatabaseError::CommitUnknown(_)
            | DatabaseError::Constraint(_)
            | DatabaseError::Statement(_)
            | DatabaseError::Column { .. }
            | DatabaseError::Over
            | DatabaseError::Name(_)
            | DatabaseError::InUse(_)
            | DatabaseError::ProgramTooOld { .. } => Stop::Failed(error),
        }
    }
}

/// Answers an action that will never run.
fn never(last: Last) -> Preparation {
    let refusal = match last {
        Last::Overdue => {
            Refusal::new(code::OVERDUE, "the deadline passed before it ran: it never will")
        }
        Last::Ended => Refusal::new(code::ENDED, "the chain ended before it ran: it never will"),
    };
    Preparation::Answered(Answer::fresh(Outcome::Refused(refusal)))
}

fn alarm(item: &WorkItem, answer: &Answer) {
    if let (Outcome::Fault(reason), false) = (&answer.outcome, answer.waits) {
        let key = &item.key;
        tracing::error!(saga = %key.saga, step = %key.step, direction = %key.direction, reason, "fault");
    }
}
