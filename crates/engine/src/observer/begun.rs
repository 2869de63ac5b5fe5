//! Chains that a client begins by an event: the first event is stored with the client's id of it,
//! published, and marked as sent. The client is answered after that.
//!
//! **Invariant:** a repeat of the same id never begins a second chain. The event has one id, for
//! every send. A repeat sends it only if it is not marked as sent, and a resend removes the mark.
//! A crash after the row's commit is repaired by a repeat, or by the observer's next tick.

use std::sync::Arc;
use std::time::Duration;

use sagamore_core::message::Event;
use sagamore_core::plan::Plan;
use sagamore_core::{Body, Direction, Name, SagaId, StepKey, Timestamp, TraceContext};
use sagamore_database::{Row, Statement, Tx, given_row};
use sagamore_transport::wire::{decode_event, encode_event, event_topic};

use super::chains::Chains;
use super::plans::TopicCreator;
use super::rows::bad;
use super::store::Store;
use crate::error::{BeginError, Error};

/// Maximum bytes of the first event's body, as for a service's outbox.
const BODY_BYTES_MAX: usize = 512 * 1024;
/// Maximum bytes of the client's id and of its source.
const ID_BYTES_MAX: usize = 200;
/// The age after which the observer sends an unsent event. The request itself sends younger ones.
const UNSENT_AGE: Duration = Duration::from_secs(10);
/// The pause before an event is sent again that the transport rejects or that cannot be read.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Events per tick that are sent again, and rows per removal.
const PAGE: u32 = 100;
const COLUMNS: &str = "chain, step, service, event, version, body, trace, begun_at, sent";

given_row! {
    /// A beginning.
    struct NewBeginning<'a> {
        source: &'a str,
        id: &'a str,
        chain: &'a str,
        step: &'a str,
        service: &'a str,
        event: &'a str,
        version: u32,
        body: &'a str,
        trace: Option<String>,
        begun_at: i64,
        retry_at: i64,
        sent: bool,
    }
}

static INSERT: Statement<NewBeginning<'_>> = Statement::insert("begun", "ON CONFLICT DO NOTHING");

/// A client's event that begins a chain.
#[derive(Clone, Debug)]
pub struct ChainBeginning {
    /// The client's stable id of the event. With the source it identifies the request.
    pub id: String,
    /// The client.
    pub source: String,
    /// The type of the event: the first event of a plan.
    pub event: Name,
    /// The chain's business key. If `None`, the id is the key.
    pub key: Option<String>,
    /// The plan. `None`: the only one that begins with the event.
    pub plan: Option<Name>,
    /// The version of the plan. `None`: the active one.
    pub version: Option<u32>,
    /// The event's data.
    pub body: Body,
    /// The trace of the request, which the chain continues.
    pub trace: Option<TraceContext>,
}

/// A chain that a client began, now or by an earlier request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BegunChain {
    /// The chain.
    pub id: SagaId,
    /// The version of its plan.
    pub version: u32,
    /// Whether this request began it.
    pub is_new: bool,
}

/// A stored beginning.
struct BegunRow {
    event: Event,
    /// The service that begins the chains of the plan.
    service: Name,
    sent: bool,
}

impl Chains {
    /// Returns the plan that a beginning selects, so that its caller can check who may begin it.
    ///
    /// # Errors
    /// No plan fits.
    pub fn plan_of(&self, beginning: &ChainBeginning) -> Result<Arc<Plan>, BeginError> {
        let ChainBeginning { event, plan, version, .. } = beginning;
        self.store.plans.table().select(event, plan.as_ref(), *version)
    }

    /// Starts a chain with this event. A repeated request returns the chain of the first one. The
    /// event is published and durable when this method returns.
    ///
    /// # Errors
    /// No chain was started, unless the variant states otherwise.
    pub async fn begin(&self, beginning: ChainBeginning) -> Result<BegunChain, BeginError> {
        let Ok(_permit) = self.begins.try_acquire() else { return Err(BeginError::Busy) };
        let Some(topics) = &self.topics else { return Err(BeginError::NoTransport) };
        let (begun, is_new) = match self.known(&beginning).await? {
            Some(known) => (known, false),
            None => {
                let new = self.prepare(&beginning).await?;
                self.store.begin(&beginning, new).await?
            }
        };
        if !begun.sent {
            self.store.send_begun(topics, &begun).await?;
        }
        Ok(BegunChain { id: begun.event.key.saga, version: begun.event.version, is_new })
    }

    /// Publishes the first event of a chain again, with the same id. Each service then publishes
    /// the events of its reactions again. Returns the number of events: 0 if no client began the
    /// chain, or if services may have removed their rows of it.
    ///
    /// # Errors
    /// The event may not have been sent. The observer's next tick sends it.
    pub async fn resend(&self, chain: &SagaId) -> Result<usize, Error> {
        // services sweep at different times, so a tenth of the retention is a margin
        let oldest = self.now().await?.minus(self.retention / 10 * 9);
        let Some(begun) = self.store.unmark(chain, oldest).await? else { return Ok(0) };
        if let Some(topics) = &self.topics {
            self.store.send_begun(topics, &begun).await?;
        }
        Ok(1)
    }

