//! Load, decide and commit in one transaction. Sagas that lost a race are decided again, and data
//! that the database rejects is isolated by halving.

use std::collections::{HashMap, HashSet};

use futures_util::future::join;
use sagamore_core::Timestamp;
use sagamore_core::decide::Bound;
use sagamore_core::id::SagaId;
use sagamore_core::message::{Command, ReplyTo};
use sagamore_core::planted::{Bug, planted};
use sagamore_core::saga::Status;
use sagamore_database::{Error as DatabaseError, Tx};
use sagamore_transport::{Record, wire};

use super::blocked::BatchBisection;
use super::decide::{Context, Draft, Verdict};
use super::{Answer, Arrival, Arrivals, RejectReason, Settlement, poison, reject};
use crate::error::{Error, VerbError};
use crate::live::StoredSaga;
use crate::orchestrator::Orchestrator;
use crate::request::{Recipient, VerbRequest, summary};
use crate::store::{Epochs, LoadResults, LoadedSaga, Write, WriteOutcome};
use crate::unreadable::Unreadable;

/// Maximum attempts per turn for sagas that other writers keep changing.
const ROUNDS_MAX: usize = 8;

/// The body size up to which every transport accepts a command's record.
const SMALL: usize = 64 * 1024;

/// The sagas of a batch, as they were before it.
#[derive(Default)]
struct LoadedBatch {
    known: HashMap<SagaId, StoredSaga>,
    /// Sagas that cannot be read.
    unreadable: HashMap<SagaId, Box<Unreadable>>,
    /// Sagas that a takeover has not reached, or skipped as unreadable.
    ahead: HashSet<SagaId>,
}

impl Orchestrator {
    /// Commits the decisions on a batch. Only stored decisions are published and answered.
    ///
    /// # Errors
    /// The outcome is unknown: the next turn reads the batch's sagas again.
    pub(crate) async fn settle(
        &mut self,
        epochs: &Epochs,
        arrivals: Arrivals,
        now: Timestamp,
        rng: &mut fastrand::Rng,
    ) -> Result<Settlement, Error> {
        self.debts.doubtful = arrivals.keys().cloned().collect();
        let (mut settled, mut arrivals) = (Settlement::default(), arrivals);
        let mut bisection = BatchBisection::of(arrivals.len());
        let suspects = self.suspects(&mut arrivals, now, &mut settled).await?;
        let mut groups: Vec<(Arrivals, usize)> =
            suspects.into_iter().map(|suspect| (suspect, 0)).collect();
        groups.push((arrivals, 0)); // popped first
        while let Some((mut arrivals, rounds)) = groups.pop() {
            if arrivals.is_empty() {
                continue;
            }
            match self.commit(epochs, &arrivals, now, rng).await {
                Ok(drafts) => {
                    bisection.succeeded();
                    let lost = self.absorb(epochs, drafts, &mut arrivals, now, &mut settled);
                    if !lost.is_empty() && rounds + 1 >= ROUNDS_MAX {
                        return Err(Error::Contended);
                    }
                    groups.push((lost, rounds + 1));
                }
                Err(Error::Database(error @ DatabaseError::Constraint(_))) => {
                    let parts = poison::narrow(arrivals, error, &mut settled)?;
                    groups.extend(parts.into_iter().map(|part| (part, rounds)));
                }
                Err(Error::Database(error))
                    if matches!(error.root(), DatabaseError::Conflict(_)) =>
                {
                    let locked = self.set_locked_aside(&mut arrivals, now, &mut settled).await?;
                    let parts = if locked > 0 {
                        vec![arrivals]
                    } else {
                        bisection.halve(arrivals, error)?
                    };
                    groups.extend(parts.into_iter().map(|part| (part, rounds)));
                    self.pulse.beat();
                }
                Err(error) => return Err(error),
            }
        }
        if bisection.was_too_much() {
            self.pace.failed(self.options.batch_max);
            self.pace.failed(self.options.batch_max); // the turn's success reverts one of two
        }
        for (arrivals, why) in bisection.end()? {
            for (id, of_saga) in arrivals {
                self.set_unstored_aside(&id, of_saga, &why.to_string(), now, &mut settled);
            }
        }
        self.debts.doubtful.clear();
        Ok(settled)
    }

