//! One run: processes that are polled in an order drawn from the seed, and that crash between any
//! two awaits.

mod end;
mod month;
mod panic;
mod people;
mod phase;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use crate::faults::Fault;
use crate::party::Outside;
use crate::recorder::Counts;
use crate::site::Site;
use crate::style::Style;
use crate::theme::Theme;
use crate::watched::{Shared, Watched};
use crate::world::{Counters, Violation, World};
use phase::{End, Month};

/// The time limit for all sagas to end after the last fault.
const REST_MS_MAX: i64 = 400_000;
/// The number of polls above which a run counts as livelocked.
const POLLS_MAX: u64 = 1_000_000;

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed of the run.
    pub seed: u64,
    /// The style of the shop.
    pub style: Style,
    /// The first violation, if any.
    pub violation: Option<Violation>,
    /// The trace's hash and number of events, the same for the same seed.
    pub trace: (u64, u64),
    /// The counters of reached points.
    pub counters: Counters,
    /// The number of sagas, and of completed ones.
    pub sagas: (usize, usize),
}

/// Runs the world of this seed to its end, in the seed's own style.
pub fn run(seed: u64, print: bool) -> Report {
    run_in(Style::of(seed), seed, print)
}

/// Runs the world of this seed to its end, in this style.
pub fn run_in(style: Style, seed: u64, print: bool) -> Report {
    let world = Watched::new(seed, Theme::of(seed, style), print);
    let mut run = Run::new(&world, style);
    run.until_the_end();
    let violation = world.violation();
    let (trace, counters, sagas) = (world.trace(), world.counters(), world.checker().tally());
    Report { seed, style, violation, trace, counters, sagas }
}

type Life = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Orchestrator,
    Participant(usize),
    Observer,
    /// A client, a customer or an operator, which never crashes.
    Person,
}

struct Process {
    role: Role,
    number: usize,
    life: Option<Life>,
}

struct Run {
    world: Shared,
    site: Arc<Site>,
    counts: Counts,
    processes: Vec<Process>,
    clients: usize,
    /// The number of running orchestrators.
    orchestrators: Arc<AtomicUsize>,
    heals_at: i64,
    month: Month,
    end: End,
}

/// Draws the time until all faults stop.
fn heals_after(world: &World) -> i64 {
    match world.theme {
        // longer than the time after which a fault needs an operator
        Theme::Verbs => world.between(50_000, 90_000),
        // while sagas run
        Theme::Clocks => world.between(6_000, 30_000),
        Theme::General | Theme::Leases | Theme::Retention => world.between(5_000, 60_000),
        Theme::Outbox | Theme::Outsiders => world.between(5_000, 60_000),
    }
}

impl Run {
    fn new(world: &Shared, style: Style) -> Run {
        let outside = Outside::new(world);
        let site = Site::new(world, &outside, style);
        let mut run = Run {
            world: world.clone(),
            counts: Counts(world.clone()),
            clients: 2,
            orchestrators: Arc::default(),
            heals_at: world.now() + heals_after(world),
            month: Month::Over,
            end: End::Ahead,
            processes: Vec::new(),
            site,
        };
        match style {
            Style::Orchestrated => run.populate_orchestrated(outside),
            Style::Choreographed => run.populate_choreographed(),
        }
        run
    }

    fn add(&mut self, role: Role, life: Option<Life>) {
        let number = self.world.new_process();
        let life = life.or_else(|| self.begin(role, 0));
        self.processes.push(Process { role, number, life });
    }

    fn begin(&self, role: Role, born_in_ms: i64) -> Option<Life> {
        let site = self.site.clone();
        match role {
            Role::Orchestrator => {
                let living = self.orchestrators.clone();
                let alone = move || living.load(Ordering::Relaxed) == 1;
                Some(Box::pin(site.orchestrate(born_in_ms, alone)))
            }
            Role::Participant(number) => Some(Box::pin(site.participate(number, born_in_ms))),
            Role::Observer => Some(Box::pin(site.observe(born_in_ms))),
            Role::Person => None,
        }
    }

    fn until_the_end(&mut self) {
        for polls in 0.. {
            if self.world.violation().is_some() {
                break;
            }
            if polls >= POLLS_MAX {
                self.world.violate("livelock", self.world.checker().unfinished());
                break;
            }
            if self.is_over() {
                self.check_final_state();
                break;
            }
            self.inject_process_faults();
            self.step();
        }
    }

    /// Checks the final state. No process runs any more.
    fn check_final_state(&mut self) {
        self.processes.iter_mut().for_each(|process| process.life = None);
        let services: Vec<_> =
            self.site.services.iter().map(|(_, store)| store.inner.clone()).collect();
        let observed = self.site.observed();
        self.world.checker().finally(&self.world, &self.site.engine.inner, &services, &observed);
    }

