//! Observes a run: reads every commit at once, and checks it against the invariants.

mod agreement;
mod barriers;
mod chains;
mod effects;
mod journal;
mod owners;
mod patience;
mod rejections;
mod shadow;
mod verbs;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sagamore_core::message::{Outcome, ReplyOutcome, code};
use sagamore_core::saga::Status;
use sagamore_core::{Definition, Direction, Event, Plan};
use sagamore_database::Database;
use sagamore_transport::{Delivery, Record, wire};

use crate::rows::{Owner, get, read_rows};
use crate::world::World;

use barriers::Barriers;
use chains::Chains;
use owners::Owners;
use patience::Patience;
use rejections::Rejections;
use shadow::Shadow;
use verbs::Verbs;
use watch::Watch;

pub use barriers::TRIGGERS;
pub use watch::{Audit, EFFECTS};

/// Everything observed in one run.
#[derive(Default)]
pub struct Checker {
    definitions: BTreeMap<String, Arc<Definition>>,
    sagas: BTreeMap<String, Shadow>,
    /// The chains of a choreographed run.
    chains: Option<Chains>,
    services: Vec<Watch>,
    /// The effects of each saga in commit order, as step and direction.
    effects: BTreeMap<String, Vec<(String, Direction)>>,
    /// Counts every observed event.
    tick: u64,
    /// Whether every saga had ended at this tick, cached.
    rest: Option<(u64, bool)>,
    owners: Owners,
    barriers: Barriers,
    verbs: Verbs,
    rejections: Rejections,
    /// The time at which each process last set a saga aside that could not be stored.
    set_aside: BTreeMap<usize, i64>,
    /// Idempotency keys of refused requests.
    refused_keys: BTreeSet<String>,
    /// The tick at which the latest request for each command was committed.
    decided: BTreeMap<String, u64>,
    /// The tick at which each command was last acknowledged by the transport.
    sent: BTreeMap<String, u64>,
    patience: Patience,
    /// Ids of answered commands.
    answered: BTreeSet<String>,
    /// Sagas with an acknowledged start.
    accepted: BTreeSet<String>,
    /// Sagas with an acknowledged cancel.
    cancelled: BTreeSet<String>,
}

impl Checker {
    /// Adds a definition that sagas may run by.
    pub fn add_definition(&mut self, definition: &Definition) {
        self.definitions.insert(definition.hash().to_owned(), Arc::new(definition.clone()));
    }

    /// Sets the plan that chains run by.
    pub fn set_plan(&mut self, plan: Plan) {
        self.chains = Some(Chains::of(plan));
    }

    /// Adds the next service, with the check of its database.
    pub fn add_service(&mut self, audit: Audit) {
        self.services.push(Watch { last: 0, audit });
    }

    /// Reads a commit. The caller must ensure that no process runs meanwhile.
    pub fn committed(&mut self, world: &World, owner: Owner, database: &Database, who: &str) {
        self.tick += 1;
        match owner {
            Owner::Engine => self.engine_committed(world, database, who),
            Owner::Service(number) => {
                if let Some(chains) = &mut self.chains {
                    chains.committed(world, number, database);
                }
                self.service_committed(world, number, database);
            }
            Owner::Observer => {}
        }
    }

    /// Checks records before they are published: a committed entry must have requested every
    /// command among them.
    pub fn publishing(&mut self, world: &World, records: &[Record]) {
        self.tick += 1; // an overdue event exists from this tick on
        for record in records {
            if let Some(chains) = &mut self.chains {
                chains.publishing(world, record);
            }
            let Some(id) = command_id(record) else {
                self.publishing_reply(world, record);
                continue;
            };
            if !self.decided.contains_key(&id) {
                world.violate(
                    "sent-before-commit",
                    format!("{id} is published, but no committed entry requests it"),
                );
            }
            if self.sent.contains_key(&id) {
                world.count("command sent again");
            }
            world.log(|| format!("sends {id}"));
        }
    }