    /// Returns the beginning of an earlier request with this id.
    async fn known(&self, beginning: &ChainBeginning) -> Result<Option<BegunRow>, BeginError> {
        let ChainBeginning { id, source, event, key, body, .. } = beginning;
        for (name, text) in [("id", id), ("source", source)] {
            if text.is_empty() || text.len() > ID_BYTES_MAX || text.chars().any(char::is_control) {
                let why = format!("{name}: 1 to {ID_BYTES_MAX} bytes without control characters");
                return Err(BeginError::BadEvent(why));
            }
        }
        let (bytes, bytes_max) = (body.as_str().len(), BODY_BYTES_MAX);
        if bytes > bytes_max {
            return Err(BeginError::TooLarge { bytes, bytes_max });
        }
        let Some(known) = self.store.begun(source, id).await? else { return Ok(None) };
        let is_same = known.event.name == *event
            && key.as_ref().unwrap_or(id) == known.event.key.saga.key()
            && known.is_selected_by(beginning)
            && known.event.body.means_the_same(body);
        match is_same {
            true => Ok(Some(known)),
            false => Err(BeginError::OtherEvent { id: id.clone(), chain: known.event.key.saga }),
        }
    }

    /// Checks a new beginning, and returns its row.
    async fn prepare(&self, beginning: &ChainBeginning) -> Result<BegunRow, BeginError> {
        let ChainBeginning { id, key, event, body, trace, .. } = beginning;
        let plan = self.plan_of(beginning)?;
        let saga = SagaId::new(&plan.name, key.as_ref().unwrap_or(id))?;
        let step = plan.begins.name.clone();
        let event = Event {
            key: StepKey { saga, step, direction: Direction::Action, generation: 1 },
            version: plan.version,
            name: event.clone(),
            causation: None,
            hop: 0,
            at: self.now().await?,
            body: body.clone(),
            trace: trace.clone(),
        };
        let service = plan.begins.service.clone();
        // every consumer of the topic applies this rule
        decode_event(&encode_event(&event, &service))
            .map_err(|why| BeginError::BadEvent(why.to_string()))?;
        Ok(BegunRow { event, service, sent: false })
    }
}

impl BegunRow {
    /// Whether the chain has the plan and the version that the request names, if any.
    fn is_selected_by(&self, ChainBeginning { plan, version, .. }: &ChainBeginning) -> bool {
        let Event { key, version: begun, .. } = &self.event;
        plan.as_ref().is_none_or(|plan| plan.as_str() == key.saga.definition())
            && version.is_none_or(|version| version == *begun)
    }
}

