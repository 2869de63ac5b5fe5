//! What can go wrong, and how often: drawn anew for each seed, so that some worlds know one fault only, and much of it.

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
}

const ALL: [Fault; 17] = [
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
];

impl Fault {
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
        }
    }

    /// In so many of ten thousand cases, where it strikes often.
    fn most(self) -> u32 {
        match self {
            Fault::StoreDown | Fault::StoreConflict => 100,
            Fault::CommitUnknownDone | Fault::CommitUnknownLost => 400,
            Fault::PublishFailed | Fault::PublishTimedOut => 500,
            Fault::PollFailed | Fault::OffsetsFailed => 200,
            Fault::Drop => 1_000,
            Fault::Duplicate | Fault::Delay => 2_000,
            Fault::Stall => 100,
            Fault::LateBegin => 800,
            Fault::Crash => 40,
            Fault::MachineCrash => 8,
            Fault::Zombie => 12,
            Fault::HandlerFault => 500,
        }
    }
}

/// How often each fault strikes in one world, in ten thousandths.
pub struct Odds([u32; ALL.len()]);

impl Odds {
    /// Some faults never, some seldom, some often.
    pub fn draw(rng: &mut fastrand::Rng) -> Odds {
        Odds(ALL.map(|fault| match rng.u32(0..4) {
            0 => 0,
            1 | 2 => (fault.most() / 4).max(1),
            _ => fault.most(),
        }))
    }

    /// Of one fault.
    pub fn of(&self, fault: Fault) -> u32 {
        ALL.iter().position(|other| *other == fault).map_or(0, |index| self.0[index])
    }
}
