//! The odds of each fault, drawn for each seed, so that some worlds have few kinds of faults, but
//! these often.

use crate::faults::Fault;
use crate::theme::Theme;

/// The odds of each fault in one world, in ten thousandths.
pub struct Odds([u32; Fault::ALL.len()]);

impl Odds {
    /// Draws the odds: some faults never, some rarely, some often. The theme makes some frequent
    /// and suppresses others.
    pub fn draw(theme: Theme, rng: &mut fastrand::Rng) -> Odds {
        Odds(Fault::ALL.map(|fault| match rng.u32(0..4) {
            _ if theme.absent().contains(&fault) => 0,
            _ if theme.frequent().contains(&fault) => fault.most(),
            0 => 0,
            1 | 2 => (fault.most() / 4).max(1),
            _ => fault.most(),
        }))
    }

    /// Returns the odds of a fault.
    pub fn of(&self, fault: Fault) -> u32 {
        Fault::ALL.iter().position(|other| *other == fault).map_or(0, |index| self.0[index])
    }
}
