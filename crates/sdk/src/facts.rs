//! A service's own records of sagas, for operators: its barrier, to compare with other records, and
//! its emitted events, to resend. The protocol does not depend on them.

use std::time::Duration;

use sagamore_core::{Direction, Name, SagaId, Timestamp};
use sagamore_database::{Database, Row, Text};
use sagamore_transport::Transport;
use sagamore_transport::wire::encode_event;

use crate::emitted;
use crate::error::Error;
use crate::stored_event::{damaged, parsed};

macro_rules! page {
    ($more:literal) => {
        concat!(
            "SELECT saga, step, direction, generation, status, stored_at FROM barrier WHERE saga > \
             $1",
            $more,
            " ORDER BY saga, step, direction, generation LIMIT $2"
        )
    };
}
const PAGE: &str = page!("");
const PAGE_UNTIL: &str = page!(" AND saga <= $3");
const WHOLE: &str = "SELECT saga, step, direction, generation, status, stored_at FROM barrier
    WHERE saga = $1 ORDER BY saga, step, direction, generation";

const FAULTS: &str = "SELECT step, direction, why, since, due_at FROM inbox
    WHERE saga = $1 AND why IS NOT NULL ORDER BY since LIMIT 100";

/// Returns the time since which no service has removed rows of a saga, given the retention.
/// Services sweep at different times, so a tenth of the retention is a margin.
pub fn remembered(now: Timestamp, retention: Duration) -> Timestamp {
    now.minus(retention / 10 * 9)
}

/// One row of a barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The id of the saga or chain.
    pub saga: SagaId,
    /// The name of the step or reaction.
    pub step: Name,
    /// Whether the row is of the action or the compensation.
    pub direction: Direction,
    /// The generation, raised by an operator's retry.
    pub generation: u32,
    /// `done`, `refused`, or `tombstone` if the compensation arrived first.
    pub status: String,
    /// The time of the row by the service's clock.
    pub stored_at: Timestamp,
}

/// A page of a barrier, which ends with a whole saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactPage {
    /// The rows, in the order of saga, step, direction and generation.
    pub facts: Vec<Fact>,
    /// The saga after which the next page begins; `None` at the end.
    pub next: Option<SagaId>,
}

/// Returns at most `limit` barrier rows with saga id in `(after, until]`, in byte order.
///
/// A saga with more rows than `limit` has a page of its own, with all its rows.
pub async fn facts(
    database: &Database,
    after: &str,
    until: Option<&str>,
    limit: u32,
) -> Result<FactPage, Error> {
    let (after, until) = (Text::beginning(after), until.map(Text::beginning));
    let rows = match until {
        Some(until) => database.query(PAGE_UNTIL, (after, limit.saturating_add(1), until)).await?,
        None => database.query(PAGE, (after, limit.saturating_add(1))).await?,
    };
    let mut facts = rows.iter().map(Fact::read).collect::<Result<Vec<_>, _>>()?;
    let Some(last) = facts.last().map(|fact| fact.saga.clone()) else {
        return Ok(FactPage { facts, next: None });
    };
    if facts.len() <= limit as usize {
        return Ok(FactPage { facts, next: None });
    }
    // the last saga may have more rows, so the next page returns it, unless it fills this one
    match facts.iter().rposition(|fact| fact.saga != last) {
        Some(whole) => facts.truncate(whole + 1),
        None => {
            let rows = database.query(WHOLE, (last.as_str(),)).await?;
            facts = rows.iter().map(Fact::read).collect::<Result<Vec<_>, _>>()?;
        }
    }
    let next = facts.last().map(|fact| fact.saga.clone());
    Ok(FactPage { facts, next })
}

/// A reaction that a service could not complete yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultFact {
    /// The name of the reaction.
    pub step: Name,
    /// Whether the reaction itself or its undo failed.
    pub direction: Direction,
    /// The handler's last fault.
    pub why: String,
    /// The time of the first attempt.
    pub since: Timestamp,
    /// The time of the next attempt.
    pub again_at: Timestamp,
}

