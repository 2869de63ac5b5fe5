//! Themes: a world may concentrate on one subject. Its theme makes some faults frequent, suppresses
//! faults that would hide the subject, and chooses the requests and habits of clients and
//! operators. Everything else is drawn as in any other world, and every violation can occur in
//! every theme.

use crate::faults::Fault;
use crate::style::Style;

/// The subject of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// No subject: every fault is drawn independently.
    General,
    /// Operators decide about steps that run, are set aside, or are being undone.
    Verbs,
    /// Clocks jump while messages are lost, and no process restarts.
    Clocks,
    /// Orchestrators stall, and take over a crowd of sagas from each other.
    Leases,
    /// Sagas wait for an operator for longer than the barrier's retention.
    Retention,
    /// Orders are placed while other transactions write for long.
    Outbox,
    /// Errands, whose participants have no barrier.
    Outsiders,
}

/// Separates this draw from all others, like that of the style.
const APART: u64 = 0x07_4e3e;

impl Theme {
    /// All themes.
    pub const ALL: [Theme; 7] = [
        Theme::General,
        Theme::Verbs,
        Theme::Clocks,
        Theme::Leases,
        Theme::Retention,
        Theme::Outbox,
        Theme::Outsiders,
    ];

    /// The theme of this seed's run in this style.
    pub fn of(seed: u64, style: Style) -> Theme {
        let drawn = fastrand::Rng::with_seed(seed ^ APART).u8(0..100);
        match (style, drawn) {
            (Style::Orchestrated, 0..33) => Theme::Verbs,
            (Style::Orchestrated, 33..49) => Theme::Clocks,
            (Style::Orchestrated, 49..64) => Theme::Leases,
            (Style::Orchestrated, 64..79) => Theme::Retention,
            (Style::Orchestrated, 88..100) => Theme::Outsiders,
            (Style::Choreographed, 0..45) => Theme::Outbox,
            (Style::Orchestrated | Style::Choreographed, _) => Theme::General,
        }
    }

    /// Returns the counter's name.
    pub fn name(self) -> &'static str {
        match self {
            Theme::General => "theme: general",
            Theme::Verbs => "theme: verbs",
            Theme::Clocks => "theme: clocks",
            Theme::Leases => "theme: leases",
            Theme::Retention => "theme: retention",
            Theme::Outbox => "theme: outbox",
            Theme::Outsiders => "theme: outsiders",
        }
    }

    /// Returns the frequent faults of this theme.
    pub fn frequent(self) -> &'static [Fault] {
        match self {
            Theme::General | Theme::Outbox => &[],
            Theme::Verbs => &[
                Fault::Drop,
                Fault::Delay,
                Fault::Duplicate,
                Fault::OffsetsFailed,
                Fault::Blackout,
            ],
            Theme::Clocks => &[Fault::ClockJump, Fault::Drop, Fault::HandlerFault],
            Theme::Leases => &[Fault::Stall, Fault::LateBegin],
            Theme::Retention => &[Fault::ClockJump],
            Theme::Outsiders => &[Fault::Drop, Fault::Delay, Fault::Duplicate, Fault::HandlerFault],
        }
    }

    /// Returns the suppressed faults, which would end the theme's situation or hide it.
    pub fn absent(self) -> &'static [Fault] {
        match self {
            Theme::General => &[],
            Theme::Verbs => &[Fault::MachineCrash, Fault::SyncFailed, Fault::ClockJump],
            Theme::Clocks => &[Fault::Crash, Fault::MachineCrash, Fault::SyncFailed, Fault::Zombie],
            Theme::Leases => {
                &[Fault::ClockJump, Fault::MachineCrash, Fault::SyncFailed, Fault::CutFromDatabase]
            }
            Theme::Retention => &[Fault::MachineCrash, Fault::SyncFailed],
            Theme::Outbox => &[Fault::OuterLost],
            Theme::Outsiders => &[Fault::ClockJump],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::seeds;

    #[test]
    fn every_theme_is_drawn_in_a_style_that_its_faults_strike_in() {
        for style in [Style::Orchestrated, Style::Choreographed] {
            let drawn: Vec<Theme> =
                seeds(0, 100).into_iter().map(|seed| Theme::of(seed, style)).collect();
            for theme in Theme::ALL {
                let belongs = theme == Theme::General
                    || (theme == Theme::Outbox) == (style == Style::Choreographed);
                assert_eq!(drawn.contains(&theme), belongs, "{theme:?} in {style:?}");
                let can_strike = theme.frequent().iter().all(|fault| fault.strikes_in(style));
                assert!(can_strike || !belongs, "{theme:?} in {style:?}");
                assert!(
                    theme.frequent().iter().all(|fault| !theme.absent().contains(fault)),
                    "{theme:?}"
                );
            }
        }
    }
}
