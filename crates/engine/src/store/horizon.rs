//! The horizons of the engine's sagas, and the participants' acknowledgements of what they have
//! removed.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_core::definition::Definition;
use sagamore_core::id::{Name, SagaId};
use sagamore_core::message::{Horizon, Swept};
use sagamore_database::{Database, Statement, Value, given_row};

use super::Store;
use super::schema::{LASTING, lasting_ms};
use crate::error::Error;

/// Selects the sagas that a horizon may need to name: open sagas, and long-running sagas that ended
/// at `$2` or later.
const NAMES: &str = concat!(
    "SELECT id, started_at FROM saga WHERE ended_at IS NULL AND started_at < $1
    UNION ALL
    SELECT id, started_at FROM saga WHERE ended_at - started_at > ",
    lasting_ms!(),
    " AND started_at < $1 AND ended_at >= $2
    ORDER BY started_at LIMIT $3"
);

given_row! {
    /// The moment before which a participant has no rows.
    struct SweptParticipant<'a> {
        participant: &'a str,
        swept_before: i64,
    }
}

static NOTE_SWEPT: Statement<SweptParticipant<'_>> = Statement::insert(
    "swept",
    "ON CONFLICT (participant) DO UPDATE SET swept_before = excluded.swept_before
     WHERE excluded.swept_before > swept.swept_before",
);

/// The moments before which participants have no rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SweptRows {
    /// The moment that each participant of a stored definition reported; `None` before its first
    /// report.
    pub participants: BTreeMap<String, Option<Timestamp>>,
    /// The earliest moment of the participants of a definition, by the hash of its contents. Not
    /// of contents that are unreadable, nor of those with a participant that never reported.
    pub of_contents: HashMap<String, Timestamp>,
}

impl Store {
    /// Builds a horizon: all sagas that started before `started_before` ended before
    /// `ended_before`, except those named.
    ///
    /// The cutoff precedes `ended_before` by [`LASTING`], so that only open or long sagas need
    /// names. It is earlier still if there are more than `names_max`. `started_before` precedes it
    /// by `skew_max`, the difference of the participants' clocks: rows stamped earlier belong to
    /// sagas that started before the cutoff.
    pub async fn horizon(
        &self,
        ended_before: Timestamp,
        skew_max: Duration,
        names_max: usize,
    ) -> Result<Horizon, Error> {
        let (until, but) = named(&self.database, NAMES, ended_before, names_max, None).await?;
        let definitions = self.definition_names().await?;
        let (started_before, started_from) = (until.minus(skew_max), None);
        Ok(Horizon { started_before, ended_before, started_from, definitions, but })
    }

    /// Returns the names of all definitions.
    pub async fn definition_names(&self) -> Result<Vec<Name>, Error> {
        let rows = self
            .database
            .query("SELECT name FROM definition GROUP BY name ORDER BY name", ())
            .await?;
        let mut names = Vec::with_capacity(rows.len());
        for row in &rows {
            let name: String = row.get("name")?;
            match name.parse() {
                Ok(name) => names.push(name),
                // skipped: participants then retain the rows of its sagas
                Err(why) => {
                    tracing::warn!(definition = name, %why, "cannot read a definition's name")
                }
            }
        }
        Ok(names)
    }

    /// Records the moments up to which participants have removed their rows.
    pub async fn note_swept(&self, swept: &[Swept]) -> Result<(), Error> {
        let rows = swept.iter().map(|swept| SweptParticipant {
            participant: swept.participant.as_str(),
            swept_before: swept.before.0,
        });
        let open = self.begin().await?;
        // one after another: a participant may be among them twice
        open.tx().execute_row_by_row(&NOTE_SWEPT, rows).await?;
        Ok(open.commit().await?)
    }

    /// Returns the moments before which the participants of all stored definitions have no rows.
    pub async fn swept(&self) -> Result<SweptRows, Error> {
        let mut reported: BTreeMap<String, Timestamp> = BTreeMap::new();
        for row in self.database.query("SELECT participant, swept_before FROM swept", ()).await? {
            reported.insert(row.get("participant")?, Timestamp(row.get("swept_before")?));
        }
        let mut swept = SweptRows::default();
        let bodies = "SELECT name, hash, body FROM definition WHERE body <> ''
            UNION ALL SELECT name, hash, body FROM former_definition";
        for row in self.database.query(bodies, ()).await? {
            let (name, body): (String, String) = (row.get("name")?, row.get("body")?);
            let definition: Definition = match serde_json::from_str(&body) {
                Ok(definition) => definition,
                Err(why) => {
                    tracing::warn!(definition = name, %why, "cannot read a definition");
                    continue;
                }
            };
            let mut earliest = Some(Timestamp(i64::MAX));
            for step in &definition.steps {
                let participant = step.action.participant.as_str();
                let before = reported.get(participant).copied();
                earliest = earliest.zip(before).map(|(earliest, before)| earliest.min(before));
                swept.participants.insert(participant.to_owned(), before);
            }
            if let Some(earliest) = earliest {
                swept.of_contents.insert(row.get("hash")?, earliest);
            }
        }
        Ok(swept)
    }
}

