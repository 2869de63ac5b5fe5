//! Bugs that can be planted to test the simulator. Released programs lack the feature
//! `planted-bugs`, so [`planted`] is `false` at compile time.
//!
//! Each bug is one line of production code that names it.

macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident = $name:literal,)+) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[$doc])* $bug,)+
        }

        impl Bug {
            /// All bugs.
            pub const ALL: [Bug; [$($name),+].len()] = [$(Bug::$bug),+];

            /// Returns the bug's name on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Bug::$bug => $name,)+
                }
            }

            /// Returns the bug of this name.
            pub fn named(name: &str) -> Option<Bug> {
                Bug::ALL.into_iter().find(|bug| bug.name() == name)
            }
        }
    };
}

bugs! {
    /// A redelivered command is executed again.
    NoDedupe = "no-dedupe",
    /// A compensation leaves no tombstone under its action's key.
    TombstoneUnderOwnKey = "tombstone-under-own-key",
    /// A refused action is compensated nevertheless.
    RefundOfRefused = "refund-of-refused",
    /// Consumed offsets are committed before the replies are published.
    OffsetBeforeAcknowledgement = "offset-before-acknowledgement",
    /// Commands are published before their cause is committed.
    PublishBeforeCommit = "publish-before-commit",
    /// A step whose outcome is unknown is not undone.
    LostUndo = "lost-undo",
    /// Steps are undone in the order in which they were done.
    WrongUndoOrder = "wrong-undo-order",
    /// A start is acknowledged and continued even if its commit failed.
    EarlyAcknowledgement = "early-acknowledgement",
    /// An orchestrator does not check whether it still owns the rows that it writes.
    IgnoreEpoch = "ignore-epoch",
    /// A step's deadline runs from the decision to send its command.
    DeadlineFromDecision = "deadline-from-decision",
    /// A step's deadline runs from the start of the turn that sends its command.
    DeadlineFromTurnStart = "deadline-from-turn-start",
    /// A takeover does not resend the outstanding commands.
    NoResendOnTakeover = "no-resend-on-takeover",
    /// A refused command is resent in a new generation.
    RefusalRetried = "refusal-retried",
    /// A reply is accepted for either direction of the step.
    StaleReplyAccepted = "stale-reply-accepted",
    /// A handler's writes before its refusal stay.
    PartialChunk = "partial-chunk",
    /// A saga that turns back does not wait for outstanding actions.
    SiblingsForgotten = "siblings-forgotten",
    /// A start with an existing key is accepted with any body.
    KeyReuse = "key-reuse",
    /// A barrier removes the rows of unfinished sagas.
    OpenForgotten = "open-forgotten",
    /// An overdue chain is given up although its pivot has acted.
    OverdueIgnoresPivot = "overdue-ignores-pivot",
    /// A repeated reaction emits nothing.
    RepeatUntold = "repeat-untold",
    /// An event that is emitted again gets a new id.
    EventToldAnew = "event-told-anew",
    /// An event leaves the inbox before the result of its reaction is published.
    InboxLeftEarly = "inbox-left-early",
    /// A retried step is answered as done, and its handler does not run.
    LostRetry = "lost-retry",
    /// The stored refusal of an old generation answers the command of a new one.
    RefusalOfOldGeneration = "refusal-of-old-generation",
    /// The idempotency key of a rejected start is stored nevertheless.
    KeyWithoutSaga = "key-without-saga",
    /// Leases are renewed only between two turns, even if a turn is long.
    RenewalWaitsForTurn = "renewal-waits-for-turn",
    /// A takeover reads and resends everything in one turn.
    TakeoverInOneTurn = "takeover-in-one-turn",
    /// An orchestrator counts as able to publish even if its publishes fail.
    MembershipIgnoresPublishing = "membership-ignores-publishing",
    /// A time written by a clock that was ahead still counts after the clock is corrected.
    RedrawLeftOut = "redraw-left-out",
    /// Retention compares stamps with a single reading of a clock.
    RetentionByClock = "retention-by-clock",
    /// A command that is too large is sent nevertheless, and its rejection counts as a fault.
    OversizedResent = "oversized-resent",
    /// A chain's first event counts as sent before the log has synced it.
    SentBeforeSynced = "sent-before-synced",
    /// A chain's first event is sent before the transaction that read it is committed.
    SentBeforeCommit = "sent-before-commit",
    /// A joined transaction with writes is answered before the outer commit.
    JoinedAnsweredEarly = "joined-answered-early",
    /// A failed statement does not abort its transaction if the handler ignores the error.
    SwallowedError = "swallowed-error",
    /// Commands that share a key interleave.
    KeysIgnored = "keys-ignored",
    /// A failed sync counts as a successful one.
    FailedSyncIgnored = "failed-sync-ignored",
    /// After a failed turn, offsets are committed past unanswered messages.
    MarksPastUnanswered = "marks-past-unanswered",
    /// An event that the service may not publish is dropped, and its cause does not become a dead
    /// letter.
    DeniedDropped = "denied-dropped",
    /// An unknown action of a participant without a barrier is undone before it is resolved.
    UndoOfUnresolved = "undo-of-unresolved",
    /// A command that must not be repeated is resent when its reply is missing.
    NeverResent = "never-resent",
    /// A pending reply is ignored.
    PendingIgnored = "pending-ignored",
    /// A chain's first event counts as sent when its topic is denied.
    DeniedCountsAsSent = "denied-counts-as-sent",
}

/// Returns false: without the feature, no bug can be planted.
#[cfg(not(feature = "planted-bugs"))]
pub const fn planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Returns whether this bug is planted in the current thread.
#[cfg(feature = "planted-bugs")]
pub fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Plants a bug in the current thread, in place of the previous one.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}
