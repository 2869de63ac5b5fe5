//! The site of one run: databases, transport, handles, and the processes that use them, one
//! incarnation after another.

mod observing;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sagamore_core::{Definition, Name, Timestamp};
use sagamore_engine::{Error, Handle, Orchestrator, Probe, Renewal};
use sagamore_sdk::{Outbox, Participant, Service};
use sagamore_shop::{Databases, choreography};

use crate::checker::EFFECTS;
use crate::clocks::ProcessClock;
use crate::crowd;
use crate::errand;
use crate::feast;
use crate::outsider::Outsider;
use crate::party::{self, Outside};
use crate::rows::{Owner, get, read_rows};
use crate::shop;
use crate::store::Store;
use crate::style::Style;
use crate::theme::Theme;
use crate::watched::Shared;
use crate::wire::Hub;
use crate::world::{LATE_MS_MAX, World};

/// The lease of orchestrators that share partitions.
const LEASE: Duration = Duration::from_secs(3);

const REPLY_PARTITIONS: u32 = 2;
/// The minimum size of a crowd, more than one turn can take.
const CROWD_MIN: u64 = 60;
/// One of this many crowds exceeds the pages of takeovers.
const LARGE_ONE_OF: u64 = 30;

/// Sagas that could not be stored and are retried in one turn.
const TRIES_MAX: usize = 16;

/// The longest stall of a process.
const LATE: Duration = Duration::from_millis(LATE_MS_MAX as u64);

/// The maximum wait of an early event, shorter than the end of a run.
const EARLY_MAX: Duration = Duration::from_secs(600);
/// The retention of journals, longer than any run, so that the checker can read all of them at the
/// end.
const JOURNALS_KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Draws whether the orchestrators share the partitions. If they do, a jump of the clock moves
/// partitions, and a takeover does not wait for old due times.
fn shares(world: &World) -> bool {
    let percent = match world.theme {
        Theme::Leases => 100,
        Theme::Clocks => 20,
        Theme::General | Theme::Verbs | Theme::Retention | Theme::Outbox => 50,
        Theme::Outsiders => 50,
    };
    world.percent(percent)
}

/// Everything that outlives a process.
pub struct Site {
    /// Clock, chance, trace and checker.
    pub world: Shared,
    /// The style of the shop.
    pub style: Style,
    /// The transport.
    pub hub: Hub,
    /// The engine's database.
    pub engine: Store,
    /// The services and their databases.
    pub services: Vec<(Service, Store)>,
    /// The participants without a barrier, if there are errands.
    pub outsiders: Vec<Outsider>,
    definitions: Vec<Definition>,
    /// The maximum skew of a process's clock.
    skew_ms_max: i64,
    /// The lease, if the orchestrators share the partitions. Otherwise each new one takes all of
    /// them.
    lease: Option<Duration>,
    /// The clock of the engine's database, used by orchestrators that share partitions.
    server: ProcessClock,
    desk: Mutex<Desk>,
}

#[derive(Default)]
struct Desk {
    /// The outbox of the order service's youngest process, which starts chains.
    outbox: Outbox,
    /// The observer's database, and the number of its resets.
    observer: Option<(Store, u32)>,
    /// Handles of the orchestrators, the youngest last.
    handles: Vec<Handle>,
    incarnations: u64,
    clients_done: usize,
    operator_is_away: bool,
}

