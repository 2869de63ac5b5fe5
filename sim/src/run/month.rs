//! In some runs more than the barrier's retention passes while sagas wait for a person: what has ended is forgotten, and those
//! go on as if nothing had been.

use super::Run;
use crate::world::LATE_MS_MAX;

/// Longer than barriers remember, with all that clocks may differ.
const DAYS: u32 = 42;
const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// How long everybody works in each of these days: a gap between two readings of a clock counts at most a day.
const WORKING_MS: i64 = 1_500;
/// How long it has to be quiet before: nothing may be on its way for longer than topics keep it.
const QUIET_MS: i64 = LATE_MS_MAX + 8_000;
/// How long forgetting is given.
const FORGETTING_MS: i64 = 150_000;

/// Where such a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Month {
    /// The operator is away from the beginning, and all others still have something to do.
    ToCome,
    /// Nothing happens any more; from this moment on the month passes.
    Quiet { until: i64 },
    /// It passes, a day at a time.
    Passing { days: u32, until: i64, rows: i64 },
    /// It has passed; at this moment the operator comes back.
    Forgetting { until: i64, rows: i64 },
    /// Or there is none.
    Over,
}

impl Run {
    /// What there is to do about it now, in a world that has healed.
    pub(super) fn month_passes(&mut self) {
        let (now, site) = (self.world.now(), self.site.clone());
        let quiet = site.clients_done() == self.clients && self.world.checker().waits_for_people();
        self.month = match self.month {
            Month::ToCome => {
                site.hub.release(quiet);
                if quiet { Month::Quiet { until: now + QUIET_MS } } else { Month::ToCome }
            }
            Month::Quiet { .. } if !quiet => Month::ToCome,
            Month::Quiet { until } if now >= until => {
                self.world.tell(|| "a month passes".to_owned());
                site.hub.expire();
                Month::Passing { days: DAYS, until: now, rows: site.barrier_rows() }
            }
            Month::Passing { days: 0, rows, .. } => {
                Month::Forgetting { until: now + FORGETTING_MS, rows }
            }
            Month::Passing { days, until, rows } if now >= until => {
                self.world.advance_to(now + DAY_MS);
                Month::Passing { days: days - 1, until: self.world.now() + WORKING_MS, rows }
            }
            Month::Forgetting { until, rows } if now >= until => {
                if site.barrier_rows() < rows {
                    self.world.count("barrier forgot what had ended");
                }
                if !self.world.checker().is_at_rest() {
                    self.world.count("saga open for longer than barriers remember");
                }
                site.send_operator_away(false);
                self.heals_at = now;
                Month::Over
            }
            waiting @ (Month::Quiet { .. }
            | Month::Passing { .. }
            | Month::Forgetting { .. }
            | Month::Over) => waiting,
        };
    }
}
