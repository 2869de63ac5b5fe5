//! Checks choreographies while they run: every event is committed before it is published, has one
//! content, and follows from an existing event as the plan allows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sagamore_core::message::code;
use sagamore_core::plan::{Chain, Plan, Seen, State, Taken};
use sagamore_core::{Body, Direction, Event, StepKey, Timestamp};
use sagamore_database::{Database, Row};
use sagamore_transport::{Record, wire};

use crate::points;
use crate::rows::{get, read_rows};
use crate::world::World;

/// A time before every deadline, so that no chain counts as late.
const EARLY: Timestamp = Timestamp(0);

/// The suffix of dead letter topics.
const DEAD_LETTERS: &str = "-dlt";

/// A row of a service's inbox: chain, reaction, event.
type InboxRow = (String, String, String);

/// All chains of a run.
pub(super) struct Chains {
    pub(super) plan: Arc<Plan>,
    /// The committed events by id. An overdue event counts as committed when it is first published.
    pub(super) events: BTreeMap<String, Event>,
    /// The chains, from acknowledged events.
    pub(super) chains: BTreeMap<String, Chain>,
    /// The chains with an acknowledged order.
    pub(super) accepted: BTreeSet<String>,
    services: BTreeMap<usize, ServiceState>,
    /// The dead letters by chain and event, minus the events that left an inbox without an effect.
    pub(super) letters: BTreeMap<(String, String), i64>,
}

/// The observed state of one service.
#[derive(Default)]
struct ServiceState {
    last: i64,
    waiting: BTreeSet<InboxRow>,
    /// Whether events are still unsent.
    has_unsent: bool,
}

impl Chains {
    /// Creates the state for this plan, without any chain.
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

    /// Reads a commit of a service.
    pub(super) fn committed(&mut self, world: &World, number: usize, database: &Database) {
        let watched = self.services.entry(number).or_default();
        let sql = format!(
            "SELECT saga, step, direction, event, version, causation, hop, told_at, body, rowid \
             FROM emitted
             WHERE rowid > {} ORDER BY rowid",
            watched.last
        );
        let rows = read_rows(database, &sql);
        watched.last = rows.last().map_or(watched.last, |row| get(row, 9));
        for event in rows.iter().map(read) {
            self.committed_event(world, event);
        }
        let waiting = read_rows(database, "SELECT saga, step, event FROM inbox");
        let waiting: BTreeSet<InboxRow> =
            waiting.iter().map(|row| (get(row, 0), get(row, 1), get(row, 2))).collect();
        let Some(watched) = self.services.get_mut(&number) else { return };
        if waiting.difference(&watched.waiting).next().is_some() {
            world.count("event waits in an inbox");
        }
        for gone in watched.waiting.difference(&waiting) {
            let sql =
                format!("SELECT 1 FROM barrier WHERE saga = '{}' AND step = '{}'", gone.0, gone.1);
            if read_rows(database, &sql).is_empty() {
                *self.letters.entry((gone.0.clone(), gone.2.clone())).or_default() -= 1;
            }
        }
        watched.waiting = waiting;
        watched.has_unsent =
            !read_rows(database, "SELECT 1 FROM emitted WHERE sent = FALSE LIMIT 1").is_empty();
    }

    fn committed_event(&mut self, world: &World, event: Event) {
        let id = event.id();
        world.log(|| format!("event {id} of {:?}", event.causation));
        if let Some(why) = self.invalid_cause(&event) {
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
            && !self.has_emitted(event.chain().as_str(), event.key.step.as_str(), Direction::Action)
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

    /// Describes the invalid cause of an event, if it is invalid.
    fn invalid_cause(&self, event: &Event) -> Option<String> {
        let Some(causation) = &event.causation else {
            let begins = event.name == self.plan.begins.event && event.hop == 0;
            return (!begins).then(|| "has no cause".to_owned());
        };
        let Some(cause) = self.events.get(causation) else {
            return Some(format!("is caused by {causation}, which does not exist"));
        };
        if cause.chain() != event.chain() || cause.hop >= event.hop {
            return Some(format!(
                "is at hop {}, but its cause {causation} at {}",
                event.hop, cause.hop
            ));
        }
        let follows = points::of_event(&self.plan, event, Some(cause)).is_some();
        (!follows).then(|| format!("is caused by {causation}, which the plan does not allow"))
    }

    /// Checks a record that is about to be published.
    pub(super) fn publishing(&mut self, world: &World, record: &Record) {
        let Ok(event) = wire::decode_event(record) else { return };
        let id = event.id();
        if self.plan.overdue.as_ref() == Some(&event.name)
            && record.header("ce_source").is_some_and(|who| who == "/observer")
        {
            world.count("overdue by the observer");
        }
        match self.events.get(&id) {
            Some(known) if *known == event => {}
            Some(known) => world.violate(
                "disagreement",
                format!("{id} is published as {event:?}, but was {known:?}"),
            ),
            None if self.plan.overdue.as_ref() == Some(&event.name) => {
                world.count("chain told to be overdue");
                self.committed_event(world, event.clone());
                self.take(world, event); // no process would publish it again
            }
            None => {
                world.violate("sent-before-commit", format!("{id} is published, but not committed"))
            }
        }
    }

    /// Records that the transport acknowledged this record.
    pub(super) fn acknowledged(&mut self, world: &World, record: &Record) {
        if !record.topic.ends_with(DEAD_LETTERS) {
            if let Ok(event) = wire::decode_event(record) {
                self.take(world, event);
            }
            return;
        }
        let Some(Ok(event)) = wire::redrive(record).map(|original| wire::decode_event(&original))
        else {
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

    /// Whether events wait in an inbox, in an outbox, or for a dead letter.
    pub(super) fn events_wait(&self) -> bool {
        let waits = |watched: &ServiceState| watched.has_unsent || !watched.waiting.is_empty();
        self.services.values().any(waits) || self.letters.values().any(|letters| *letters < 0)
    }

    /// Whether any event of this chain was emitted for this step and direction, even for an undo
    /// without effect.
    pub(super) fn has_emitted(&self, id: &str, step: &str, direction: Direction) -> bool {
        let is_of = |key: &StepKey| {
            key.direction == direction && key.step.as_str() == step && key.saga.as_str() == id
        };
        self.events.values().any(|event| is_of(&event.key))
    }

    /// Returns the state of every chain, as if no deadline had passed.
    pub(super) fn states(&self) -> impl Iterator<Item = (&str, State)> {
        self.chains.iter().map(|(id, chain)| (id.as_str(), chain.state(EARLY)))
    }

    /// Whether every chain has ended.
    pub(super) fn are_over(&self) -> bool {
        self.states().all(|(_, state)| matches!(state, State::Completed | State::Compensated))
    }

    /// Returns the number of chains, and of completed ones.
    pub(super) fn tally(&self) -> (usize, usize) {
        (self.chains.len(), self.states().filter(|(_, state)| *state == State::Completed).count())
    }

    /// Describes the unfinished chains, for the report.
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
    let small = |column| u32::try_from(get::<i64>(row, column)).expect("the number fits");
    let key = StepKey {
        saga: text(0).parse().expect("the chain's id is valid"),
        step: text(1).parse().expect("the reaction's name is valid"),
        direction: text(2).parse().expect("the direction is valid"),
        generation: 1,
    };
    Event {
        key,
        name: text(3).parse().expect("the event's name is valid"),
        version: small(4),
        causation: get(row, 5),
        hop: small(6),
        at: Timestamp(get(row, 7)),
        body: Body::parse(&text(8)).expect("the body is JSON"),
        trace: None,
    }
}
