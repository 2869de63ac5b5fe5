//! Checks the engine's tables: journals without gaps that are only appended to, final states, and
//! writes by owners only.

use std::sync::Arc;

use sagamore_core::apply::apply;
use sagamore_core::definition::Repeat;
use sagamore_core::journal::{Change, Entry, SagaChange, StepChange};
use sagamore_core::message::ReplyTo;
use sagamore_core::saga::{Cause, Status, StepStatus, Verb};
use sagamore_core::{Body, Direction, Saga, Timestamp};
use sagamore_database::{Database, Row};

use super::Checker;
use super::owners::Member;
use super::shadow::{CROWD, Shadow};
use super::verbs::Verbs;
use crate::points;
use crate::rows::{get, read_rows};
use crate::world::World;

/// The length of a journal above which a saga counts as livelocked.
const REVISION_MAX: u64 = 250;

impl Checker {
    /// Reads a commit of the engine and checks it.
    pub(super) fn engine_committed(&mut self, world: &World, database: &Database, who: &str) {
        let rows = read_rows(
            database,
            "SELECT seq, id, status, revision, hash, reply_partition, started_at FROM saga",
        );
        let mut changed = Vec::new();
        for row in &rows {
            let (seq, id): (i64, String) = (get(row, 0), get(row, 1));
            let revision = u64::try_from(get::<i64>(row, 3)).unwrap_or(0);
            let known = self.sagas.get(&id).map_or(0, |shadow| shadow.saga.revision);
            if revision < known {
                world.violate(
                    "time-travel",
                    format!("{id} went from revision {known} back to {revision}"),
                );
            } else if revision > known {
                if !self.sagas.contains_key(&id) {
                    let Some(shadow) = self.first_seen(row) else {
                        world.violate(
                            "vanished-definition",
                            format!("{id} has an unknown definition"),
                        );
                        continue;
                    };
                    self.sagas.insert(id.clone(), shadow);
                }
                if !id.starts_with(CROWD) {
                    changed.push(get::<i64>(row, 5)); // the crowd was stored before the first check
                }
                self.read_entries(world, database, seq, &id);
            }
            let status: String = get(row, 2);
            let shadow = self
                .sagas
                .get(&id)
                .map(|shadow| (shadow.saga.status.as_str(), shadow.saga.revision));
            if shadow != Some((status.as_str(), revision)) && world.violation().is_none() {
                world.violate(
                    "history-gap",
                    format!("{id}: row {status} {revision}, journal {shadow:?}"),
                );
            }
        }
        let orphans = "SELECT key FROM idempotency WHERE NOT EXISTS (SELECT 1 FROM saga WHERE id \
            = idempotency.saga)";
        for row in read_rows(database, orphans) {
            world.violate(
                "key-without-saga",
                format!("{} is stored, but its saga is not", get::<String>(&row, 0)),
            );
        }
        self.read_members(database);
        for row in read_rows(database, "SELECT reply_partition, owner FROM ownership") {
            let (partition, owner): (i64, String) = (get(&row, 0), get(&row, 1));
            // the last owner may write until another one claims the partition
            let may_write =
                owner == who || owner.is_empty() && self.owners.claimed_last(who, partition);
            if changed.contains(&partition) && !may_write {
                world.violate(
                    "zombie-write",
                    format!("{who} changed a saga of partition {partition}, which {owner} owns"),
                );
            }
            self.owners.owned(world, partition, owner, self.tick);
        }
    }

    /// Reads the rows of the orchestrators, once one of them cannot publish.
    fn read_members(&mut self, database: &Database) {
        if self.owners.some_fail() {
            let sql = "SELECT owner, seen_until, able_since, failing_since, published_at FROM \
                orchestrator";
            let number = |row: &Row, column| get::<Option<i64>>(row, column).unwrap_or(0);
            let member = |row: &Row| Member {
                owner: get(row, 0),
                seen_until: number(row, 1),
                able_since: number(row, 2),
                failing_since: number(row, 3),
                published_at: number(row, 4),
            };
            self.owners.members = read_rows(database, sql).iter().map(member).collect();
        }
    }