impl Site {
    /// Creates a site with prepared databases and without processes.
    pub fn new(world: &Shared, outside: &Outside, style: Style) -> Arc<Site> {
        let mut definitions = vec![
            sagamore_shop::checkout().expect("the checkout is valid"),
            party::party().expect("the party is valid"),
            feast::feast().expect("the feast is valid"),
        ];
        let is_crowded = world.theme == Theme::Leases;
        definitions.extend(is_crowded.then(|| crowd::vigil().expect("the vigil is valid")));
        let outsiders = outsiders(world.theme, &mut definitions);
        definitions.iter().for_each(|definition| world.checker().add_definition(definition));
        let services: Vec<Service> = match style {
            Style::Orchestrated => {
                let parties =
                    [party::hall(outside), party::guild(outside), feast::kitchen(outside)];
                sagamore_shop::services().into_iter().chain(parties).collect()
            }
            Style::Choreographed => {
                world.checker().set_plan(choreography::plan().expect("the plan is valid"));
                sagamore_shop::choreographed().into()
            }
        };
        let joins = world.theme == Theme::Outbox || world.percent(60);
        let store = |number| {
            let store = Store::new(world, Owner::Service(number));
            let store = if joins { store.joined() } else { store.limited() };
            if style == Style::Choreographed { store.with_broken_handlers() } else { store }
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
            world.checker().add_service(audit);
        }
        for (store, (tables, audit)) in stores.iter().skip(4).zip(party::audits()) {
            store.prepare(tables);
            world.checker().add_service(audit);
        }
        let server = ProcessClock::right(world);
        let site = Site {
            world: world.clone(),
            style,
            hub: Hub::new(world, style, !joins && world.percent(60)),
            engine: Store::new(world, Owner::Engine).in_server(server.clone()),
            services: services.into_iter().zip(stores).collect(),
            outsiders,
            definitions,
            skew_ms_max: [0, 1_000, 30_000][world.below(3) as usize],
            lease: shares(world).then_some(LEASE),
            server,
            desk: Mutex::default(),
        };
        site.prepare_services();
        if is_crowded {
            world.count("run with a crowd of sagas");
            let is_large = world.below(LARGE_ONE_OF) == 0;
            let count =
                if is_large { 1_000 + world.below(1_000) } else { CROWD_MIN + world.below(60) };
            crowd::gather(world, &site.engine.inner, REPLY_PARTITIONS, count as usize);
        }
        site.services.iter().for_each(|(_, store)| store.skip());
        site.engine.skip();
        Arc::new(site)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect("the desk's mutex is not poisoned")
    }

    /// Returns a handle, usually the youngest one.
    pub fn handle(&self) -> Option<Handle> {
        let mut desk = self.desk();
        desk.handles.retain(Handle::is_open);
        let older = desk.handles.len() > 1
            && self.world.percent(if self.lease.is_some() { 50 } else { 30 });
        if older { desk.handles.first().cloned() } else { desk.handles.last().cloned() }
    }

    /// Wakes resting processes.
    pub fn nudge(&self) {
        self.world.nudge();
    }

    /// Records that a client has finished.
    pub fn client_is_done(&self) {
        self.desk().clients_done += 1;
        self.world.log(|| "client done".to_owned());
    }

    /// Returns the number of finished clients.
    pub fn clients_done(&self) -> usize {
        self.desk().clients_done
    }

    /// Sends the operator away, or calls it back.
    pub fn send_operator_away(&self, away: bool) {
        self.desk().operator_is_away = away;
    }

    /// Whether the operator is away.
    pub fn is_operator_away(&self) -> bool {
        self.desk().operator_is_away
    }

    /// Returns the number of rows of all barriers.
    pub fn barrier_rows(&self) -> i64 {
        let count = |store: &Store| -> i64 {
            get(&read_rows(&store.inner, "SELECT count(*) FROM barrier")[0], 0)
        };
        self.services.iter().map(|(_, store)| count(store)).sum()
    }

    /// Whether there is a crowd of sagas.
    pub fn is_crowded(&self) -> bool {
        self.definitions.iter().any(|definition| definition.name.as_str() == "vigil")
    }

    /// Whether the orchestrators share the partitions.
    pub fn shares_partitions(&self) -> bool {
        self.lease.is_some()
    }

    fn incarnation(&self, role: &str) -> Arc<str> {
        let mut desk = self.desk();
        desk.incarnations += 1;
        format!("{role}-{}", desk.incarnations).into()
    }

