//! The cases of the barrier, by name: for metrics, and for tests that have to meet each of them.

macro_rules! cases {
    ($($(#[$doc:meta])* $case:ident = $name:literal,)+) => {
        /// What the rows of a step mean for a command.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Case {
            $($(#[$doc])* $case,)+
        }

        impl Case {
            /// All of them.
            pub const ALL: [Case; [$($name),+].len()] = [$(Case::$case),+];

            /// The value of the metric's label `case`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Case::$case => $name,)+
                }
            }
        }
    };
}

cases! {
    /// A row cannot be read.
    Damaged = "damaged",
    /// The first command of the step: the action runs.
    ActionFirst = "action-first",
    /// The action runs in a new generation, after a refusal.
    ActionRetried = "action-retried",
    /// The action is done: its output is sent again.
    ActionDone = "action-done",
    /// This generation of the action was refused: the refusal is sent again.
    ActionRefused = "action-refused",
    /// A compensation was here first: the action never runs.
    ActionCompensated = "action-compensated",
    /// A later generation of the action was here.
    ActionSuperseded = "action-superseded",
    /// The action is done: its compensation runs.
    CompensationOfDone = "compensation-of-done",
    /// The compensation runs in a new generation, after a refusal.
    CompensationRetried = "compensation-retried",
    /// The compensation comes before the action, and leaves a tombstone.
    CompensationFirst = "compensation-first",
    /// The action was refused: there is nothing to undo.
    CompensationOfRefused = "compensation-of-refused",
    /// The compensation is done: the answer is sent again.
    CompensationDone = "compensation-done",
    /// This generation of the compensation was refused: the refusal is sent again.
    CompensationRefused = "compensation-refused",
    /// A later generation of the compensation was here.
    CompensationSuperseded = "compensation-superseded",
}
