//! Bugs that can be planted, to see that the simulator finds them. Without the feature `planted-bugs`, which no program
//! has, there are none: [`planted`] is then `false` for the compiler.
//!
//! Each is one line of production code; look for its name there.

macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident = $name:literal,)+) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[$doc])* $bug,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: [Bug; [$($name),+].len()] = [$(Bug::$bug),+];

            /// What it is called by.
            pub fn name(self) -> &'static str {
                match self {
                    $(Bug::$bug => $name,)+
                }
            }

            /// The bug with this name.
            pub fn named(name: &str) -> Option<Bug> {
                Bug::ALL.into_iter().find(|bug| bug.name() == name)
            }
        }
    };
}

bugs! {
    /// A command that comes again is carried out again.
    NoDedupe = "no-dedupe",
    /// A compensation leaves no mark under its action's key.
    TombstoneUnderOwnKey = "tombstone-under-own-key",
    /// An action that was refused is undone all the same.
    RefundOfRefused = "refund-of-refused",
    /// Consumed offsets are committed before the answers are published.
    OffsetBeforeAcknowledgement = "offset-before-acknowledgement",
    /// Commands are published before what caused them is committed.
    PublishBeforeCommit = "publish-before-commit",
    /// A step whose outcome is unknown is not undone.
    LostUndo = "lost-undo",
    /// Steps are undone in the order in which they were done.
    WrongUndoOrder = "wrong-undo-order",
    /// A start is answered, and goes on, whether its commit happened or not.
    EarlyAcknowledgement = "early-acknowledgement",
    /// An orchestrator does not look whether it still owns what it writes.
    IgnoreEpoch = "ignore-epoch",
    /// A step's deadline runs from the decision to send its command.
    DeadlineFromDecision = "deadline-from-decision",
    /// A step's deadline runs from the start of the turn that sends its command.
    DeadlineFromTurnStart = "deadline-from-turn-start",
    /// Who takes over does not send what is outstanding.
    NoResendOnTakeover = "no-resend-on-takeover",
    /// What was refused is asked again, in a new generation.
    RefusalRetried = "refusal-retried",
    /// An answer counts for whatever direction the step is asked in.
    StaleReplyAccepted = "stale-reply-accepted",
    /// What a handler wrote before it refused stays.
    PartialChunk = "partial-chunk",
    /// A saga that goes back does not wait for the steps that are still asked.
    SiblingsForgotten = "siblings-forgotten",
    /// A start with a key that is taken is accepted, whatever its body is.
    KeyReuse = "key-reuse",
    /// A barrier forgets sagas that are still open.
    OpenForgotten = "open-forgotten",
    /// A chain that is overdue is given up though its pivot has acted.
    OverdueIgnoresPivot = "overdue-ignores-pivot",
    /// A reaction that comes again tells nothing.
    RepeatUntold = "repeat-untold",
    /// An event that is told again is another one.
    EventToldAnew = "event-told-anew",
    /// What came out of the inbox leaves it before what it led to is published.
    InboxLeftEarly = "inbox-left-early",
    /// A retried step is answered as done, and its handler does not run.
    LostRetry = "lost-retry",
    /// The stored refusal of an old generation answers the command of a new one.
    RefusalOfOldGeneration = "refusal-of-old-generation",
    /// The idempotency key of a start that is refused is stored all the same.
    KeyWithoutSaga = "key-without-saga",
    /// Leases are renewed between two turns only, however long a turn takes.
    RenewalWaitsForTurn = "renewal-waits-for-turn",
    /// A takeover reads and resends everything in one turn.
    TakeoverInOneTurn = "takeover-in-one-turn",
    /// An orchestrator counts as able to publish, whatever comes of its publishes.
    MembershipIgnoresPublishing = "membership-ignores-publishing",
    /// A moment that a clock wrote while it was ahead counts after the clock is right again.
    RedrawLeftOut = "redraw-left-out",
    /// Retention compares stamps with one reading of a clock.
    RetentionByClock = "retention-by-clock",
    /// A command that is too large is sent all the same, and its rejection counts as a fault.
    OversizedResent = "oversized-resent",
    /// What began a chain counts as sent before the log is synced past its event.
    SentBeforeSynced = "sent-before-synced",
    /// What begins a chain is sent before the transaction in which it was read is committed.
    SentBeforeCommit = "sent-before-commit",
    /// A joined transaction that has written is answered before the outer commit.
    JoinedAnsweredEarly = "joined-answered-early",
    /// A failed statement does not abort its transaction, if the handler ignores the error.
    SwallowedError = "swallowed-error",
    /// Commands that share a key interleave.
    KeysIgnored = "keys-ignored",
    /// A sync that failed counts as one that happened.
    FailedSyncIgnored = "failed-sync-ignored",
    /// After a turn that failed, offsets are committed past messages that are not answered.
    MarksPastUnanswered = "marks-past-unanswered",
    /// What a service may not publish is dropped, and what led to it is no dead letter.
    DeniedDropped = "denied-dropped",
    /// What begins a chain counts as sent when its topic is denied.
    DeniedCountsAsSent = "denied-counts-as-sent",
}

/// Whether this bug is planted: never.
#[cfg(not(feature = "planted-bugs"))]
pub const fn planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether this bug is planted in what this thread runs.
#[cfg(feature = "planted-bugs")]
pub fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Plants a bug in what this thread runs from now on, in place of the one before.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}
