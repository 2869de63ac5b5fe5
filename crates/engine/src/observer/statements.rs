//! The observer's batch statements, each for many chains or events.

use sagamore_database::Many;

macro_rules! begin {
    ($rows:literal) => {
        concat!(
            "INSERT INTO chain (id, version, status, begun_at, changed_at) ",
            $rows,
            " ON CONFLICT (id) DO NOTHING"
        )
    };
}

/// Inserts chains of which an event was seen, unless they exist.
pub(super) const BEGIN: Many = Many {
    sqlite: begin!("VALUES ($1, $2, 'running', $3, $3)"),
    postgres: begin!(
        "SELECT id, version, 'running', at, at
         FROM UNNEST(CAST($1 AS TEXT[]), CAST($2 AS BIGINT[]), CAST($3 AS BIGINT[])) AS n(id, version, at)"
    ),
};

/// Selects chains and locks their rows until the end of the transaction, against concurrent folds
/// by other observers.
pub(super) const HOLD: Many = Many {
    sqlite: "SELECT seq, id, version, resolved_events, status FROM chain WHERE id = $1",
    postgres: "SELECT c.seq, c.id, c.version, c.resolved_events, c.status
        FROM UNNEST(CAST($1 AS TEXT[])) AS k(id) JOIN chain c ON c.id = k.id FOR UPDATE OF c",
};

macro_rules! event {
    ($rows:literal) => {
        concat!(
            "INSERT INTO chain_event (chain, id, name, causation, hop, told_at, body, seen_at, trace) ",
            $rows,
            " ON CONFLICT (chain, id) DO NOTHING RETURNING chain"
        )
    };
}

/// Inserts events that are not stored yet, and returns the chains of the new ones.
pub(super) const EVENT: Many = Many {
    sqlite: event!("VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"),
    postgres: event!(
        "SELECT * FROM UNNEST(CAST($1 AS BIGINT[]), CAST($2 AS TEXT[]), CAST($3 AS TEXT[]), CAST($4 AS TEXT[]),
            CAST($5 AS BIGINT[]), CAST($6 AS BIGINT[]), CAST($7 AS TEXT[]), CAST($8 AS BIGINT[]),
            CAST($9 AS TEXT[]))"
    ),
};

/// Selects the events of one chain by id. A plan has fewer than the limit.
pub(super) const EVENTS_OF_ONE: &str =
    "SELECT id, name, causation, hop, told_at, body, chain, seen_at, trace
    FROM chain_event WHERE chain = $1 ORDER BY id LIMIT 200";

/// Selects the events of many chains. Only first events have their bodies, because a fold needs no
/// others.
pub(super) const EVENTS: Many = Many {
    sqlite:
        "SELECT id, name, causation, hop, told_at, CASE WHEN causation IS NULL THEN body ELSE 'null' END, chain, seen_at,
            trace
        FROM chain_event WHERE chain = $1 ORDER BY id LIMIT 200",
    postgres: "SELECT e.id, e.name, e.causation, e.hop, e.told_at,
            CASE WHEN e.causation IS NULL THEN e.body ELSE 'null' END, e.chain, e.seen_at, e.trace
        FROM UNNEST(CAST($1 AS BIGINT[])) AS k(chain)
        JOIN LATERAL (SELECT * FROM chain_event o WHERE o.chain = k.chain ORDER BY o.id LIMIT 200) e ON TRUE",
};

/// Selects the events of many chains without bodies.
pub(super) const EVENTS_BARE: Many = Many {
    sqlite: "SELECT id, name, causation, hop, told_at, 'null', chain, seen_at, NULL
        FROM chain_event WHERE chain = $1 ORDER BY id LIMIT 200",
    postgres: "SELECT e.id, e.name, e.causation, e.hop, e.told_at, 'null', e.chain, e.seen_at, CAST(NULL AS TEXT)
        FROM UNNEST(CAST($1 AS BIGINT[])) AS k(chain)
        JOIN LATERAL (SELECT * FROM chain_event o WHERE o.chain = k.chain ORDER BY o.id LIMIT 200) e ON TRUE",
};

