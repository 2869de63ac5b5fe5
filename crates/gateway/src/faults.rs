//! The reactions of a chain that HTTP services have not completed, for views of the chain.

use sagamore_core::{Direction, Name, SagaId, Timestamp};
use sagamore_database::{Database, Error, Row};
use tokio::sync::OnceCell;

use crate::reaction::Reaction;
use crate::reaction_store::create_table;

const OF_CHAIN: &str = "SELECT step, participant, state, why, attempts, begun_at, due_at
    FROM gateway_reaction WHERE chain = $1 ORDER BY begun_at, step";

/// A reaction of an HTTP service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReactionFault {
    /// The HTTP service.
    pub participant: Name,
    /// The name of the reaction.
    pub step: Name,
    /// Whether the reaction itself or its undo is next.
    pub direction: Direction,
    /// The last fault since the reaction's last progress; `None` without any.
    pub why: Option<String>,
    /// The attempts since then, each with a fault.
    pub attempts: u32,
    /// The time of the reaction's first event.
    pub since: Timestamp,
    /// The time of the next attempt, or the end of the lease of a call in progress. `None` without
    /// work.
    pub again_at: Option<Timestamp>,
}

/// Read access to the reactions in a gateway's database, wherever the gateway runs.
pub struct ReactionFaults {
    database: Database,
    created: OnceCell<()>,
}

impl ReactionFaults {
    /// Creates the access. The first read creates the table if no gateway has.
    pub fn of(database: Database) -> ReactionFaults {
        ReactionFaults { database, created: OnceCell::new() }
    }

    /// Returns the reactions of a chain, oldest first. Their number is bounded by the chain's plan.
    ///
    /// # Errors
    /// The database failed.
    pub async fn of_chain(&self, chain: &SagaId) -> Result<Vec<ReactionFault>, Error> {
        self.created.get_or_try_init(|| create_table(&self.database)).await?;
        let rows = self.database.query(OF_CHAIN, (chain.as_str(),)).await?;
        // the reactor itself logs damaged rows
        Ok(rows.iter().filter_map(read).collect())
    }
}

fn read(row: &Row) -> Option<ReactionFault> {
    let state: String = row.get("state").ok()?;
    let reaction: Reaction = serde_json::from_str(&state).ok()?;
    let text = |column: &str| row.get::<String>(column).ok();
    Some(ReactionFault {
        participant: text("participant")?.parse().ok()?,
        step: text("step")?.parse().ok()?,
        direction: reaction.direction(),
        why: row.get("why").ok()?,
        attempts: row.get::<i64>("attempts").ok()?.try_into().unwrap_or(u32::MAX),
        since: Timestamp(row.get("begun_at").ok()?),
        again_at: row.get::<Option<i64>>("due_at").ok()?.map(Timestamp),
    })
}
