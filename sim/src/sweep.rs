//! Many runs: seeds derived from one base, several at a time, and their joint counters.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sagamore_core::planted::Bug;

use crate::run::{Report, run_in};
use crate::style::Style;
use crate::world::Counters;

/// The options of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The number of concurrent runs.
    pub threads: usize,
    /// The style of all runs. `None`: the style of each seed.
    pub style: Option<Style>,
    /// The planted bug.
    pub bug: Option<Bug>,
    /// Whether every event is printed.
    pub print: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { threads: 2, style: None, bug: None, print: false }
    }
}

/// The results of many runs.
#[derive(Debug, Default)]
pub struct Sweep {
    /// The number of runs.
    pub runs: u64,
    /// The runs with a violation, sorted by seed.
    pub failed: Vec<Report>,
    /// The sums of all counters.
    pub counters: Counters,
    /// The number of runs that reached each counter.
    pub reached_in: Counters,
    /// The number of sagas, and of completed ones.
    pub sagas: (usize, usize),
}

/// Returns distinct seeds, always the same ones for the same base.
pub fn seeds(base: u64, count: u64) -> Vec<u64> {
    (0..count).map(|number| mix(base.wrapping_add(number))).collect()
}

/// Returns the command that replays a seed.
pub fn command(seed: u64, style: Style, bug: Option<Bug>) -> String {
    let features = bug.map_or("", |_| " --features planted-bugs");
    let mut command = format!("cargo run --release -p sagamore-sim{features} -- --seed {seed}");
    if style != Style::of(seed) {
        command.extend([" --style ", style.name()]);
    }
    if let Some(bug) = bug {
        command.extend([" --bug ", bug.name()]);
    }
    command
}

/// Plants a bug in all later runs of this thread. Requires the feature `planted-bugs`.
pub fn plant(bug: Option<Bug>) {
    #[cfg(feature = "planted-bugs")]
    sagamore_core::planted::plant(bug);
    #[cfg(not(feature = "planted-bugs"))]
    assert!(bug.is_none(), "this build contains no bugs");
}

impl Sweep {
    /// Runs all seeds. Calls `done` with the number of finished runs.
    pub fn run(seeds: &[u64], options: Options, done: &(impl Fn(u64) + Sync)) -> Sweep {
        let Options { threads, style, bug, print } = options;
        let (next, finished) = (AtomicU64::new(0), AtomicU64::new(0));
        let reports = Mutex::new(Vec::with_capacity(seeds.len()));
        std::thread::scope(|scope| {
            for _ in 0..threads.max(1) {
                scope.spawn(|| {
                    plant(bug);
                    while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                    {
                        let report = run_in(style.unwrap_or(Style::of(*seed)), *seed, print);
                        reports.lock().expect("the mutex is not poisoned").push(report);
                        done(finished.fetch_add(1, Ordering::Relaxed) + 1);
                    }
                });
            }
        });
        Sweep::of(reports.into_inner().expect("the mutex is not poisoned"))
    }

    /// Combines these runs.
    pub fn of(reports: Vec<Report>) -> Sweep {
        let mut sweep = Sweep::default();
        for report in reports {
            sweep.runs += 1;
            sweep.sagas = (sweep.sagas.0 + report.sagas.0, sweep.sagas.1 + report.sagas.1);
            for (name, count) in &report.counters {
                *sweep.counters.entry(name).or_insert(0) += count;
                *sweep.reached_in.entry(name).or_insert(0) += 1;
            }
            if report.violation.is_some() {
                sweep.failed.push(report);
            }
        }
        sweep.failed.sort_by_key(|report| report.seed);
        sweep
    }

    /// Formats the counters, one per line, with the number of runs that reached them.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} sagas, {} completed; reached, and in how many runs:\n",
            self.sagas.0, self.sagas.1
        );
        for ((name, count), runs) in self.counters.iter().zip(self.reached_in.values()) {
            writeln!(text, "  {count:>9} {runs:>6}  {name}")
                .expect("writing to a String never fails");
        }
        text
    }
}

/// SplitMix64, so that consecutive numbers give unrelated seeds.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
