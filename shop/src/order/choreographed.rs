//! The order service in a choreography: an order that is placed begins a chain, and stands or falls with it.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;
use sagamore::core::{SagaId, TraceContext};
use sagamore::database::Value;
use sagamore::sdk::{
    ChainStart, Database, Decided, Fault, GroupCommit, Never, Outbox, Reaction, Service, StartOutcome, Timestamp, Tx,
    Wanted, done, on, refused,
};
use tokio::sync::Semaphore;

use super::domain::{self, MIGRATIONS, Rejected};
use super::messages::{Confirm, Create};
use crate::choreography::{
    self, InventoryFailed, OrderCancelled, OrderConfirmed, OrderCreated, PaymentFailed, ShippingFailed,
    ShippingScheduled,
};
use crate::form::Order;

/// The reaction by which the service begins a chain.
const CREATE: &str = "create";

/// Orders in one transaction.
const PLACED_MAX: usize = 500;
/// Orders that are placed alone at the same time: the service has other uses for its connections.
const ALONE_MAX: usize = 3;

/// The service, ready to take part.
pub fn service() -> Service {
    Service::named(super::SERVICE)
        .migrations(MIGRATIONS)
        .reaction(
            Reaction::named(CREATE)
                .begins::<OrderCreated>()
                .undone_by(cancel, on::<(PaymentFailed, InventoryFailed, ShippingFailed)>().says::<OrderCancelled>()),
        )
        .reaction(Reaction::named("confirm").to(on_shipping_scheduled))
        .keyed_by(|order: &OrderCreated| &order.order_id)
        .keyed_by(|scheduled: &ShippingScheduled| &scheduled.order_id)
}

/// A request to place an order.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The order.
    pub order: Order,
    /// The client's own key for the request, if it gave one: it belongs to this order alone.
    pub key: Option<String>,
    /// When, by the clock of the service's database.
    pub at: Timestamp,
    /// The trace of the request. The chain's events continue it.
    pub trace: Option<TraceContext>,
}

impl Placement {
    /// A request without a key of its own and without a trace.
    pub fn new(order: Order, at: Timestamp) -> Placement {
        Placement { order, key: None, at, trace: None }
    }
}

/// Where orders come in: those that come together are placed together.
#[derive(Clone)]
pub struct Placing {
    batches: GroupCommit<Placement, Decided<StartOutcome, Rejected>>,
    outbox: Outbox,
}

type Asked = Wanted<Placement, Decided<StartOutcome, Rejected>>;

impl Placing {
    /// Begins, as a task of the current runtime.
    pub fn begin(database: Database, outbox: Outbox) -> Placing {
        let (alone, placing) = (Arc::new(Alone::default()), outbox.clone());
        let batches = GroupCommit::of(PLACED_MAX, move |batch: Vec<Asked>| {
            let (database, outbox, alone) = (database.clone(), outbox.clone(), alone.clone());
            async move {
                let placements: Vec<&Placement> = batch.iter().map(|asked| &asked.what).collect();
                let new = place_new(&database, &outbox, &placements).await;
                for (index, asked) in batch.into_iter().enumerate() {
                    match answer_to(&new, index) {
                        Some(answer) => asked.answer(answer),
                        None => alone.place(&database, &outbox, asked),
                    }
                }
            }
        });
        Placing { batches, outbox: placing }
    }

    /// As [`place`], at the present time of the service's database.
    pub async fn place(&self, order: Order) -> Decided<StartOutcome, Rejected> {
        self.place_by(order, None, None).await
    }

    /// The same with the client's own key for the request, which is stored with the order, and the request's trace.
    pub async fn place_by(
        &self,
        order: Order,
        key: Option<String>,
        trace: Option<TraceContext>,
    ) -> Decided<StartOutcome, Rejected> {
        let at = self.outbox.now().await?;
        self.batches.ask(Placement { order, key, at, trace }).await?
    }
}

/// Orders that are not plainly new, beside the batches: who has to wait for somebody holds up none of those.
struct Alone {
    wait: Arc<Semaphore>,
    work: Arc<Semaphore>,
}

impl Default for Alone {
    fn default() -> Alone {
        Alone { wait: Arc::new(Semaphore::new(PLACED_MAX)), work: Arc::new(Semaphore::new(ALONE_MAX)) }
    }
}

impl Alone {
    fn place(&self, database: &Database, outbox: &Outbox, asked: Asked) {
        let Ok(waits) = Arc::clone(&self.wait).try_acquire_owned() else {
            return asked.answer(Err(Fault::passing("too many orders are looked at one by one: nothing was done")));
        };
        let (database, outbox, work) = (database.clone(), outbox.clone(), Arc::clone(&self.work));
        tokio::spawn(async move {
            let _works = work.acquire().await; // it is never closed
            let placement = asked.what.clone();
            asked.answer(place_alone(&database, &outbox, placement).await);
            drop(waits);
        });
    }
}

