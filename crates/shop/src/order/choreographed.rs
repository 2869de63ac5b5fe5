//! The order service in a choreography: an order that is placed begins a chain, and stands or falls with it.

use sagamore_sdk::{
    Beginning, Begun, Database, Decided, Never, Outbox, Reaction, Service, Timestamp, Tx, done, on, refused,
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

/// Places an order: it is there, and its event in the outbox, or neither. One that was placed before as it is, is the same. One
/// whose chain has been cancelled before it began is never there.
pub async fn place(database: &Database, outbox: &Outbox, order: Order, now: Timestamp) -> Decided<Begun, Rejected> {
    let Order { order_id, customer_id, lines, ship_to } = order;
    let chain = holder(&order_id);
    let id = chain.parse()?;
    let open = database.begin().await?;
    let create = Create { order_id: order_id.clone(), customer_id: customer_id.clone(), lines: lines.clone() };
    let created = match domain::create(open.tx(), create, chain).await? {
        Ok(created) => created,
        Err(Rejected::OrderExists(taken)) => {
            let before: Option<OrderCreated> = outbox.begun(&open.tx(), &id, CREATE).await?;
            open.rollback().await?;
            let same = before.is_some_and(|before| {
                (before.customer_id, before.lines, before.ship_to) == (customer_id, lines, ship_to)
            });
            return if same { done(Begun::Before) } else { refused(Rejected::OrderExists(taken)) };
        }
        Err(rejected) => return refused(rejected),
    };
    let event =
        OrderCreated { order_id: order_id.clone(), customer_id, total_cents: created.total_cents, lines, ship_to };
    let beginning = Beginning { chain: &id, version: choreography::VERSION, reaction: CREATE, at: now };
    match outbox.begin(&open.tx(), beginning, &event).await? {
        Begun::New => {
            open.commit().await?;
            outbox.wake();
            done(Begun::New)
        }
        // there is no such order, and its chain is over: the order was removed, or its database is an older one
        Begun::Before => {
            open.rollback().await?;
            refused(Rejected::OrderExists(order_id))
        }
        Begun::Never => {
            open.rollback().await?;
            refused(Rejected::AlreadySettled { status: Status::Cancelled })
        }
    }
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
