//! Wrong clocks: each process has a clock that is slightly off and may jump by more than a year,
//! forward or back. Orchestrators that share partitions use the clock of their database's server.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sagamore_core::Timestamp;

use crate::faults::Fault;
use crate::theme::Theme;
use crate::watched::Shared;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// The lengths of jumps. The longest exceeds every retention.
const JUMPS_MS: [i64; 4] = [MINUTE_MS, 60 * MINUTE_MS, 60 * DAY_MS, 400 * DAY_MS];

/// The clock of a process. Clones share it.
#[derive(Clone)]
pub struct ProcessClock {
    world: Shared,
    skew: i64,
    /// The current offset since the last jump.
    jump: Arc<AtomicI64>,
    /// The largest offset so far.
    latest: Arc<AtomicI64>,
}

impl ProcessClock {
    /// Creates a clock with a random skew, at most the given one.
    pub fn draw(world: &Shared, skew_ms_max: i64) -> ProcessClock {
        let skew = world.between(-skew_ms_max, skew_ms_max);
        let (jump, latest) = Default::default();
        ProcessClock { world: world.clone(), skew, jump, latest }
    }

    /// Creates a clock without skew.
    pub fn right(world: &Shared) -> ProcessClock {
        ProcessClock::draw(world, 0)
    }

    /// Returns the current time. Jumps no longer count once the world has healed, but the skew
    /// remains.
    pub fn now(&self) -> Timestamp {
        let jump = if self.world.is_healed() { 0 } else { self.jump.load(Ordering::Relaxed) };
        self.world.clock(self.skew + jump)
    }

    /// Lets the clock jump, or return to the right time, by chance.
    pub fn may_jump(&self) {
        if !self.world.strikes(Fault::ClockJump) {
            return;
        }
        let (lengths, forward) = match self.world.theme {
            Theme::Clocks => (&JUMPS_MS[1..], 80),
            Theme::Retention => (&JUMPS_MS[3..], 80),
            Theme::General | Theme::Verbs | Theme::Leases => (&JUMPS_MS[..], 60),
            Theme::Outbox | Theme::Outsiders => (&JUMPS_MS[..], 60),
        };
        let length = lengths[self.world.below(lengths.len() as u64) as usize];
        let jump = match self.jump.load(Ordering::Relaxed) {
            0 if self.world.percent(forward) => length,
            0 => -length.min(5 * DAY_MS), // the world starts a few days after 1970
            _ => 0,
        };
        self.jump.store(jump, Ordering::Relaxed);
        self.latest.fetch_max(jump, Ordering::Relaxed);
        self.world.log(|| format!("a clock jumps to {jump} ms off"));
        self.world.checker().clock_jumped(&self.world);
    }

    /// Returns the largest lead so far.
    pub fn ahead_ms_max(&self) -> i64 {
        self.skew + self.latest.load(Ordering::Relaxed)
    }
}
