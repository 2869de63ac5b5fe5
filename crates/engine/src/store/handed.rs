//! Verbs on sagas of other orchestrators: a row that the owner takes, and answers in the
//! transaction of the outcome.

use std::collections::HashSet;
use std::time::Duration;

use sagamore_core::Timestamp;
use sagamore_core::definition::{Misfit, Misfits};
use sagamore_core::id::SagaId;
use sagamore_core::saga::{IgnoreReason, Input, Rescue, Status};
use sagamore_database::{Row, Statement, Tx, given_row};
use serde::{Deserialize, Serialize};

use super::{Store, bad};
use crate::error::{Error, VerbError};

/// Verbs taken at a time.
const PAGE: u32 = 100;
/// Retention of a verb and its answer.
pub(crate) const RETENTION: Duration = Duration::from_secs(3600);

given_row! {
    /// A verb that is stored for the saga's owner.
    struct StoredVerb<'a> {
        id: &'a str,
        reply_partition: u32,
        saga: &'a str,
        verb: String,
        stored_at: i64,
    }
}

given_row! {
    /// A verb by its id.
    struct VerbId<'a> {
        id: &'a str,
    }
}

given_row! {
    /// A verb's answer.
    struct StoredAnswer<'a> {
        id: &'a str,
        answer: String,
    }
}

static HAND: Statement<StoredVerb<'_>> = Statement::insert("handed", "ON CONFLICT (id) DO NOTHING");

/// Selects verbs without an answer and locks them.
static UNANSWERED: Statement<VerbId<'_>> = Statement::new(
    "SELECT handed.id FROM given, handed WHERE handed.id = given.id AND handed.answer IS NULL
     {FOR UPDATE OF handed}",
);

static ANSWER: Statement<StoredAnswer<'_>> = Statement::new(
    "UPDATE handed SET answer = given.answer FROM given
     WHERE handed.id = given.id AND handed.answer IS NULL",
);

static ANSWERS: Statement<VerbId<'_>> = Statement::new(
    "SELECT handed.id, handed.saga, handed.answer FROM given, handed
     WHERE handed.id = given.id AND handed.answer IS NOT NULL",
);

/// A verb on its way to the saga's owner.
#[derive(Clone, Debug)]
pub(crate) struct HandedVerb {
    /// A unique id.
    pub id: String,
    pub partition: u32,
    pub saga: SagaId,
    pub input: Input,
}

/// A verb as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Verb {
    /// A cancel without a reason.
    Cancel,
    CancelBecause(String),
    Rescue(Rescue),
    Reread,
}

/// An answer as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    Status(Status),
    Ignored(IgnoreReason),
    /// Pointers and details of a manually entered output that does not fit.
    BadOutput(Vec<(String, String)>),
    NotFound,
    Unavailable(String),
}

impl Store {
    /// Stores verbs for the orchestrators that own their sagas.
    pub async fn hand(&self, handed: &[HandedVerb], now: Timestamp) -> Result<(), Error> {
        let open = self.begin().await?;
        let verbs = handed.iter().map(|verb| verb.stored(now)).collect::<Result<Vec<_>, _>>()?;
        open.tx().execute_rows(&HAND, verbs).await?;
        Ok(open.commit().await?)
    }

