//! The place of one run: databases, hub, doors, and the processes that are built on them, again and again.

mod observing;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sagamore_core::{Definition, Timestamp};
use sagamore_engine::{Error, Handle, Orchestrator, Probe, Renewal};
use sagamore_sdk::{Outbox, Participant, Service};
use sagamore_shop::{Databases, choreography};

use crate::checker::{EFFECTS, get};
use crate::party::{self, Outside};
use crate::shop;
use crate::store::{Owner, Store, look};
use crate::style::Style;
use crate::wire::Hub;
use crate::world::Shared;

/// How long an orchestrator may be silent where they share.
const LEASE: Duration = Duration::from_secs(3);

/// How long an event waits for another one: a run's end is longer.
const EARLY_MAX: Duration = Duration::from_secs(600);
/// Longer than any run, so that the checker finds all journals at the end.
const JOURNALS_KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Everything that outlives a process.
pub struct Site {
    /// Clock, chance, trace and checker.
    pub world: Shared,
    /// Whether somebody directs.
    pub style: Style,
    /// The log.
    pub hub: Hub,
    /// The engine's database.
    pub engine: Store,
    /// Each service with its database.
    pub services: Vec<(Service, Store)>,
    definitions: Vec<Definition>,
    /// How far a process's clock may be off.
    skew_ms_max: i64,
    /// Whether the orchestrators share the partitions; otherwise each takes all of them from the one before.
    lease: Option<Duration>,
    desk: Mutex<Desk>,
}

#[derive(Default)]
struct Desk {
    /// Where the order service begins chains: that of its youngest process.
    outbox: Outbox,
    /// What the observer keeps, and how often it has begun anew.
    observer: Option<(Store, u32)>,
    /// The youngest last.
    handles: Vec<Handle>,
    incarnations: u64,
    clients_done: usize,
    operator_is_away: bool,
}

impl Site {
    /// A site with everything prepared and nothing running.
    pub fn new(world: &Shared, outside: &Outside, style: Style) -> Arc<Site> {
        let definitions = vec![
            sagamore_shop::checkout().expect("the checkout is sound"),
            party::party().expect("the party is sound"),
        ];
        definitions.iter().for_each(|definition| world.checker().knows(definition));
        let services: Vec<Service> = match style {
            Style::Orchestrated => {
                let parties = [party::hall(outside), party::guild(outside)];
                sagamore_shop::services().into_iter().chain(parties).collect()
            }
            Style::Choreographed => {
                world.checker().follows(choreography::plan().expect("the plan is sound"));
                sagamore_shop::choreographed().into()
            }
        };
        let store = |number| match style {
            Style::Orchestrated => Store::new(world, Owner::Service(number)),
            Style::Choreographed => Store::new(world, Owner::Service(number)).with_broken_handlers(),
        };
        let stores: Vec<Store> = (0..services.len()).map(store).collect();
        let databases = Databases {
            order: stores[0].inner.clone(),
            payment: stores[1].inner.clone(),
            inventory: stores[2].inner.clone(),
            shipping: stores[3].inner.clone(),
        };
        stores.iter().for_each(|store| store.prepare(EFFECTS));
        let prepared = shop::prepare(&databases, style, &mut world.fork());
        for (store, (triggers, audit)) in stores.iter().zip(prepared) {
            store.prepare(&triggers);
            world.checker().watches(audit);
        }
        (4..stores.len()).for_each(|_| world.checker().watches(Box::new(|_| None)));
        let site = Site {
            world: world.clone(),
            style,
            hub: Hub::new(world, style == Style::Choreographed),
            engine: Store::new(world, Owner::Engine),
            services: services.into_iter().zip(stores).collect(),
            definitions,
            skew_ms_max: [0, 1_000, 30_000][world.below(3) as usize],
            lease: world.percent(50).then_some(LEASE),
            desk: Mutex::default(),
        };
        site.prepare_chains();
        Arc::new(site)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect("nothing panics while the desk is held")
    }

    /// A way in: mostly the youngest one.
    pub fn handle(&self) -> Option<Handle> {
        let mut desk = self.desk();
        desk.handles.retain(Handle::is_open);
        let older = desk.handles.len() > 1 && self.world.percent(30);
        if older { desk.handles.first().cloned() } else { desk.handles.last().cloned() }
    }

    /// Something waits for the orchestrator.
    pub fn nudge(&self) {
        self.world.nudge();
    }

    /// One client has all that it wanted.
    pub fn client_is_done(&self) {
        self.desk().clients_done += 1;
        self.world.tell(|| "client done".to_owned());
    }

    /// How many clients have.
    pub fn clients_done(&self) -> usize {
        self.desk().clients_done
    }

    /// The operator goes away, or comes back.
    pub fn send_operator_away(&self, away: bool) {
        self.desk().operator_is_away = away;
    }

    /// Whether nobody decides about what is stuck.
    pub fn is_operator_away(&self) -> bool {
        self.desk().operator_is_away
    }

    /// How many rows all barriers have.
    pub fn barrier_rows(&self) -> i64 {
        let count = |store: &Store| -> i64 { get(&look(&store.inner, "SELECT count(*) FROM barrier")[0], 0) };
        self.services.iter().map(|(_, store)| count(store)).sum()
    }

    fn incarnation(&self, role: &str) -> Arc<str> {
        let mut desk = self.desk();
        desk.incarnations += 1;
        format!("{role}-{}", desk.incarnations).into()
    }

