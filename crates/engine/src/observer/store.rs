//! The observer's tables: one row per chain, and each event once. A chain's status is the fold of
//! its events, and its row is derived from it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::message::Event;
use sagamore_core::plan::{Chain, Plan, Role};
use sagamore_core::{Direction, Name, SagaId, StepKey, Timestamp};
use sagamore_database::{Database, Error as DatabaseError, Row, Statement, Tx, lifetime};

use sagamore_transport::Delivery;
use sagamore_transport::wire::event_topic;

use super::plans::{self, HashedPlan, PlanRegistry};
use super::positions::{ReadRange, record_positions};
use super::rows::{ChainHeader, ChainRow, Observed, StoredEvents, alarm, version_of};
use super::schema::MIGRATIONS;
use super::statements::{
    BEGIN, BEGINNING_BYTES, ChainId, ChainSeq, DueChain, EVENT, EVENTS, EVENTS_BARE, FOLDED, Fold,
    HOLD, MAKE_DUE_AT, NewChain, NewEvent, POSTPONE, PostponedChain, events_of_one,
};
use super::status::{ChainStatus, status};
use crate::announcements::ANNOUNCEMENT_MIGRATIONS;
use crate::error::Error;
use crate::store::{Clauses, Filter, LIMIT, LIMIT_MAX, PROGRAM_VERSION};
use crate::turn::Pace;

/// The interval between checks for overdue chains.
pub(super) const TICK: Duration = Duration::from_millis(500);
/// A resolved chain counts as such until its next event. Older programs only clear `ended_at` then.
pub(super) const STATUS: &str =
    "CASE WHEN resolved_at IS NOT NULL AND ended_at IS NOT NULL THEN 'resolved'
        ELSE status END AS status";
/// The columns of [`ChainHeader`] beside [`STATUS`].
const HEADER: &str = "seq, id, version, hash, begun_at, changed_at, ended_at, failed_at,
    CASE WHEN resolved_at IS NOT NULL AND ended_at IS NOT NULL THEN resolved_because
        ELSE why END AS why";
/// The time after which an unreadable row is due again: a newer observer may be able to read it.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(600);
/// Maximum overdue chains per transaction.
const LATE_MAX: usize = 500;
/// Maximum bytes of first events read at once.
const BEGINNING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Makes chains of a formerly unknown version due again, a page at a time. (`;` follows `:` in byte
/// order.)
const MAKE_DUE: &str = "
    UPDATE chain SET due_at = begun_at WHERE seq IN (
        SELECT seq FROM chain WHERE status = 'unknown-version' AND due_at IS NULL
            AND resolved_at IS NULL AND version = $1 AND id > $2 AND id < $3
        ORDER BY seq LIMIT 500)";

/// A chain with its status by the latest fold.
pub(crate) struct FoldedChain {
    pub id: SagaId,
    pub status: ChainStatus,
    pub chain: Chain,
    version: u32,
    observed: Vec<Observed>,
}

/// Whether a chain may be called overdue. It requires that all events are consumed: an unread one
/// may be what the chain waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OverdueCheck {
    Included,
    Skipped,
}

/// The observer's database. Clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    pub(super) database: Database,
    pub(super) plans: PlanRegistry,
    /// Whether stuck chains stay due until their overdue event is seen.
    tells_overdue: bool,
}

impl FoldedChain {
    /// Builds the plan's overdue event, with the body of the chain's first event. `None`: the plan
    /// has no such event, it was seen already, or the first event was not.
    pub fn overdue(&self) -> Option<Event> {
        let name = self.chain.plan()?.overdue.clone().filter(|_| self.chain.lacks_overdue())?;
        let begun = self.observed.iter().find(|observed| observed.seen.causation.is_none())?;
        let allowed = Duration::from_millis(self.chain.plan()?.deadline_ms?);
        let key = StepKey {
            saga: self.id.clone(),
            step: name.clone(),
            direction: Direction::Action,
            generation: 1,
        };
        Some(Event {
            key,
            version: self.version,
            name,
            causation: Some(begun.seen.id.clone()),
            hop: begun.seen.hop.saturating_add(1),
            // deterministic: every repetition of the event is identical
            at: begun.seen.at.plus(allowed),
            body: begun.body.clone(),
            trace: begun.trace.clone(),
        })
    }
}

