//! The table of reactions: one row per chain and reaction, with its state and the time of its next
//! work.
//!
//! **Invariant:** the offset of an event is committed after its rows are. Work is done from the
//! rows alone, so a crash repeats it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::message::PENDING_MAX;
use sagamore_core::{Horizon, Name, SagaId, Timestamp};
use sagamore_database::port::Dialect;
use sagamore_database::{Clock, Database, Error, Migration, Row, Tx};
use tokio::sync::Mutex;

use crate::reaction::Reaction;
use crate::retention::{Permission, Retention};

const MIGRATIONS: &[Migration] = &[Migration::new(
    "0001-reaction",
    "CREATE TABLE gateway_reaction (
        chain TEXT NOT NULL,
        step TEXT NOT NULL,
        participant TEXT NOT NULL,
        state TEXT NOT NULL,
        due_at BIGINT,
        attempts BIGINT NOT NULL,
        why TEXT,
        begun_at BIGINT NOT NULL,
        PRIMARY KEY (chain, step)
    );
    CREATE INDEX gateway_reaction_due ON gateway_reaction (participant, due_at)
        WHERE due_at IS NOT NULL;
    CREATE INDEX gateway_reaction_begun ON gateway_reaction (participant, begun_at, chain)",
)];
/// The program's version in the schema.
const PROGRAM: u32 = 1;
/// Rows that one page of a removal reads.
const PAGE: i64 = 500;
/// The first pause after a failed call, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The latest plausible due time: the longest delay that a participant may request, and a
/// difference between clocks. A later one comes from a wrong clock.
const DUE_MAX: Duration = PENDING_MAX.saturating_add(Duration::from_secs(3_600));

/// The key of a reaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ReactionKey {
    pub chain: SagaId,
    pub step: Name,
}

/// The reactions of one participant. Clones share the database.
#[derive(Clone)]
pub(crate) struct ReactionStore {
    database: Database,
    participant: Name,
    retention: Arc<Mutex<Retention>>,
}

/// A reaction that is due.
pub(crate) struct DueReaction {
    pub key: ReactionKey,
    pub reaction: Reaction,
    /// The failed attempts since its last progress.
    pub attempts: u32,
    /// The bytes of its stored state.
    pub bytes: usize,
}

/// The bounds of the reactions that are leased together.
#[derive(Clone, Copy)]
pub(crate) struct DueBounds {
    pub count: usize,
    /// Bytes of states from which no more are leased.
    pub bytes: usize,
}

/// A removal in progress: reactions of chains that ended long ago, by their age.
#[derive(Debug)]
pub(crate) struct ReactionRemoval {
    permission: Permission,
    after: (i64, String),
}

impl ReactionStore {
    /// Creates the table.
    pub async fn open(
        database: Database,
        participant: Name,
        retention: Duration,
    ) -> Result<ReactionStore, Error> {
        create_table(&database).await?;
        Retention::create_table(&database).await?;
        let retention = Arc::new(Mutex::new(Retention::of(retention)));
        Ok(ReactionStore { database, participant, retention })
    }

    /// Makes the work of a former process due. Only a database of one process has no other one that
    /// may still do it.
    pub async fn take_over(&self, now: Timestamp) -> Result<(), Error> {
        if self.database.dialect() != Dialect::Sqlite {
            return Ok(());
        }
        let sql = "UPDATE gateway_reaction SET due_at = $2
            WHERE participant = $1 AND due_at IS NOT NULL";
        let open = self.database.begin().await?;
        open.tx().execute(sql, (self.participant.as_str(), now.0)).await?;
        open.commit().await
    }

