//! Themes: a world may concentrate on one thing. Its theme makes the faults that belong to it frequent, silences those that
//! would hide it, and chooses the persons' wishes and habits. All else is drawn as in any other world, and every theme's
//! world can fail in every way.

use crate::faults::Fault;
use crate::style::Style;

/// The subject of one world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// No subject: everything is drawn on its own.
    General,
    /// Operators decide about steps that run, that are set aside, and that are being undone.
    Verbs,
    /// Clocks jump while messages are lost, and no process starts again.
    Clocks,
    /// Orchestrators stall, and take a crowd of sagas from each other.
    Leases,
    /// Sagas wait for a person for longer than barriers remember.
    Retention,
    /// Orders are placed while others write for long.
    Outbox,
}

/// Drawn apart from all else, like the style.
const APART: u64 = 0x07_4e3e;

impl Theme {
    /// All of them.
    pub const ALL: [Theme; 6] = [
        Theme::General,
        Theme::Verbs,
        Theme::Clocks,
        Theme::Leases,
        Theme::Retention,
        Theme::Outbox,
    ];

    /// The theme of this seed's run in this style.
    pub fn of(seed: u64, style: Style) -> Theme {
        let drawn = fastrand::Rng::with_seed(seed ^ APART).u8(0..100);
        match (style, drawn) {
            (Style::Orchestrated, 0..33) => Theme::Verbs,
            (Style::Orchestrated, 33..49) => Theme::Clocks,
            (Style::Orchestrated, 49..64) => Theme::Leases,
            (Style::Orchestrated, 64..79) => Theme::Retention,
            (Style::Choreographed, 0..45) => Theme::Outbox,
            (Style::Orchestrated | Style::Choreographed, _) => Theme::General,
        }
    }

    /// As it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Theme::General => "theme: general",
            Theme::Verbs => "theme: verbs",
            Theme::Clocks => "theme: clocks",
            Theme::Leases => "theme: leases",
            Theme::Retention => "theme: retention",
            Theme::Outbox => "theme: outbox",
        }
    }

    /// The faults that strike often in its worlds.
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
        }
    }

    /// The faults that never strike in its worlds: they would end or hide what the theme is about.
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
