//! What is asked of choreographies while they run: every event is committed before it is told, is told with one content only,
//! and follows from one event that is there and that the plan lets it follow from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sagamore_core::message::code;
use sagamore_core::plan::{Chain, Plan, Seen, State, Taken};
use sagamore_core::{Body, Direction, Event, StepKey, Timestamp};
use sagamore_database::{Database, Row};
use sagamore_transport::{Record, wire};

use super::journal::get;
use crate::points;
use crate::store::look;
use crate::world::World;

/// Long before any deadline: whatever is asked of a chain is asked as if it had time.
const EARLY: Timestamp = Timestamp(0);

/// How topics of dead letters end.
const DEAD_LETTERS: &str = "-dlt";

/// What waits in a service's inbox: chain, reaction, event.
type Waiting = (String, String, String);

/// All chains.
pub(super) struct Chains {
    pub(super) plan: Arc<Plan>,
    /// By id, as they were committed; the deadline's as it was told first.
    pub(super) events: BTreeMap<String, Event>,
    /// By what was acknowledged of each.
    pub(super) chains: BTreeMap<String, Chain>,
    /// Those that a customer was told of.
    pub(super) accepted: BTreeSet<String>,
    services: BTreeMap<usize, Watched>,
    /// Chain and event -> how many dead letters there are of it, less how often it waited in vain.
    pub(super) letters: BTreeMap<(String, String), i64>,
}

/// What was read of one service.
#[derive(Default)]
struct Watched {
    last: i64,
    waiting: BTreeSet<Waiting>,
    /// Whether events are still to be sent.
    has_unsent: bool,
}

impl Chains {
    /// None yet.
    pub(super) fn of(plan: Plan) -> Chains {
        Chains {
            plan: Arc::new(plan),
            events: BTreeMap::new(),
            chains: BTreeMap::new(),
            accepted: BTreeSet::new(),
            services: BTreeMap::new(),
            letters: BTreeMap::new(),
        }
    }

    /// Reads what a service has committed.
    pub(super) fn committed(&mut self, world: &World, number: usize, database: &Database) {
        let watched = self.services.entry(number).or_default();
        let sql = format!(
            "SELECT saga, step, direction, event, version, causation, hop, told_at, body, rowid FROM emitted
             WHERE rowid > {} ORDER BY rowid",
            watched.last
        );
        let rows = look(database, &sql);
        watched.last = rows.last().map_or(watched.last, |row| get(row, 9));
        for event in rows.iter().map(read) {
            self.committed_event(world, event);
        }
        let waiting = look(database, "SELECT saga, step, event FROM inbox");
        let waiting: BTreeSet<Waiting> =
            waiting.iter().map(|row| (get(row, 0), get(row, 1), get(row, 2))).collect();
        let Some(watched) = self.services.get_mut(&number) else { return };
        if waiting.difference(&watched.waiting).next().is_some() {
            world.count("event waits in an inbox");
        }
        for gone in watched.waiting.difference(&waiting) {
            let sql =
                format!("SELECT 1 FROM barrier WHERE saga = '{}' AND step = '{}'", gone.0, gone.1);
            if look(database, &sql).is_empty() {
                *self.letters.entry((gone.0.clone(), gone.2.clone())).or_default() -= 1;
            }
        }
        watched.waiting = waiting;
        watched.has_unsent =
            !look(database, "SELECT 1 FROM emitted WHERE sent = FALSE LIMIT 1").is_empty();
    }

    fn committed_event(&mut self, world: &World, event: Event) {
        let id = event.id();
        world.tell(|| format!("event {id} of {:?}", event.causation));
        if let Some(why) = self.improper(&event) {
            world.violate("disagreement", format!("{id} {why}"));
        }
        let cause = event.causation.as_ref().and_then(|cause| self.events.get(cause));
        if let Some(name) = points::of_event(&self.plan, &event, cause) {
            world.count(name);
        }
        if event.body.as_str().contains(code::OVERDUE) {
            world.count("pivot given up");
        }
        let is_undo = event.key.direction == Direction::Compensation;
        if is_undo
            && !self.has_told(event.chain().as_str(), event.key.step.as_str(), Direction::Action)
        {
            world.count("undo with nothing to undo");
        }
        if event.causation.is_none() {
            self.chains
                .entry(event.chain().to_string())
                .or_insert_with(|| Chain::new(self.plan.clone()));
        }
        self.events.insert(id, event);
    }

    /// What is wrong with the cause of an event, if anything is.
    fn improper(&self, event: &Event) -> Option<String> {
        let Some(causation) = &event.causation else {
            let begins = event.name == self.plan.begins.event && event.hop == 0;
            return (!begins).then(|| "has no cause".to_owned());
        };
        let Some(cause) = self.events.get(causation) else {
            return Some(format!("is caused by {causation}, which nobody has told"));
        };
        if cause.chain() != event.chain() || cause.hop >= event.hop {
            return Some(format!(
                "is at hop {}, and its cause {causation} at {}",
                event.hop, cause.hop
            ));
        }
        let follows = points::of_event(&self.plan, event, Some(cause)).is_some();
        (!follows).then(|| {
            format!("is caused by {causation}, from which the plan does not let it follow")
        })
    }

