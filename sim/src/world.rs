//! What everything in one run shares: the clock, the chance, the trace, the counters, and the first violation.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use sagamore_core::Timestamp;

use crate::checker::Checker;
use crate::faults::{Fault, Odds};
use crate::theme::Theme;

/// One run's world. Clones of the `Arc` share it; everything happens on one thread.
pub struct World {
    /// What it concentrates on.
    pub theme: Theme,
    state: Mutex<State>,
    checker: Mutex<Checker>,
}

/// A world in the hands of whoever lives in it.
pub type Shared = Arc<World>;

/// One of several tasks of a process.
pub type Task<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Something that must never be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `double-charge`, `lost-saga`: stable, one for each thing that a checker asks.
    pub name: &'static str,
    /// What was seen.
    pub detail: String,
}

/// Name -> how often.
pub type Counters = BTreeMap<&'static str, u64>;

struct State {
    rng: fastrand::Rng,
    now: i64,
    odds: Odds,
    healed: bool,
    /// For each process, from when on it is to be polled.
    wakes: Vec<i64>,
    /// Which of them may be woken early.
    resting: Vec<bool>,
    /// For each process that has several tasks, their places in `wakes`.
    tasks: Vec<Vec<usize>>,
    current: usize,
    print: bool,
    hash: u64,
    events: u64,
    counters: Counters,
    violation: Option<Violation>,
}

/// How long a process stands still.
const STALL_MS_MAX: i64 = 3_000;
/// And how long now and then: several times a lease. What it had in its hands is somebody else's by then.
pub const LATE_MS_MAX: i64 = 12_000;
/// When a world begins: far from zero, so that a clock that lags behind is not negative.
const BEGINNING: i64 = 1_000_000_000;

impl State {
    fn wake_of(&self, process: usize) -> i64 {
        let tasks = self.tasks[process].iter();
        tasks.map(|task| self.wakes[*task]).min().unwrap_or(self.wakes[process])
    }
}

impl World {
    /// A world with this theme that is drawn from the seed. With `print` every event is written to standard output.
    pub fn new(seed: u64, theme: Theme, print: bool) -> Shared {
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
        let world =
            World { theme, state: Mutex::new(state), checker: Mutex::new(Checker::default()) };
        world.count(theme.name());
        Arc::new(world)
    }

    /// Who watches.
    pub fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().expect("nothing panics while the checker is held")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while the world is held")
    }

    /// Milliseconds since 1970, by the one clock that is right.
    pub fn now(&self) -> i64 {
        self.state().now
    }

    /// The time by a clock that is off by so much.
    pub fn clock(&self, skew: i64) -> Timestamp {
        Timestamp(self.now() + skew)
    }

    /// Time passes.
    pub fn advance_to(&self, now: i64) {
        let mut state = self.state();
        state.now = state.now.max(now);
    }

    /// A number below `n`, by chance.
    pub fn below(&self, n: u64) -> u64 {
        self.state().rng.u64(0..n.max(1))
    }

    /// A number of milliseconds in this range, by chance.
    pub fn between(&self, least: i64, most: i64) -> i64 {
        self.state().rng.i64(least..=most)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Chance of its own for a process.
    pub fn fork(&self) -> fastrand::Rng {
        self.state().rng.fork()
    }

    /// Whether this fault strikes here. Never after the world has healed.
    pub fn strikes(&self, fault: Fault) -> bool {
        let mut state = self.state();
        let odds = state.odds.of(fault);
        if state.healed || odds == 0 || state.rng.u32(0..10_000) >= odds {
            return false;
        }
        *state.counters.entry(fault.name()).or_insert(0) += 1;
        drop(state);
        self.tell(|| format!("fault {}", fault.name()));
        true
    }

    /// From now on nothing goes wrong any more.
    pub fn heal(&self) {
        self.state().healed = true;
        self.checker().clock_jumped(self); // those that are wrong are right again
        self.tell(|| "healed".to_owned());
    }

    /// Whether it has.
    pub fn is_healed(&self) -> bool {
        self.state().healed
    }

    /// Counts one more of these.
    pub fn count(&self, name: &'static str) {
        *self.state().counters.entry(name).or_insert(0) += 1;
    }

    /// All counts.
    pub fn counters(&self) -> Counters {
        self.state().counters.clone()
    }

    /// An event of the trace.
    pub fn tell(&self, event: impl FnOnce() -> String) {
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

    /// The hash over all events, and how many there were.
    pub fn trace(&self) -> (u64, u64) {
        let state = self.state();
        (state.hash, state.events)
    }

    /// Notes what must never be seen; the first one counts.
    pub fn violate(&self, name: &'static str, detail: String) {
        self.tell(|| format!("VIOLATION {name}: {detail}"));
        self.state().violation.get_or_insert(Violation { name, detail });
    }

    /// The first violation, if there was one.
    pub fn violation(&self) -> Option<Violation> {
        self.state().violation.clone()
    }

    /// The process that is polled, or its task.
    pub fn current(&self) -> usize {
        self.state().current
    }

    /// A place for one more process.
    pub fn new_process(&self) -> usize {
        let mut state = self.state();
        let now = state.now;
        state.wakes.push(now);
        state.resting.push(false);
        state.tasks.push(Vec::new());
        state.wakes.len() - 1
    }

    /// Whom the events that follow are about.
    pub fn enter(&self, process: usize) {
        let mut state = self.state();
        state.current = process;
        state.wakes[process] = state.now;
        state.resting[process] = false;
    }

    /// From when on the process is to be polled: that of the first of its tasks, where it has several.
    pub fn wake_of(&self, process: usize) -> i64 {
        self.state().wake_of(process)
    }

    /// The same of many processes, in their order.
    pub fn wakes_of(&self, processes: impl Iterator<Item = usize>) -> Vec<i64> {
        let state = self.state();
        processes.map(|process| state.wake_of(process)).collect()
    }

    /// Polls several tasks of the current process, each with a moment of its own at which it is to be polled next, and
    /// one of those that are due at a time. Ends with the first task that ends.
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

    /// Something has come in: whoever rests looks soon.
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

    /// Lets the others go first, sometimes for long: an await at which a process can be dropped.
    pub async fn pause(&self) {
        let ms = match self.strikes(Fault::Stall) {
            true if self.percent(25) => self.between(5, LATE_MS_MAX),
            true => self.between(5, STALL_MS_MAX),
            false => self.between(0, 1),
        };
        self.sleep(ms).await;
    }

    /// Does nothing for so long.
    pub async fn sleep(&self, ms: i64) {
        self.idle(ms, false).await;
    }

    /// Does nothing for so long, or until something comes in.
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

    /// Waits for what somebody else does, and looks now and then. None when it takes longer than `ms`.
    pub async fn patience<T>(&self, ms: i64, wanted: impl Future<Output = T>) -> Option<T> {
        let mut wanted = pin!(wanted);
        let until = self.now() + ms;
        std::future::poll_fn(|context| match wanted.as_mut().poll(context) {
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
