//! The shared state of one run: clock, randomness, trace, counters, and the first violation.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard};
use std::task::Poll;

use sagamore_core::Timestamp;

use crate::faults::Fault;
use crate::odds::Odds;
use crate::theme::Theme;

/// The world of one run. Everything happens on one thread.
pub struct World {
    /// The theme.
    pub theme: Theme,
    state: Mutex<State>,
}

/// One of several tasks of a process.
pub type Task<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A violated invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The stable name of the invariant, for example `double-charge`.
    pub name: &'static str,
    /// The observed facts.
    pub detail: String,
}

/// Counts by name.
pub type Counters = BTreeMap<&'static str, u64>;

struct State {
    rng: fastrand::Rng,
    now: i64,
    odds: Odds,
    healed: bool,
    /// The time of the next poll of each process.
    wakes: Vec<i64>,
    /// Whether each process may be woken early.
    resting: Vec<bool>,
    /// The tasks of each process, as indices in `wakes`.
    tasks: Vec<Vec<usize>>,
    current: usize,
    print: bool,
    hash: u64,
    events: u64,
    counters: Counters,
    violation: Option<Violation>,
}

/// The longest ordinary stall of a process.
const STALL_MS_MAX: i64 = 3_000;
/// The longest rare stall: several leases, so that other processes take over its work.
pub const LATE_MS_MAX: i64 = 12_000;
/// The start time of a world, large enough that a slow clock is not negative.
const BEGINNING: i64 = 1_000_000_000;

impl State {
    fn wake_of(&self, process: usize) -> i64 {
        let tasks = self.tasks[process].iter();
        tasks.map(|task| self.wakes[*task]).min().unwrap_or(self.wakes[process])
    }
}

