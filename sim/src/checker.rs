//! Who watches: reads what was committed as soon as it is, and knows what may follow from what.

mod agreement;
mod barriers;
mod chains;
mod effects;
mod journal;
mod ledger;
mod owners;
mod patience;
mod rejections;
mod verbs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sagamore_core::message::{Outcome, code};
use sagamore_core::saga::Status;
use sagamore_core::{Definition, Direction, Event, Plan};
use sagamore_database::Database;
use sagamore_transport::{Delivered, Record, wire};

use crate::store::{Owner, look};
use crate::world::World;

use barriers::Barriers;
use chains::Chains;
use effects::Watch;
use journal::Shadow;
use owners::Owners;
use patience::Patience;
use rejections::Rejections;
use verbs::Verbs;

pub use barriers::TRIGGERS;
pub use effects::{Audit, EFFECTS};
pub use journal::get;
pub use ledger::{Ledger, Passed};

/// All that was seen.
#[derive(Default)]
pub struct Checker {
    definitions: BTreeMap<String, Arc<Definition>>,
    sagas: BTreeMap<String, Shadow>,
    /// Where nobody directs.
    chains: Option<Chains>,
    services: Vec<Watch>,
    /// For each saga, in the order of their commits: step and direction.
    effects: BTreeMap<String, Vec<(String, Direction)>>,
    /// Counts everything that happens.
    tick: u64,
    /// Whether every saga had ended, and at which tick.
    rest: Option<(u64, bool)>,
    owners: Owners,
    barriers: Barriers,
    verbs: Verbs,
    rejections: Rejections,
    /// Process -> when it last set a saga aside that could not be stored.
    set_aside: BTreeMap<usize, i64>,
    /// Idempotency keys of requests that were refused.
    refused_keys: BTreeSet<String>,
    /// A command's id -> when its latest asking was committed.
    asked: BTreeMap<String, u64>,
    /// A command's id -> when the transport acknowledged it last.
    sent: BTreeMap<String, u64>,
    patience: Patience,
    /// Ids of commands that were answered.
    answered: BTreeSet<String>,
    /// Sagas whose start was acknowledged.
    accepted: BTreeSet<String>,
    /// Sagas whose cancel was acknowledged.
    cancelled: BTreeSet<String>,
}

impl Checker {
    /// Sagas may run by this plan.
    pub fn knows(&mut self, definition: &Definition) {
        self.definitions.insert(definition.hash().to_owned(), Arc::new(definition.clone()));
    }

    /// Chains run by this plan.
    pub fn follows(&mut self, plan: Plan) {
        self.chains = Some(Chains::of(plan));
    }

    /// The next service, with what has to hold in its database at any moment.
    pub fn watches(&mut self, audit: Audit) {
        self.services.push(Watch { last: 0, audit });
    }

    /// Somebody has committed: to be called while nobody else can.
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

    /// These records are about to leave: every command among them was asked by a committed entry.
    pub fn leaves(&mut self, world: &World, records: &[Record]) {
        self.tick += 1; // an event of a deadline counts from here on
        for record in records {
            if let Some(chains) = &mut self.chains {
                chains.leaves(world, record);
            }
            let Some(id) = command_id(record) else {
                self.answer_leaves(world, record);
                continue;
            };
            if !self.asked.contains_key(&id) {
                world.violate(
                    "sent-before-commit",
                    format!("{id} leaves, and no committed entry asks for it"),
                );
            }
            if self.sent.contains_key(&id) {
                world.count("command sent again");
            }
            world.tell(|| format!("sends {id}"));
        }
    }

    fn answer_leaves(&mut self, world: &World, record: &Record) {
        if record.topic.ends_with("-dlt") {
            world.count("dead letter");
            return;
        }
        let Ok(reply) = wire::decode_reply(record) else { return };
        let first = self.answered.insert(reply.key.command_id());
        match reply.outcome {
            Outcome::Refused(refusal) if refusal.code == code::ALREADY_COMPENSATED => {
                world.count("action refused after its compensation");
            }
            Outcome::Done(_) | Outcome::Refused(_) if !first => {
                world.count("stored answer sent again")
            }
            Outcome::Done(_) | Outcome::Refused(_) | Outcome::Fault(_) => {}
        }
    }

