//! The two styles of the shop: orchestrated, or choreographed with events.

/// The style of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// An orchestrator sends commands.
    Orchestrated,
    /// Services react to events.
    Choreographed,
}

/// Separates this draw from all others, so that runs do not depend on the distribution of styles.
const APART: u64 = 0x0c0d_e0e5;

impl Style {
    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Style::Orchestrated => "orchestrated",
            Style::Choreographed => "choreographed",
        }
    }

    /// Returns the style of this seed. A third of them are choreographed.
    pub fn of(seed: u64) -> Style {
        match fastrand::Rng::with_seed(seed ^ APART).u8(0..3) {
            0 => Style::Choreographed,
            _ => Style::Orchestrated,
        }
    }
}