    fn publishing_reply(&mut self, world: &World, record: &Record) {
        if record.topic.ends_with("-dlt") {
            world.count("dead letter");
            return;
        }
        let Ok(reply) = wire::decode_reply(record) else { return };
        let first = self.answered.insert(reply.key.command_id());
        let Some(outcome) = reply.outcome.result() else { return };
        match outcome {
            Outcome::Refused(refusal) if refusal.code == code::ALREADY_COMPENSATED => {
                world.count("action refused after its compensation");
            }
            Outcome::Done(_) | Outcome::Refused(_) if !first => {
                world.count("stored answer sent again")
            }
            Outcome::Done(_) | Outcome::Refused(_) | Outcome::Fault(_) => {}
        }
    }

    /// Counts replies without effect among those that an orchestrator consumed. A fault or an
    /// unknown outcome proves that its command was delivered, even if the publisher saw an error.
    /// The command then backs off without a journal entry.
    pub fn delivery(&mut self, world: &World, taken: &[Delivery]) {
        for reply in taken.iter().filter_map(|delivery| wire::decode_reply(&delivery.record).ok()) {
            let proves_delivery = matches!(
                reply.outcome,
                ReplyOutcome::Final(Outcome::Fault(_)) | ReplyOutcome::Unknown(_)
            );
            if proves_delivery {
                self.sent.insert(reply.key.command_id(), self.tick);
            }
            match self.sagas.get(reply.key.saga.as_str()) {
                Some(shadow) if shadow.saga.status.has_ended() => {
                    world.count("reply to a saga that has ended")
                }
                Some(shadow) if !shadow.outstanding().contains(&reply.key.command_id()) => {
                    world.count("reply to a command that is resolved");
                }
                Some(_) | None => {}
            }
        }
    }

    /// Records that the transport acknowledged these records.
    pub fn acknowledged(&mut self, world: &World, records: &[Record]) {
        self.tick += 1;
        if let Some(chains) = &mut self.chains {
            records.iter().for_each(|record| chains.acknowledged(world, record));
        }
        self.patience.acknowledged(world, records);
        for id in records.iter().filter_map(command_id) {
            self.sent.insert(id, self.tick);
        }
    }

    /// Records the end of a turn of this orchestrator, successful or not.
    pub fn turn_ended(&mut self, who: &str) {
        self.owners.turn_ended(who);
    }

    /// Checks that a successful turn has sent all outstanding commands of the sagas that its
    /// orchestrator owns.
    pub fn turn_succeeded(&mut self, world: &World, who: &str) {
        let gained = self.owners.checked(who);
        let is_open = |shadow: &&Shadow| {
            let is_due = !shadow.belongs_to_crowd() || gained.contains_key(&shadow.partition);
            is_due && !shadow.saga.status.has_ended() && self.owners.has(who, shadow.partition)
        };
        for shadow in self.sagas.values().filter(is_open) {
            // other sagas may have met a fault first: they back off, without a journal entry
            let since = gained
                .get(&shadow.partition)
                .copied()
                .filter(|_| shadow.belongs_to_crowd())
                .unwrap_or(0);
            for id in shadow.outstanding() {
                let decided = self.decided.get(&id).copied().unwrap_or(0);
                if self.sent.get(&id).is_none_or(|sent| *sent < decided.max(since)) {
                    world.violate(
                        "unsent-command",
                        format!("{id} is requested and committed, but was not sent"),
                    );
                }
            }
        }
    }

    /// Checks that the replies behind committed offsets are stored.
    pub fn offsets_committed(&self, world: &World, replies: &[String]) {
        for shadow in self.sagas.values() {
            // the reply waits in memory with its saga, and a takeover would resend the command
            if self.set_aside.get(&world.current()).is_some_and(|at| *at >= shadow.changed_at) {
                continue;
            }
            for id in shadow.outstanding().into_iter().filter(|id| replies.contains(id)) {
                world.violate(
                    "offset-before-commit",
                    format!("the reply to {id} is behind the committed offset, but is not stored"),
                );
            }
        }
    }

