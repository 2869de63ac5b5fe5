//! The order service in a choreography: an order that is placed begins a chain, and stands or falls with it.

use std::collections::HashSet;

use futures_util::future::join_all;
use sagamore_core::SagaId;
use sagamore_sdk::{
    Beginning, Begun, Database, Decided, Fault, GroupCommit, Never, Outbox, Reaction, Service, Timestamp, Tx, done, on,
    refused,
};

use super::domain::{self, MIGRATIONS, Rejected};
use super::messages::{Confirm, Create};
use super::orders::Status;
use crate::choreography::{
    self, InventoryFailed, OrderCancelled, OrderConfirmed, OrderCreated, PaymentFailed, ShippingFailed,
    ShippingScheduled,
};
use crate::form::Order;

/// The reaction by which the service begins a chain.
const CREATE: &str = "create";

/// Orders in one transaction.
const PLACED_MAX: usize = 500;

/// The service, ready to take part.
pub fn service() -> Service {
    Service::named(super::SERVICE)
        .migrations(MIGRATIONS)
        .interleaved()
        .reaction(
            Reaction::named(CREATE)
                .begins::<OrderCreated>()
                .undone_by(cancel, on::<(PaymentFailed, InventoryFailed, ShippingFailed)>().says::<OrderCancelled>()),
        )
        .reaction(Reaction::named("confirm").to(on_shipping_scheduled))
}

/// Where orders come in: those that come together are placed together.
#[derive(Clone)]
pub struct Desk {
    batches: GroupCommit<(Order, Timestamp), Decided<Begun, Rejected>>,
}

impl Desk {
    /// Opens, as a task of the current runtime.
    pub fn open(database: Database, outbox: Outbox) -> Desk {
        let batches = GroupCommit::of(PLACED_MAX, move |asked: Vec<(Order, Timestamp)>| {
            let (database, outbox) = (database.clone(), outbox.clone());
            async move {
                let (orders, times): (Vec<Order>, Vec<Timestamp>) = asked.into_iter().unzip();
                place_each(&database, &outbox, orders, times.into_iter().max().unwrap_or_default()).await
            }
        });
        Desk { batches }
    }

    /// As [`place`].
    pub async fn place(&self, order: Order, now: Timestamp) -> Decided<Begun, Rejected> {
        self.batches.ask((order, now)).await?
    }
}

/// Places an order: it is there, and its event in the outbox, or neither. One that was placed before as it is, is the same. One
/// whose chain has been cancelled before it began is never there.
pub async fn place(database: &Database, outbox: &Outbox, order: Order, now: Timestamp) -> Decided<Begun, Rejected> {
    let open = database.begin().await?;
    let created = match create(open.tx(), &order).await? {
        Ok(created) => created,
        Err(Rejected::OrderExists(taken)) => {
            let chain = holder(&order.order_id).parse()?;
            let before: Option<OrderCreated> = outbox.begun(&open.tx(), &chain, CREATE).await?;
            open.rollback().await?;
            let Order { customer_id, lines, ship_to, .. } = order;
            let same = before.is_some_and(|before| {
                (before.customer_id, before.lines, before.ship_to) == (customer_id, lines, ship_to)
            });
            return if same { done(Begun::Before) } else { refused(Rejected::OrderExists(taken)) };
        }
        Err(rejected) => return refused(rejected),
    };
    match begin(&open.tx(), outbox, &[created], now).await?[..] {
        [Begun::New] => {
            open.commit().await?;
            outbox.wake();
            done(Begun::New)
        }
        // there is no such order, and its chain is over: the order was removed, or its database is an older one
        [Begun::Never] => {
            open.rollback().await?;
            refused(Rejected::AlreadySettled { status: Status::Cancelled })
        }
        _ => {
            open.rollback().await?;
            refused(Rejected::OrderExists(order.order_id))
        }
    }
}

/// Places orders, each as by [`place`], in their order: the new ones in one transaction.
pub async fn place_each(
    database: &Database,
    outbox: &Outbox,
    orders: Vec<Order>,
    now: Timestamp,
) -> Vec<Decided<Begun, Rejected>> {
    // after a fault each is placed alone, and has its own
    let new = place_new(database, outbox, &orders, now).await.unwrap_or_default();
    let each = orders.into_iter().enumerate().map(async |(index, order)| match new.contains(&index) {
        true => done(Begun::New),
        false => place(database, outbox, order, now).await,
    });
    join_all(each).await
}

/// Places those that are plainly new, all of them or none; gives which they are.
async fn place_new(
    database: &Database,
    outbox: &Outbox,
    orders: &[Order],
    now: Timestamp,
) -> Result<HashSet<usize>, Fault> {
    let open = database.begin().await?;
    let mut sorted: Vec<(usize, &Order)> = orders.iter().enumerate().collect();
    sorted.sort_by(|(_, one), (_, other)| one.order_id.cmp(&other.order_id)); // the same order everywhere: no deadlocks
    let created = join_all(sorted.iter().map(|(_, order)| create(open.tx(), order))).await;
    let (mut new, mut events) = (HashSet::new(), Vec::new());
    for ((index, _), created) in sorted.iter().zip(created) {
        // who is refused has written nothing
        if let Ok(event) = created? {
            new.insert(*index);
            events.push(event);
        }
    }
    let begun = begin(&open.tx(), outbox, &events, now).await?;
    if begun.iter().any(|begun| *begun != Begun::New) {
        open.rollback().await?;
        return Ok(HashSet::new());
    }
    open.commit().await?;
    outbox.wake();
    Ok(new)
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
async fn begin(tx: &Tx, outbox: &Outbox, created: &[OrderCreated], at: Timestamp) -> Result<Vec<Begun>, Fault> {
    let chains = created.iter().map(|created| Ok(holder(&created.order_id).parse()?));
    let chains = chains.collect::<Result<Vec<SagaId>, Fault>>()?;
    let beginning = |chain| Beginning { chain, version: choreography::VERSION, reaction: CREATE, at };
    outbox.begin_each(tx, chains.iter().map(beginning).zip(created).collect()).await
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