/// Places an order: it is there, and its event in the outbox, or neither. One that was placed before as it is, is the same.
/// `Never`: its chain was cancelled before it began, or is over while the order is gone: it never will be there.
pub async fn place(
    database: &Database,
    outbox: &Outbox,
    order: Order,
    now: Timestamp,
) -> Decided<StartOutcome, Rejected> {
    place_alone(database, outbox, Placement::new(order, now)).await
}

/// [`place`] with a key, which is stored in the order's transaction, or with a later request for the same order.
async fn place_alone(database: &Database, outbox: &Outbox, placement: Placement) -> Decided<StartOutcome, Rejected> {
    let Placement { order, key, at, trace } = placement;
    let open = database.begin().await?;
    let known = match &key {
        Some(key) => order_of(&open.tx(), key).await?,
        None => None,
    };
    if known.as_ref().is_some_and(|known| *known != order.order_id) {
        open.rollback().await?;
        return refused(Rejected::KeyUsed);
    }
    let own = key.as_ref().filter(|_| known.is_none());
    let created = match create(open.tx(), &order).await? {
        Ok(created) => created,
        Err(Rejected::OrderExists(taken)) if !is_as_placed(&open.tx(), outbox, &order).await? => {
            open.rollback().await?;
            return refused(if known.is_some() { Rejected::KeyUsed } else { Rejected::OrderExists(taken) });
        }
        Err(Rejected::OrderExists(_)) => {
            match own {
                Some(own) => {
                    store_keys(&open.tx(), vec![(own, &order.order_id)]).await?;
                    open.commit().await?;
                }
                None => open.rollback().await?,
            }
            return done(StartOutcome::Before);
        }
        Err(rejected) => {
            open.rollback().await?; // what it was refused for may not be committed yet
            return refused(rejected);
        }
    };
    if begin(&open.tx(), outbox, &[(created, trace)], at).await? == [StartOutcome::New] {
        store_keys(&open.tx(), own.map(|own| (own, &order.order_id)).into_iter().collect()).await?;
        open.commit().await?;
        outbox.wake();
        return done(StartOutcome::New);
    }
    open.rollback().await?;
    done(StartOutcome::Never)
}

/// Whether the order that has this id was placed just like this one.
async fn is_as_placed(tx: &Tx, outbox: &Outbox, order: &Order) -> Result<bool, Fault> {
    let before: Option<OrderCreated> = outbox.begun(tx, &holder(&order.order_id).parse()?, CREATE).await?;
    let Order { customer_id, lines, ship_to, .. } = order;
    Ok(before
        .is_some_and(|before| (&before.customer_id, &before.lines, &before.ship_to) == (customer_id, lines, ship_to)))
}

/// The order that this idempotency key belongs to.
async fn order_of(tx: &Tx, key: &str) -> Result<Option<String>, Fault> {
    let rows = tx.query("SELECT order_id FROM order_key WHERE key = $1", (key,)).await?;
    Ok(rows.first().map(|row| row.get(0)).transpose()?)
}

/// Stores keys, each with its order. One that another transaction has stored meanwhile breaks the constraint.
async fn store_keys(tx: &Tx, mut keys: Vec<(&String, &String)>) -> Result<(), Fault> {
    if keys.is_empty() {
        return Ok(());
    }
    keys.sort_unstable(); // the same order everywhere: no deadlocks
    let rows = keys.into_iter().map(|(key, order)| vec![Value::from(key), Value::from(order)]).collect();
    tx.execute_each("INSERT INTO order_key (key, order_id) VALUES ($1, $2)", rows).await?;
    Ok(())
}

/// Places orders, each as by [`place`], in their order: the new ones in one transaction.
pub async fn place_each(
    database: &Database,
    outbox: &Outbox,
    orders: Vec<Order>,
    now: Timestamp,
) -> Vec<Decided<StartOutcome, Rejected>> {
    let orders = orders.into_iter().map(|order| Placement::new(order, now));
    let orders: Vec<Placement> = orders.collect();
    let new = place_new(database, outbox, &orders.iter().collect::<Vec<_>>()).await;
    let mut placed = Vec::with_capacity(orders.len());
    for (index, placement) in orders.into_iter().enumerate() {
        placed.push(match answer_to(&new, index) {
            Some(answer) => answer,
            None => place_alone(database, outbox, placement).await,
        });
    }
    placed
}

/// What is told of an order after those that were new have been placed. None: it has to be placed alone.
fn answer_to(new: &Result<HashSet<usize>, Fault>, index: usize) -> Option<Decided<StartOutcome, Rejected>> {
    match new {
        Ok(new) => new.contains(&index).then(|| done(StartOutcome::New)),
        Err(fault) if fault.is_of_a_database_that_is_away() => Some(Err(Fault::passing(fault.to_string()))),
        Err(_) => None, // it has its own fault then, or none
    }
}