impl Store {
    /// Migrates the tables. `plans` are those of a reader, which are not stored.
    pub async fn open(database: Database, plans: Vec<Plan>) -> Result<Store, Error> {
        database.migrate("observer", MIGRATIONS, PROGRAM_VERSION).await?;
        database.migrate("lifetime", lifetime::MIGRATIONS, PROGRAM_VERSION).await?;
        database.migrate("announcement", ANNOUNCEMENT_MIGRATIONS, PROGRAM_VERSION).await?;
        let plans = PlanRegistry::open(&database, plans).await?;
        Ok(Store { database, plans, tells_overdue: false })
    }

    /// Makes stuck chains stay due until their overdue event is seen.
    pub fn enable_overdue(&mut self) {
        self.tells_overdue = true;
    }

    /// Makes a page of stuck chains due again. Returns whether there may be more.
    pub async fn make_stuck_due(&self) -> Result<bool, Error> {
        let again = "UPDATE chain SET due_at = begun_at WHERE seq IN (
            SELECT seq FROM chain WHERE status = 'stuck' AND due_at IS NULL AND resolved_at IS NULL ORDER BY seq LIMIT 500)";
        let open = self.database.begin().await?;
        let rows = open.tx().execute(again, ()).await?;
        open.commit().await?;
        Ok(rows > 0)
    }

    /// Returns the topics of all plans.
    pub fn topics(&self) -> Vec<Arc<str>> {
        self.events().iter().map(event_topic).collect()
    }

    /// Returns the events of all plans.
    pub fn events(&self) -> Vec<Name> {
        let table = self.plans.table();
        let mut events: Vec<Name> = table.all().flat_map(|plan| plans::events(plan)).collect();
        events.sort();
        events.dedup();
        events
    }

    /// Whether any of these is an overdue event.
    pub fn has_deadlines(&self, taken: &[Delivery]) -> bool {
        let table = self.plans.table();
        let deadlines: Vec<_> =
            table.all().filter_map(|plan| plan.overdue.as_ref()).map(event_topic).collect();
        taken.iter().any(|delivery| deadlines.contains(&delivery.record.topic))
    }

    /// Stores new events and updates their chains, in seven round trips.
    pub async fn store_events(
        &self,
        chains: &BTreeMap<SagaId, Vec<Observed>>,
        read: Vec<ReadRange>,
        now: Timestamp,
    ) -> Result<Vec<FoldedChain>, Error> {
        let chains = &self.of_their_reactions(chains);
        let open = self.database.begin().await?;
        let tx = open.tx();
        record_positions(&tx, read, now).await?;
        let new = chains.iter().map(|(id, observed)| NewChain {
            id: id.as_str(),
            version: version_of(observed),
            status: ChainStatus::Running.as_str(),
            begun_at: now.0,
            changed_at: now.0,
        });
        tx.execute_rows(&BEGIN, new).await?;
        let mut rows: HashMap<String, Row> = HashMap::new();
        for row in tx.query_rows(&HOLD, chains.keys().map(|id| ChainId { id: id.as_str() })).await?
        {
            rows.insert(row.get("id")?, row);
        }
        let forgotten =
            |id: &SagaId| DatabaseError::Conflict(format!("chain {id} was just removed"));
        let known =
            |id: &SagaId| ChainRow::read(rows.get(id.as_str()).ok_or_else(|| forgotten(id))?);
        let mut known = chains.keys().map(known).collect::<Result<Vec<_>, Error>>()?;
        self.adopt_versions(&tx, &mut known, chains).await?;
        let events = known.iter().zip(chains.values()).flat_map(|(known, observed)| {
            observed.iter().filter(|observed| known.is_of_its_version(observed)).map(
                move |Observed { seen, body, trace, .. }| NewEvent {
                    chain: known.seq,
                    id: &seen.id,
                    name: seen.name.as_str(),
                    causation: seen.causation.clone(),
                    hop: seen.hop,
                    told_at: seen.at.0,
                    body: body.as_str(),
                    seen_at: seen.seen_at.0,
                    trace: trace.as_ref().map(ToString::to_string),
                },
            )
        });
        let new = tx.query_rows(&EVENT, events).await?;
        let new = new.iter().map(|row| row.get("chain")).collect::<Result<HashSet<i64>, _>>()?;
        // a redelivered event changes nothing, but an older program may not have known the chain's
        // version
        known.retain(|known| {
            new.contains(&known.seq) || known.status == ChainStatus::UnknownVersion
        });
        let folded = self.fold(&tx, &known, now, OverdueCheck::Skipped).await?;
        open.commit().await?;
        Ok(folded)
    }

    /// Folds the chains that are due at `read_until` again and returns them. All events before
    /// `read_until` must be stored.
    pub async fn find_overdue(
        &self,
        read_until: Timestamp,
        pace: Pace,
    ) -> Result<Vec<FoldedChain>, Error> {
        // skip chains that another observer is updating: the next check sees its events
        let due = self.database.dialect().text(
            "SELECT seq, id, version, hash, resolved_events, status FROM chain
             WHERE due_at <= $1 ORDER BY due_at LIMIT $2 {FOR UPDATE SKIP LOCKED}",
        );
        let open = self.database.begin().await?;
        let limit = i64::try_from(pace.inputs(LATE_MAX)).unwrap_or(i64::MAX);
        let rows = open.tx().query(&due, (read_until.0, limit)).await?;
        let known = self.readable(&open.tx(), &rows, read_until).await?;
        let known = self.within(&open.tx(), known).await?;
        let late = self.fold(&open.tx(), &known, read_until, OverdueCheck::Included).await?;
        open.commit().await?;
        Ok(late)
    }

    /// Returns the readable rows. The others become due again later, so that they do not block any.
    async fn readable(
        &self,
        tx: &Tx,
        rows: &[Row],
        now: Timestamp,
    ) -> Result<Vec<ChainRow>, Error> {
        let (mut known, mut aside) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            match ChainRow::read(row) {
                Ok(chain) => known.push(chain),
                Err(error) if error.is_of_one_row() => {
                    alarm("a chain", &error);
                    let due_at = now.plus(UNREADABLE_PAUSE).0;
                    aside.push(DueChain { seq: row.get("seq")?, due_at });
                }
                Err(error) => return Err(error),
            }
        }
        tx.execute_rows(&MAKE_DUE_AT, aside).await?;
        Ok(known)
    }

    /// Truncates to chains whose first events fit into the limit, at least one. The others stay
    /// due.
    async fn within(&self, tx: &Tx, mut known: Vec<ChainRow>) -> Result<Vec<ChainRow>, Error> {
        if !self.tells_overdue {
            return Ok(known); // no body is read
        }
        let mut of_chain: HashMap<i64, usize> = HashMap::new();
        let seqs = known.iter().map(|known| ChainSeq { seq: known.seq });
        for row in tx.query_rows(&BEGINNING_BYTES, seqs).await? {
            *of_chain.entry(row.get("chain")?).or_default() +=
                usize::try_from(row.get::<i64>("bytes")?).unwrap_or(usize::MAX);
        }
        let mut bytes = 0_usize;
        let fits = |known: &&ChainRow| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(of_chain.get(&known.seq).copied().unwrap_or_default());
            is_first || bytes <= BEGINNING_BYTES_MAX
        };
        let count = known.iter().take_while(fits).count();
        known.truncate(count);
        Ok(known)
    }

    /// Makes these chains due again at `at`, and stores the reason.
    pub async fn put_off(&self, chains: &[(&SagaId, String)], at: Timestamp) -> Result<(), Error> {
        if chains.is_empty() {
            return Ok(());
        }
        let rows =
            chains.iter().map(|(id, why)| PostponedChain { id: id.as_str(), why, due_at: at.0 });
        let open = self.database.begin().await?;
        open.tx().execute_rows(&POSTPONE, rows).await?;
        Ok(open.commit().await?)
    }

    /// Whether any chain is due by then.
    pub async fn is_any_due(&self, by: Timestamp) -> Result<bool, Error> {
        let due = "SELECT seq FROM chain WHERE due_at <= $1 ORDER BY due_at LIMIT 1";
        Ok(!self.database.query(due, (by.0,)).await?.is_empty())
    }

    async fn fold(
        &self,
        tx: &Tx,
        known: &[ChainRow],
        now: Timestamp,
        late: OverdueCheck,
    ) -> Result<Vec<FoldedChain>, Error> {
        let (moment, changed_at) = match late {
            OverdueCheck::Included => (now, None),
            OverdueCheck::Skipped => (Timestamp(i64::MIN), Some(now.0)),
        };
        let statement = if late == OverdueCheck::Included && self.tells_overdue {
            &EVENTS
        } else {
            &EVENTS_BARE
        };
        let events = self.read_events(tx, statement, known.iter().map(|known| known.seq)).await?;
        let mut folded = Vec::with_capacity(known.len());
        let rows = known.iter().zip(events).map(|(known, observed)| {
            let ChainRow { seq, id, version, hash, resolved_events, .. } = known;
            let StoredEvents { events: observed, unreadable } = observed;
            let is_unreadable = unreadable.is_some();
            let plan = self.plan(id, (*version, hash.as_deref()));
            let hash = plan.as_ref().map(|plan| plan.hash.to_string());
            let chain = chain_of(plan, *version, &observed);
            let (by_events, why) = match unreadable {
                None => status(&chain.state(moment)),
                unreadable => (ChainStatus::UnknownVersion, unreadable),
            };
            // no event was added since the chain was resolved
            let resolved = resolved_events.is_some_and(|events| events as usize == observed.len());
            let status = if resolved { ChainStatus::Resolved } else { by_events };
            let ended_at = status.is_over().then_some(now.0);
            // a stuck chain stays due until its overdue event is seen
            let untold =
                self.tells_overdue && status == ChainStatus::Stuck && chain.lacks_overdue();
            // an overdue chain without an overdue event needs no further check, and must not crowd
            // out others
            let due_at = match chain.deadline().filter(|_| ended_at.is_none()) {
                Some(_) if untold => Some(now.plus(TICK).0),
                _ if is_unreadable => Some(now.plus(UNREADABLE_PAUSE).0),
                deadline => {
                    deadline.filter(|deadline| *deadline > moment).map(|deadline| deadline.0)
                }
            };
            // a service's clock may be ahead, but a chain cannot start after it was seen
            let begun_at = observed
                .iter()
                .map(|observed| observed.seen.at.min(observed.seen.seen_at).0)
                .min()
                .unwrap_or(now.0);
            let headless = observed.iter().all(|observed| observed.seen.causation.is_some());
            let headless_at =
                observed.iter().map(|observed| observed.seen.at.0).max().filter(|_| headless);
            let failed_at = failed_at(&chain).map(|name| name.to_string());
            folded.push(FoldedChain { id: id.clone(), status, chain, version: *version, observed });
            Fold {
                seq: *seq,
                status: by_events.as_str(),
                why,
                begun_at,
                ended_at,
                due_at,
                failed_at,
                headless_at,
                resolved,
                changed_at,
                hash,
            }
        });
        let rows: Vec<Fold> = rows.collect();
        tx.execute_rows(&FOLDED, rows).await?;
        Ok(folded)
    }

    async fn read_events(
        &self,
        tx: &Tx,
        statement: &Statement<ChainSeq>,
        seqs: impl Iterator<Item = i64>,
    ) -> Result<Vec<StoredEvents>, Error> {
        let seqs: Vec<i64> = seqs.collect();
        let mut of_chain: HashMap<i64, Vec<Row>> = HashMap::new();
        for row in tx.query_rows(statement, seqs.iter().map(|seq| ChainSeq { seq: *seq })).await? {
            of_chain.entry(row.get("chain")?).or_default().push(row);
        }
        seqs.iter()
            .map(|seq| StoredEvents::read(of_chain.remove(seq).unwrap_or_default().iter()))
            .collect()
    }

    /// Folds a chain from its events, by the plan with this hash, or else of this version.
    pub fn chain(
        &self,
        id: &SagaId,
        (version, hash): (u32, Option<&str>),
        observed: &[Observed],
    ) -> Chain {
        chain_of(self.plan(id, (version, hash)), version, observed)
    }

    /// Returns the plan of a chain, if it is known.
    fn plan(&self, id: &SagaId, (version, hash): (u32, Option<&str>)) -> Option<HashedPlan> {
        let (name, table) = (Name::new(id.definition()), self.plans.table());
        name.ok().and_then(|name| table.plan(&name, version, hash).cloned())
    }

    /// Reads a chain's status. `None`: no event of it was seen.
    pub async fn status(&self, id: &SagaId) -> Result<Option<ChainStatus>, Error> {
        let rows = self
            .database
            .query(&format!("SELECT {STATUS} FROM chain WHERE id = $1"), (id.as_str(),))
            .await?;
        rows.first().map(|row| Ok(ChainStatus::stored(&row.get::<String>("status")?))).transpose()
    }

    /// Reads a chain with its events, as of the last commit.
    pub async fn show(&self, id: &SagaId) -> Result<Option<(ChainHeader, Vec<Observed>)>, Error> {
        let rows = self
            .database
            .query(&format!("SELECT {HEADER}, {STATUS} FROM chain WHERE id = $1"), (id.as_str(),))
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let header = ChainHeader::read(row)?;
        let events = self.database.query(&events_of_one(), (header.seq,)).await?;
        // the header reports unreadable events
        let StoredEvents { events, .. } = StoredEvents::read(events.iter())?;
        Ok(Some((header, events)))
    }

    /// Lists chains, newest first.
    pub async fn list(&self, filter: &Filter<ChainStatus>) -> Result<Vec<ChainHeader>, Error> {
        let limit = filter.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
        let mut clauses = Clauses::of(filter, &self.plan_names());
        match filter.status {
            Some(ChainStatus::Resolved) => {
                clauses.add_fixed("resolved_at IS NOT NULL AND ended_at IS NOT NULL")
            }
            Some(status) => {
                clauses.add("status = ?", status.as_str().into());
                clauses.add_fixed("(resolved_at IS NULL OR ended_at IS NULL)");
            }
            None => {}
        }
        let condition = clauses.condition();
        let sql = format!(
            "SELECT {HEADER}, {STATUS} FROM chain WHERE {condition} ORDER BY {} LIMIT {limit}",
            filter.order()
        );
        let rows = self.database.query(&sql, clauses.values).await?;
        let mut headers = Vec::with_capacity(rows.len());
        for row in &rows {
            match ChainHeader::read(row) {
                Ok(header) => headers.push(header),
                Err(error) if error.is_of_one_row() => alarm("a chain", &error),
                Err(error) => return Err(error),
            }
        }
        Ok(headers)
    }

    /// Makes a page of this plan's chains of unknown version due again. Returns whether there may
    /// be more.
    pub async fn make_due(&self, plan: &Plan) -> Result<bool, Error> {
        let (from, to) = (format!("{}:", plan.name), format!("{};", plan.name));
        let open = self.database.begin().await?;
        let rows = open.tx().execute(MAKE_DUE, (plan.version, from, to)).await?;
        open.commit().await?;
        Ok(rows > 0)
    }
}

/// Folds a chain from its events by this plan.
fn chain_of(plan: Option<HashedPlan>, version: u32, observed: &[Observed]) -> Chain {
    let known = plan.map(|known| Chain::new(known.plan));
    let mut chain = known.unwrap_or_else(|| Chain::of_unknown_version(version));
    observed.iter().for_each(|observed| {
        chain.take(observed.seen.clone());
    });
    chain
}

/// Returns the service that emitted the failure.
fn failed_at(chain: &Chain) -> Option<Name> {
    let plan = chain.plan()?;
    let mut failures = chain.seen().iter().filter_map(|seen| match plan.emitter(&seen.name)? {
        (part, Role::Failure) => Some(part.service.clone()),
        _ => None,
    });
    failures.next()
}