    /// Runs one incarnation of an orchestrator until it is fenced off. `alone` returns whether it
    /// is the only one.
    pub async fn orchestrate(self: Arc<Site>, born_in_ms: i64, alone: impl Fn() -> bool + Send) {
        let world = &self.world;
        world.sleep(born_in_ms).await;
        let who = self.incarnation("orchestrator");
        // leases use the server's clock
        let clock = match self.lease {
            Some(_) => self.server.clone(),
            None => ProcessClock::draw(world, self.skew_ms_max),
        };
        let rng = world.fork();
        let (mut orchestrator, handle, inputs_max) = loop {
            let (batch_max, takeover_page) = self.sizes();
            let options = sagamore_engine::Options {
                // longer than the stalls of a turn
                turn_max: 20 * LATE,
                owner: who.to_string(),
                lease: self.lease,
                reply_partitions: REPLY_PARTITIONS,
                live_max: if world.percent(30) { 2 } else { 10_000 },
                batch_max,
                takeover_page,
                retention: JOURNALS_KEPT,
                ..sagamore_engine::Options::default()
            };
            // requests, replies, due steps and rejected commands, and sagas that could not be
            // stored
            let inputs_max = 4 * options.batch_max + options.takeover_page + TRIES_MAX;
            let (database, transport) =
                (self.engine.for_process(&who), self.hub.for_orchestrator(&who, &clock));
            match Orchestrator::open(options, database, transport, self.definitions.clone()).await {
                Ok((orchestrator, handle)) => break (orchestrator, handle, inputs_max),
                Err(error) if error.is_transient() => world.sleep(world.between(5, 500)).await,
                Err(error) => return world.violate("cannot-open", error.to_string()),
            }
        };
        let mid_turn = clock.clone();
        orchestrator.set_clock(move || mid_turn.now());
        world.log(|| format!("{who} is open"));
        self.desk().handles.push(handle);
        let (renewal, probe) = (orchestrator.renewal(), orchestrator.probe());
        let turns = self.turn_on(orchestrator, (&*who, inputs_max), &clock, rng, alone);
        if self.lease.is_none() {
            return turns.await;
        }
        let renewals = self.renew(renewal, &who, &clock);
        world
            .together(vec![Box::pin(turns), Box::pin(renewals), Box::pin(self.probe(probe))])
            .await;
    }

    /// Draws the batch size and the page size of a takeover. A crowd exceeds both.
    fn sizes(&self) -> (usize, usize) {
        let one_of = |sizes: &[usize]| sizes[self.world.below(sizes.len() as u64) as usize];
        match self.is_crowded() {
            true => (one_of(&[1, 3]), one_of(&[2, 20])),
            false => (one_of(&[1, 3, 1_000]), one_of(&[1, 2, 500])),
        }
    }

    /// Runs turns until the orchestrator is fenced off.
    async fn turn_on(
        &self,
        mut orchestrator: Orchestrator,
        (who, inputs_max): (&str, usize),
        clock: &ProcessClock,
        mut rng: fastrand::Rng,
        alone: impl Fn() -> bool + Send,
    ) {
        let world = &self.world;
        let mut idle = 1;
        loop {
            clock.may_jump();
            let turned = orchestrator.turn(clock.now(), &mut rng).await;
            world.checker().turn_ended(who);
            match turned {
                Ok(turned) => {
                    if turned.inputs > inputs_max {
                        let detail = format!(
                            "{who} took {} inputs in one turn, but the bound is {inputs_max}",
                            turned.inputs
                        );
                        world.violate("turn-unbounded", detail);
                    }
                    if orchestrator.takes_over() {
                        world.count("takeover goes on beside other work");
                    } else {
                        world.checker().turn_succeeded(world, who);
                    }
                    idle = if turned.inputs > 0 { 1 } else { (idle * 2).min(1_000) };
                    world.rest(idle).await;
                }
                Err(error) if is_fenced_off(&error) && !orchestrator.outlives(&error) => {
                    world.count("orchestrator fenced off");
                    world.log(|| format!("{who} is fenced off"));
                    return;
                }
                Err(error) if orchestrator.outlives(&error) => {
                    world.log(|| format!("{who}: {error}"));
                    world.count("turn failed");
                    if is_fenced_off(&error) {
                        world.count("orchestrator fenced off, goes on");
                    }
                    // An orchestrator without shared partitions exits beside a younger one. A real
                    // program would be restarted.
                    if self.lease.is_none() && !alone() {
                        return;
                    }
                    world.sleep(world.between(5, 500)).await;
                }
                Err(error) => return world.violate("turn-failed", error.to_string()),
            }
        }
    }