    /// An orchestrator has taken these replies: counts those that no longer matter. A fault shows that its command was
    /// delivered, whatever its publisher was told, and the command pauses without an entry in the journal.
    pub fn taken(&mut self, world: &World, taken: &[Delivered]) {
        for reply in taken.iter().filter_map(|delivered| wire::decode_reply(&delivered.record).ok())
        {
            if matches!(reply.outcome, Outcome::Fault(_)) {
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

    /// The transport has acknowledged these records to who published them.
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

    /// A turn of this orchestrator has ended, well or not.
    pub fn turn_ended(&mut self, who: &str) {
        self.owners.turn_ended(who);
    }

    /// A turn has ended well: of the sagas that are its orchestrator's, what is outstanding is sent.
    pub fn turned(&mut self, world: &World, who: &str) {
        let gained = self.owners.checked(who);
        let is_open = |shadow: &&Shadow| {
            let is_due = !shadow.is_of_crowd() || gained.contains_key(&shadow.partition);
            is_due && !shadow.saga.status.has_ended() && self.owners.has(who, shadow.partition)
        };
        for shadow in self.sagas.values().filter(is_open) {
            // of another saga a fault may have come first: then it pauses, and no journal tells
            let since = gained
                .get(&shadow.partition)
                .copied()
                .filter(|_| shadow.is_of_crowd())
                .unwrap_or(0);
            for id in shadow.outstanding() {
                let asked = self.asked.get(&id).copied().unwrap_or(0);
                if self.sent.get(&id).is_none_or(|sent| *sent < asked.max(since)) {
                    world.violate(
                        "unsent-command",
                        format!("{id} is asked and committed, and was not sent"),
                    );
                }
            }
        }
    }

    /// Offsets were committed past these replies: what they say is stored.
    pub fn passed(&self, world: &World, replies: &[String]) {
        for shadow in self.sagas.values() {
            // it waits in memory with its saga, and is asked for again by a takeover
            if self.set_aside.get(&world.current()).is_some_and(|at| *at >= shadow.changed_at) {
                continue;
            }
            for id in shadow.outstanding().into_iter().filter(|id| replies.contains(id)) {
                world.violate(
                    "offset-before-commit",
                    format!("the answer to {id} is passed, and not stored"),
                );
            }
        }
    }

    /// The current process sets a saga aside that cannot be stored.
    pub fn set_aside(&mut self, world: &World) {
        self.set_aside.insert(world.current(), world.now());
    }

    /// A customer was told that an order is accepted.
    pub fn placed(&mut self, world: &World, id: &str) {
        let Some(chains) = &mut self.chains else { return };
        if !chains.chains.contains_key(id) {
            world
                .violate("ack-before-durable", format!("{id} was acknowledged, and is not stored"));
        }
        chains.accepted.insert(id.to_owned());
    }

    /// Whether events wait in some inbox, to be sent, or to become dead letters.
    pub fn events_wait(&self) -> bool {
        self.chains.as_ref().is_some_and(Chains::events_wait)
    }

    /// The events that began chains.
    pub fn begun(&self) -> Vec<Event> {
        let events = self.chains.iter().flat_map(|chains| chains.events.values());
        events.filter(|event| event.causation.is_none()).cloned().collect()
    }

    /// A client was told that its start is accepted.
    pub fn accepted(&mut self, world: &World, id: &str) {
        if !self.sagas.contains_key(id) {
            world
                .violate("ack-before-durable", format!("{id} was acknowledged, and is not stored"));
        }
        self.accepted.insert(id.to_owned());
    }

    /// A client was told that its cancel is accepted.
    pub fn cancel_accepted(&mut self, id: &str) {
        self.cancelled.insert(id.to_owned());
    }

    /// Whether this saga was cancelled before anything was asked for it: any start gets it as it is.
    pub fn was_cancelled_early(&self, id: &str) -> bool {
        self.sagas.get(id).is_some_and(Shadow::asked_nothing)
    }

    /// Sagas that wait for a person, and those that show one a fault that lasts; each with whether it is stuck, and the
    /// steps.
    pub fn for_people(&self, now: i64) -> Vec<(String, bool, Vec<String>)> {
        let open = self
            .sagas
            .iter()
            .filter(|(_, shadow)| !shadow.saga.status.has_ended() && !shadow.is_of_crowd());
        let steps = open.map(|(id, shadow)| {
            (id.clone(), shadow.saga.status == Status::Stuck, shadow.stuck_steps(now))
        });
        steps.filter(|(_, stuck, steps)| *stuck || !steps.is_empty()).collect()
    }

    /// An orchestrator has renewed its leases.
    pub fn renewed(&mut self, world: &World, who: &str, moments: (i64, i64), lease_ms: i64) {
        self.owners.renewed(world, who, moments, lease_ms);
    }

    /// A publish of an orchestrator has failed, or was acknowledged.
    pub fn publishes(&mut self, who: &str, is_failed: bool) {
        self.owners.publishes(who, is_failed);
    }

    /// A clock has jumped.
    pub fn clock_jumped(&mut self, world: &World) {
        self.owners.clock_jumped(world);
        self.patience.clock_jumped(world);
    }

    /// The brokers do not take this record, however often it is sent.
    pub fn rejected(&mut self, world: &World, record: &Record) {
        if let Ok(command) = wire::decode_command(record) {
            self.tick += 1;
            self.sent.insert(command.id(), self.tick); // as far as anybody can
            self.rejections.rejected(world, &command);
        }
    }

    /// An operator was told that a verb has run.
    pub fn verb_accepted(&self, world: &World, reason: &str) {
        self.verbs.accepted(world, reason);
    }

    /// An operator was told that a verb is not allowed.
    pub fn verb_refused(&mut self, world: &World, reason: &str) {
        self.verbs.refused(world, reason);
    }

    /// A client was told that its start is refused: its idempotency key is free.
    pub fn key_refused(&mut self, key: &str) {
        self.refused_keys.insert(key.to_owned());
    }

    /// The sagas that come to an end.
    fn awaited(&self) -> impl Iterator<Item = &Shadow> {
        self.sagas.values().filter(|shadow| !shadow.is_of_crowd())
    }

    /// Whether every saga has ended. Found anew only after something has happened.
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

    /// Whether every saga has ended, or waits for a person.
    pub fn waits_for_people(&self) -> bool {
        self.awaited()
            .all(|shadow| shadow.saga.status.has_ended() || shadow.saga.status == Status::Stuck)
    }

    /// How many sagas there are, and how many ended as completed.
    pub fn tally(&self) -> (usize, usize) {
        let completed =
            self.sagas.values().filter(|shadow| shadow.saga.status == Status::Completed).count();
        let chains = self.chains.as_ref().map_or((0, 0), Chains::tally);
        (self.sagas.len() + chains.0, completed + chains.1)
    }

    /// What is not at rest, for the report.
    pub fn unfinished(&self) -> String {
        let unfinished = self
            .sagas
            .iter()
            .filter(|(_, shadow)| !shadow.saga.status.has_ended() && !shadow.is_of_crowd());
        let sagas = unfinished.map(|(id, shadow)| format!("{id} {}", shadow.describe()));
        sagas.chain(self.chains.as_ref().map(Chains::unfinished)).collect::<Vec<_>>().join("; ")
    }

    /// Everything is over and nobody is writing: what has to hold at the end.
    pub fn finally(
        &mut self,
        world: &World,
        engine: &Database,
        services: &[Database],
        observer: &Database,
    ) {
        self.journal_is_what_it_was(world, engine);
        if !self.refused_keys.is_empty() {
            let keys = look(engine, "SELECT key FROM idempotency");
            for key in keys
                .iter()
                .map(|row| get::<String>(row, 0))
                .filter(|key| self.refused_keys.contains(key))
            {
                world.violate(
                    "key-without-saga",
                    format!("{key} is stored, and its request was refused"),
                );
            }
        }
        if let Some(chains) = &self.chains {
            chains.agree(world, services, observer);
        }
        for (number, database) in services.iter().enumerate() {
            self.service_committed(world, number, database);
            for row in look(database, "SELECT status FROM barrier") {
                match get::<String>(&row, 0).as_str() {
                    "tombstone" => world.count("tombstone left"),
                    "claimed" => world.violate(
                        "mere-claim",
                        "a row that is only claimed was committed".to_owned(),
                    ),
                    _ => {}
                }
            }
        }
        for id in &self.accepted {
            if !self.sagas.contains_key(id) {
                world.violate("lost-saga", format!("{id} was acknowledged, and is gone"));
            }
        }
        for id in &self.cancelled {
            if self.sagas.get(id).is_none_or(|shadow| shadow.saga.status == Status::Completed) {
                world.violate(
                    "split-outcome",
                    format!("{id}: its cancel was accepted, and it completed"),
                );
            }
        }
        for (id, shadow) in &self.sagas {
            self.whole(world, id, shadow);
        }
        let chains = self.chains.as_ref().map(|chains| &chains.chains);
        let is_known = |id: &String| {
            self.sagas.contains_key(id) || chains.is_some_and(|known| known.contains_key(id))
        };
        for id in self.effects.keys().filter(|id| !is_known(id)) {
            world.violate("vanished-saga", format!("{id} has effects, and no saga"));
        }
    }
}

/// The id of a command's record.
fn command_id(record: &Record) -> Option<String> {
    if !record.topic.ends_with(".commands") {
        return None;
    }
    wire::decode_command(record).ok().map(|command| command.id())
}
