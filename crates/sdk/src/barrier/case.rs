//! The cases of the barrier by name, for metrics and for tests that must cover each of them.

macro_rules! cases {
    ($($(#[$doc:meta])* $case:ident = $name:literal,)+) => {
        /// The meaning of a step's rows for a command.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Case {
            $($(#[$doc])* $case,)+
        }

        impl Case {
            /// All cases.
            pub const ALL: [Case; [$($name),+].len()] = [$(Case::$case),+];

            /// Returns the value of the metric's label `case`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Case::$case => $name,)+
                }
            }
        }
    };
}

cases! {
    /// A row is unreadable.
    Damaged = "damaged",
    /// The first command of the step: the action runs.
    ActionFirst = "action-first",
    /// The action runs in a new generation, after a refusal.
    ActionRetried = "action-retried",
    /// The action is done: its output is resent.
    ActionDone = "action-done",
    /// This generation of the action was refused: the refusal is resent.
    ActionRefused = "action-refused",
    /// A compensation arrived first: the action never runs.
    ActionCompensated = "action-compensated",
    /// A later generation of the action has been received.
    ActionSuperseded = "action-superseded",
    /// The action is done: its compensation runs.
    CompensationOfDone = "compensation-of-done",
    /// The compensation runs in a new generation, after a refusal.
    CompensationRetried = "compensation-retried",
    /// The compensation arrived before the action and leaves a tombstone.
    CompensationFirst = "compensation-first",
    /// The action was refused: there is nothing to undo.
    CompensationOfRefused = "compensation-of-refused",
    /// The compensation is done: its answer is resent.
    CompensationDone = "compensation-done",
    /// This generation of the compensation was refused: the refusal is resent.
    CompensationRefused = "compensation-refused",
    /// A later generation of the compensation has been received.
    CompensationSuperseded = "compensation-superseded",
}