    /// Renews the leases, independently of the turns.
    async fn renew(&self, mut renewal: Renewal, who: &str, clock: &ProcessClock) {
        let pause = Timestamp::default().plus(renewal.pause()).0;
        loop {
            let (begun, now) = (self.world.now(), clock.now());
            match renewal.renew(now).await {
                Ok(()) => {
                    self.world.count("leases renewed");
                    let lease_ms = Timestamp(0).plus(LEASE).0;
                    self.world.checker().renewed(&self.world, who, (begun, now.0), lease_ms);
                }
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

    /// Runs one incarnation of the gateway of a participant without a barrier.
    async fn run_outsider(&self, outsider: &Outsider) {
        let who = self.incarnation(outsider.name.as_str());
        let clock = ProcessClock::draw(&self.world, self.skew_ms_max);
        let transport = self.hub.for_process(&who, &clock);
        outsider.run(&self.world, transport.as_ref(), &clock).await;
    }

    /// Runs one incarnation of a participant. Those without a barrier have the last numbers.
    pub async fn participate(self: Arc<Site>, number: usize, born_in_ms: i64) {
        let world = &self.world;
        world.sleep(born_in_ms).await;
        if let Some(outsider) = number.checked_sub(self.services.len()) {
            return self.run_outsider(&self.outsiders[outsider]).await;
        }
        let (service, store) = &self.services[number];
        let who = self.incarnation(service.name().as_str());
        let (clock, mut rng) = (ProcessClock::draw(world, self.skew_ms_max), world.fork());
        let options = sagamore_sdk::Options {
            messages_max: [1, 3, 1_000][world.below(3) as usize],
            partitions: 2,
            early_max: EARLY_MAX,
            ..sagamore_sdk::Options::default()
        };
        let (database, transport) = (store.for_process(&who), self.hub.for_process(&who, &clock));
        let mut participant = Participant::new(service.clone(), database, transport, options);
        if number == 0 {
            self.desk().outbox = participant.outbox();
        }
        let mut idle = 1;
        loop {
            match participant.turn(clock.now(), &mut rng).await {
                Ok(turned) => {
                    idle = if turned.taken > 0 { 1 } else { (idle * 2).min(1_000) };
                    world.rest(idle).await;
                }
                Err(error) if error.is_transient() => {
                    world.log(|| format!("{who}: {error}"));
                    let pause = i64::try_from(participant.pause().as_millis()).unwrap_or(i64::MAX);
                    world.sleep(pause).await;
                }
                Err(error) => return world.violate("turn-failed", format!("{who}: {error}")),
            }
        }
    }
}

/// Returns the participants of errands, and adds their definition, if the theme has errands.
fn outsiders(theme: Theme, definitions: &mut Vec<Definition>) -> Vec<Outsider> {
    if theme != Theme::Outsiders {
        return Vec::new();
    }
    let errand = errand::errand().expect("the errand is valid");
    let outsiders = errand::OUTSIDERS.map(|name| {
        let name = Name::new(name).expect("the name is valid");
        let repeat = errand.contract(&name).repeat;
        Outsider::new(name, repeat)
    });
    definitions.push(errand);
    outsiders.into()
}

/// Whether another orchestrator has taken over the affected partitions.
fn is_fenced_off(error: &Error) -> bool {
    matches!(
        error,
        Error::OwnershipLost { .. } | Error::Transport(sagamore_transport::Error::Fenced(_))
    )
}
