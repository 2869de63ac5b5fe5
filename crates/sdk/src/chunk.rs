//! One chunk: claim, handlers one after another, answers stored, one commit. It ends early once its answers have too many
//! bytes: the commands that are left begin the next one.

mod events;
mod interleaved;
#[cfg(test)]
mod one_by_one;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use sagamore_core::message::{Event, Outcome, code};
use sagamore_core::planted::{Bug, planted};
use sagamore_core::{Body, Direction, Name, Refusal, StepKey, Timestamp};
use sagamore_database::{Database, Error as DatabaseError, Open, Tx};

use crate::barrier::{self, Known, Verdict};
use crate::decided::Decided;
use crate::guard::{cut, guarded, panic_text};
use crate::handler::{Handler, Running, Unreadable};
use crate::inbox::Over;
use crate::intake::{Asked, By};
use crate::keys::{CommandKeys, Key};
use crate::meter::Meter;
use crate::participant::Options;
use crate::service::Service;
use events::{Inputs, Last};

/// After so many handlers of a turn that took too long the others are not begun: they are asked again.
const TIMEOUTS_MAX: u64 = 5;

/// What an answer has beside its content, in bytes, about: keys and headers.
const ANSWER_BYTES: usize = 256;

/// How long a transaction may be without a statement between two handlers, where it may be idle for so long.
pub(crate) fn quiet_max(idle_limit: Duration) -> Duration {
    idle_limit / 8
}

/// The step of a command that this chunk does not come to: it is released.
static LEFT: Outcome = Outcome::Fault(String::new());

/// Shared context for executing the chunks of a turn.
#[derive(Clone, Copy)]
pub(crate) struct Room<'a> {
    pub service: &'a Service,
    pub database: &'a Database,
    pub options: &'a Options,
    /// Bytes of answers at which a chunk ends.
    pub bytes_max: usize,
    /// So many records came from the transport; what comes behind them came out of the inbox.
    pub polled: usize,
    pub now: Timestamp,
    /// What the database did not take of the chunk's one command.
    pub blamed: Option<&'a DatabaseError>,
}

/// What came of one command.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// What is told to who asked.
    pub outcome: Outcome,
    /// Why its record is a dead letter as well.
    pub poison: Option<String>,
    /// Whether the barrier does not hold it yet.
    fresh: bool,
    /// The event that tells it, where events were reacted to.
    pub event: Option<Event>,
    /// Events that have to be there as well, and are not.
    pub waits: bool,
}

/// How the commands of a chunk share its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Nobody is expected to undo anything: the whole chunk stands or falls.
    Together,
    /// Each handler runs under a savepoint of its own. `last`: what the database wants to be tried again is a fault.
    Apart { last: bool },
}

/// Why an attempt at a chunk was given up; its transaction is rolled back.
enum Stop {
    /// One command has to be undone by itself.
    Apart,
    /// A deadlock or the like.
    Again(DatabaseError),
    /// The database is down, or does not know.
    Failed(DatabaseError),
}

/// What there is to do about a command.
enum Prepared {
    Answered(Answer),
    Running(Begun),
}

/// A handler that is not polled yet.
struct Begun {
    running: Running,
    /// None: it runs alone.
    keys: Option<Vec<Key>>,
}

/// What a handler left in the transaction.
struct Trace {
    /// It is known to have written nothing.
    clean: bool,
    /// The error of a statement after which the transaction takes nothing more.
    aborted: Option<DatabaseError>,
}

/// How a handler ended.
enum Ended {
    Kept(Outcome),
    /// What it wrote has to go.
    Undone(Outcome),
}