    /// Reads the unanswered verbs for the owner of these partitions.
    pub async fn handed_to(
        &self,
        partitions: impl Iterator<Item = u32>,
    ) -> Result<Vec<HandedVerb>, Error> {
        let mut handed = Vec::new();
        for partition in partitions {
            let sql = "SELECT id, reply_partition, saga, verb FROM handed
                WHERE answer IS NULL AND reply_partition = $1 ORDER BY stored_at LIMIT $2";
            let rows = self.database.query(sql, (partition, PAGE)).await?;
            for row in &rows {
                match HandedVerb::read(row) {
                    Ok(verb) => handed.push(verb),
                    Err(error) if error.is_of_one_row() => {
                        self.answer_unreadable(row, &error).await?
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(handed)
    }

    /// Answers a verb of a newer program with an error. Its operator gets it at once, and other
    /// verbs proceed.
    async fn answer_unreadable(&self, row: &Row, why: &Error) -> Result<(), Error> {
        let id: String = row.get("id")?;
        tracing::error!(verb = id, %why, "cannot read a handed verb: answered as unknown");
        metrics::counter!("sagamore_unreadable_verbs_total").increment(1);
        let unknown = "the saga's owner runs another version of the program, \
            which does not know this verb";
        self.answer_handed(&[(id, Err(VerbError::Unavailable(unknown.into())))]).await
    }

    /// Returns those of these verbs that have no answer yet, and locks their rows until the end of
    /// the transaction.
    pub async fn unanswered(&self, tx: &Tx, ids: &[&str]) -> Result<HashSet<String>, Error> {
        let mut sorted = ids.to_vec();
        sorted.sort_unstable(); // the same order everywhere: no deadlocks
        let ids = sorted.into_iter().map(|id| VerbId { id });
        let rows = tx.query_row_by_row(&UNANSWERED, ids).await?;
        Ok(rows.iter().flatten().map(|row| row.get("id")).collect::<Result<_, _>>()?)
    }

    /// Answers verbs that changed nothing.
    pub async fn answer_handed(
        &self,
        answers: &[(String, Result<Status, VerbError>)],
    ) -> Result<(), Error> {
        let open = self.begin().await?;
        self.write_answers(&open.tx(), answers).await?;
        Ok(open.commit().await?)
    }

    /// Writes answers in the transaction of their outcome.
    pub async fn write_answers(
        &self,
        tx: &Tx,
        answers: &[(String, Result<Status, VerbError>)],
    ) -> Result<(), Error> {
        let rows = answers.iter().map(|(id, answer)| {
            let answer = serde_json::to_string(&Answer::of(answer)).map_err(|why| bad(id, why))?;
            Ok(StoredAnswer { id, answer })
        });
        let rows = rows.collect::<Result<Vec<_>, Error>>()?;
        tx.execute_row_by_row(&ANSWER, rows).await?;
        Ok(())
    }

    /// Reads the answers to these verbs that exist by now.
    pub async fn answers<'a>(
        &self,
        ids: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<(String, Result<Status, VerbError>)>, Error> {
        let open = self.begin().await?;
        let rows = open.tx().query_rows(&ANSWERS, ids.map(|id| VerbId { id })).await?;
        open.rollback().await?;
        rows.iter().map(read_answer).collect()
    }

    /// Removes verbs stored before this moment: their senders have stopped waiting.
    pub async fn sweep_handed(&self, before: Timestamp) -> Result<(), Error> {
        let open = self.begin().await?;
        open.tx().execute("DELETE FROM handed WHERE stored_at < $1", (before.0,)).await?;
        Ok(open.commit().await?)
    }
}

impl HandedVerb {
    fn stored(&self, now: Timestamp) -> Result<StoredVerb<'_>, Error> {
        let verb = match &self.input {
            Input::Cancel { reason: None } => Verb::Cancel,
            Input::Cancel { reason: Some(reason) } => Verb::CancelBecause(reason.clone()),
            Input::Rescue(rescue) => Verb::Rescue(rescue.clone()),
            Input::Tick => Verb::Reread,
            Input::Start | Input::Reply(_) | Input::SetAside { .. } | Input::Rejected { .. } => {
                return Err(bad(&self.saga, "the input is not a verb"));
            }
        };
        let verb = serde_json::to_string(&verb).map_err(|why| bad(&self.saga, why))?;
        Ok(StoredVerb {
            id: &self.id,
            reply_partition: self.partition,
            saga: self.saga.as_str(),
            verb,
            stored_at: now.0,
        })
    }

    fn read(row: &Row) -> Result<HandedVerb, Error> {
        let (id, saga): (String, String) = (row.get("id")?, row.get("saga")?);
        let verb: String = row.get("verb")?;
        let input = match serde_json::from_str(&verb).map_err(|why| bad(&id, why))? {
            Verb::Cancel => Input::Cancel { reason: None },
            Verb::CancelBecause(reason) => Input::Cancel { reason: Some(reason) },
            Verb::Rescue(rescue) => Input::Rescue(rescue),
            Verb::Reread => Input::Tick,
        };
        let partition =
            u32::try_from(row.get::<i64>("reply_partition")?).map_err(|why| bad(&id, why))?;
        Ok(HandedVerb { partition, saga: saga.parse().map_err(|why| bad(&id, why))?, input, id })
    }
}

impl Answer {
    fn of(answer: &Result<Status, VerbError>) -> Answer {
        match answer {
            Ok(status) => Answer::Status(*status),
            Err(VerbError::Ignored(why)) => Answer::Ignored(*why),
            Err(VerbError::BadOutput(Misfits(misfits))) => Answer::BadOutput(
                misfits.iter().map(|of| (of.pointer.clone(), of.detail.clone())).collect(),
            ),
            Err(VerbError::NotFound(_)) => Answer::NotFound,
            Err(why @ (VerbError::Busy { .. } | VerbError::Unavailable(_))) => {
                Answer::Unavailable(why.to_string())
            }
        }
    }
}

/// Reads an answer. An unreadable answer of a newer program becomes an error which states that the
/// verb was accepted.
fn read_answer(row: &Row) -> Result<(String, Result<Status, VerbError>), Error> {
    let id: String = row.get("id")?;
    let answer = match try_answer(row) {
        Ok(answer) => answer,
        Err(error) if error.is_of_one_row() => {
            tracing::error!(verb = id, why = %error, "cannot read the answer to a handed verb");
            metrics::counter!("sagamore_unreadable_verbs_total").increment(1);
            let why = "the saga's owner runs another version of the program, \
                and its answer cannot be read here; the saga shows the outcome";
            Err(VerbError::Unavailable(why.into()))
        }
        Err(error) => return Err(error),
    };
    Ok((id, answer))
}

fn try_answer(row: &Row) -> Result<Result<Status, VerbError>, Error> {
    let (saga, answer): (String, String) = (row.get("saga")?, row.get("answer")?);
    Ok(match serde_json::from_str(&answer).map_err(|why| bad(&saga, why))? {
        Answer::Status(status) => Ok(status),
        Answer::Ignored(why) => Err(VerbError::Ignored(why)),
        Answer::BadOutput(misfits) => {
            let misfit = |(pointer, detail)| Misfit { pointer, detail };
            Err(VerbError::BadOutput(Misfits(misfits.into_iter().map(misfit).collect())))
        }
        Answer::NotFound => Err(VerbError::NotFound(saga.parse().map_err(|why| bad(&saga, why))?)),
        Answer::Unavailable(why) => Err(VerbError::Unavailable(why)),
    })
}