    fn first_seen(&self, row: &Row) -> Option<Shadow> {
        let (seq, id, hash): (i64, String, String) = (get(row, 0), get(row, 1), get(row, 4));
        let definition = Arc::clone(self.definitions.get(&hash)?);
        let reply_to = ReplyTo { topic: "sagamore.replies".into(), partition: 0 };
        let started_at = Timestamp(get(row, 6));
        let saga = Saga::begin(id.parse().ok()?, definition, reply_to, Body::empty(), started_at);
        let (entries, by_hand) = Default::default();
        Some(Shadow {
            seq,
            entries,
            saga,
            by_hand,
            partition: get(row, 5),
            ended_at: None,
            changed_at: 0,
        })
    }

    fn read_entries(&mut self, world: &World, database: &Database, seq: i64, id: &str) {
        let Some(shadow) = self.sagas.get_mut(id) else { return };
        let had_ended = shadow.saga.status.has_ended();
        let was_set_aside =
            self.set_aside.get(&world.current()).is_some_and(|at| *at >= shadow.changed_at);
        let known = shadow.saga.revision;
        let sql = format!(
            "SELECT entry FROM journal WHERE seq = {seq} AND revision > {known} ORDER BY revision"
        );
        for row in read_rows(database, &sql) {
            let text: String = get(&row, 0);
            let advanced = serde_json::from_str::<Entry>(&text)
                .map_err(|why| why.to_string())
                .and_then(|entry| {
                    count_changes(world, &entry, shadow, &mut self.verbs);
                    if !was_set_aside {
                        self.patience.check(world, &shadow.saga, &entry, &self.rejections);
                    }
                    self.rejections.forgotten(id, &entry);
                    let mut saga = shadow.saga.clone();
                    for change in &entry.changes {
                        if let Some((step, direction)) = change.command() {
                            let generation =
                                generation(&shadow.saga, step.as_str(), direction, &entry);
                            self.decided
                                .insert(format!("{id}/{step}/{direction}/{generation}"), self.tick);
                        }
                        if let Change::Step { step, change: StepChange::Rescued { .. } } = change {
                            self.rejections.decided(id, step);
                        }
                        check_resolved(world, &saga, change, &entry);
                        points::of_change(&saga, change).for_each(|name| world.count(name));
                        self.barriers.check(world, &saga, change);
                        apply(&mut saga, change, entry.at).map_err(|why| why.to_string())?;
                    }
                    shadow.saga.advance(&entry).map_err(|why| why.to_string())
                });
            if let Err(why) = advanced {
                world.violate("history-gap", format!("{id}: {why}"));
                return;
            }
            shadow.entries.push(text);
        }
        shadow.changed_at = world.now();
        if shadow.saga.status.has_ended() {
            shadow.ended_at.get_or_insert(world.now());
        }
        let shadow = &self.sagas[id];
        world.log(|| format!("{id} at {} {}", shadow.saga.revision, shadow.describe()));
        if shadow.saga.revision > REVISION_MAX {
            world.violate("livelock", format!("{id} never ends: {}", shadow.describe()));
        }
        if had_ended {
            world.violate(
                "split-outcome",
                format!("{id} had ended, but changed to {}", shadow.saga.status.as_str()),
            );
        }
        if shadow.saga.status.has_ended() {
            world.count(if shadow.saga.status == Status::Completed {
                "saga completed"
            } else {
                "saga compensated"
            });
            self.check_complete(world, id, shadow);
        }
    }

    /// Checks that every journal still has exactly the observed entries.
    pub(super) fn check_journals_unchanged(&self, world: &World, database: &Database) {
        for (id, shadow) in &self.sagas {
            let sql =
                format!("SELECT entry FROM journal WHERE seq = {} ORDER BY revision", shadow.seq);
            let entries: Vec<String> =
                read_rows(database, &sql).iter().map(|row| get(row, 0)).collect();
            if entries != shadow.entries {
                world.violate(
                    "history-gap",
                    format!("{id}: observed entries of the journal have changed"),
                );
            }
        }
    }
}

