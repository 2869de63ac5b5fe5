//! The decision on one saga's arrivals: pure, on a saga taken out of memory.

use std::collections::{HashMap, HashSet};

use sagamore_core::decide::{Bound, decide_within};
use sagamore_core::id::{Direction, SagaId};
use sagamore_core::journal::Entry;
use sagamore_core::message::ReplyTo;
use sagamore_core::planted::{Bug, planted};
use sagamore_core::saga::{IgnoreReason, Input, Saga, Status, StepStatus};
use sagamore_core::{Body, Timestamp};
use sagamore_transport::wire::is_from;

use super::{Arrival, OutgoingCommand, RejectReason, Stray};
use crate::error::{StartError, VerbError};
use crate::live::StoredSaga;
use crate::request::Started;
use crate::request::{Idempotency, Recipient, StartRequest, VerbRequest};
use crate::store::Idempotent;
use crate::unreadable::Unreadable;

/// The error of a start when no partition is owned.
const NO_PARTITION: &str =
    "this orchestrator owns no reply partition: retry later, or at another one";

/// The decisions on the arrivals of one saga, before they are stored.
pub(crate) struct Draft {
    pub id: SagaId,
    /// The row's number. `None` for a new saga.
    pub seq: Option<i64>,
    pub read_revision: u64,
    /// The saga. `None` if it does not exist and no arrival created it.
    pub saga: Option<Saga>,
    pub entries: Vec<Entry>,
    /// The steps with a new command.
    pub sent: Vec<(usize, Direction)>,
    /// Whether a takeover has not reached the saga, or skipped it as unreadable. All outstanding
    /// commands are then sent, not only new ones.
    pub is_ahead: bool,
    pub idempotent: Vec<Idempotent>,
    /// One per arrival, in order.
    pub verdicts: Vec<Verdict>,
}

/// The outcome of an arrival, answered once everything is stored.
pub(crate) enum Verdict {
    Start(Result<Started, StartError>),
    Verb(Result<Status, VerbError>),
    Watch {
        exists: bool,
    },
    /// A reply or a timer, which needs no answer.
    Silent,
    /// A reply to a missing saga.
    Stray,
    /// A reply that answers no command ever sent, with the reason.
    Unmatched(RejectReason, String),
    /// The saga is in this reply partition of another orchestrator.
    Remote(u32),
    /// The saga is unreadable, with the reason.
    Unreadable(String),
}

/// Shared context of the drafts of one batch.
pub(crate) struct Context<'a> {
    pub now: Timestamp,
    pub rng: &'a mut fastrand::Rng,
    /// Assigns the reply partition of a new saga. `None`: no partition is owned.
    pub reply_to: &'a dyn Fn(&SagaId) -> Option<ReplyTo>,
    /// The size limit of a command.
    pub bound: Bound<'a>,
    /// Whether this orchestrator owns a partition.
    pub owns: &'a dyn Fn(u32) -> bool,
    /// Idempotency keys, stored or claimed by earlier starts of this batch, with the request's
    /// hash.
    pub keys: &'a mut HashMap<String, String>,
    /// Handed verbs without an answer.
    pub unanswered: &'a HashSet<String>,
}

impl Draft {
    /// Drafts nothing for an unreadable saga. Its owner, if another program, may be able to read
    /// it.
    pub fn unreadable(
        id: SagaId,
        arrivals: &[Arrival],
        row: &Unreadable,
        owns: &dyn Fn(u32) -> bool,
    ) -> Draft {
        let remote = row.partition.filter(|partition| !owns(*partition));
        let verdict = |arrival: &Arrival| match (arrival, remote) {
            (Arrival::Verb(_) | Arrival::Reply(_) | Arrival::Unstorable(..), Some(at)) => {
                Verdict::Remote(at)
            }
            // until it is readable and at rest
            (Arrival::Watch(_), _) => Verdict::Watch { exists: true },
            (Arrival::Due | Arrival::Rejected(_), _) => Verdict::Silent,
            (_, _) => Verdict::Unreadable(format!(
                "saga {id} cannot be read by this program: {}",
                row.why
            )),
        };
        let verdicts = arrivals.iter().map(verdict).collect();
        Draft { verdicts, ..Draft::new(id, None) }
    }

