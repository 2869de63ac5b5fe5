//! The engine's schema. Migrations only expand it.

use std::time::Duration;

use sagamore_database::Migration;

/// The milliseconds of [`LASTING`], a day. An index and the queries that use it must contain the
/// same figure.
macro_rules! lasting_ms {
    () => {
        86_400_000
    };
}
pub(crate) use lasting_ms;

/// The versions of definitions or plans: when each was registered and retired, and which one is
/// active. Rows of older programs have no time of registration. A retired body may be empty. The
/// one row of the last table counts the changes.
macro_rules! versions {
    ($kind:literal) => {
        concat!(
            "
    ALTER TABLE ",
            $kind,
            " ADD COLUMN registered_at BIGINT;
    ALTER TABLE ",
            $kind,
            " ADD COLUMN retired_at BIGINT;
    CREATE TABLE active_",
            $kind,
            " (name TEXT PRIMARY KEY, version BIGINT NOT NULL);
    CREATE TABLE former_",
            $kind,
            " (
        hash TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        version BIGINT NOT NULL,
        body TEXT NOT NULL,
        replaced_at BIGINT NOT NULL
    );
    CREATE TABLE ",
            $kind,
            "_change (id BIGINT PRIMARY KEY, change BIGINT NOT NULL);
    INSERT INTO ",
            $kind,
            "_change (id, change) VALUES (0, 0)"
        )
    };
}
pub(crate) use versions;

macro_rules! tables {
    ($number:literal, $bytewise:literal, $by_key:literal) => {
        concat!(
            "CREATE TABLE saga (
                seq ",
            $number,
            ",
                id TEXT",
            $bytewise,
            " NOT NULL UNIQUE,
                version BIGINT NOT NULL,
                hash TEXT NOT NULL,
                reply_partition BIGINT NOT NULL,
                status TEXT NOT NULL,
                revision BIGINT NOT NULL,
                started_at BIGINT NOT NULL,
                changed_at BIGINT NOT NULL,
                ended_at BIGINT,
                failed_at TEXT
            );
            CREATE INDEX saga_unfinished ON saga (reply_partition, seq) WHERE ended_at IS NULL;
            CREATE INDEX saga_ended ON saga (status, seq) WHERE ended_at IS NOT NULL;
            CREATE TABLE journal (
                seq BIGINT NOT NULL,
                revision BIGINT NOT NULL,
                entry TEXT NOT NULL,
                PRIMARY KEY (seq, revision)
            )",
            $by_key,
            ";
            CREATE TABLE definition (
                name TEXT NOT NULL,
                version BIGINT NOT NULL,
                hash TEXT NOT NULL,
                body TEXT NOT NULL,
                PRIMARY KEY (name, version)
            );
            CREATE INDEX definition_hash ON definition (hash);
            CREATE TABLE ownership (
                reply_partition BIGINT PRIMARY KEY,
                owner TEXT NOT NULL,
                epoch BIGINT NOT NULL
            );
            CREATE TABLE idempotency (
                key TEXT PRIMARY KEY,
                request_hash TEXT NOT NULL,
                saga TEXT NOT NULL,
                stored_at BIGINT NOT NULL
            )",
            $by_key,
            ";
            CREATE INDEX idempotency_saga ON idempotency (saga);"
        )
    };
}

/// The version of this program, compared with the minimum that the schema requires.
pub const PROGRAM: u32 = 1;

/// Leases of partitions, members, and verbs for the orchestrator that owns their saga.
const SHARED: &str = "
    ALTER TABLE ownership ADD COLUMN lease_until BIGINT NOT NULL DEFAULT 0;
    CREATE TABLE orchestrator (owner TEXT PRIMARY KEY, seen_until BIGINT NOT NULL);
    CREATE TABLE handed (
        id TEXT PRIMARY KEY,
        reply_partition BIGINT NOT NULL,
        saga TEXT NOT NULL,
        verb TEXT NOT NULL,
        answer TEXT,
        stored_at BIGINT NOT NULL
    );
    CREATE INDEX handed_open ON handed (reply_partition) WHERE answer IS NULL;
    CREATE INDEX handed_stored_at ON handed (stored_at)";

/// The moment before which each participant's barrier has removed the rows of ended sagas.
const SWEPT: &str =
    "CREATE TABLE swept (participant TEXT PRIMARY KEY, swept_before BIGINT NOT NULL)";

/// Indexes sagas that took longer than [`LASTING`]. A horizon whose cutoff is that much earlier
/// names only these and the open ones. Shorter sagas cost no index entry.
const LASTING_INDEX: &str = concat!(
    "CREATE INDEX saga_lasting ON saga (started_at) WHERE ended_at - started_at > ",
    lasting_ms!()
);

/// The minimum length of the sagas in `saga_lasting`, and of the chains in `chain_lasting`.
pub const LASTING: Duration = Duration::from_millis(lasting_ms!());

/// The reason why a saga's owner cannot read it: a newer program wrote it, or it is damaged.
const UNREADABLE: &str = "
    ALTER TABLE saga ADD COLUMN unreadable TEXT;
    CREATE INDEX saga_unreadable ON saga (seq) WHERE unreadable IS NOT NULL";

/// The results of each orchestrator's publishes. Rows of older programs have none.
const MEMBERS: &str = "
    ALTER TABLE orchestrator ADD COLUMN able_since BIGINT;
    ALTER TABLE orchestrator ADD COLUMN failing_since BIGINT;
    ALTER TABLE orchestrator ADD COLUMN published_at BIGINT";

/// The time from which a saga's fault is shown. It is in no index, so a fault costs no more than
/// other changes of the row.
const FAULT: &str = "ALTER TABLE saga ADD COLUMN fault_shown_from BIGINT";

/// The reason why a saga's inputs cannot be stored. It is in a table of its own, because the saga's
/// row is locked.
const BLOCKED: &str =
    "CREATE TABLE blocked (saga TEXT PRIMARY KEY, fault TEXT NOT NULL, shown_from BIGINT)";

/// All migrations, in order. A changing column of a saga's row is in no index, except that the end
/// of the saga moves it from one index to another.
pub const MIGRATIONS: &[Migration] = &[
    Migration::new(
        "0001-engine",
        tables!("BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", " COLLATE \"C\"", ""),
    )
    // on SQLite, `seq` is the rowid, and a table with another key is stored in the order of that
    // key
    .on_sqlite(tables!("INTEGER PRIMARY KEY AUTOINCREMENT", "", " WITHOUT ROWID")),
    Migration::new("0002-shared", SHARED),
    Migration::new("0003-swept", SWEPT),
    Migration::new("0004-lasting", LASTING_INDEX),
    // every step rewrites the saga's row: free space in the page avoids index entries if no indexed
    // column changes
    Migration::new("0005-room", "ALTER TABLE saga SET (fillfactor = 50)").on_sqlite("SELECT 1"),
    Migration::new("0006-unreadable", UNREADABLE),
    Migration::new("0007-members", MEMBERS),
    Migration::new("0008-fault", FAULT),
    Migration::new("0009-blocked", BLOCKED),
    Migration::new("0010-versions", versions!("definition")),
];
