//! The plans in the observer's database: those of this program, and of all earlier ones, whose
//! chains may still run.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagamore_core::Name;
use sagamore_core::plan::{self, Plan};
use sagamore_database::{Database, Row};

use crate::error::Error;

/// Every known version of every plan.
pub(crate) type Plans = BTreeMap<(Name, u32), Arc<Plan>>;

const REGISTER: &str = "INSERT INTO plan (name, version, hash, body) VALUES ($1, $2, $3, $4)
    ON CONFLICT (name, version) DO NOTHING";

/// Stores the plans of this program, and returns them together with all stored ones.
pub(super) async fn register(database: &Database, plans: Vec<Plan>) -> Result<Plans, Error> {
    for plan in &plans {
        let problems = plan::check(plan); // a plan may come from a file
        if !problems.is_empty() {
            return Err(plan::Error { plan: plan.name.to_string(), problems }.into());
        }
    }
    let open = database.begin().await?;
    for plan in &plans {
        let body = serde_json::to_string(plan).expect("a plan serializes to JSON");
        open.tx().execute(REGISTER, (plan.name.as_str(), plan.version, plan.hash(), body)).await?;
        let of_plan = "SELECT hash FROM plan WHERE name = $1 AND version = $2";
        let known = open.tx().query(of_plan, (plan.name.as_str(), plan.version)).await?;
        let known: Option<String> = known.first().map(|row| row.get("hash")).transpose()?;
        if known != Some(plan.hash()) {
            open.rollback().await?;
            return Err(Error::DefinitionChanged {
                name: plan.name.clone(),
                version: plan.version,
            });
        }
    }
    open.commit().await?;
    load(database, plans).await
}

/// Returns the stored plans, plus those of `plans` that are not stored.
pub(super) async fn load(database: &Database, plans: Vec<Plan>) -> Result<Plans, Error> {
    let keyed = |plan: Plan| ((plan.name.clone(), plan.version), Arc::new(plan));
    let mut known: Plans = plans.into_iter().map(keyed).collect();
    let rows = database.query("SELECT name, version, body FROM plan", ()).await?;
    known.extend(
        rows.iter().map(read).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().map(keyed),
    );
    Ok(known)
}

/// Parses a stored plan. `None`: a newer program stored it in a form that this one cannot read.
fn read(row: &Row) -> Result<Option<Plan>, Error> {
    let (name, version): (String, i64) = (row.get("name")?, row.get("version")?);
    let body: String = row.get("body")?;
    let plan = serde_json::from_str::<Plan>(&body);
    Ok(plan
        .inspect_err(|why| tracing::warn!(plan = name, version, %why, "cannot read a stored plan"))
        .ok())
}
