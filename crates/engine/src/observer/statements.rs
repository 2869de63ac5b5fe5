//! The observer's statements, each for many chains or events at once.

use sagamore_database::Many;

macro_rules! begin {
    ($rows:literal) => {
        concat!(
            "INSERT INTO chain (id, version, status, begun_at, changed_at) ",
            $rows,
            " ON CONFLICT (id) DO UPDATE SET changed_at = excluded.changed_at RETURNING seq, id, version, resolved_events"
        )
    };
}

/// A chain of which something was seen, its version and now: there is a row from then on.
pub(super) const BEGIN: Many = Many {
    sqlite: begin!("VALUES ($1, $2, 'running', $3, $3)"),
    postgres: begin!(
        "SELECT id, version, 'running', at, at
         FROM UNNEST(CAST($1 AS TEXT[]), CAST($2 AS BIGINT[]), CAST($3 AS BIGINT[])) AS n(id, version, at)"
    ),
};

/// An event, once.
pub(super) const EVENT: Many = Many {
    sqlite: "INSERT INTO chain_event (chain, id, name, causation, hop, told_at, body)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (chain, id) DO NOTHING",
    postgres: "INSERT INTO chain_event (chain, id, name, causation, hop, told_at, body)
        SELECT * FROM UNNEST(CAST($1 AS BIGINT[]), CAST($2 AS TEXT[]), CAST($3 AS TEXT[]), CAST($4 AS TEXT[]),
            CAST($5 AS BIGINT[]), CAST($6 AS BIGINT[]), CAST($7 AS TEXT[]))
        ON CONFLICT (chain, id) DO NOTHING",
};

/// The events of one chain, by id. A plan has fewer.
pub(super) const EVENTS_OF_ONE: &str =
    "SELECT id, name, causation, hop, told_at, body, chain FROM chain_event WHERE chain = $1 ORDER BY id LIMIT 200";

/// The same of many.
pub(super) const EVENTS: Many = Many {
    sqlite: EVENTS_OF_ONE,
    postgres: "SELECT e.id, e.name, e.causation, e.hop, e.told_at, e.body, e.chain
        FROM UNNEST(CAST($1 AS BIGINT[])) AS k(chain)
        JOIN LATERAL (SELECT * FROM chain_event o WHERE o.chain = k.chain ORDER BY o.id LIMIT 200) e ON TRUE",
};

/// Where a chain stands. One that is over was over when that was seen first; one that goes on after all is not, and one that a
/// person had called over is over anew.
pub(super) const FOLDED: Many = Many {
    sqlite:
        "UPDATE chain SET status = $2, why = CASE WHEN $2 = 'resolved' THEN resolved_because ELSE $3 END, begun_at = $4,
            ended_at = CASE WHEN $5 IS NULL THEN NULL WHEN status = 'resolved' AND $2 <> 'resolved' THEN $5
                ELSE coalesce(ended_at, $5) END,
            due_at = $6, failed_at = $7, headless = $8
        WHERE seq = $1",
    postgres: "UPDATE chain c SET status = f.status,
            why = CASE WHEN f.status = 'resolved' THEN c.resolved_because ELSE f.why END, begun_at = f.begun_at,
            ended_at = CASE WHEN f.ended_at IS NULL THEN NULL
                WHEN c.status = 'resolved' AND f.status <> 'resolved' THEN f.ended_at
                ELSE coalesce(c.ended_at, f.ended_at) END,
            due_at = f.due_at, failed_at = f.failed_at, headless = f.headless
        FROM UNNEST(CAST($1 AS BIGINT[]), CAST($2 AS TEXT[]), CAST($3 AS TEXT[]), CAST($4 AS BIGINT[]),
            CAST($5 AS BIGINT[]), CAST($6 AS BIGINT[]), CAST($7 AS TEXT[]), CAST($8 AS BIGINT[]))
            AS f(seq, status, why, begun_at, ended_at, due_at, failed_at, headless)
        WHERE c.seq = f.seq",
};

macro_rules! place {
    ($rows:literal) => {
        concat!(
            "INSERT INTO reading (topic, partition, first, next, read_until, gap_at) ",
            $rows,
            " ON CONFLICT (topic, partition) DO UPDATE SET first = excluded.first,
                next = CASE WHEN excluded.next > reading.next THEN excluded.next ELSE reading.next END,
                read_until = CASE WHEN excluded.read_until > reading.read_until THEN excluded.read_until
                    ELSE reading.read_until END,
                gap_at = CASE WHEN excluded.first > reading.next THEN excluded.gap_at ELSE reading.gap_at END"
        )
    };
}

/// How far partitions are read. What begins behind that has a gap before it, as has what begins at all but not at 0.
pub(super) const PLACE: Many = Many {
    sqlite: place!("VALUES ($1, $2, $3, $4, $5, CASE WHEN $3 > 0 THEN $6 END)"),
    postgres: place!(
        "SELECT topic, partition, first, next, read_until, CASE WHEN first > 0 THEN at END
         FROM UNNEST(CAST($1 AS TEXT[]), CAST($2 AS BIGINT[]), CAST($3 AS BIGINT[]), CAST($4 AS BIGINT[]),
            CAST($5 AS BIGINT[]), CAST($6 AS BIGINT[])) AS n(topic, partition, first, next, read_until, at)"
    ),
};