impl Room<'_> {
    /// Executes a chunk and commits it. `None` for the commands that it does not come to, always fewer than all.
    /// After an error nothing of it was answered, though it may be committed.
    pub(crate) async fn execute(
        &self,
        chunk: &[Asked],
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, DatabaseError> {
        let (mut attempt, mut mode) = (1, Mode::Together);
        let attempts_max = self.options.attempts_max.max(2); // the last one is always apart
        loop {
            match self.attempt(chunk, mode, meter).await {
                Ok(answers) => {
                    let answered =
                        chunk.iter().zip(&answers).filter_map(|(asked, answer)| Some((asked, answer.as_ref()?)));
                    answered.for_each(|(asked, answer)| alarm(asked, answer));
                    return Ok(answers);
                }
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Apart) => mode = Mode::Apart { last: attempt >= attempts_max },
                Err(Stop::Again(error)) if attempt >= attempts_max => return Err(error),
                Err(Stop::Again(error)) => {
                    tracing::debug!(%error, attempt, "run chunk again");
                    meter.conflicts += 1;
                    attempt += 1;
                    if attempt == attempts_max {
                        mode = Mode::Apart { last: true };
                    }
                }
            }
        }
    }

    /// Answers a command with a fault, and does not call its handler: the database did not take what that led to.
    /// An error: it does not take the fault either.
    pub(crate) async fn set_aside(
        &self,
        chunk: &[Asked],
        error: &DatabaseError,
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, DatabaseError> {
        Room { blamed: Some(error), ..*self }.execute(chunk, meter).await
    }

    async fn attempt(&self, chunk: &[Asked], mode: Mode, meter: &mut Meter) -> Result<Vec<Option<Answer>>, Stop> {
        let open = self.database.begin().await.map_err(Stop::of)?;
        match self.work(&open, chunk, mode, meter).await {
            Ok(answers) => {
                open.commit().await.map_err(Stop::of)?;
                Ok(answers)
            }
            Err(stop @ Stop::Failed(_)) => Err(stop), // rolled back when it is dropped, if it is there at all
            Err(stop @ (Stop::Apart | Stop::Again(_))) => {
                open.rollback().await.map_err(Stop::of)?;
                Err(stop)
            }
        }
    }

    async fn work(
        &self,
        open: &Open,
        chunk: &[Asked],
        mode: Mode,
        meter: &mut Meter,
    ) -> Result<Vec<Option<Answer>>, Stop> {
        let tx = open.tx();
        let keys: Vec<&StepKey> = chunk.iter().map(|asked| &asked.key).collect();
        let claimed = barrier::claim_within(&tx, &keys, self.now, self.bytes_max).await.map_err(Stop::of)?;
        // what is behind the bound is left, in order: a later command may share the key of an earlier one
        let (whole, known) = (chunk, claimed.known);
        let chunk = &whole[..claimed.read];
        let inputs = self.inputs(&tx, chunk, &known).await.map_err(Stop::of)?;
        let mut answers = match mode {
            Mode::Together if self.interleaves() => self.answer_all(&tx, chunk, &known, &inputs, meter).await?,
            Mode::Together | Mode::Apart { .. } => {
                let (mut answers, mut bytes) = (Vec::with_capacity(chunk.len()), 0);
                let mut silence = Silence::of(self.database);
                for ((asked, known), inputs) in chunk.iter().zip(&known).zip(&inputs) {
                    if bytes >= self.bytes_max {
                        break;
                    }
                    silence.end(&tx).await.map_err(Stop::of)?;
                    let answer = self.answer(open, asked, known, inputs, mode, meter).await?;
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
            .filter_map(|((asked, known), answer)| match answer {
                Some(answer) => answer.fresh.then_some((&asked.key, known, &answer.outcome)),
                None => Some((&asked.key, known, &LEFT)),
            })
            .collect();
        barrier::store(&tx, &stored, self.now).await.map_err(|error| mode.stop(error))?;
        self.tell(&tx, chunk, &inputs, &mut answers).await.map_err(|error| mode.stop(error))?;
        Ok(answers)
    }

    async fn answer(
        &self,
        open: &Open,
        asked: &Asked,
        known: &Known,
        inputs: &Inputs,
        mode: Mode,
        meter: &mut Meter,
    ) -> Result<Answer, Stop> {
        let prepared = self.prepare(open.tx(), asked, known, inputs);
        if let (Some(error), false) = (self.blamed, prepared.is_known()) {
            return Ok(Answer::fresh(Outcome::Fault(cut(&format!("its outcome cannot be stored: {error}")))));
        }
        match prepared {
            Prepared::Running(_) if meter.timeouts >= TIMEOUTS_MAX => {
                let outcome = Outcome::Fault("not begun: other handlers of this turn took too long".to_owned());
                Ok(Answer::fresh(outcome))
            }
            Prepared::Running(begun) => Ok(Answer::fresh(self.settle(open, begun.running, mode, meter).await?)),
            Prepared::Answered(answer) => Ok(answer),
        }
    }

    /// What a command comes to without a handler, or the handler, not yet begun, on `tx`.
    fn prepare(&self, tx: Tx, asked: &Asked, known: &Known, inputs: &Inputs) -> Prepared {
        let (case, verdict) = known.judge(&asked.key);
        let service = self.service.name().to_string();
        metrics::counter!("sagamore_barrier_total", "service" => service, "case" => case.as_str()).increment(1);
        let begun = match verdict {
            Verdict::Answered(_) if planted(Bug::OverdueIgnoresPivot) && self.last(asked) == Some(Last::Overdue) => {
                return never(Last::Overdue);
            }
            Verdict::Answered(outcome) => {
                let poison = self.poison(asked);
                return Prepared::Answered(Answer { poison, fresh: false, ..Answer::fresh(outcome) });
            }
            Verdict::NothingToUndo => {
                let outcome = Outcome::Done(Body::empty());
                return Prepared::Answered(Answer { poison: self.poison(asked), ..Answer::fresh(outcome) });
            }
            Verdict::Act => match inputs {
                _ if let Some(last) = self.last(asked) => return never(last),
                Inputs::Missing { names, since } => {
                    let why = format!("waits for {}", names.join(", "));
                    let early = self.now.since(*since) > self.options.early_max;
                    let poison = early.then(|| format!("{why}, for more than {:?}", self.options.early_max));
                    return Prepared::Answered(Answer { waits: true, poison, ..Answer::fresh(Outcome::Fault(why)) });
                }
                Inputs::Command | Inputs::All { .. } => self.begin_unharmed(asked, tx, inputs, None),
            },
            Verdict::Undo(output) => self.begin_unharmed(asked, tx, inputs, Some(&output)),
        };
        match begun {
            Ok(begun) => Prepared::Running(begun),
            Err(Unreadable::Body(reason)) => {
                let outcome = Outcome::Refused(Refusal::new(code::UNDECODABLE, cut(&reason)));
                Prepared::Answered(Answer { poison: Some(reason), ..Answer::fresh(outcome) })
            }
            Err(Unreadable::Output(reason)) => Prepared::Answered(Answer::fresh(Outcome::Fault(cut(&reason)))),
            Err(Unreadable::Panic(text)) => {
                let why = format!("reading the message panicked: {text}");
                Prepared::Answered(Answer::fresh(Outcome::Fault(cut(&why))))
            }
        }
    }

    /// As [`Room::begin`]. To read a message, and its keys, is the service's own code: a panic there is a fault.
    fn begin_unharmed(
        &self,
        asked: &Asked,
        tx: Tx,
        inputs: &Inputs,
        output: Option<&Body>,
    ) -> Result<Begun, Unreadable> {
        let begun = catch_unwind(AssertUnwindSafe(|| {
            let mut keys = self.service.keys().of_command();
            let running = self.begin(asked, tx, inputs, output, &mut keys)?;
            Ok(Begun { running, keys: keys.found() })
        }));
        begun.unwrap_or_else(|panic| Err(Unreadable::Panic(panic_text(panic.as_ref()).to_owned())))
    }

    /// Finds the handler: only names that the service declared lead to code.
    fn begin(
        &self,
        asked: &Asked,
        tx: Tx,
        inputs: &Inputs,
        output: Option<&Body>,
        keys: &mut CommandKeys<'_>,
    ) -> Result<Running, Unreadable> {
        if let By::Event(_) = asked.by {
            return self.react(asked, tx, inputs, output, keys);
        }
        let (name, body) = asked.message.as_ref().map_err(|reason| Unreadable::Body(reason.clone()))?;
        match (self.service.handler(name), output) {
            (Some(Handler::Action { run, .. }), None) => run(tx, body, keys),
            (Some(Handler::Compensation { run }), Some(output)) => run(tx, body, output, keys),
            (Some(Handler::Compensation { .. }) | None, None) => {
                Err(Unreadable::Body(self.unknown(name, Direction::Action)))
            }
            // Only a refusal ends an undo for good. What this program does not know, the next version may.
            (Some(Handler::Action { .. }) | None, Some(_)) => {
                Err(Unreadable::Output(self.unknown(name, Direction::Compensation)))
            }
        }
    }

    /// Why the record is a dead letter, though the handler is not called: each time that it comes, or else a crash
    /// between commit and publish would lose it.
    fn poison(&self, asked: &Asked) -> Option<String> {
        if let By::Event(_) = asked.by {
            return None; // what it could not be read as was told when it came first
        }
        let (name, body) = match &asked.message {
            Ok(message) => message,
            Err(reason) => return Some(reason.clone()),
        };
        match (asked.key.direction, self.service.handler(name)) {
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

    /// Runs a handler to its end, and undoes what it wrote unless it is done.
    async fn settle(&self, open: &Open, running: Running, mode: Mode, meter: &mut Meter) -> Result<Outcome, Stop> {
        if mode != Mode::Together {
            open.savepoint().await.map_err(Stop::of)?;
        }
        let tx = open.tx();
        let written = tx.rows_written();
        let ended = guarded(running, self.options.handler_limit, meter).await;
        let trace = Trace { clean: tx.rows_written() == written, aborted: tx.aborted() };
        self.keep_or_undo(open, self.judge(ended, trace, mode)?, mode).await
    }

    /// What a handler's end means.
    fn judge(&self, ended: Decided<Body, Refusal>, trace: Trace, mode: Mode) -> Result<Ended, Stop> {
        Ok(match ended {
            Ok(Ok(_)) if let Some(error) = trace.aborted => ignored(&error, mode)?,
            Ok(Ok(output)) if output.as_str().len() > self.options.reply_bytes_max => {
                let (bytes, bytes_max) = (output.as_str().len(), self.options.reply_bytes_max);
                Ended::Undone(Outcome::Fault(format!("a reply of {bytes} bytes; at most {bytes_max} are taken")))
            }
            Ok(Ok(output)) => Ended::Kept(Outcome::Done(output)),
            Ok(Err(Refusal { code, message })) => {
                let outcome = Outcome::Refused(Refusal { code: cut(&code), message: cut(&message) });
                let clean = trace.clean && trace.aborted.is_none();
                if clean || planted(Bug::PartialChunk) { Ended::Kept(outcome) } else { Ended::Undone(outcome) }
            }
            Err(fault) => broken(fault.database(), &fault.to_string(), mode)?,
        })
    }

    async fn keep_or_undo(&self, open: &Open, ended: Ended, mode: Mode) -> Result<Outcome, Stop> {
        let undone = match (mode, ended) {
            (Mode::Together, Ended::Kept(outcome)) => return Ok(outcome),
            (Mode::Together, Ended::Undone(_)) => return Err(Stop::Apart),
            (Mode::Apart { .. }, Ended::Kept(outcome @ Outcome::Done(_))) => match open.release().await {
                Ok(()) => return Ok(outcome),
                // A statement failed that the handler did not wait for.
                Err(error) => match ignored(&error, mode)? {
                    Ended::Kept(outcome) | Ended::Undone(outcome) => outcome,
                },
            },
            // A refusal is rolled back also when it wrote nothing: a statement that failed, and that the handler took
            // as the reason to refuse, has aborted the transaction up to the savepoint.
            (Mode::Apart { .. }, Ended::Kept(outcome) | Ended::Undone(outcome)) => outcome,
        };
        open.rollback_to().await.map_err(Stop::of)?;
        Ok(undone)
    }
}

/// The handler ignored this error: the transaction takes nothing more, whatever the handler answers.
fn ignored(error: &DatabaseError, mode: Mode) -> Result<Ended, Stop> {
    broken(Some(error), &format!("the handler ignored the error of a statement: {error}"), mode)
}

/// What a handler's fault means, and the database's error in it.
fn broken(error: Option<&DatabaseError>, text: &str, mode: Mode) -> Result<Ended, Stop> {
    match error.map(DatabaseError::root) {
        Some(error @ (DatabaseError::Unavailable(_) | DatabaseError::CommitUnknown(_))) => {
            Err(Stop::Failed(error.clone()))
        }
        Some(error @ DatabaseError::Conflict(_)) if mode != (Mode::Apart { last: true }) => {
            Err(Stop::Again(error.clone()))
        }
        Some(_) | None => Ok(Ended::Undone(Outcome::Fault(cut(text)))),
    }
}

/// How long the server has heard nothing of a transaction, as far as is known.
struct Silence {
    max: Option<Duration>,
    since: Instant,
}

impl Silence {
    fn of(database: &Database) -> Silence {
        Silence { max: database.idle_limit().map(quiet_max), since: Instant::now() }
    }

    /// Ends a silence that is too long: the server would end the transaction.
    async fn end(&mut self, tx: &Tx) -> Result<(), DatabaseError> {
        if self.max.is_some_and(|max| self.since.elapsed() > max) {
            tx.query("SELECT 1", ()).await?;
            self.since = Instant::now();
        }
        Ok(())
    }
}

impl Prepared {
    /// Whether nothing new has to be stored.
    fn is_known(&self) -> bool {
        match self {
            Prepared::Answered(answer) => answer.waits || !answer.fresh,
            Prepared::Running(_) => false,
        }
    }
}

impl Answer {
    /// An answer that is new, and is not told by an event so far.
    fn fresh(outcome: Outcome) -> Answer {
        Answer { outcome, poison: None, fresh: true, event: None, waits: false }
    }

    /// Its share of what a chunk stores and publishes, in bytes.
    fn bytes(&self) -> usize {
        let content = match &self.outcome {
            Outcome::Done(output) => output.as_str().len(),
            Outcome::Refused(refusal) => refusal.code.len() + refusal.message.len(),
            Outcome::Fault(why) => why.len(),
        };
        ANSWER_BYTES + content
    }

    /// Whether what asked for it is not to come again out of the inbox.
    pub(crate) fn is_final(&self) -> bool {
        match &self.outcome {
            Outcome::Done(_) | Outcome::Refused(_) => true,
            Outcome::Fault(_) => self.waits && self.poison.is_some(),
        }
    }

    /// What waits no more once this is seen through.
    pub(crate) fn over(&self, asked: &Asked) -> Over {
        let given_up = match (&self.outcome, &asked.by) {
            (Outcome::Fault(_), By::Event(event)) => Some(event.name.clone()),
            (Outcome::Done(_) | Outcome::Refused(_), _) | (_, By::Command(_)) => None,
        };
        Over { key: asked.key.clone(), event: given_up }
    }
}

impl Mode {
    /// What an error of the barrier's own statements means. When it is not the database that is down, each command shall
    /// have its savepoint.
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

/// It never will be done.
fn never(last: Last) -> Prepared {
    let refusal = match last {
        Last::Overdue => Refusal::new(code::OVERDUE, "the deadline passed before it was done: it never will be"),
        Last::Ended => Refusal::new(code::ENDED, "the chain ended before it was done: it never will be"),
    };
    Prepared::Answered(Answer::fresh(Outcome::Refused(refusal)))
}

fn alarm(asked: &Asked, answer: &Answer) {
    if let (Outcome::Fault(reason), false) = (&answer.outcome, answer.waits) {
        let key = &asked.key;
        tracing::error!(saga = %key.saga, step = %key.step, direction = %key.direction, reason, "fault");
    }
}