    /// Stops the faults when it is time. At rest, starts the end of the run. Returns whether the
    /// run is over.
    fn is_over(&mut self) -> bool {
        let now = self.world.now();
        if !self.world.is_healed() {
            if now >= self.heals_at {
                self.world.heal();
            }
            return false;
        }
        if self.end != End::Ahead {
            return self.is_finished();
        }
        if self.month != Month::Over {
            self.advance_month();
            return false;
        }
        let is_done = self.site.clients_done() == self.clients && !self.site.hub.is_failing();
        let at_rest = is_done && self.world.checker().is_at_rest();
        if at_rest {
            self.encore();
        } else if now > self.heals_at + REST_MS_MAX {
            let unfinished = self.world.checker().unfinished();
            let name = if unfinished.contains("stuck") { "stuck-saga" } else { "lost-saga" };
            self.world
                .violate(name, format!("not at rest long after the last fault: {unfinished}"));
        }
        false
    }

    /// Injects crashes of processes and of the machine, and second orchestrators.
    fn inject_process_faults(&mut self) {
        if self.world.strikes(Fault::Crash) {
            let index = self.world.below(self.processes.len() as u64) as usize;
            self.crash(index);
        }
        let is_broken = self.site.hub.is_failing() && self.world.below(600) == 0;
        if self.world.strikes(Fault::MachineCrash) || is_broken {
            (0..self.processes.len()).for_each(|index| self.stop(index));
            self.site.hub.die();
            (0..self.processes.len()).for_each(|index| self.restart(index));
        }
        let is_directed = self.site.style == Style::Orchestrated;
        if is_directed
            && self.world.strikes(Fault::Zombie)
            && self.orchestrators.load(Ordering::Relaxed) == 1
        {
            let number = self.world.new_process();
            let life = self.begin(Role::Orchestrator, 0);
            self.processes.push(Process { role: Role::Orchestrator, number, life });
        }
        if self.world.below(300) == 0 {
            self.site.hub.sync();
        }
    }

    fn crash(&mut self, index: usize) {
        if self.processes[index].role != Role::Person {
            self.world.log(|| format!("{:?} dies", self.processes[index].role));
            self.stop(index);
            self.restart(index);
        }
    }

    fn stop(&mut self, index: usize) {
        if self.processes[index].role != Role::Person {
            self.processes[index].life = None;
        }
    }

    /// Restarts a process after a while, but of surplus orchestrators only one.
    fn restart(&mut self, index: usize) {
        let role = self.processes[index].role;
        let living = self
            .processes
            .iter()
            .filter(|process| process.role == Role::Orchestrator && process.life.is_some());
        let needless = role == Role::Orchestrator && living.count() > 0;
        if role != Role::Person && self.processes[index].life.is_none() && !needless {
            let born_in_ms = self.world.between(0, 2_000);
            self.processes[index].life = self.begin(role, born_in_ms);
            let number = self.world.new_process();
            self.processes[index].number = number;
        }
    }

    /// Polls one due process. If none is due, advances the time to the next one.
    fn step(&mut self) {
        self.count_orchestrators();
        self.site.hub.release(false);
        let now = self.world.now();
        let mut living: Vec<&mut Process> =
            self.processes.iter_mut().filter(|process| process.life.is_some()).collect();
        let wakes = self.world.wakes_of(living.iter().map(|process| process.number));
        let due: Vec<usize> = (0..wakes.len()).filter(|index| wakes[*index] <= now).collect();
        if due.is_empty() {
            let next = wakes.into_iter().chain(self.site.hub.next_late()).min();
            self.world.advance_to(next.unwrap_or(now + 1).max(now + 1));
            return;
        }
        let process = &mut living[due[self.world.below(due.len() as u64) as usize]];
        self.world.enter(process.number);
        let Some(life) = &mut process.life else { return };
        let polled = panic::poll(|| {
            metrics::with_local_recorder(&self.counts, || {
                life.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            })
        });
        match polled {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(())) => process.life = None,
            Err(text) => {
                process.life = None;
                self.world.violate("panic", text);
            }
        }
    }

    /// Ensures that at least one orchestrator runs or is about to start.
    fn count_orchestrators(&mut self) {
        if self.site.style == Style::Choreographed {
            return;
        }
        let living =
            |process: &Process| process.role == Role::Orchestrator && process.life.is_some();
        let count = self.processes.iter().filter(|process| living(process)).count();
        if count == 0 {
            self.world.count("takeover after the end of the last orchestrator");
            let index =
                self.processes.iter().position(|process| process.role == Role::Orchestrator);
            self.restart(index.unwrap_or(0));
        }
        self.processes
            .retain(|process| process.role != Role::Orchestrator || process.life.is_some());
        self.orchestrators.store(count.max(1), Ordering::Relaxed);
    }
}