    /// One life of an orchestrator; ends when it is fenced off. `alone` says whether it is the only one now.
    pub async fn orchestrate(self: Arc<Site>, born_in_ms: i64, alone: impl Fn() -> bool + Send) {
        let world = &self.world;
        world.sleep(born_in_ms).await;
        let who = self.incarnation("orchestrator");
        // leases go by the server's clock, which is nobody's own
        let skew_ms_max = if self.lease.is_some() { 0 } else { self.skew_ms_max };
        let (skew, rng) = (world.between(-skew_ms_max, skew_ms_max), world.fork());
        let (mut orchestrator, handle) = loop {
            let options = sagamore_engine::Options {
                owner: who.to_string(),
                lease: self.lease,
                reply_partitions: 2,
                live_max: if world.percent(30) { 2 } else { 10_000 },
                batch_max: [1, 3, 1_000][world.below(3) as usize],
                takeover_page: [1, 500][world.below(2) as usize],
                retention: JOURNALS_KEPT,
                ..sagamore_engine::Options::default()
            };
            let (database, transport) = (self.engine.for_process(&who), self.hub.for_process(&who, skew));
            match Orchestrator::open(options, database, transport, self.definitions.clone()).await {
                Ok(opened) => break opened,
                Err(error) if error.is_transient() => world.sleep(world.between(5, 500)).await,
                Err(error) => return world.violate("cannot-open", error.to_string()),
            }
        };
        let clock = world.clone();
        orchestrator.set_clock(move || clock.clock(skew));
        world.tell(|| format!("{who} is open"));
        self.desk().handles.push(handle);
        let (renewal, probe) = (orchestrator.renewal(), orchestrator.probe());
        let turns = self.turn_on(orchestrator, &who, skew, rng, alone);
        if self.lease.is_none() {
            return turns.await;
        }
        world.together(vec![Box::pin(turns), Box::pin(self.renew(renewal, skew)), Box::pin(self.probe(probe))]).await;
    }

    /// Turns until the orchestrator is fenced off for good.
    async fn turn_on(
        &self,
        mut orchestrator: Orchestrator,
        who: &str,
        skew: i64,
        mut rng: fastrand::Rng,
        alone: impl Fn() -> bool + Send,
    ) {
        let world = &self.world;
        let mut idle = 1;
        loop {
            match orchestrator.turn(world.clock(skew), &mut rng).await {
                Ok(turned) => {
                    if orchestrator.takes_over() {
                        world.count("takeover goes on beside other work");
                    } else {
                        world.checker().turned(world, who);
                    }
                    idle = if turned.inputs > 0 { 1 } else { (idle * 2).min(1_000) };
                    world.rest(idle).await;
                }
                Err(error) if is_fenced_off(&error) && !orchestrator.outlives(&error) => {
                    world.count("orchestrator fenced off");
                    world.tell(|| format!("{who} is fenced off"));
                    return;
                }
                Err(error) if orchestrator.outlives(&error) => {
                    world.tell(|| format!("{who}: {error}"));
                    world.count("turn failed");
                    if is_fenced_off(&error) {
                        world.count("orchestrator fenced off, goes on");
                    }
                    // Whoever shares nothing gives up beside a younger one: a program would be started again.
                    if self.lease.is_none() && !alone() {
                        return;
                    }
                    world.sleep(world.between(5, 500)).await;
                }
                Err(error) => return world.violate("turn-failed", error.to_string()),
            }
        }
    }

    /// Renews the leases, whatever the turns do.
    async fn renew(&self, mut renewal: Renewal, skew: i64) {
        let pause = Timestamp::default().plus(renewal.pause()).0;
        loop {
            match renewal.renew(self.world.clock(skew)).await {
                Ok(()) => self.world.count("leases renewed"),
                Err(error) if error.is_transient() => self.world.count("renewal failed"),
                Err(error) => return self.world.violate("renewal-failed", error.to_string()),
            }
            self.world.sleep(pause).await;
        }
    }

    /// Publishes probes.
    async fn probe(&self, mut probe: Probe) {
        let pause = Timestamp::default().plus(probe.pause()).0;
        loop {
            probe.probe().await;
            self.world.sleep(pause).await;
        }
    }

    /// One life of a participant.
    pub async fn participate(self: Arc<Site>, number: usize, born_in_ms: i64) {
        let world = &self.world;
        world.sleep(born_in_ms).await;
        let (service, store) = &self.services[number];
        let who = self.incarnation(service.name().as_str());
        let (skew, mut rng) = (world.between(-self.skew_ms_max, self.skew_ms_max), world.fork());
        let options = sagamore_sdk::Options {
            messages_max: [1, 3, 1_000][world.below(3) as usize],
            partitions: 2,
            early_max: EARLY_MAX,
            ..sagamore_sdk::Options::default()
        };
        let (database, transport) = (store.for_process(&who), self.hub.for_process(&who, skew));
        let mut participant = Participant::new(service.clone(), database, transport, options);
        if number == 0 {
            self.desk().outbox = participant.outbox();
        }
        let mut idle = 1;
        loop {
            match participant.turn(world.clock(skew), &mut rng).await {
                Ok(turned) => {
                    idle = if turned.taken > 0 { 1 } else { (idle * 2).min(1_000) };
                    world.rest(idle).await;
                }
                Err(error) if error.is_transient() => {
                    world.tell(|| format!("{who}: {error}"));
                    let pause = i64::try_from(participant.pause().as_millis()).unwrap_or(i64::MAX);
                    world.sleep(pause).await;
                }
                Err(error) => return world.violate("turn-failed", format!("{who}: {error}")),
            }
        }
    }
}

/// Whether another orchestrator has taken over what this one wanted to do.
fn is_fenced_off(error: &Error) -> bool {
    matches!(error, Error::OwnershipLost { .. } | Error::Transport(sagamore_transport::Error::Fenced(_)))
}