    /// Changes the reactions of events in one transaction, in the order of their keys. A reaction
    /// at rest becomes due if it has work. Returns the reactions that this program cannot read: a
    /// newer one stored them, or they are damaged. They stay as they are.
    pub async fn receive(
        &self,
        events: BTreeMap<ReactionKey, Vec<Change<'_>>>,
        now: Timestamp,
    ) -> Result<Vec<ReactionKey>, Error> {
        let mut unreadable = Vec::new();
        if events.is_empty() {
            return Ok(unreadable);
        }
        self.retention.lock().await.read_clock(&self.database, now).await?;
        let open = self.database.begin().await?;
        let tx = open.tx();
        for (key, changes) in events {
            let mut locked = self.locked(&tx, &key).await?;
            if let (Locked::Absent, Some(first)) = (&locked, changes.first()) {
                self.insert(&tx, &key, &(first.new)(), now).await?;
                locked = self.locked(&tx, &key).await?;
            }
            let mut reaction = match locked {
                Locked::Reaction(reaction) => *reaction,
                Locked::Absent => return Err(missing(&key)),
                Locked::Unreadable => {
                    unreadable.push(key);
                    continue;
                }
            };
            let mut is_due = false;
            for change in changes {
                is_due = (change.apply)(&mut reaction);
            }
            let due_at = is_due.then_some(now.0);
            let sql = "UPDATE gateway_reaction SET state = $3, due_at = coalesce(due_at, $4)
                WHERE chain = $1 AND step = $2";
            let row = (key.chain.as_str(), key.step.as_str(), json(&reaction), due_at);
            tx.execute(sql, row).await?;
        }
        open.commit().await?;
        Ok(unreadable)
    }

    /// Changes a reaction whose work is being done, and returns it. It stays leased while there is
    /// more work.
    pub async fn update(
        &self,
        key: &ReactionKey,
        lease_until: Timestamp,
        change: impl FnOnce(&mut Reaction) -> bool,
    ) -> Result<Reaction, Error> {
        let open = self.database.begin().await?;
        let tx = open.tx();
        let mut reaction = self.existing(&tx, key).await?;
        let due_at = change(&mut reaction).then_some(lease_until.0);
        let sql = "UPDATE gateway_reaction SET state = $3, due_at = $4, attempts = 0, why = NULL
            WHERE chain = $1 AND step = $2";
        let row = (key.chain.as_str(), key.step.as_str(), json(&reaction), due_at);
        tx.execute(sql, row).await?;
        open.commit().await?;
        Ok(reaction)
    }

    /// Changes the state of a reaction whose call begins, or was not sent. Its lease and its failed
    /// attempts stay.
    pub async fn mark(
        &self,
        key: &ReactionKey,
        change: impl FnOnce(&mut Reaction),
    ) -> Result<Reaction, Error> {
        let open = self.database.begin().await?;
        let tx = open.tx();
        let mut reaction = self.existing(&tx, key).await?;
        change(&mut reaction);
        let sql = "UPDATE gateway_reaction SET state = $3 WHERE chain = $1 AND step = $2";
        tx.execute(sql, (key.chain.as_str(), key.step.as_str(), json(&reaction))).await?;
        open.commit().await?;
        Ok(reaction)
    }

    /// Postpones a reaction whose attempt had no result. Returns the pause.
    pub async fn postpone(
        &self,
        key: &ReactionKey,
        FailedAttempt { number, why, delay }: FailedAttempt<'_>,
        now: Timestamp,
    ) -> Result<Duration, Error> {
        let doublings = number.saturating_sub(1).min(16);
        let pause = PAUSE_MIN.saturating_mul(1 << doublings).min(PAUSE_MAX);
        let pause = pause.mul_f64(1.0 - fastrand::f64() / 2.0).max(delay.unwrap_or_default());
        let open = self.database.begin().await?;
        let sql = "UPDATE gateway_reaction SET attempts = $3, why = $4, due_at = $5
            WHERE chain = $1 AND step = $2";
        let row = (key.chain.as_str(), key.step.as_str(), number, why, now.plus(pause).0);
        if open.tx().execute(sql, row).await? == 0 {
            return Err(missing(key));
        }
        open.commit().await?;
        Ok(pause)
    }