    /// Runs one transaction: reads sagas that are not in memory, decides, and writes while the
    /// partitions are owned.
    async fn commit(
        &mut self,
        epochs: &Epochs,
        arrivals: &Arrivals,
        now: Timestamp,
        rng: &mut fastrand::Rng,
    ) -> Result<Vec<(Draft, Option<WriteOutcome>)>, Error> {
        let open = self.store.begin().await?;
        let tx = open.tx();
        let begins = |arrival: &Arrival| match arrival {
            Arrival::Start(_) => true,
            Arrival::Verb(verb) => verb.absent.is_some(),
            Arrival::Watch(_) | Arrival::Reply(_) | Arrival::Unstorable(..) => false,
            Arrival::Due | Arrival::Rejected(_) => false,
        };
        let starts = arrivals.values().filter(|of_saga| of_saga.iter().any(begins)).count();
        let store = self.store.clone();
        let (read, numbers) =
            join(self.load(&tx, epochs, arrivals, now), store.reserve(&tx, starts)).await;
        let (mut read, numbers) = (read?, numbers?);
        let mut keys = self.load_keys(&tx, arrivals).await?;
        let unanswered = self.store.unanswered(&tx, &handed(arrivals)).await?;
        let drafts = self.decide(epochs, arrivals, &mut read, (&mut keys, &unanswered), now, rng);
        let changed = |draft: &&Draft| !draft.entries.is_empty();
        let writes: Vec<Write<'_>> = drafts.iter().filter(changed).filter_map(write).collect();
        if drafts.iter().any(|draft| is_passed_over(draft, arrivals)) {
            self.store.check_ownership(&tx, epochs).await?;
        }
        let has_key = |draft: &Draft| !draft.idempotent.is_empty();
        if writes.is_empty() && unanswered.is_empty() && !drafts.iter().any(has_key) {
            open.rollback().await?;
            return Ok(drafts.into_iter().map(|draft| (draft, None)).collect());
        }
        let mut saved = self.store.write(&tx, epochs, &writes, numbers).await?.into_iter();
        let paired = drafts.into_iter().map(|draft| {
            let saved = if draft.entries.is_empty() { None } else { saved.next() };
            (draft, saved)
        });
        let drafts: Vec<(Draft, Option<WriteOutcome>)> = paired.collect();
        self.write_beside(&tx, arrivals, &drafts, now).await?;
        if planted(Bug::PublishBeforeCommit) {
            let commands: Vec<_> = drafts.iter().flat_map(|(draft, _)| draft.commands()).collect();
            self.publish(commands, Vec::new(), now).await?;
        }
        open.commit().await.or_else(|error| {
            if planted(Bug::EarlyAcknowledgement) { Ok(()) } else { Err(error) }
        })?;
        Ok(drafts)
    }

    /// Writes the idempotency keys of starts, and the answers to handed verbs. Sagas that lost a
    /// race get neither.
    async fn write_beside(
        &mut self,
        tx: &Tx,
        arrivals: &Arrivals,
        drafts: &[(Draft, Option<WriteOutcome>)],
        now: Timestamp,
    ) -> Result<(), Error> {
        let (mut keys, mut answers) = (Vec::new(), Vec::new());
        for (draft, saved) in drafts {
            if *saved == Some(WriteOutcome::Conflict) {
                continue;
            }
            let is_fresh = draft.seq.is_none() && saved.is_some();
            keys.extend(draft.idempotent.iter().map(|key| (key, is_fresh)));
            let arrivals = arrivals.get(&draft.id).into_iter().flatten();
            answers.extend(arrivals.zip(&draft.verdicts).filter_map(|pair| match pair {
                (
                    Arrival::Verb(VerbRequest { recipient: Recipient::Elsewhere(id), .. }),
                    Verdict::Verb(answer),
                ) => Some((id.clone(), answer.clone())),
                _ => None,
            }));
        }
        if !self.store.write_idempotent(tx, now, &keys).await? {
            // another orchestrator stored the key: everything is read again
            return Err(Error::Contended);
        }
        self.store.write_answers(tx, &answers).await
    }

    /// Decides the arrivals of each saga. Without an await, so that it depends only on its
    /// arguments.
    fn decide(
        &self,
        epochs: &Epochs,
        arrivals: &Arrivals,
        read: &mut LoadedBatch,
        (keys, unanswered): (&mut HashMap<String, String>, &HashSet<String>),
        now: Timestamp,
        rng: &mut fastrand::Rng,
    ) -> Vec<Draft> {
        let topic = &self.options.reply_topic;
        let ours: Vec<u32> =
            epochs.0.keys().copied().filter(|ours| *ours < self.options.reply_partitions).collect();
        let reply_to = |id: &SagaId| {
            let partition = partition_of(id, &ours)?;
            Some(ReplyTo { topic: topic.clone(), partition })
        };
        let owns = |partition: u32| epochs.owns(partition);
        let rejects = |command: &Command| {
            let size = self.transport.check_size(&wire::encode_command(command, now));
            size.err().map(|error| format!("the command cannot be sent: {error}"))
        };
        let bound = Bound { always: SMALL, rejects: &rejects };
        let mut context =
            Context { now, rng, reply_to: &reply_to, owns: &owns, bound, keys, unanswered };
        let fold = |(id, arrivals): (&SagaId, &Vec<Arrival>)| match read.unreadable.get(id) {
            Some(row) => Draft::unreadable(id.clone(), arrivals, row, &owns),
            None => {
                let is_ahead = read.ahead.contains(id);
                Draft {
                    is_ahead,
                    ..Draft::fold(id.clone(), read.known.remove(id), arrivals, &mut context)
                }
            }
        };
        arrivals.iter().map(fold).collect()
    }

