//! The observer's statements, each for many chains or events at once.

use sagamore_database::Many;

macro_rules! begin {
    ($rows:literal) => {
        concat!(
            "INSERT INTO chain (id, version, status, begun_at, changed_at) ",
            $rows,
            " ON CONFLICT (id) DO UPDATE SET changed_at = excluded.changed_at RETURNING id, seq, version"
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

/// Where a chain stands. One that is over was over when that was seen first; one that goes on after all is not.
pub(super) const FOLDED: Many = Many {
    sqlite: "UPDATE chain SET status = $2, why = $3, begun_at = $4,
            ended_at = CASE WHEN $5 IS NULL THEN NULL ELSE coalesce(ended_at, $5) END, due_at = $6, failed_at = $7
        WHERE seq = $1",
    postgres: "UPDATE chain c SET status = f.status, why = f.why, begun_at = f.begun_at,
            ended_at = CASE WHEN f.ended_at IS NULL THEN NULL ELSE coalesce(c.ended_at, f.ended_at) END,
            due_at = f.due_at, failed_at = f.failed_at
        FROM UNNEST(CAST($1 AS BIGINT[]), CAST($2 AS TEXT[]), CAST($3 AS TEXT[]), CAST($4 AS BIGINT[]),
            CAST($5 AS BIGINT[]), CAST($6 AS BIGINT[]), CAST($7 AS TEXT[]))
            AS f(seq, status, why, begun_at, ended_at, due_at, failed_at)
        WHERE c.seq = f.seq",
};
