//! What can go wrong, and how often: drawn anew for each seed, so that some worlds know one fault only, and much of it.

use crate::style::Style;
use crate::theme::Theme;

/// One sort of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A statement or a transaction finds no database.
    StoreDown,
    /// A statement is to be tried again.
    StoreConflict,
    /// The commit happened, and the caller saw a timeout.
    CommitUnknownDone,
    /// The commit did not happen, and the caller saw a timeout.
    CommitUnknownLost,
    /// Nothing was published.
    PublishFailed,
    /// All was published, and the caller saw an error.
    PublishTimedOut,
    /// The transport gives nothing.
    PollFailed,
    /// The offsets were not stored.
    OffsetsFailed,
    /// A record is acknowledged, and never delivered.
    Drop,
    /// A record comes twice.
    Duplicate,
    /// A record comes late, behind others.
    Delay,
    /// A process stands still for a while.
    Stall,
    /// An orchestrator stands still before a transaction, for longer than any lease perhaps.
    LateBegin,
    /// A process dies.
    Crash,
    /// The machine dies, and the log's unsynced tail with it.
    MachineCrash,
    /// A second orchestrator begins while the first is alive.
    Zombie,
    /// A handler breaks.
    HandlerFault,
    /// A handler goes on, though its statement has failed.
    Swallowed,
    /// A commit that joined transactions share fails.
    OuterLost,
    /// One process cannot publish for a while.
    CutFromPublishing,
    /// One process is given nothing for a while.
    CutFromPolling,
    /// One process does not reach its database for a while.
    CutFromDatabase,
    /// One process may not write to a topic for a while.
    Denied,
    /// The log's sync fails: whoever uses it is started again.
    SyncFailed,
    /// The log's sync is said to have happened, and has not.
    SyncLies,
    /// An orchestrator cannot publish for a while, and others can.
    Mute,
    /// A process's clock is set ahead or back.
    ClockJump,
    /// All commands to one service are acknowledged and lost, for a while.
    Blackout,
    /// The answer to a verb that another orchestrator has handed over is not written.
    AnswerLost,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 29] = [
        Fault::StoreDown,
        Fault::StoreConflict,
        Fault::CommitUnknownDone,
        Fault::CommitUnknownLost,
        Fault::PublishFailed,
        Fault::PublishTimedOut,
        Fault::PollFailed,
        Fault::OffsetsFailed,
        Fault::Drop,
        Fault::Duplicate,
        Fault::Delay,
        Fault::Stall,
        Fault::LateBegin,
        Fault::Crash,
        Fault::MachineCrash,
        Fault::Zombie,
        Fault::HandlerFault,
        Fault::Swallowed,
        Fault::OuterLost,
        Fault::CutFromPublishing,
        Fault::CutFromPolling,
        Fault::CutFromDatabase,
        Fault::Denied,
        Fault::SyncFailed,
        Fault::SyncLies,
        Fault::Mute,
        Fault::ClockJump,
        Fault::Blackout,
        Fault::AnswerLost,
    ];

    /// Whether there is something in runs of this style that it can strike.
    pub fn strikes_in(self, style: Style) -> bool {
        let of_sagas = matches!(
            self,
            Fault::Drop
                | Fault::LateBegin
                | Fault::Zombie
                | Fault::Swallowed
                | Fault::SyncLies
                | Fault::Mute
                | Fault::ClockJump
                | Fault::Blackout
                | Fault::AnswerLost
        );
        style == Style::Orchestrated || !of_sagas
    }

    /// As it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Fault::StoreDown => "fault: database down",
            Fault::StoreConflict => "fault: database conflict",
            Fault::CommitUnknownDone => "fault: commit done, timeout seen",
            Fault::CommitUnknownLost => "fault: commit lost, timeout seen",
            Fault::PublishFailed => "fault: publish failed",
            Fault::PublishTimedOut => "fault: published, timeout seen",
            Fault::PollFailed => "fault: poll failed",
            Fault::OffsetsFailed => "fault: offsets not stored",
            Fault::Drop => "fault: message dropped",
            Fault::Duplicate => "fault: message doubled",
            Fault::Delay => "fault: message delayed",
            Fault::Stall => "fault: process stalled",
            Fault::LateBegin => "fault: orchestrator stalled before a transaction",
            Fault::Crash => "fault: process crashed",
            Fault::MachineCrash => "fault: machine crashed",
            Fault::Zombie => "fault: second orchestrator",
            Fault::HandlerFault => "fault: handler broke",
            Fault::Swallowed => "fault: handler ignored a failed statement",
            Fault::OuterLost => "fault: joined commit lost",
            Fault::CutFromPublishing => "fault: one process cannot publish",
            Fault::CutFromPolling => "fault: one process cannot poll",
            Fault::CutFromDatabase => "fault: one process cannot reach its database",
            Fault::Denied => "fault: one process may not write to a topic",
            Fault::SyncFailed => "fault: sync failed",
            Fault::SyncLies => "fault: sync lied",
            Fault::Mute => "fault: orchestrator cannot publish",
            Fault::ClockJump => "fault: clock jumped",
            Fault::Blackout => "fault: commands to a service lost",
            Fault::AnswerLost => "fault: answer to a verb not written",
        }
    }

    /// In so many of ten thousand cases, where it strikes often.
    fn most(self) -> u32 {
        match self {
            Fault::StoreDown | Fault::StoreConflict => 100,
            Fault::CommitUnknownDone | Fault::CommitUnknownLost => 400,
            Fault::PublishFailed | Fault::PublishTimedOut => 500,
            Fault::PollFailed => 200,
            Fault::OffsetsFailed => 500,
            Fault::Drop => 1_000,
            Fault::Duplicate | Fault::Delay => 2_000,
            Fault::Stall => 100,
            Fault::LateBegin => 800,
            Fault::Crash => 40,
            Fault::MachineCrash => 8,
            Fault::Zombie => 12,
            Fault::HandlerFault | Fault::Swallowed => 500,
            Fault::OuterLost => 2_500,
            Fault::CutFromPublishing | Fault::CutFromPolling => 30,
            Fault::CutFromDatabase => 10,
            Fault::Denied => 1_200,
            Fault::SyncFailed => 3_000,
            Fault::SyncLies => 3_000,
            Fault::Mute => 400,
            Fault::ClockJump => 200,
            Fault::Blackout => 40,
            Fault::AnswerLost => 3_000,
        }
    }
}

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