/// Places those that are plainly new, all of them or none; gives which they are. A key that is known, or comes twice, is not
/// plainly new.
async fn place_new(database: &Database, outbox: &Outbox, placements: &[&Placement]) -> Result<HashSet<usize>, Fault> {
    let at = placements.iter().map(|placement| placement.at).max().unwrap_or_default();
    let open = database.begin().await?;
    let mut sorted = with_new_keys(&open.tx(), placements).await?;
    // the same order everywhere: no deadlocks
    sorted.sort_by(|(_, one), (_, other)| one.order.order_id.cmp(&other.order.order_id));
    let created = join_all(sorted.iter().map(|(_, placement)| create(open.tx(), &placement.order))).await;
    let (mut new, mut events, mut keys) = (HashSet::new(), Vec::new(), Vec::new());
    for ((index, placement), created) in sorted.iter().zip(created) {
        // one that is refused has written nothing
        if let Ok(event) = created? {
            new.insert(*index);
            events.push((event, placement.trace.clone()));
            keys.extend(placement.key.as_ref().map(|key| (key, &placement.order.order_id)));
        }
    }
    store_keys(&open.tx(), keys).await?;
    let begun = begin(&open.tx(), outbox, &events, at).await?;
    if begun.iter().any(|begun| *begun != StartOutcome::New) {
        open.rollback().await?;
        return Ok(HashSet::new());
    }
    open.commit().await?;
    outbox.wake();
    Ok(new)
}

/// Those without a key, and those whose key no order has and no other of them.
async fn with_new_keys<'a>(tx: &Tx, placements: &[&'a Placement]) -> Result<Vec<(usize, &'a Placement)>, Fault> {
    let numbered = || placements.iter().copied().enumerate();
    let keys: Vec<Vec<Value>> =
        placements.iter().filter_map(|one| Some(vec![Value::from(one.key.as_ref()?)])).collect();
    if keys.is_empty() {
        return Ok(numbered().collect());
    }
    let known = tx.query_each("SELECT key FROM order_key WHERE key = $1", keys).await?;
    let mut taken = known.iter().flatten().map(|row| row.get(0)).collect::<Result<HashSet<String>, _>>()?;
    let is_new =
        |(_, placement): &(usize, &Placement)| placement.key.as_ref().is_none_or(|key| taken.insert(key.clone()));
    Ok(numbered().filter(is_new).collect())
}

/// Makes the order, and the event that tells it.
async fn create(tx: Tx, order: &Order) -> Decided<OrderCreated, Rejected> {
    let Order { order_id, customer_id, lines, ship_to } = order.clone();
    let create = Create { order_id: order_id.clone(), customer_id: customer_id.clone(), lines: lines.clone() };
    let holder = holder(&order_id);
    Ok(domain::create(tx, create, holder).await?.map(|created| {
        let total_cents = created.total_cents;
        OrderCreated { order_id, customer_id, total_cents, lines, ship_to }
    }))
}

/// Begins the orders' chains.
async fn begin(
    tx: &Tx,
    outbox: &Outbox,
    created: &[(OrderCreated, Option<TraceContext>)],
    at: Timestamp,
) -> Result<Vec<StartOutcome>, Fault> {
    let chains = created.iter().map(|(created, _)| Ok(holder(&created.order_id).parse()?));
    let chains = chains.collect::<Result<Vec<SagaId>, Fault>>()?;
    let mut beginnings = Vec::with_capacity(created.len());
    for (chain, (created, trace)) in chains.iter().zip(created) {
        let start = ChainStart::new(chain, CREATE, at).version(choreography::VERSION);
        beginnings.push((start.trace(trace.clone()), created));
    }
    outbox.begin_each(tx, beginnings).await
}

async fn cancel(tx: Tx, created: OrderCreated) -> Decided<(), Rejected> {
    let holder = holder(&created.order_id);
    domain::cancel(tx, created.order_id, Some(holder)).await
}

/// The goods are on their way, and nothing can be taken back: that the order cannot be confirmed is a fault.
async fn on_shipping_scheduled(tx: Tx, scheduled: ShippingScheduled) -> Decided<OrderConfirmed, Never> {
    let ShippingScheduled { order_id, tracking } = scheduled;
    let confirm = Confirm { order_id: order_id.clone(), tracking };
    domain::confirm(tx, confirm, Some(holder(&order_id))).await??;
    done(OrderConfirmed { order_id })
}

/// Whose lock it is, and which chain: `fulfilment:10248`.
fn holder(order_id: &str) -> String {
    format!("{}:{order_id}", choreography::NAME)
}