    /// Loads the sagas of these arrivals, from memory or in two round trips. If a takeover has not
    /// reached a saga, its outstanding commands are resent.
    async fn load(
        &mut self,
        tx: &Tx,
        epochs: &Epochs,
        arrivals: &Arrivals,
        now: Timestamp,
    ) -> Result<LoadedBatch, Error> {
        let mut read = LoadedBatch::default();
        let mut absent = Vec::new();
        for id in arrivals.keys() {
            match self.live.take(id) {
                Some(saga) => drop(read.known.insert(id.clone(), saga)),
                None => absent.push(id),
            }
        }
        let readings = if absent.is_empty() {
            LoadResults::new()
        } else {
            self.store.load(tx, &self.registry, &absent).await?
        };
        for (id, reading) in readings {
            self.note_reading(&reading, |partition| epochs.owns(partition));
            match reading {
                Ok(LoadedSaga { seq, mut saga, is_marked }) => {
                    let partition = saga.reply_to.partition;
                    let is_ahead = epochs.owns(partition)
                        && (is_marked || self.takeover.is_ahead(partition, seq));
                    if is_ahead && !self.live.knows(&id) {
                        read.ahead.insert(id.clone());
                    } else {
                        self.live.restore_timers(&mut saga, now);
                    }
                    if self.live.is_overdue(&id, now) {
                        saga.redraw_overdue(now); // the pause was drawn when the clock was set back
                    } else {
                        saga.redraw(now);
                    }
                    self.sweep.pause(&mut saga, now);
                    read.known.insert(id, StoredSaga { seq, saga });
                }
                Err(row) => {
                    self.live.unschedule(&id); // it is scheduled again once it is readable
                    read.unreadable.insert(id, row);
                }
            }
        }
        for id in arrivals.keys().filter(|id| !read.known.contains_key(*id)) {
            self.live.unschedule(id); // its row was removed
        }
        read.known.values_mut().for_each(|known| self.blocked.show(&mut known.saga));
        Ok(read)
    }

    async fn load_keys(
        &mut self,
        tx: &Tx,
        arrivals: &Arrivals,
    ) -> Result<HashMap<String, String>, Error> {
        let starts = arrivals.values().flatten().filter_map(|arrival| match arrival {
            Arrival::Start(start) => start.idempotency.as_ref(),
            Arrival::Verb(_) | Arrival::Watch(_) => None,
            Arrival::Reply(_) | Arrival::Unstorable(..) | Arrival::Due | Arrival::Rejected(_) => {
                None
            }
        });
        let keys: Vec<&str> = starts.map(|idempotency| idempotency.key.as_str()).collect();
        if keys.is_empty() { Ok(HashMap::new()) } else { self.store.idempotent(tx, &keys).await }
    }

    /// Moves stored sagas into memory, collects their messages and answers, and returns the
    /// arrivals that lost a race.
    fn absorb(
        &mut self,
        epochs: &Epochs,
        drafts: Vec<(Draft, Option<WriteOutcome>)>,
        arrivals: &mut Arrivals,
        now: Timestamp,
        settled: &mut Settlement,
    ) -> Arrivals {
        let mut lost = Arrivals::new();
        for (draft, saved) in drafts {
            let Some(arrivals) = arrivals.remove(&draft.id) else { continue };
            let seq = match saved {
                Some(WriteOutcome::Conflict) => {
                    metrics::counter!("sagamore_revision_conflicts_total").increment(1);
                    lost.insert(draft.id, arrivals);
                    continue;
                }
                Some(WriteOutcome::Row(seq)) => {
                    settled.sagas += 1;
                    Some(seq)
                }
                None => draft.seq,
            };
            settled.commands.extend(draft.commands());
            let remote =
                draft.saga.as_ref().is_some_and(|saga| !epochs.owns(saga.reply_to.partition));
            match saved {
                Some(_) => self.note_stored(&draft.id, true),
                None if remote => self.note_stored(&draft.id, false),
                None if arrivals.iter().any(Arrival::may_write) => self.note_tried(&draft.id),
                None => {}
            }
            if remote {
                self.remote.poll_soon(now); // a local caller may wait for it
            }
            for (arrival, verdict) in arrivals.into_iter().zip(draft.verdicts) {
                self.record_answer(&draft.id, arrival, verdict, now, settled);
            }
            if let (Some(seq), Some(saga)) = (seq, draft.saga) {
                if saga.status.has_ended() && saved.is_some() {
                    metrics::counter!("sagamore_ended_total", "state" => saga.status.as_str())
                        .increment(1);
                }
                if saga.status.has_ended() || saga.status == Status::Stuck {
                    settled.answers.push(Answer::Rest(summary(&saga)));
                }
                if !remote {
                    self.live.put(StoredSaga { seq, saga });
                }
            }
        }
        lost
    }

