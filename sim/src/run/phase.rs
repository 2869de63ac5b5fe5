//! The phases of a run.

/// The phase of a run's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Some sagas or events are not at rest yet.
    Ahead,
    /// Every record was delivered again.
    Encore { until: i64 },
    /// Early events become dead letters.
    GivingUp { until: i64 },
}

/// The phase of a run in which a month passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Month {
    /// The operator is away from the start, and others still have work.
    ToCome,
    /// No process has work. The month starts at this time.
    Quiet { until: i64 },
    /// The month passes, one day at a time.
    Passing { days: u32, until: i64, rows: i64 },
    /// The month has passed. The operator returns at this time.
    Forgetting { until: i64, rows: i64 },
    /// The run has no such month, or it is over.
    Over,
}