    fn new(id: SagaId, known: Option<StoredSaga>) -> Draft {
        let (seq, saga) = known.map_or((None, None), |known| (Some(known.seq), Some(known.saga)));
        Draft {
            id,
            seq,
            read_revision: saga.as_ref().map_or(0, |saga| saga.revision),
            saga,
            entries: Vec::new(),
            sent: Vec::new(),
            is_ahead: false,
            idempotent: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    /// Decides all arrivals, in order.
    pub fn fold(
        id: SagaId,
        known: Option<StoredSaga>,
        arrivals: &[Arrival],
        context: &mut Context<'_>,
    ) -> Draft {
        let mut draft = Draft::new(id, known);
        let remote = draft
            .saga
            .as_ref()
            .map(|saga| saga.reply_to.partition)
            .filter(|at| !(context.owns)(*at));
        for arrival in arrivals {
            let verdict = match (arrival, remote) {
                (Arrival::Verb(_) | Arrival::Reply(_) | Arrival::Unstorable(..), Some(at)) => {
                    Verdict::Remote(at)
                }
                // the owner handles it
                (Arrival::Due | Arrival::Rejected(_), Some(_)) => Verdict::Silent,
                (arrival, _) => draft.take(arrival, context),
            };
            draft.verdicts.push(verdict);
        }
        if let Some(saga) = &mut draft.saga {
            saga.unstored = None; // this write stores the saga
        }
        draft
    }

    fn take(&mut self, arrival: &Arrival, context: &mut Context<'_>) -> Verdict {
        match arrival {
            Arrival::Start(start) => Verdict::Start(self.start(start, context)),
            Arrival::Verb(VerbRequest { recipient: Recipient::Elsewhere(id), .. })
                if !context.unanswered.contains(id) =>
            {
                Verdict::Silent // it was executed and answered before
            }
            Arrival::Verb(verb) => Verdict::Verb(self.verb(verb, context)),
            Arrival::Watch(_) => Verdict::Watch { exists: self.saga.is_some() },
            Arrival::Reply(_) if self.saga.is_none() => Verdict::Stray,
            Arrival::Reply(stray) => match self.unmatched(stray) {
                Some((rejected, why)) => Verdict::Unmatched(rejected, why),
                None => self.silently(&Input::Reply(stray.reply.clone()), context),
            },
            Arrival::Unstorable(stray, why) => {
                let (step, direction) = (stray.reply.key.step.clone(), stray.reply.key.direction);
                self.silently(&Input::SetAside { step, direction, reason: why.clone() }, context)
            }
            Arrival::Due => self.silently(&Input::Tick, context),
            Arrival::Rejected(rejection) => self.silently(&rejection.input(), context),
        }
    }

    /// Returns the new commands that were not answered within the turn; for a saga ahead of a
    /// takeover, all outstanding ones.
    pub fn commands(&self) -> Vec<OutgoingCommand> {
        let Some(saga) = &self.saga else { return Vec::new() };
        let resends = self.is_ahead && !planted(Bug::NoResendOnTakeover);
        let outstanding = saga.outstanding().into_iter();
        let due = outstanding.filter(|outstanding| resends || self.sent.contains(outstanding));
        due.map(|(step, direction)| OutgoingCommand::of(saga, step, direction)).collect()
    }

    /// Starts a saga, or finds an existing one with the same input. The idempotency key is stored
    /// only with a saga.
    fn start(
        &mut self,
        start: &StartRequest,
        context: &mut Context<'_>,
    ) -> Result<Started, StartError> {
        let known =
            start.idempotency.as_ref().and_then(|own| Some((own, context.keys.get(&own.key)?)));
        if known.is_some_and(|(own, hash)| !own.is_of(hash, &self.id, &start.input)) {
            return Err(StartError::OtherRequest);
        }
        let is_new = known.is_none();
        let started = self.start_or_find(start, context);
        if let Some(Idempotency { key, request_hash }) =
            start.idempotency.clone().filter(|_| is_new)
            && (started.is_ok() || planted(Bug::KeyWithoutSaga))
        {
            context.keys.insert(key.clone(), request_hash.clone());
            self.idempotent.push(Idempotent { key, request_hash, saga: self.id.clone() });
        }
        started
    }

    fn start_or_find(
        &mut self,
        start: &StartRequest,
        context: &mut Context<'_>,
    ) -> Result<Started, StartError> {
        let existed = match &self.saga {
            Some(saga) if has_no_known_input(saga) || saga.input.means_the_same(&start.input) => {
                true
            }
            Some(_) if planted(Bug::KeyReuse) => true,
            Some(_) => return Err(StartError::OtherInput(self.id.clone())),
            None => false,
        };
        if !existed {
            let reply_to = (context.reply_to)(&self.id)
                .ok_or_else(|| StartError::Unavailable(NO_PARTITION.into()))?;
            let begun = Saga::begin(
                self.id.clone(),
                start.definition.clone(),
                reply_to,
                start.input.clone(),
                context.now,
            );
            self.saga = Some(Saga { trace: start.trace.clone(), ..begun });
            if let Err(why) = self.decide(&Input::Start, context) {
                self.saga = None; // a later arrival must not find a saga that is not stored
                return Err(StartError::bad_input(format!("the saga cannot start: {why}")));
            }
        }
        let saga = self.saga.as_ref().expect("the saga exists or was just created");
        Ok(Started { id: self.id.clone(), existed, status: saga.status, revision: saga.revision })
    }

    fn verb(&mut self, verb: &VerbRequest, context: &mut Context<'_>) -> Result<Status, VerbError> {
        if self.saga.is_none() {
            let definition =
                verb.absent.clone().ok_or_else(|| VerbError::NotFound(self.id.clone()))?;
            let reply_to = (context.reply_to)(&self.id)
                .ok_or_else(|| VerbError::Unavailable(NO_PARTITION.into()))?;
            self.saga = Some(Saga::begin(
                self.id.clone(),
                definition,
                reply_to,
                Body::empty(),
                context.now,
            ));
        }
        let cancels = matches!(verb.input, Input::Cancel { .. });
        let rereads = matches!(verb.input, Input::Tick);
        match self.decide(&verb.input, context) {
            Ok(status) => Ok(status),
            Err(why) if self.saga.as_ref().is_some_and(|saga| saga.revision == 0) => {
                self.saga = None; // a later arrival must not find a saga that is not stored
                Err(VerbError::Ignored(why))
            }
            Err(why) => match (why, self.saga.as_ref().map(|saga| saga.status)) {
                // a repeated cancel succeeds while the saga compensates, but not once it is stuck
                // or has ended
                (
                    IgnoreReason::AlreadyGoingBack,
                    Some(status @ (Status::Running | Status::Compensating)),
                ) => Ok(status),
                (IgnoreReason::Ended, Some(Status::Completed)) if cancels => {
                    Err(VerbError::Ignored(IgnoreReason::TooLate))
                }
                (IgnoreReason::BadOutput, _) => Err(self.bad_output(&verb.input)),
                (_, Some(status)) if rereads => Ok(status),
                (why, _) => Err(VerbError::Ignored(why)),
            },
        }
    }

    /// Returns why the output of an operator's decision does not fit.
    fn bad_output(&self, input: &Input) -> VerbError {
        let misfits = match (&self.saga, input) {
            (Some(saga), Input::Rescue(rescue)) => saga.check_rescue(rescue).err(),
            (_, _) => None,
        };
        misfits.map_or(VerbError::Ignored(IgnoreReason::BadOutput), VerbError::BadOutput)
    }

    /// Returns why this reply matches no command that its saga ever sent. `None` for a match,
    /// including a late one.
    fn unmatched(&self, Stray { reply, delivery, .. }: &Stray) -> Option<(RejectReason, String)> {
        let (saga, key) = (self.saga.as_ref()?, &reply.key);
        let Some(index) = saga.definition.index_of(&key.step) else {
            return Some((
                RejectReason::Step,
                format!("saga {} has no step '{}'", saga.id, key.step),
            ));
        };
        let (step, state) = (&saga.definition.steps[index], &saga.steps[index]);
        let (template, generation) = match key.direction {
            Direction::Action => (Some(&step.action), state.generation),
            Direction::Compensation => (step.compensation.as_ref(), state.undo_generation),
            Direction::Query => (Some(&step.action), state.generation),
        };
        let Some(template) = template else {
            return Some((RejectReason::Step, format!("step '{}' has no compensation", step.name)));
        };
        if !is_from(&delivery.record, &template.participant) {
            let why = format!(
                "its source is not '{}', the participant of step '{}'",
                template.participant, step.name
            );
            return Some((RejectReason::Source, why));
        }
        let is_ahead = key.generation > generation;
        is_ahead.then(|| {
            (
                RejectReason::Generation,
                format!(
                    "generation {} was never sent, the last one is {generation}",
                    key.generation
                ),
            )
        })
    }

    fn silently(&mut self, input: &Input, context: &mut Context<'_>) -> Verdict {
        if let Err(why) = self.decide(input, context) {
            metrics::counter!("sagamore_ignored_total", "why" => reason(why)).increment(1);
        }
        Verdict::Silent
    }

    /// Decides one input. The draft collects the new entry and the new commands.
    fn decide(&mut self, input: &Input, context: &mut Context<'_>) -> Result<Status, IgnoreReason> {
        let Some(saga) = self.saga.take() else { return Err(IgnoreReason::Stale) };
        match decide_within(saga, input, context.now, context.rng, context.bound) {
            Ok(decision) => {
                for change in &decision.changes {
                    if let Some((step, direction)) = change.command()
                        && let Some(index) = decision.saga.definition.index_of(step)
                    {
                        self.sent.push((index, direction));
                    }
                }
                let (saga, entry) = decision.into_parts();
                self.entries.extend(entry); // `None` for a mere resend
                let status = saga.status;
                self.saga = Some(saga);
                Ok(status)
            }
            Err((saga, why)) => {
                self.saga = Some(saga);
                Err(why)
            }
        }
    }
}

/// Whether the saga's input is unknown: it was cancelled before its start, or its journal was
/// removed. Any start then returns it unchanged.
fn has_no_known_input(saga: &Saga) -> bool {
    saga.status.has_ended() && saga.steps.iter().all(|step| step.status == StepStatus::Waiting)
}

/// Returns the label of a metric, from a closed set.
fn reason(why: IgnoreReason) -> &'static str {
    match why {
        IgnoreReason::Ended => "ended",
        IgnoreReason::Stale => "stale",
        IgnoreReason::NoSuchStep => "no-such-step",
        IgnoreReason::TooLate => "too-late",
        IgnoreReason::AlreadyGoingBack => "already-going-back",
        IgnoreReason::NotStuck => "not-stuck",
        IgnoreReason::BadOutput => "bad-output",
        IgnoreReason::NothingDue => "nothing-due",
        IgnoreReason::AlreadyStarted => "already-started",
    }
}
