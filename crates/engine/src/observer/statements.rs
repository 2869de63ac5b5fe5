//! The observer's batch statements, each for many chains or events.

use sagamore_database::{Statement, given_row};

/// Maximum events read per chain. A plan has fewer.
pub(super) const EVENTS_MAX: usize = 200;

given_row! {
    /// The row of a newly observed chain.
    pub(super) struct NewChain<'a> {
        id: &'a str,
        version: u32,
        status: &'a str,
        begun_at: i64,
        changed_at: i64,
    }
}

given_row! {
    /// A chain by its id.
    pub(super) struct ChainId<'a> {
        id: &'a str,
    }
}

given_row! {
    /// A chain by the number of its row.
    pub(super) struct ChainSeq {
        seq: i64,
    }
}

given_row! {
    /// An event of a chain.
    pub(super) struct NewEvent<'a> {
        chain: i64,
        id: &'a str,
        name: &'a str,
        causation: Option<String>,
        hop: u32,
        told_at: i64,
        body: &'a str,
        seen_at: i64,
        trace: Option<String>,
    }
}

given_row! {
    /// The result of a fold.
    pub(super) struct Fold {
        seq: i64,
        status: &'static str,
        why: Option<String>,
        begun_at: i64,
        ended_at: Option<i64>,
        due_at: Option<i64>,
        failed_at: Option<String>,
        headless_at: Option<i64>,
        resolved: bool,
        changed_at: Option<i64>,
        hash: Option<String>,
    }
}

given_row! {
    /// The due time of a chain.
    pub(super) struct DueChain {
        seq: i64,
        due_at: i64,
    }
}

given_row! {
    /// A chain that is due again, with the reason.
    pub(super) struct PostponedChain<'a> {
        id: &'a str,
        why: &'a str,
        due_at: i64,
    }
}

given_row! {
    /// A chain that is removed if it was over before a moment.
    pub(super) struct OldChain {
        seq: i64,
        before: i64,
    }
}

given_row! {
    /// The progress in a partition.
    pub(super) struct Position<'a> {
        topic: &'a str,
        partition: u32,
        first: i64,
        next: i64,
        read_until: i64,
        seen_at: i64,
    }
}

/// Inserts the rows of newly observed chains. Existing rows stay unchanged.
pub(super) static BEGIN: Statement<NewChain<'_>> =
    Statement::insert("chain", "ON CONFLICT (id) DO NOTHING");

/// Selects chains and locks their rows until the end of the transaction, against concurrent folds
/// by other observers.
pub(super) static HOLD: Statement<ChainId<'_>> = Statement::new(
    "SELECT chain.seq, chain.id, chain.version, chain.hash, chain.resolved_events, chain.status
     FROM given, chain WHERE chain.id = given.id {FOR UPDATE OF chain}",
);

/// Inserts events that are not stored yet, and returns the chains of the new ones.
pub(super) static EVENT: Statement<NewEvent<'_>> =
    Statement::insert("chain_event", "ON CONFLICT (chain, id) DO NOTHING RETURNING chain");

/// Selects the events of one chain by id.
pub(super) fn events_of_one() -> String {
    format!(
        "SELECT id, name, causation, hop, told_at, body, chain, seen_at, trace
         FROM chain_event WHERE chain = $1 ORDER BY id LIMIT {EVENTS_MAX}"
    )
}

/// Selects the events of many chains. Only first events have their bodies, because a fold needs no
/// others.
pub(super) static EVENTS: Statement<ChainSeq> = Statement::built(|| {
    events("CASE WHEN e.causation IS NULL THEN e.body ELSE 'null' END", "e.trace")
});

/// Selects the events of many chains without bodies.
pub(super) static EVENTS_BARE: Statement<ChainSeq> =
    Statement::built(|| events("'null'", "CAST(NULL AS TEXT)"));