/// Finds the latest cutoff that leaves at most `names_max` unfinished sagas before it. Returns the
/// cutoff and those sagas.
///
/// `sql` selects `id` and `started_at` of sagas, in the order of their start. Its parameters: `$1` the latest start, `$2` the
/// earliest end, `$3` the row limit, `$4` `known_since` if given.
pub(crate) async fn named(
    database: &Database,
    sql: &str,
    ended_before: Timestamp,
    names_max: usize,
    known_since: Option<Timestamp>,
) -> Result<(Timestamp, Vec<SagaId>), Error> {
    let until = ended_before.minus(LASTING);
    let limit = i64::try_from(names_max).unwrap_or(i64::MAX).saturating_add(1);
    let (mut names, mut known_until): (Vec<(SagaId, Timestamp)>, Option<Timestamp>) =
        Default::default();
    let mut parameters = vec![Value::Int(until.0), Value::Int(ended_before.0), Value::Int(limit)];
    parameters.extend(known_since.map(|known_since| Value::Int(known_since.0)));
    for row in database.query(sql, parameters).await? {
        let (id, started_at): (String, i64) = (row.get("id")?, row.get("started_at")?);
        match id.parse() {
            Ok(id) => names.push((id, Timestamp(started_at))),
            Err(why) => {
                tracing::warn!(saga = id, %why, "cannot read a saga's id: the horizon is earlier");
                // rows ascend by start: the first one is the oldest
                known_until = known_until.or(Some(Timestamp(started_at)));
            }
        }
    }
    let until = names.get(names_max).map_or(until, |(_, started_at)| *started_at);
    let until = known_until.map_or(until, |known_until| known_until.min(until));
    names.retain(|(_, started_at)| *started_at < until);
    Ok((until, names.into_iter().map(|(id, _)| id).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The minimum length of an ended saga that a horizon names.
    const DAY: i64 = 24 * 3600 * 1_000;

    async fn store(sagas: &[(&str, i64, Option<i64>)]) -> Store {
        let store =
            Store::open(sagamore_database::testing::database(), "replies").await.expect("open");
        let open = store.begin().await.expect("begin");
        for (id, started_at, ended_at) in sagas {
            let sql = "INSERT INTO saga (id, version, hash, reply_partition, status, revision,
                started_at, changed_at, ended_at)
                VALUES ($1, 1, 'h', 0, 'running', 1, $2, $2, $3)";
            open.tx().execute(sql, (*id, *started_at, *ended_at)).await.expect("insert");
        }
        open.commit().await.expect("commit");
        store
    }

    async fn horizon_of(
        store: &Store,
        ended_before: i64,
        skew_ms: u64,
        names_max: usize,
    ) -> (i64, Vec<String>) {
        let horizon =
            store.horizon(Timestamp(ended_before), Duration::from_millis(skew_ms), names_max).await;
        let Horizon { started_before, but, .. } = horizon.expect("horizon");
        (started_before.0, but.iter().map(SagaId::to_string).collect())
    }

    #[tokio::test]
    async fn a_horizon_with_too_many_names_is_an_earlier_one() {
        let open = [("toy:a", 10), ("toy:b", 20), ("toy:c", 30), ("toy:d", 30), ("toy:e", 40)];
        let store = store(&open.map(|(id, started_at)| (id, started_at, None))).await;
        let check = async |until, skew_ms, names_max, wanted_before, wanted: &[&str]| {
            let (before, names) = horizon_of(&store, until + DAY, skew_ms, names_max).await;
            assert_eq!(
                (before, &*names),
                (wanted_before, &*wanted.iter().map(ToString::to_string).collect::<Vec<_>>())
            );
        };
        check(35, 0, 10, 35, &["toy:a", "toy:b", "toy:c", "toy:d"]).await;
        check(35, 8, 10, 27, &["toy:a", "toy:b", "toy:c", "toy:d"]).await;
        check(35, 0, 3, 30, &["toy:a", "toy:b"]).await;
        check(100, 8, 2, 22, &["toy:a", "toy:b"]).await;
        check(10, 0, 2, 10, &[]).await;
        check(100, 0, 0, 10, &[]).await;
    }

    /// Its last command is not older than its end, however old its first row is.
    #[tokio::test]
    async fn a_recently_ended_saga_is_named_however_long_ago_it_started() {
        let ended_before = 100 * DAY;
        let store = store(&[
            ("toy:long-ago", 10, Some(ended_before - 1)),
            ("toy:just-then", 10, Some(ended_before)),
            ("toy:later", 20, Some(ended_before + DAY)),
            ("toy:quick", ended_before - DAY - 1, Some(ended_before - DAY)),
            ("toy:young", ended_before - DAY, Some(ended_before + 5)),
        ])
        .await;
        let named = horizon_of(&store, ended_before, 0, 10).await;
        assert_eq!(
            named,
            (ended_before - DAY, vec!["toy:just-then".to_owned(), "toy:later".to_owned()])
        );
    }

    #[tokio::test]
    async fn an_unreadable_definition_retains_its_own_rows_without_an_error() {
        let store = store(&[]).await;
        let open = store.begin().await.expect("begin");
        let sql = "INSERT INTO definition (name, version, hash, body)
            VALUES ('toy', 9, 'h', '{\"steps\": \"of a newer sort\"}')";
        open.tx().execute(sql, ()).await.expect("insert");
        open.commit().await.expect("commit");
        assert_eq!(store.swept().await.expect("no error"), SweptRows::default());
    }
}
