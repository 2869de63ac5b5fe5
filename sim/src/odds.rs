//! How often each fault strikes: drawn for each seed, so that some worlds have one fault only, and often.

use crate::faults::Fault;
use crate::theme::Theme;

/// How often each fault strikes in one world, in ten thousandths.
pub struct Odds([u32; Fault::ALL.len()]);

impl Odds {
    /// Some faults never, some seldom, some often; but those of the theme often, and those that it silences never.
    pub fn draw(theme: Theme, rng: &mut fastrand::Rng) -> Odds {
        Odds(Fault::ALL.map(|fault| match rng.u32(0..4) {
            _ if theme.absent().contains(&fault) => 0,
            _ if theme.frequent().contains(&fault) => fault.most(),
            0 => 0,
            1 | 2 => (fault.most() / 4).max(1),
            _ => fault.most(),
        }))
    }

    /// Of one fault.
    pub fn of(&self, fault: Fault) -> u32 {
        Fault::ALL.iter().position(|other| *other == fault).map_or(0, |index| self.0[index])
    }
}