    /// Leases reactions that are due, within these bounds. The last one may exceed the bytes.
    pub async fn take_due(
        &self,
        now: Timestamp,
        lease_until: Timestamp,
        bounds: DueBounds,
    ) -> Result<Vec<DueReaction>, Error> {
        let limit = i64::try_from(bounds.count).unwrap_or(i64::MAX);
        let due = self.database.dialect().text(
            "SELECT chain, step, CAST(octet_length(state) AS BIGINT) FROM gateway_reaction
             WHERE participant = $1 AND (due_at <= $2 OR due_at > $3) ORDER BY due_at LIMIT $4
             {FOR UPDATE SKIP LOCKED}",
        );
        let open = self.database.begin().await?;
        let tx = open.tx();
        let beyond = now.plus(DUE_MAX).0;
        let rows = tx.query(&due, (self.participant.as_str(), now.0, beyond, limit)).await?;
        let (mut reactions, mut bytes) = (Vec::new(), 0);
        for row in &rows {
            if bytes >= bounds.bytes {
                break;
            }
            let (chain, step): (String, String) = (row.get(0)?, row.get(1)?);
            bytes += usize::try_from(row.get::<i64>(2)?).unwrap_or(0);
            let sql = "UPDATE gateway_reaction SET due_at = $3 WHERE chain = $1 AND step = $2
                RETURNING attempts, state";
            let leased = tx.query(sql, (chain.as_str(), step.as_str(), lease_until.0)).await?;
            match leased.first().and_then(|row| read(row, &chain, &step)) {
                Some(reaction) => reactions.push(reaction),
                // it is due again when the lease ends: another program may be able to read it
                None => tracing::error!(chain, step, "cannot read a stored reaction"),
            }
        }
        open.commit().await?;
        Ok(reactions)
    }

    /// Ends the lease of a reaction, which is due again at `due_at`.
    pub async fn release(&self, key: &ReactionKey, due_at: Timestamp) -> Result<(), Error> {
        let sql = "UPDATE gateway_reaction SET due_at = $3 WHERE chain = $1 AND step = $2";
        let open = self.database.begin().await?;
        open.tx().execute(sql, (key.chain.as_str(), key.step.as_str(), due_at.0)).await?;
        open.commit().await
    }

    /// Returns the removal that a horizon allows, if any.
    pub async fn permit(
        &self,
        clock: &Clock,
        horizon: Horizon,
        now: Timestamp,
    ) -> Result<Option<ReactionRemoval>, Error> {
        let mut retention = self.retention.lock().await;
        let permitted = retention.permit(&self.database, clock, horizon, now).await?;
        Ok(permitted.map(ReactionRemoval::of))
    }

    /// Removes one page of the rows that a horizon covers, except chains with work. Returns whether
    /// there may be more. A setback of the clock ends the removal.
    pub async fn sweep(&self, removal: &mut ReactionRemoval) -> Result<bool, Error> {
        let sql = "SELECT chain, begun_at FROM gateway_reaction
            WHERE participant = $1 AND begun_at < $2
                AND (begun_at > $3 OR (begun_at = $3 AND chain > $4))
            ORDER BY begun_at, chain LIMIT $5";
        if !self.retention.lock().await.still_permits(&removal.permission) {
            return Ok(false);
        }
        let before = removal.permission.horizon.started_before.0;
        let (at, chain) = removal.after.clone();
        let open = self.database.begin().await?;
        let participant = self.participant.as_str();
        let rows = open.tx().query(sql, (participant, before, at, chain, PAGE)).await?;
        for row in &rows {
            let chain: String = row.get(0)?;
            if removal.covers(&chain) {
                let sql = "DELETE FROM gateway_reaction WHERE chain = $1 AND participant = $2
                    AND NOT EXISTS (
                        SELECT 1 FROM gateway_reaction AS other
                        WHERE other.chain = $1 AND other.participant = $2
                            AND other.due_at IS NOT NULL
                    )";
                open.tx().execute(sql, (chain.as_str(), participant)).await?;
            }
            removal.after = (row.get(1)?, chain);
        }
        open.commit().await?;
        Ok(rows.len() as i64 == PAGE)
    }

    async fn insert(
        &self,
        tx: &Tx,
        key: &ReactionKey,
        new: &Reaction,
        now: Timestamp,
    ) -> Result<(), Error> {
        let sql = "INSERT INTO gateway_reaction
                (chain, step, participant, state, attempts, begun_at)
            VALUES ($1, $2, $3, $4, 0, $5) ON CONFLICT (chain, step) DO NOTHING";
        let (chain, step) = (key.chain.as_str(), key.step.as_str());
        tx.execute(sql, (chain, step, self.participant.as_str(), json(new), now.0)).await?;
        Ok(())
    }

