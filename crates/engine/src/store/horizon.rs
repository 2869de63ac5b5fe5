//! What participants may forget, and what they have forgotten.

use std::collections::BTreeSet;
use std::time::Duration;

use sagamore_core::definition::Definition;
use sagamore_core::id::{Name, SagaId};
use sagamore_core::message::{Horizon, Swept};
use sagamore_core::{Body, Timestamp};
use sagamore_database::Value;

use super::{Store, bad};
use crate::error::Error;

impl Store {
    /// All sagas that began up to now have ended, but these; were there more than `open_max`, all that began up to an earlier
    /// moment. The horizon is told by as much earlier as clocks differ: what a participant has stamped before it belongs to
    /// a saga that an orchestrator has stamped before that moment.
    pub async fn horizon(&self, now: Timestamp, skew_max: Duration, open_max: usize) -> Result<Horizon, Error> {
        let sql =
            "SELECT id, started_at FROM saga WHERE ended_at IS NULL AND started_at < $1 ORDER BY started_at LIMIT $2";
        let limit = i64::try_from(open_max).unwrap_or(i64::MAX).saturating_add(1);
        let mut open: Vec<(SagaId, Timestamp)> = Vec::new();
        for row in self.database.query(sql, (now.0, limit)).await? {
            let id: String = row.get(0)?;
            open.push((id.parse().map_err(|why| bad(&id, why))?, Timestamp(row.get(1)?)));
        }
        let until = open.get(open_max).map_or(now, |(_, started_at)| *started_at);
        open.retain(|(_, started_at)| *started_at < until);
        let before = until.minus(skew_max);
        let mut definitions: Vec<Name> = Vec::new();
        for row in self.database.query("SELECT name FROM definition GROUP BY name ORDER BY name", ()).await? {
            let name: String = row.get(0)?;
            definitions.push(name.parse().map_err(|why| bad(&name, why))?);
        }
        Ok(Horizon { before, definitions, open: open.into_iter().map(|(id, _)| id).collect() })
    }

    /// Notes what participants have forgotten.
    pub async fn note_swept(&self, swept: &[Swept]) -> Result<(), Error> {
        let sql = "INSERT INTO swept (participant, swept_before) VALUES ($1, $2) ON CONFLICT (participant)
                   DO UPDATE SET swept_before = excluded.swept_before WHERE excluded.swept_before > swept.swept_before";
        let row = |swept: &Swept| vec![Value::from(swept.participant.as_str()), Value::Int(swept.before.0)];
        let open = self.begin().await?;
        open.tx().execute_each(sql, swept.iter().map(row).collect()).await?;
        Ok(open.commit().await?)
    }

    /// No participant of any definition remembers what ended before this moment; none while one of them has never said so.
    pub async fn forgotten(&self) -> Result<Option<Timestamp>, Error> {
        let mut participants: BTreeSet<String> = BTreeSet::new();
        for row in self.database.query("SELECT name, body FROM definition", ()).await? {
            let (name, body): (String, String) = (row.get(0)?, row.get(1)?);
            let definition: Definition =
                Body::parse(&body).and_then(|body| body.read()).map_err(|why| bad(&name, why))?;
            participants.extend(definition.steps.iter().map(|step| step.action.participant.to_string()));
        }
        let mut forgotten: Option<Timestamp> = None;
        for row in self.database.query("SELECT participant, swept_before FROM swept", ()).await? {
            let (participant, before): (String, i64) = (row.get(0)?, row.get(1)?);
            if participants.remove(&participant) {
                forgotten = Some(forgotten.map_or(Timestamp(before), |least| least.min(Timestamp(before))));
            }
        }
        Ok(forgotten.filter(|_| participants.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_horizon_that_would_name_too_many_open_sagas_is_an_earlier_one() {
        let database = sagamore_database::testing::database();
        let store = Store::open(database.clone(), "replies").await.expect("open");
        let open = store.begin().await.expect("begin");
        for (id, started_at) in [("toy:a", 10), ("toy:b", 20), ("toy:c", 30), ("toy:d", 30), ("toy:e", 40)] {
            let sql = "INSERT INTO saga (id, version, hash, reply_partition, status, revision, started_at, changed_at)
                       VALUES ($1, 1, 'h', 0, 'running', 1, $2, $2)";
            open.tx().execute(sql, (id, started_at)).await.expect("insert");
        }
        open.commit().await.expect("commit");
        let check = async |now, skew_ms, open_max, wanted_before, wanted: &[&str]| {
            let horizon = store.horizon(Timestamp(now), Duration::from_millis(skew_ms), open_max).await;
            let Horizon { before, open, .. } = horizon.expect("horizon");
            let open: Vec<&str> = open.iter().map(SagaId::as_str).collect();
            assert_eq!((before, &*open), (Timestamp(wanted_before), wanted));
        };
        check(35, 0, 10, 35, &["toy:a", "toy:b", "toy:c", "toy:d"]).await;
        check(35, 8, 10, 27, &["toy:a", "toy:b", "toy:c", "toy:d"]).await;
        check(35, 0, 3, 30, &["toy:a", "toy:b"]).await;
        check(100, 8, 2, 22, &["toy:a", "toy:b"]).await;
        check(10, 0, 2, 10, &[]).await;
        check(100, 0, 0, 10, &[]).await;
    }
}