    /// This record is about to leave.
    pub(super) fn leaves(&mut self, world: &World, record: &Record) {
        let Ok(event) = wire::decode_event(record) else { return };
        let id = event.id();
        if self.plan.overdue.as_ref() == Some(&event.name)
            && record.header("ce_source").is_some_and(|who| who == "/observer")
        {
            world.count("overdue by the observer");
        }
        match self.events.get(&id) {
            Some(known) if *known == event => {}
            Some(known) => world
                .violate("disagreement", format!("{id} is told as {event:?}, and was {known:?}")),
            None if self.plan.overdue.as_ref() == Some(&event.name) => {
                world.count("chain told to be overdue");
                self.committed_event(world, event.clone());
                self.take(world, event); // there may be nobody who would tell it again
            }
            None => {
                world.violate("sent-before-commit", format!("{id} leaves, and is not committed"))
            }
        }
    }

    /// The transport has acknowledged this record.
    pub(super) fn acknowledged(&mut self, world: &World, record: &Record) {
        if !record.topic.ends_with(DEAD_LETTERS) {
            if let Ok(event) = wire::decode_event(record) {
                self.take(world, event);
            }
            return;
        }
        let Some(Ok(event)) = wire::redrive(record).map(|told| wire::decode_event(&told)) else {
            return;
        };
        world.count("early event made a dead letter");
        *self.letters.entry((event.chain().to_string(), event.name.to_string())).or_default() += 1;
    }

    fn take(&mut self, world: &World, event: Event) {
        let Some(chain) = self.chains.get_mut(event.chain().as_str()) else { return };
        let id = event.id();
        let acted = self.plan.pivot().is_some_and(|pivot| pivot.emits.contains(&event.name));
        let Event { name, causation, hop, at, .. } = event;
        let overdue = |chain: &Chain| {
            chain.seen().iter().any(|seen| self.plan.overdue.as_ref() == Some(&seen.name))
        };
        match chain.take(Seen { id, name, causation, hop, at, seen_at: at }) {
            Taken::Repeat if acted && overdue(chain) => {
                world.count("overdue, and the pivot has acted")
            }
            Taken::Repeat => world.count("event told again"),
            Taken::New | Taken::Dropped => {}
        }
        if let Some(anomaly) = chain.anomalies(EARLY).first() {
            world.violate("disagreement", anomaly.to_string());
        }
    }

    /// Whether events wait in some inbox, to be sent, or to become dead letters.
    pub(super) fn events_wait(&self) -> bool {
        let waits = |watched: &Watched| watched.has_unsent || !watched.waiting.is_empty();
        self.services.values().any(waits) || self.letters.values().any(|letters| *letters < 0)
    }

    /// Whether anything was told of a step of this chain in this direction, be it that nothing happened.
    pub(super) fn has_told(&self, id: &str, step: &str, direction: Direction) -> bool {
        let is_of = |key: &StepKey| {
            key.direction == direction && key.step.as_str() == step && key.saga.as_str() == id
        };
        self.events.values().any(|event| is_of(&event.key))
    }

    /// Where every chain stands, as if it had all the time that there is.
    pub(super) fn states(&self) -> impl Iterator<Item = (&str, State)> {
        self.chains.iter().map(|(id, chain)| (id.as_str(), chain.state(EARLY)))
    }

    /// Whether every chain is over.
    pub(super) fn are_over(&self) -> bool {
        self.states().all(|(_, state)| matches!(state, State::Completed | State::Compensated))
    }

    /// How many there are, and how many came to their end with all done.
    pub(super) fn tally(&self) -> (usize, usize) {
        (self.chains.len(), self.states().filter(|(_, state)| *state == State::Completed).count())
    }

    /// What is not over, for the report.
    pub(super) fn unfinished(&self) -> String {
        let open = self.chains.iter().filter(|(_, chain)| {
            !matches!(chain.state(EARLY), State::Completed | State::Compensated)
        });
        let describe = |chain: &Chain| {
            let waits = chain.waits_for();
            let waits = waits.iter().map(|wait| format!("{} of {}", wait.reaction, wait.service));
            format!("{:?}, waits for {}", chain.state(EARLY), waits.collect::<Vec<_>>().join(", "))
        };
        open.map(|(id, chain)| format!("{id} {}", describe(chain))).collect::<Vec<_>>().join("; ")
    }
}

fn read(row: &Row) -> Event {
    let text = |column| get::<String>(row, column);
    let small = |column| u32::try_from(get::<i64>(row, column)).expect("a small number");
    let key = StepKey {
        saga: text(0).parse().expect("a chain"),
        step: text(1).parse().expect("a reaction"),
        direction: text(2).parse().expect("a direction"),
        generation: 1,
    };
    Event {
        key,
        name: text(3).parse().expect("an event"),
        version: small(4),
        causation: get(row, 5),
        hop: small(6),
        at: Timestamp(get(row, 7)),
        body: Body::parse(&text(8)).expect("JSON"),
        trace: None,
    }
}
