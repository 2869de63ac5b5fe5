//! The order service in a choreography: placing an order starts a chain, whose end confirms or
//! cancels the order.

use sagamore::sdk::{
    ChainStarter, Database, Decided, Never, Outbox, Reaction, Service, StartOutcome, StartRequest,
    StartsChain, Timestamp, Tx, done, on, start_each,
};

use super::domain::{self, MIGRATIONS, Rejected};
use super::messages::{Confirm, Create};
use crate::choreography::{
    self, InventoryFailed, OrderCancelled, OrderConfirmed, OrderCreated, PaymentFailed,
    ShippingFailed, ShippingScheduled,
};
use crate::form::Order;

/// Places orders. See [`ChainStarter`].
pub type OrderStarter = ChainStarter<Order>;

/// Returns the service for the choreography.
pub fn service() -> Service {
    Service::named(super::SERVICE)
        .migrations(MIGRATIONS)
        .reaction(Reaction::named(Order::REACTION).begins::<OrderCreated>().undone_by(
            cancel,
            on::<(PaymentFailed, InventoryFailed, ShippingFailed)>().says::<OrderCancelled>(),
        ))
        .reaction(Reaction::named("confirm").to(on_shipping_scheduled))
        .keyed_by(|order: &OrderCreated| &order.order_id)
        .keyed_by(|scheduled: &ShippingScheduled| &scheduled.order_id)
}

impl StartsChain for Order {
    type Event = OrderCreated;
    type Refusal = Rejected;
    const PLAN: &'static str = choreography::NAME;
    const VERSION: u32 = choreography::VERSION;
    const REACTION: &'static str = "create";
    const INTERLEAVES: bool = true; // `create` is one guarded INSERT

    fn key(&self) -> &str {
        &self.order_id
    }

    async fn start(self, tx: Tx) -> Decided<OrderCreated, Rejected> {
        let Order { order_id, customer_id, lines, ship_to } = self;
        let create = Create {
            order_id: order_id.clone(),
            customer_id: customer_id.clone(),
            lines: lines.clone(),
        };
        let created = domain::create(tx, create, holder(&order_id)).await?;
        Ok(created.map(|created| {
            let total_cents = created.total_cents;
            OrderCreated { order_id, customer_id, total_cents, lines, ship_to }
        }))
    }

    fn is_repeat(refusal: &Rejected) -> bool {
        matches!(refusal, Rejected::OrderExists(_))
    }

    fn is_same(&self, before: &OrderCreated) -> bool {
        let Order { customer_id, lines, ship_to, .. } = self;
        (&before.customer_id, &before.lines, &before.ship_to) == (customer_id, lines, ship_to)
    }

    fn key_used() -> Rejected {
        Rejected::KeyUsed
    }
}

async fn cancel(tx: Tx, created: OrderCreated) -> Decided<(), Rejected> {
    let holder = holder(&created.order_id);
    domain::cancel(tx, created.order_id, Some(holder)).await
}

/// Confirms the order. The goods are on their way, so a refusal is a fault.
async fn on_shipping_scheduled(
    tx: Tx,
    scheduled: ShippingScheduled,
) -> Decided<OrderConfirmed, Never> {
    let ShippingScheduled { order_id, tracking } = scheduled;
    let confirm = Confirm { order_id: order_id.clone(), tracking };
    domain::confirm(tx, confirm, Some(holder(&order_id))).await??;
    done(OrderConfirmed { order_id })
}

/// Places orders at `now`: the new ones in one transaction, the others one by one.
pub async fn place_each(
    database: &Database,
    outbox: &Outbox,
    orders: Vec<Order>,
    now: Timestamp,
) -> Vec<Decided<StartOutcome, Rejected>> {
    start_each(
        database,
        outbox,
        orders.into_iter().map(|order| StartRequest::new(order, now)).collect(),
    )
    .await
}

/// Returns the holder of an order's lock, which is its chain: `fulfilment:10248`.
fn holder(order_id: &str) -> String {
    format!("{}:{order_id}", choreography::NAME)
}