    /// Records the answer to an arrival, for after the publish.
    fn record_answer(
        &mut self,
        id: &SagaId,
        arrival: Arrival,
        verdict: Verdict,
        now: Timestamp,
        settled: &mut Settlement,
    ) {
        match (arrival, verdict) {
            (Arrival::Start(start), Verdict::Start(answer)) => {
                if let (Ok(_), Some(rest)) = (&answer, start.rest) {
                    self.live.wait(id, rest);
                }
                settled.answers.push(Answer::Start(start.accepted, answer));
            }
            (Arrival::Verb(verb), Verdict::Verb(answer)) => match verb.recipient {
                Recipient::Here(done) => settled.answers.push(Answer::Verb(done, answer)),
                Recipient::Elsewhere(_) => {} // answered in the transaction
            },
            (Arrival::Watch(waiter), Verdict::Watch { exists: true }) => self.live.wait(id, waiter),
            (Arrival::Watch(waiter), Verdict::Watch { exists: false }) => {
                // the caller may have dropped its receiver
                let _ = waiter.send(Err(VerbError::NotFound(id.clone())));
            }
            (Arrival::Reply(stray), Verdict::Stray) => {
                settled.dead_letters.extend(self.strays.hold(*stray, now));
            }
            (Arrival::Verb(verb), Verdict::Remote(partition)) => {
                settled.handed.push((partition, verb))
            }
            (Arrival::Reply(stray) | Arrival::Unstorable(stray, _), Verdict::Remote(partition)) => {
                // the participant replied to another partition than the command named;
                // a record that already is a dead letter becomes another one there
                settled
                    .dead_letters
                    .push(Record { partition: Some(partition), ..stray.delivery.record });
            }
            (Arrival::Unstorable(stray, why), _) => {
                if !stray.is_dead {
                    settled.dead_letters.push(reject(
                        &stray.delivery,
                        RejectReason::Unstorable,
                        &why,
                    ));
                }
            }
            (Arrival::Reply(stray), Verdict::Unmatched(rejected, why)) => {
                if !stray.is_dead {
                    settled.dead_letters.push(reject(&stray.delivery, rejected, &why));
                }
            }
            (arrival, Verdict::Unreadable(why)) => poison::refuse(arrival, &why, settled),
            (
                Arrival::Start(_)
                | Arrival::Verb(_)
                | Arrival::Watch(_)
                | Arrival::Reply(_)
                | Arrival::Rejected(_)
                | Arrival::Due,
                Verdict::Start(_)
                | Verdict::Verb(_)
                | Verdict::Watch { .. }
                | Verdict::Silent
                | Verdict::Stray
                | Verdict::Unmatched(..)
                | Verdict::Remote(_),
            ) => {}
        }
    }
}

/// Returns the ids of the verbs that other orchestrators handed over.
fn handed(arrivals: &Arrivals) -> Vec<&str> {
    let verbs = arrivals.values().flatten().filter_map(|arrival| match arrival {
        Arrival::Verb(VerbRequest { recipient: Recipient::Elsewhere(id), .. }) => Some(id.as_str()),
        _ => None,
    });
    verbs.collect()
}

/// Returns whether the draft writes nothing, but ignores a reply or a verb, or resends. Without a
/// write, nothing proves ownership, so the caller checks it.
///
/// A check without a lock suffices: an input ignored under our ownership stays ignored under any
/// later owner.
fn is_passed_over(draft: &Draft, arrivals: &Arrivals) -> bool {
    let counts = |arrival: &Arrival| matches!(arrival, Arrival::Reply(_) | Arrival::Verb(_));
    let unwritten = draft.saga.is_some() && draft.entries.is_empty();
    let repeats = !draft.sent.is_empty();
    unwritten
        && (repeats || arrivals.get(&draft.id).is_some_and(|arrivals| arrivals.iter().any(counts)))
}

fn write(draft: &Draft) -> Option<Write<'_>> {
    let saga = draft.saga.as_ref()?;
    Some(Write {
        seq: draft.seq,
        read_revision: draft.read_revision,
        saga,
        entries: &draft.entries,
    })
}

/// Assigns a new saga to one of the owned partitions, by a hash of its id.
fn partition_of(id: &SagaId, ours: &[u32]) -> Option<u32> {
    let hash = id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3) // FNV-1a
    });
    let place = hash.checked_rem(ours.len() as u64)?;
    ours.get(usize::try_from(place).ok()?).copied()
}
