//! In which of its two forms the shop runs: directed by an orchestrator, or by events that services react to.

/// How a run's sagas come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// An orchestrator asks the services.
    Orchestrated,
    /// Nobody directs.
    Choreographed,
}

/// Drawn apart from all else, so that a seed's run stays what it is however styles are drawn.
const APART: u64 = 0x0c0d_e0e5;

impl Style {
    /// As it is given on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Style::Orchestrated => "orchestrated",
            Style::Choreographed => "choreographed",
        }
    }

    /// The style of this seed's run: a third of them is choreographed.
    pub fn of(seed: u64) -> Style {
        match fastrand::Rng::with_seed(seed ^ APART).u8(0..3) {
            0 => Style::Choreographed,
            _ => Style::Orchestrated,
        }
    }
}