fn events(body: &str, trace: &str) -> String {
    format!(
        "SELECT e.id, e.name, e.causation, e.hop, e.told_at, {body} AS body, e.chain, e.seen_at,
            {trace} AS trace
         FROM given, {{LATERAL}} (SELECT * FROM chain_event o WHERE o.chain = given.seq
            ORDER BY o.id LIMIT {EVENTS_MAX}) e"
    )
}

/// Selects the sizes of the first events' bodies.
pub(super) static BEGINNING_BYTES: Statement<ChainSeq> = Statement::new(
    "SELECT e.chain, octet_length(e.body) AS bytes FROM given, chain_event e
     WHERE e.chain = given.seq AND e.causation IS NULL",
);

/// Stores the result of a fold. `ended_at` keeps the time of the first end, unless the chain was
/// reopened or resolved in between.
pub(super) static FOLDED: Statement<Fold> = Statement::new(
    "UPDATE chain SET status = given.status, why = given.why, begun_at = given.begun_at,
        changed_at = coalesce(given.changed_at, chain.changed_at),
        ended_at = CASE WHEN given.ended_at IS NULL THEN NULL
            WHEN chain.resolved_at IS NOT NULL AND NOT given.resolved THEN given.ended_at
            ELSE coalesce(chain.ended_at, given.ended_at) END,
        due_at = given.due_at, failed_at = given.failed_at, headless_at = given.headless_at,
        resolved_at = CASE WHEN given.resolved THEN chain.resolved_at END,
        hash = coalesce(chain.hash, given.hash)
     FROM given WHERE chain.seq = given.seq",
);

/// Sets the due times of chains.
pub(super) static MAKE_DUE_AT: Statement<DueChain> =
    Statement::new("UPDATE chain SET due_at = given.due_at FROM given WHERE chain.seq = given.seq");

/// Corrects the times of events that are later than their chain's new due time.
pub(super) static SEEN_BY_THEN: Statement<DueChain> = Statement::new(
    "UPDATE chain_event SET seen_at = given.due_at FROM given
     WHERE chain_event.chain = given.seq AND chain_event.seen_at > given.due_at",
);

/// Makes chains due again, and stores the reason.
pub(super) static POSTPONE: Statement<PostponedChain<'_>> = Statement::new(
    "UPDATE chain SET why = given.why, due_at = given.due_at FROM given
     WHERE chain.id = given.id",
);

/// Removes chains that are still over, and returns them: another observer may have just stored an
/// event.
pub(super) static REMOVE: Statement<OldChain> = Statement::new(
    "DELETE FROM chain USING given WHERE chain.seq = given.seq AND chain.ended_at < given.before
     RETURNING chain.seq",
);

/// Removes the events of chains.
pub(super) static REMOVE_EVENTS: Statement<ChainSeq> =
    Statement::new("DELETE FROM chain_event USING given WHERE chain_event.chain = given.seq");

/// Records the progress of partitions. A first offset beyond the stored position means a gap. So
/// does a new partition that starts above 0, unless the observer adopts it.
pub(super) static PLACE: Statement<Position<'_>> = Statement::new(
    "INSERT INTO reading (topic, partition, first, next, read_until, seen_at, gap_at)
     SELECT given.topic, given.partition, given.first, given.next, given.read_until, given.seen_at,
        CASE WHEN given.first > 0 AND NOT EXISTS (SELECT 1 FROM observing WHERE adopts = 1)
            THEN given.seen_at END
     FROM given WHERE TRUE
     ON CONFLICT (topic, partition) DO UPDATE SET first = excluded.first,
        seen_at = excluded.seen_at,
        next = CASE WHEN excluded.next > reading.next THEN excluded.next ELSE reading.next END,
        read_until = CASE WHEN excluded.read_until > reading.read_until THEN excluded.read_until
            ELSE reading.read_until END,
        gap_at = CASE WHEN excluded.first > reading.next THEN excluded.seen_at
            ELSE reading.gap_at END",
);