    /// Records that the current process sets a saga aside that cannot be stored.
    pub fn set_aside(&mut self, world: &World) {
        self.set_aside.insert(world.current(), world.now());
    }

    /// Checks that an order whose acceptance was reported is stored.
    pub fn order_accepted(&mut self, world: &World, id: &str) {
        let Some(chains) = &mut self.chains else { return };
        if !chains.chains.contains_key(id) {
            world
                .violate("ack-before-durable", format!("{id} was acknowledged, but is not stored"));
        }
        chains.accepted.insert(id.to_owned());
    }

    /// Whether events wait in an inbox, in an outbox, or for a dead letter.
    pub fn events_wait(&self) -> bool {
        self.chains.as_ref().is_some_and(Chains::events_wait)
    }

    /// Returns the first event of each chain.
    pub fn first_events(&self) -> Vec<Event> {
        let events = self.chains.iter().flat_map(|chains| chains.events.values());
        events.filter(|event| event.causation.is_none()).cloned().collect()
    }

    /// Checks that a saga whose start was acknowledged is stored.
    pub fn accepted(&mut self, world: &World, id: &str) {
        if !self.sagas.contains_key(id) {
            world
                .violate("ack-before-durable", format!("{id} was acknowledged, but is not stored"));
        }
        self.accepted.insert(id.to_owned());
    }

    /// Records an acknowledged cancel.
    pub fn cancel_accepted(&mut self, id: &str) {
        self.cancelled.insert(id.to_owned());
    }

    /// Whether this saga was cancelled before its first command. Any start returns it.
    pub fn was_cancelled_early(&self, id: &str) -> bool {
        self.sagas.get(id).is_some_and(Shadow::is_cancelled_before_start)
    }

    /// Returns stuck sagas and sagas with a lasting fault, each with whether it is stuck, and with
    /// its steps that need an operator.
    pub fn awaiting_operator(&self, now: i64) -> Vec<(String, bool, Vec<String>)> {
        let open = self
            .sagas
            .iter()
            .filter(|(_, shadow)| !shadow.saga.status.has_ended() && !shadow.belongs_to_crowd());
        let steps = open.map(|(id, shadow)| {
            (id.clone(), shadow.saga.status == Status::Stuck, shadow.stuck_steps(now))
        });
        steps.filter(|(_, stuck, steps)| *stuck || !steps.is_empty()).collect()
    }

    /// Records that an orchestrator has renewed its leases.
    pub fn renewed(&mut self, world: &World, who: &str, moments: (i64, i64), lease_ms: i64) {
        self.owners.renewed(world, who, moments, lease_ms);
    }

    /// Records the result of an orchestrator's publish.
    pub fn publishes(&mut self, who: &str, is_failed: bool) {
        self.owners.publishes(who, is_failed);
    }

    /// Records a jump of a clock.
    pub fn clock_jumped(&mut self, world: &World) {
        self.owners.clock_jumped(world);
        self.patience.clock_jumped(world);
    }

    /// Records that the brokers reject this record in every attempt.
    pub fn rejected(&mut self, world: &World, record: &Record) {
        if let Ok(command) = wire::decode_command(record) {
            self.tick += 1;
            self.sent.insert(command.id(), self.tick); // sent as far as possible
            self.rejections.rejected(world, &command);
        }
    }

    /// Checks that an accepted verb has run.
    pub fn verb_accepted(&self, world: &World, reason: &str) {
        self.verbs.accepted(world, reason);
    }

    /// Checks that a refused verb has not run.
    pub fn verb_refused(&mut self, world: &World, reason: &str) {
        self.verbs.refused(world, reason);
    }

    /// Records a refused start, which leaves its idempotency key free.
    pub fn key_refused(&mut self, key: &str) {
        self.refused_keys.insert(key.to_owned());
    }

