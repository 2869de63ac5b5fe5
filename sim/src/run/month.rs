//! In some runs more than the barrier's retention passes while sagas wait for an operator. Ended
//! sagas are forgotten, and the waiting ones continue.

use super::Run;
use super::phase::Month;
use crate::world::LATE_MS_MAX;

/// Longer than the barrier's retention plus the difference of clocks.
const DAYS: u32 = 42;
const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// The working time of the processes on each day. A gap between two readings of a clock counts as
/// at most a day.
const WORKING_MS: i64 = 1_500;
/// The quiet time before the month. No record may be in flight for longer than topics retain it.
const QUIET_MS: i64 = LATE_MS_MAX + 8_000;
/// The time limit for the removal of rows.
const FORGETTING_MS: i64 = 150_000;

impl Run {
    /// Advances the phase, in a world that has healed.
    pub(super) fn advance_month(&mut self) {
        let (now, site) = (self.world.now(), self.site.clone());
        let quiet =
            site.clients_done() == self.clients && self.world.checker().is_waiting_for_operators();
        self.month = match self.month {
            Month::ToCome => {
                site.hub.release(quiet);
                if quiet { Month::Quiet { until: now + QUIET_MS } } else { Month::ToCome }
            }
            Month::Quiet { .. } if !quiet => Month::ToCome,
            Month::Quiet { until } if now >= until => {
                self.world.log(|| "a month passes".to_owned());
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
                    self.world.count("barrier rows of ended sagas removed");
                }
                if !self.world.checker().is_at_rest() {
                    self.world.count("saga open for longer than the retention of barriers");
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
