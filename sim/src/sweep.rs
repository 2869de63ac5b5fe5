//! Many runs: seeds derived from one base, several at a time, and what they reached together.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sagamore_core::planted::Bug;

use crate::run::{Report, run_in};
use crate::style::Style;
use crate::world::Counters;

/// How many runs are made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many at a time.
    pub threads: usize,
    /// In which style; none: in that of each seed.
    pub style: Option<Style>,
    /// What is planted.
    pub bug: Option<Bug>,
    /// Whether every event is written to standard output.
    pub print: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { threads: 2, style: None, bug: None, print: false }
    }
}

/// What came of many runs.
#[derive(Debug, Default)]
pub struct Sweep {
    /// How many.
    pub runs: u64,
    /// Those in which something was seen that must never be, in the order of their seeds.
    pub failed: Vec<Report>,
    /// What all of them reached, added up.
    pub counters: Counters,
    /// How many of them reached it.
    pub reached_in: Counters,
    /// Sagas, and how many of them completed.
    pub sagas: (usize, usize),
}

/// So many seeds, all different, the same ones for the same base.
pub fn seeds(base: u64, count: u64) -> Vec<u64> {
    (0..count).map(|number| mix(base.wrapping_add(number))).collect()
}

/// The command that runs a seed again.
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

/// Plants a bug in what this thread runs from now on. Without the feature there is none to be planted.
pub fn plant(bug: Option<Bug>) {
    #[cfg(feature = "planted-bugs")]
    sagamore_core::planted::plant(bug);
    #[cfg(not(feature = "planted-bugs"))]
    assert!(bug.is_none(), "this build holds no bugs");
}

impl Sweep {
    /// Runs all seeds. `done` is told how many are run.
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
                        reports.lock().expect("nothing panics while this is held").push(report);
                        done(finished.fetch_add(1, Ordering::Relaxed) + 1);
                    }
                });
            }
        });
        Sweep::of(reports.into_inner().expect("nothing panics while this is held"))
    }

    /// These runs together.
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

    /// The counters, a line each: how often, and in how many runs.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} sagas, {} completed; reached, and in how many runs:\n",
            self.sagas.0, self.sagas.1
        );
        for ((name, count), runs) in self.counters.iter().zip(self.reached_in.values()) {
            writeln!(text, "  {count:>9} {runs:>6}  {name}")
                .expect("a String takes all that is written to it");
        }
        text
    }
}

/// SplitMix64: neighbours lead to seeds that have nothing in common.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