impl Store {
    /// Returns the beginning of this request.
    async fn begun(&self, source: &str, id: &str) -> Result<Option<BegunRow>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM begun WHERE source = $1 AND id = $2");
        let rows = self.database.query(&sql, (source, id)).await?;
        rows.first().map(read).transpose()
    }

    /// Stores a beginning, and returns it with whether it is new. One of the same chain or request
    /// that was stored before is returned instead, if it has the same contents.
    async fn begin(
        &self,
        beginning: &ChainBeginning,
        new: BegunRow,
    ) -> Result<(BegunRow, bool), BeginError> {
        let ChainBeginning { id, source, .. } = beginning;
        let (event, chain) = (&new.event, new.event.key.saga.clone());
        let open = self.database.begin().await.map_err(Error::from)?;
        let tx = open.tx();
        let row = NewBeginning {
            source,
            id,
            chain: chain.as_str(),
            step: event.key.step.as_str(),
            service: new.service.as_str(),
            event: event.name.as_str(),
            version: event.version,
            body: event.body.as_str(),
            trace: event.trace.as_ref().map(ToString::to_string),
            begun_at: event.at.0,
            retry_at: event.at.plus(UNSENT_AGE).0,
            sent: false,
        };
        let is_new = tx.execute_rows(&INSERT, [row]).await.map_err(Error::from)? > 0;
        if is_new {
            // a service may have begun the chain
            let seen = tx.query("SELECT 1 FROM chain WHERE id = $1", (chain.as_str(),)).await;
            if !seen.map_err(Error::from)?.is_empty() {
                open.rollback().await.map_err(Error::from)?;
                return Err(BeginError::OtherBeginning(chain));
            }
            open.commit().await.map_err(Error::from)?;
            return Ok((new, true));
        }
        let known = stored(&tx, chain.as_str(), (source, id)).await?;
        open.rollback().await.map_err(Error::from)?;
        let is_same = known.event.key.saga == chain
            && known.event.name == event.name
            && known.is_selected_by(beginning)
            && known.event.body.means_the_same(&event.body);
        match is_same {
            true => Ok((known, false)),
            false => Err(BeginError::OtherBeginning(known.event.key.saga)),
        }
    }

    /// Publishes a first event, and marks it as sent once it is durable.
    async fn send_begun(
        &self,
        topics: &TopicCreator,
        BegunRow { event, service, .. }: &BegunRow,
    ) -> Result<(), Error> {
        topics.create(&[event_topic(&event.name)]).await?;
        topics.transport.publish(vec![encode_event(event, service)]).await?;
        topics.transport.synced().await?;
        let open = self.database.begin().await?;
        let sql = "UPDATE begun SET sent = TRUE WHERE chain = $1";
        open.tx().execute(sql, (event.key.saga.as_str(),)).await?;
        Ok(open.commit().await?)
    }

    /// Marks a chain's first event as unsent and returns it, unless it is older than `oldest`.
    async fn unmark(&self, chain: &SagaId, oldest: Timestamp) -> Result<Option<BegunRow>, Error> {
        let sql = format!(
            "UPDATE begun SET sent = FALSE WHERE chain = $1 AND begun_at >= $2 RETURNING {COLUMNS}"
        );
        let open = self.database.begin().await?;
        let rows = open.tx().query(&sql, (chain.as_str(), oldest.0)).await?;
        let begun = rows.first().map(read).transpose()?;
        open.commit().await?;
        Ok(begun)
    }

    /// Publishes a page of stored first events whose requests did not. One that cannot be sent is
    /// postponed, so that it holds back no other.
    pub(super) async fn send_unsent(
        &self,
        topics: &TopicCreator,
        now: Timestamp,
    ) -> Result<(), Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM begun WHERE sent = FALSE AND retry_at < $1
             ORDER BY retry_at LIMIT $2"
        );
        let rows = self.database.query(&sql, (now.0, PAGE)).await?;
        let mut postponed: Vec<String> = Vec::new();
        for row in &rows {
            let sent = match read(row) {
                Ok(begun) => self.send_begun(topics, &begun).await,
                Err(error) => Err(error),
            };
            match sent {
                Err(Error::Transport(error)) if error.is_rejection() => {
                    tracing::error!(%error, "cannot send the first event of a chain");
                    postponed.push(row.get("chain")?);
                }
                Err(error) if error.is_of_one_row() => {
                    tracing::error!(%error, "cannot read the first event of a chain");
                    postponed.push(row.get("chain")?);
                }
                sent => sent?,
            }
        }
        if postponed.is_empty() {
            return Ok(());
        }
        let (open, retry_at) = (self.database.begin().await?, now.plus(RETRY_AFTER).0);
        for chain in &postponed {
            let sql = "UPDATE begun SET retry_at = $2 WHERE chain = $1";
            open.tx().execute(sql, (chain.as_str(), retry_at)).await?;
        }
        Ok(open.commit().await?)
    }

    /// Removes a page of old beginnings whose chains are removed.
    pub(super) async fn forget_begun(&self, before: Timestamp) -> Result<(), Error> {
        let old = "SELECT source, id FROM begun WHERE begun_at < $1 AND sent = TRUE
            AND NOT EXISTS (SELECT 1 FROM chain WHERE chain.id = begun.chain)
            ORDER BY begun_at LIMIT $2";
        let rows = self.database.query(old, (before.0, PAGE)).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let open = self.database.begin().await?;
        for row in &rows {
            let (source, id): (String, String) = (row.get("source")?, row.get("id")?);
            let sql = "DELETE FROM begun WHERE source = $1 AND id = $2";
            open.tx().execute(sql, (source, id)).await?;
        }
        Ok(open.commit().await?)
    }
}

async fn stored(tx: &Tx, chain: &str, (source, id): (&str, &str)) -> Result<BegunRow, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM begun WHERE chain = $1
         UNION ALL SELECT {COLUMNS} FROM begun WHERE source = $2 AND id = $3 LIMIT 1"
    );
    let rows = tx.query(&sql, (chain, source, id)).await?;
    read(rows.first().ok_or_else(|| bad(chain, "its beginning was removed"))?)
}

fn read(row: &Row) -> Result<BegunRow, Error> {
    let chain: String = row.get("chain")?;
    let name = |column: &'static str| -> Result<Name, Error> {
        row.get::<String>(column)?.parse().map_err(|why| bad(&chain, why))
    };
    let (version, body): (i64, String) = (row.get("version")?, row.get("body")?);
    let saga: SagaId = chain.parse().map_err(|why| bad(&chain, why))?;
    let key = StepKey { saga, step: name("step")?, direction: Direction::Action, generation: 1 };
    let event = Event {
        key,
        version: u32::try_from(version).map_err(|why| bad(&chain, why))?,
        name: name("event")?,
        causation: None,
        hop: 0,
        at: Timestamp(row.get("begun_at")?),
        body: Body::parse(&body).map_err(|why| bad(&chain, why))?,
        trace: row.get::<Option<String>>("trace")?.and_then(|text| text.parse().ok()),
    };
    Ok(BegunRow { event, service: name("service")?, sent: row.get("sent")? })
}