    /// Reads a reaction that must exist, and locks its row.
    async fn existing(&self, tx: &Tx, key: &ReactionKey) -> Result<Reaction, Error> {
        match self.locked(tx, key).await? {
            Locked::Reaction(reaction) => Ok(*reaction),
            Locked::Absent => Err(missing(key)),
            Locked::Unreadable => {
                Err(Error::Column { column: "state".to_owned(), wanted: "a reaction" })
            }
        }
    }

    /// Reads a reaction and locks its row.
    async fn locked(&self, tx: &Tx, key: &ReactionKey) -> Result<Locked, Error> {
        let sql = self.database.dialect().text(
            "SELECT chain, step, state FROM gateway_reaction WHERE chain = $1 AND step = $2
             {FOR UPDATE}",
        );
        let rows = tx.query(&sql, (key.chain.as_str(), key.step.as_str())).await?;
        let Some(row) = rows.first() else { return Ok(Locked::Absent) };
        let state: String = row.get(2)?;
        Ok(serde_json::from_str(&state).map_or(Locked::Unreadable, Locked::Reaction))
    }
}

/// A row that is locked, if it exists.
enum Locked {
    Absent,
    /// This program cannot read the state.
    Unreadable,
    Reaction(Box<Reaction>),
}

/// An attempt without a result.
#[derive(Clone, Copy)]
pub(crate) struct FailedAttempt<'a> {
    /// The number of the attempt, from 1.
    pub number: u32,
    pub why: &'a str,
    /// The least pause before the next attempt.
    pub delay: Option<Duration>,
}

impl<'a> FailedAttempt<'a> {
    /// Creates an attempt whose next one needs no delay.
    pub fn of(number: u32, why: &'a str) -> FailedAttempt<'a> {
        FailedAttempt { number, why, delay: None }
    }
}

/// A change of a reaction by an event.
pub(crate) struct Change<'a> {
    /// Creates the reaction, if this is its first event.
    pub new: Box<dyn Fn() -> Reaction + Send + 'a>,
    /// Applies the event. Returns whether there is work.
    pub apply: Box<dyn FnOnce(&mut Reaction) -> bool + Send + 'a>,
}

impl ReactionRemoval {
    fn of(permission: Permission) -> ReactionRemoval {
        let from = permission.horizon.started_from;
        let from = from.map_or(i64::MIN, |from| from.0.saturating_sub(1));
        ReactionRemoval { permission, after: (from, String::new()) }
    }

    fn covers(&self, chain: &str) -> bool {
        let Horizon { definitions, but, .. } = &self.permission.horizon;
        let plan = chain.split_once(':').map(|(plan, _)| plan);
        definitions.iter().any(|covered| Some(covered.as_str()) == plan)
            && !but.iter().any(|saved| saved.as_str() == chain)
    }
}

/// Creates the table unless it exists.
pub(crate) async fn create_table(database: &Database) -> Result<(), Error> {
    database.migrate("gateway_reaction", MIGRATIONS, PROGRAM).await
}

fn json(reaction: &Reaction) -> String {
    serde_json::to_string(reaction).expect("a reaction serializes to JSON")
}

fn missing(key: &ReactionKey) -> Error {
    Error::Conflict(format!("reaction '{}' of chain {} was just removed", key.step, key.chain))
}

fn read(row: &Row, chain: &str, step: &str) -> Option<DueReaction> {
    let state: String = row.get("state").ok()?;
    let key = ReactionKey { chain: chain.parse().ok()?, step: step.parse().ok()? };
    let attempts = row.get::<i64>("attempts").ok()?.try_into().unwrap_or(u32::MAX);
    let reaction = serde_json::from_str(&state).ok()?;
    Some(DueReaction { key, reaction, attempts, bytes: state.len() })
}

#[cfg(test)]
mod tests;
