//! The kinds of faults.

use crate::style::Style;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A statement or a transaction cannot reach the database.
    StoreDown,
    /// A statement fails with a conflict.
    StoreConflict,
    /// The commit succeeds, but the caller sees a timeout.
    CommitUnknownDone,
    /// The commit fails, and the caller sees a timeout.
    CommitUnknownLost,
    /// A publish fails.
    PublishFailed,
    /// A publish succeeds, but the caller sees an error.
    PublishTimedOut,
    /// A poll fails.
    PollFailed,
    /// A commit of offsets fails.
    OffsetsFailed,
    /// A record is acknowledged but never delivered.
    Drop,
    /// A record is delivered twice.
    Duplicate,
    /// A record is delivered late, after newer ones.
    Delay,
    /// A process stalls for a while.
    Stall,
    /// An orchestrator stalls before a transaction, possibly for longer than a lease.
    LateBegin,
    /// A process crashes.
    Crash,
    /// The machine crashes, and the log's unsynced tail is lost.
    MachineCrash,
    /// A second orchestrator starts while the first one runs.
    Zombie,
    /// A handler fails.
    HandlerFault,
    /// A handler ignores a failed statement.
    Swallowed,
    /// A commit that joined transactions share fails.
    OuterLost,
    /// One process cannot publish for a while.
    CutFromPublishing,
    /// One process cannot poll for a while.
    CutFromPolling,
    /// One process cannot reach its database for a while.
    CutFromDatabase,
    /// One process may not write to a topic for a while.
    Denied,
    /// The log's sync fails, and all processes that use it restart.
    SyncFailed,
    /// The log's sync reports success without syncing.
    SyncLies,
    /// An orchestrator cannot publish for a while, but others can.
    Mute,
    /// A process's clock jumps forward or back.
    ClockJump,
    /// All commands to one service are acknowledged and lost for a while.
    Blackout,
    /// The answer to a verb handed over by another orchestrator is not stored.
    AnswerLost,
}

impl Fault {
    /// All kinds.
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

    /// Whether this fault can occur in runs of this style.
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

    /// Returns the counter's name.
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

    /// The odds of a frequent fault, in ten thousandths.
    pub(crate) fn most(self) -> u32 {
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