/// Checks that without a barrier only a resolved action is undone, and that only an operator
/// repeats a command that may have taken effect. `saga` is its state before the change.
fn check_resolved(world: &World, saga: &Saga, change: &Change, entry: &Entry) {
    let Some((step, direction)) = change.command() else { return };
    let Some(index) = saga.definition.index_of(step) else { return };
    let participant = &saga.definition.steps[index].action.participant;
    let (repeat, state) = (saga.definition.contract(participant).repeat, &saga.steps[index]);
    let is_unknown = state.status == StepStatus::Unknown;
    if !repeat.is_barrier() && direction == Direction::Compensation && is_unknown {
        let detail = format!("{} {step} is undone before it is resolved", saga.id);
        world.violate("undone-unresolved", detail);
    }
    let decided = entry.changes.iter().any(|change| match change {
        Change::Step { step: of, change: StepChange::Rescued { .. } } => of == step,
        _ => false,
    });
    if repeat == Repeat::Never && direction == Direction::Action && is_unknown && !decided {
        world.violate("never-repeated", format!("{} {step} is sent again", saga.id));
    }
}

/// Returns the generation of a command of this entry. An operator's retry in the same entry
/// increases it first.
fn generation(saga: &Saga, step: &str, direction: Direction, entry: &Entry) -> u32 {
    let retried = entry.changes.iter().any(|change| match change {
        Change::Step { step: of, change: StepChange::Rescued { verb: Verb::Retry, .. } } => {
            of.as_str() == step
        }
        _ => false,
    });
    let index = saga
        .definition
        .steps
        .iter()
        .position(|candidate| candidate.name.as_str() == step)
        .unwrap_or(0);
    let state = &saga.steps[index];
    let generation = match direction {
        Direction::Action => state.generation,
        Direction::Compensation => state.undo_generation,
        Direction::Query => state.generation,
    };
    let refused = matches!(state.status, StepStatus::Refused | StepStatus::UndoFailed);
    let absent = entry.changes.iter().any(|change| match change {
        Change::Step { step: of, change: StepChange::Absent { .. } } => of.as_str() == step,
        _ => false,
    });
    generation + u32::from(retried && refused) + u32::from(absent)
}

/// Counts the changes of an entry for the report.
fn count_changes(world: &World, entry: &Entry, shadow: &mut Shadow, verbs: &mut Verbs) {
    for change in &entry.changes {
        let name = match change {
            Change::Step { step, change } => of_step(world, step.as_str(), change, shadow, verbs),
            Change::Saga(change) => of_saga(change),
        };
        if let Some(name) = name {
            world.count(name);
        }
    }
}

fn of_step(
    world: &World,
    step: &str,
    change: &StepChange,
    shadow: &mut Shadow,
    verbs: &mut Verbs,
) -> Option<&'static str> {
    Some(match change {
        StepChange::Refused { .. } => match step {
            "charge-payment" => "refused at payment",
            "reserve-stock" => "refused at inventory",
            "schedule-shipment" => "refused at shipping",
            _ => "refused elsewhere",
        },
        StepChange::Faulted { .. } => "fault answered",
        StepChange::Silent { due: Some(_) } => "unknown, resent",
        StepChange::Silent { due: None } => "unknown, given up",
        StepChange::Pending { .. } => "pending answered",
        StepChange::Absent { .. } => "queried action absent",
        StepChange::Undone => "step undone",
        StepChange::UndoRefused { .. } => "undo refused",
        StepChange::Done { .. } if shadow.saga.cause.is_some() => "late success after turning back",
        StepChange::Rescued { verb, reason, .. } => {
            verbs.ran(world, reason);
            if *verb != Verb::Retry {
                shadow.by_hand.push(step.to_owned());
            }
            match verb {
                Verb::Retry => "operator retried",
                Verb::Skip => "operator skipped",
                Verb::Resolve => "operator resolved",
                Verb::Compensate => "operator gave up",
            }
        }
        StepChange::Done { .. } | StepChange::Asked { .. } | StepChange::SetAside { .. } => {
            return None;
        }
    })
}

fn of_saga(change: &SagaChange) -> Option<&'static str> {
    match change {
        SagaChange::TurnedBack { cause, .. } => Some(match cause {
            Cause::Cancelled => "turned back: cancelled",
            Cause::GivenUp(_) => "turned back: given up",
            Cause::DeadlinePassed => "turned back: deadline",
            Cause::Refused(_) => "turned back: refused",
        }),
        SagaChange::Stuck => Some("saga stuck"),
        SagaChange::Started { .. } | SagaChange::Resumed => None,
        SagaChange::Completed | SagaChange::Compensated => None,
    }
}
