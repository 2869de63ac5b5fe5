//! The plans that the observer's database knows: those of this program, and those of all programs before it, whose chains go on.

use std::sync::Arc;

use sagamore_core::plan::Plan;
use sagamore_database::Database;

use super::Plans;
use crate::error::Error;

const REGISTER: &str =
    "INSERT INTO plan (name, version, hash, body) VALUES ($1, $2, $3, $4) ON CONFLICT (name, version) DO NOTHING";

/// Makes the plans of this program known, and gives them with all that were known before.
pub(super) async fn register(database: &Database, plans: Vec<Plan>) -> Result<Plans, Error> {
    let open = database.begin().await?;
    for plan in &plans {
        let body = serde_json::to_string(plan).expect("a plan holds only what JSON can hold");
        open.tx().execute(REGISTER, (plan.name.as_str(), plan.version, plan.hash(), body)).await?;
    }
    let rows = open.tx().query("SELECT name, version, hash, body FROM plan", ()).await?;
    let mut known = Plans::new();
    for row in &rows {
        let (name, version, hash): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let own = plans.iter().find(|plan| plan.name.as_str() == name && i64::from(plan.version) == version);
        let plan = match own {
            Some(own) if own.hash() != hash => {
                open.rollback().await?;
                return Err(Error::DefinitionChanged { name: own.name.clone(), version: own.version });
            }
            Some(own) => own.clone(),
            None => match serde_json::from_str::<Plan>(&row.get::<String>(3)?) {
                Ok(plan) => plan,
                Err(why) => {
                    tracing::warn!(plan = name, version, %why, "not readable here: its chains are of an unknown version");
                    continue;
                }
            },
        };
        known.insert((plan.name.clone(), plan.version), Arc::new(plan));
    }
    // what was unknown before may not be so any more
    let again = "UPDATE chain SET due_at = begun_at WHERE status = 'unknown-version' AND due_at IS NULL";
    open.tx().execute(again, ()).await?;
    open.commit().await?;
    Ok(known)
}