    /// Returns the sagas that must end.
    fn awaited(&self) -> impl Iterator<Item = &Shadow> {
        self.sagas.values().filter(|shadow| !shadow.belongs_to_crowd())
    }

    /// Whether every saga has ended. Computed only after new events.
    pub fn is_at_rest(&mut self) -> bool {
        match self.rest {
            Some((tick, is_at_rest)) if tick == self.tick => is_at_rest,
            _ => {
                let chains = self.chains.as_ref().is_none_or(Chains::are_over);
                let is_at_rest =
                    chains && self.awaited().all(|shadow| shadow.saga.status.has_ended());
                self.rest = Some((self.tick, is_at_rest));
                is_at_rest
            }
        }
    }

    /// Whether every saga has ended or is stuck.
    pub fn is_waiting_for_operators(&self) -> bool {
        self.awaited()
            .all(|shadow| shadow.saga.status.has_ended() || shadow.saga.status == Status::Stuck)
    }

    /// Returns the number of sagas, and of completed ones.
    pub fn tally(&self) -> (usize, usize) {
        let completed =
            self.sagas.values().filter(|shadow| shadow.saga.status == Status::Completed).count();
        let chains = self.chains.as_ref().map_or((0, 0), Chains::tally);
        (self.sagas.len() + chains.0, completed + chains.1)
    }

    /// Describes the sagas and chains that have not ended, for the report.
    pub fn unfinished(&self) -> String {
        let unfinished = self
            .sagas
            .iter()
            .filter(|(_, shadow)| !shadow.saga.status.has_ended() && !shadow.belongs_to_crowd());
        let sagas = unfinished.map(|(id, shadow)| format!("{id} {}", shadow.describe()));
        sagas.chain(self.chains.as_ref().map(Chains::unfinished)).collect::<Vec<_>>().join("; ")
    }

    /// Checks the final state. No process runs any more.
    pub fn finally(
        &mut self,
        world: &World,
        engine: &Database,
        services: &[Database],
        observer: &Database,
    ) {
        self.check_journals_unchanged(world, engine);
        if !self.refused_keys.is_empty() {
            let keys = read_rows(engine, "SELECT key FROM idempotency");
            for key in keys
                .iter()
                .map(|row| get::<String>(row, 0))
                .filter(|key| self.refused_keys.contains(key))
            {
                world.violate(
                    "key-without-saga",
                    format!("{key} is stored, but its request was refused"),
                );
            }
        }
        if let Some(chains) = &self.chains {
            chains.agree(world, services, observer);
        }
        for (number, database) in services.iter().enumerate() {
            self.service_committed(world, number, database);
            for row in read_rows(database, "SELECT status FROM barrier") {
                match get::<String>(&row, 0).as_str() {
                    "tombstone" => world.count("tombstone left"),
                    "claimed" => {
                        world.violate("mere-claim", "a claimed row was committed".to_owned())
                    }
                    _ => {}
                }
            }
        }
        for id in &self.accepted {
            if !self.sagas.contains_key(id) {
                world.violate("lost-saga", format!("{id} was acknowledged, but is missing"));
            }
        }
        for id in &self.cancelled {
            if self.sagas.get(id).is_none_or(|shadow| shadow.saga.status == Status::Completed) {
                world.violate(
                    "split-outcome",
                    format!("{id}: its cancel was accepted, but it completed"),
                );
            }
        }
        for (id, shadow) in &self.sagas {
            self.check_complete(world, id, shadow);
        }
        let chains = self.chains.as_ref().map(|chains| &chains.chains);
        let is_known = |id: &String| {
            self.sagas.contains_key(id) || chains.is_some_and(|known| known.contains_key(id))
        };
        for id in self.effects.keys().filter(|id| !is_known(id)) {
            world.violate("vanished-saga", format!("{id} has effects, but no saga"));
        }
    }
}

/// Returns the id of a command's record.
fn command_id(record: &Record) -> Option<String> {
    if !record.topic.ends_with(".commands") {
        return None;
    }
    wire::decode_command(record).ok().map(|command| command.id())
}