impl World {
    /// Creates a world with this theme from the seed. `print` writes every event to standard
    /// output.
    pub fn new(seed: u64, theme: Theme, print: bool) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let odds = Odds::draw(theme, &mut rng);
        let state = State {
            rng,
            now: BEGINNING,
            odds,
            healed: false,
            wakes: Vec::new(),
            resting: Vec::new(),
            tasks: Vec::new(),
            current: 0,
            print,
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            counters: Counters::new(),
            violation: None,
        };
        let world = World { theme, state: Mutex::new(state) };
        world.count(theme.name());
        world
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the world's mutex is not poisoned")
    }

    /// Returns the right time, in milliseconds since 1970.
    pub fn now(&self) -> i64 {
        self.state().now
    }

    /// Returns the time of a clock with this offset.
    pub fn clock(&self, skew: i64) -> Timestamp {
        Timestamp(self.now() + skew)
    }

    /// Advances the time.
    pub fn advance_to(&self, now: i64) {
        let mut state = self.state();
        state.now = state.now.max(now);
    }

    /// Draws a number below `n`.
    pub fn below(&self, n: u64) -> u64 {
        self.state().rng.u64(0..n.max(1))
    }

    /// Draws a number in this range.
    pub fn between(&self, least: i64, most: i64) -> i64 {
        self.state().rng.i64(least..=most)
    }

    /// Draws true with this probability, in percent.
    pub fn percent(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns a separate source of randomness.
    pub fn fork(&self) -> fastrand::Rng {
        self.state().rng.fork()
    }

    /// Draws whether this fault strikes. Never strikes once the world has healed.
    pub fn strikes(&self, fault: Fault) -> bool {
        let mut state = self.state();
        let odds = state.odds.of(fault);
        if state.healed || odds == 0 || state.rng.u32(0..10_000) >= odds {
            return false;
        }
        *state.counters.entry(fault.name()).or_insert(0) += 1;
        drop(state);
        self.log(|| format!("fault {}", fault.name()));
        true
    }

    /// Stops all faults.
    pub fn stop_faults(&self) {
        self.state().healed = true;
    }

    /// Whether all faults have stopped.
    pub fn is_healed(&self) -> bool {
        self.state().healed
    }

    /// Increments a counter.
    pub fn count(&self, name: &'static str) {
        *self.state().counters.entry(name).or_insert(0) += 1;
    }

    /// Returns all counters.
    pub fn counters(&self) -> Counters {
        self.state().counters.clone()
    }

    /// Adds an event to the trace.
    pub fn log(&self, event: impl FnOnce() -> String) {
        let text = event();
        let mut state = self.state();
        let line = format!("{:>9} {:>2} {text}", state.now - BEGINNING, state.current);
        for byte in line.bytes() {
            state.hash = (state.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3); // FNV-1a
        }
        state.events += 1;
        if state.print {
            println!("{line}");
        }
    }

    /// Returns the hash over all events, and their number.
    pub fn trace(&self) -> (u64, u64) {
        let state = self.state();
        (state.hash, state.events)
    }

    /// Records a violation. The first one counts.
    pub fn violate(&self, name: &'static str, detail: String) {
        self.log(|| format!("VIOLATION {name}: {detail}"));
        self.state().violation.get_or_insert(Violation { name, detail });
    }

    /// Returns the first violation, if any.
    pub fn violation(&self) -> Option<Violation> {
        self.state().violation.clone()
    }

    /// Returns the process or task that is polled.
    pub fn current(&self) -> usize {
        self.state().current
    }

    /// Adds a process and returns its index.
    pub fn new_process(&self) -> usize {
        let mut state = self.state();
        let now = state.now;
        state.wakes.push(now);
        state.resting.push(false);
        state.tasks.push(Vec::new());
        state.wakes.len() - 1
    }

    /// Makes this process the current one.
    pub fn enter(&self, process: usize) {
        let mut state = self.state();
        state.current = process;
        state.wakes[process] = state.now;
        state.resting[process] = false;
    }

    /// Returns the time of the next poll of a process: that of its first due task.
    pub fn wake_of(&self, process: usize) -> i64 {
        self.state().wake_of(process)
    }

    /// Returns the times of the next polls, in the order of the processes.
    pub fn wakes_of(&self, processes: impl Iterator<Item = usize>) -> Vec<i64> {
        let state = self.state();
        processes.map(|process| state.wake_of(process)).collect()
    }

    /// Polls several tasks of the current process, each at its own time, and one of the due tasks
    /// at a time. Ends with the first task that ends.
    pub async fn together(&self, mut tasks: Vec<Task<'_>>) {
        let process = self.state().current;
        let places: Vec<usize> = tasks.iter().map(|_| self.new_process()).collect();
        self.state().tasks[process].clone_from(&places);
        std::future::poll_fn(|context| {
            let (now, wakes) = (self.now(), self.wakes_of(places.iter().copied()));
            let due: Vec<usize> = (0..places.len()).filter(|task| wakes[*task] <= now).collect();
            let Some(&chosen) = due.get(self.below(due.len() as u64) as usize) else {
                return Poll::Pending;
            };
            self.enter(places[chosen]);
            let polled = tasks[chosen].as_mut().poll(context);
            self.state().current = process;
            polled
        })
        .await;
        self.state().tasks[process].clear();
    }

    /// Wakes resting processes soon, because new input has arrived.
    pub fn nudge(&self) {
        let mut state = self.state();
        let State { rng, wakes, resting, now, .. } = &mut *state;
        for (wake, resting) in wakes.iter_mut().zip(resting) {
            if *resting {
                *wake = (*wake).min(*now + rng.i64(0..4));
            }
        }
    }

    fn put_off(&self, ms: i64, resting: bool) {
        let mut state = self.state();
        let current = state.current;
        state.wakes[current] = state.now + ms;
        state.resting[current] = resting;
    }

    /// Yields to other processes, sometimes for long. A process can be dropped here.
    pub async fn pause(&self) {
        let ms = match self.strikes(Fault::Stall) {
            true if self.percent(25) => self.between(5, LATE_MS_MAX),
            true => self.between(5, STALL_MS_MAX),
            false => self.between(0, 1),
        };
        self.sleep(ms).await;
    }

    /// Waits for this time.
    pub async fn sleep(&self, ms: i64) {
        self.idle(ms, false).await;
    }

    /// Waits for this time, or until new input arrives.
    pub async fn rest(&self, ms: i64) {
        self.idle(ms, true).await;
    }

    async fn idle(&self, ms: i64, resting: bool) {
        let mut begun = false;
        std::future::poll_fn(|_| {
            if std::mem::replace(&mut begun, true) {
                return Poll::Ready(());
            }
            self.put_off(ms, resting);
            Poll::Pending
        })
        .await;
    }

    /// Polls a future from time to time. Returns `None` if it takes longer than `ms`.
    pub async fn patience<T>(&self, ms: i64, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let until = self.now() + ms;
        std::future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if self.now() >= until => Poll::Ready(None),
            Poll::Pending => {
                let current = self.state().current;
                if self.wake_of(current) <= self.now() {
                    self.put_off(self.between(1, 40), true);
                }
                Poll::Pending
            }
        })
        .await
    }
}