/// Selects the sizes of the first events' bodies.
pub(super) const BEGINNING_BYTES: Many = Many {
    sqlite: "SELECT chain, octet_length(body) FROM chain_event WHERE chain = $1 AND causation IS NULL",
    postgres: "SELECT e.chain, octet_length(e.body) FROM UNNEST(CAST($1 AS BIGINT[])) AS k(chain)
        JOIN chain_event e ON e.chain = k.chain WHERE e.causation IS NULL",
};

/// Stores the result of a fold. `ended_at` keeps the first end, unless the chain was reopened or
/// resolved in between.
pub(super) const FOLDED: Many = Many {
    sqlite: "UPDATE chain SET status = $2, why = $3, begun_at = $4, changed_at = coalesce($10, changed_at),
            ended_at = CASE WHEN $5 IS NULL THEN NULL WHEN resolved_at IS NOT NULL AND $9 = 0 THEN $5
                ELSE coalesce(ended_at, $5) END,
            due_at = $6, failed_at = $7, headless_at = $8, resolved_at = CASE WHEN $9 = 1 THEN resolved_at END
        WHERE seq = $1",
    postgres: "UPDATE chain c SET status = f.status, why = f.why, begun_at = f.begun_at,
            changed_at = coalesce(f.changed_at, c.changed_at),
            ended_at = CASE WHEN f.ended_at IS NULL THEN NULL
                WHEN c.resolved_at IS NOT NULL AND f.resolved = 0 THEN f.ended_at
                ELSE coalesce(c.ended_at, f.ended_at) END,
            due_at = f.due_at, failed_at = f.failed_at, headless_at = f.headless_at,
            resolved_at = CASE WHEN f.resolved = 1 THEN c.resolved_at END
        FROM UNNEST(CAST($1 AS BIGINT[]), CAST($2 AS TEXT[]), CAST($3 AS TEXT[]), CAST($4 AS BIGINT[]),
            CAST($5 AS BIGINT[]), CAST($6 AS BIGINT[]), CAST($7 AS TEXT[]), CAST($8 AS BIGINT[]), CAST($9 AS BIGINT[]),
            CAST($10 AS BIGINT[]))
            AS f(seq, status, why, begun_at, ended_at, due_at, failed_at, headless_at, resolved, changed_at)
        WHERE c.seq = f.seq",
};

macro_rules! place {
    ($rows:literal) => {
        concat!(
            "INSERT INTO reading (topic, partition, first, next, read_until, seen_at, gap_at) ",
            $rows,
            " ON CONFLICT (topic, partition) DO UPDATE SET first = excluded.first, seen_at = excluded.seen_at,
                next = CASE WHEN excluded.next > reading.next THEN excluded.next ELSE reading.next END,
                read_until = CASE WHEN excluded.read_until > reading.read_until THEN excluded.read_until
                    ELSE reading.read_until END,
                gap_at = CASE WHEN excluded.first > reading.next THEN excluded.seen_at ELSE reading.gap_at END"
        )
    };
}

/// Records the progress of partitions. A first offset beyond the stored position means a gap. So
/// does a new partition that starts above 0, unless the observer adopts it.
pub(super) const PLACE: Many = Many {
    sqlite: place!(
        "VALUES ($1, $2, $3, $4, $5, $6,
            CASE WHEN $3 > 0 AND NOT EXISTS (SELECT 1 FROM observing WHERE adopts = 1) THEN $6 END)"
    ),
    postgres: place!(
        "SELECT topic, partition, first, next, read_until, at,
            CASE WHEN first > 0 AND NOT EXISTS (SELECT 1 FROM observing WHERE adopts = 1) THEN at END
         FROM UNNEST(CAST($1 AS TEXT[]), CAST($2 AS BIGINT[]), CAST($3 AS BIGINT[]), CAST($4 AS BIGINT[]),
            CAST($5 AS BIGINT[]), CAST($6 AS BIGINT[])) AS n(topic, partition, first, next, read_until, at)"
    ),
};