/// Returns at most 100 faults of a chain's reactions, oldest first.
pub async fn faults(database: &Database, chain: &SagaId) -> Result<Vec<FaultFact>, Error> {
    let rows = database.query(FAULTS, (chain.as_str(),)).await?;
    // the service itself logs damaged rows
    Ok(rows.iter().filter_map(|row| FaultFact::read(row).ok()).collect())
}

/// Publishes the emitted events of a chain again, under their ids, and returns their number.
///
/// Barriers make repeats harmless while they hold the chain's rows. A chain without an event since
/// `remembered` is therefore skipped: other services may have removed its rows and would act again.
pub async fn resend(
    service: &Name,
    database: &Database,
    transport: &dyn Transport,
    chain: &SagaId,
    remembered: Timestamp,
) -> Result<usize, Error> {
    if emitted::last_emitted_at(database, chain).await?.is_none_or(|last| last < remembered) {
        return Ok(0);
    }
    let (mut count, mut skipped) = (0, 0);
    while let Some(events) = emitted::of_chain(database, chain, skipped).await? {
        skipped += emitted::OF_CHAIN_MAX;
        count += events.len();
        transport
            .publish(events.iter().map(|event| encode_event(event, service)).collect())
            .await?;
    }
    Ok(count)
}

impl FaultFact {
    fn read(row: &Row) -> Result<FaultFact, sagamore_database::Error> {
        Ok(FaultFact {
            step: parsed(row, "step", "a name")?,
            direction: parsed(row, "direction", "a direction")?,
            why: row.get("why")?,
            since: Timestamp(row.get("since")?),
            again_at: Timestamp(row.get("due_at")?),
        })
    }
}

impl Fact {
    fn read(row: &Row) -> Result<Fact, sagamore_database::Error> {
        Ok(Fact {
            saga: parsed(row, "saga", "a saga")?,
            step: parsed(row, "step", "a name")?,
            direction: parsed(row, "direction", "a direction")?,
            generation: row
                .get::<i64>("generation")?
                .try_into()
                .map_err(|_| damaged("generation", "a generation"))?,
            status: row.get("status")?,
            stored_at: Timestamp(row.get("stored_at")?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::barrier::MIGRATIONS;

    const INSERT: &str = "INSERT INTO barrier VALUES ($1, $2, 'action', 1, 'done', '{}', 1)";

    async fn pages(database: &Database, until: Option<&str>, limit: u32) -> Vec<String> {
        let (mut pages, mut after) = (Vec::new(), String::new());
        loop {
            let page = facts(database, &after, until, limit).await.expect("a page");
            let rows = page.facts.iter().map(|fact| format!("{}/{}", fact.saga, fact.step));
            pages.push(rows.collect::<Vec<_>>().join(" "));
            match page.next {
                Some(next) => after = next.to_string(),
                None => return pages,
            }
        }
    }

    #[tokio::test]
    async fn a_page_ends_with_a_whole_saga() {
        let database = sagamore_database::testing::database();
        database.migrate("barrier", MIGRATIONS, 1).await.expect("migrate");
        assert_eq!(pages(&database, None, 2).await, [""]);
        let open = database.begin().await.expect("begin");
        for row in ["t:a/p", "t:a/q", "t:b/p", "t:b/q", "t:b/r", "t:b/s", "t:c/p", "t:d/p"] {
            let (saga, step) = row.split_once('/').expect("a step");
            open.tx().execute(INSERT, (saga, step)).await.expect("insert");
        }
        open.commit().await.expect("commit");
        let whole = "t:b/p t:b/q t:b/r t:b/s";
        assert_eq!(pages(&database, None, 2).await, ["t:a/p t:a/q", whole, "t:c/p t:d/p"]);
        assert_eq!(pages(&database, None, 3).await, ["t:a/p t:a/q", whole, "t:c/p t:d/p"]);
        assert_eq!(pages(&database, Some("t:b"), 5).await, ["t:a/p t:a/q", whole]);
        assert_eq!(pages(&database, None, 8).await.len(), 1);
        assert_eq!(pages(&database, None, 1).await.len(), 4);
    }
}
