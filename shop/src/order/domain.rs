//! The order service's local transactions.
//!
//! A pending order is locked by who works on it: it is settled by that one alone, and settling it unlocks it in the same
//! statement. Others are told so at once, they never wait. Who holds the lock stands in the row.

use sagamore::database::Text;
use sagamore::sdk::{Decided, Fault, Migration, Refusal, Tx, done, refused};

use super::messages::{Confirm, Create, Created};
use super::orders::Status;
use crate::form::{identifier, text, total_cents};
use crate::schema::table;

/// One table. `lines` is JSON, as ordered; `locked_by` is null when anybody may settle the order. `order_key` is unused: the
/// SDK stores idempotency keys in `chain_key`. Migrations never remove a table, so that an older program still runs.
pub const MIGRATIONS: &[Migration] = &[
    table!(
        "0001-orders",
        "CREATE TABLE orders (
        order_id TEXT PRIMARY KEY,
        customer_id TEXT NOT NULL,
        status TEXT NOT NULL,
        total_cents BIGINT NOT NULL,
        lines TEXT NOT NULL,
        tracking TEXT,
        locked_by TEXT
    )"
    ),
    table!(
        "0002-order-key",
        "CREATE TABLE order_key (key TEXT PRIMARY KEY, order_id TEXT NOT NULL)"
    ),
];

/// Why the order service says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Refusal)]
pub enum Rejected {
    /// The order makes no sense.
    #[error("{0}")]
    #[refusal(code = "invalid-order")]
    InvalidOrder(String),
    /// The id is taken.
    #[error("there is an order {0} already")]
    #[refusal(code = "order-exists")]
    OrderExists(String),
    /// The idempotency key of the request belongs to another one.
    #[error("the idempotency key was used before, with another request")]
    #[refusal(code = "key-used")]
    KeyUsed,
    /// No such order.
    #[error("there is no order {0}")]
    #[refusal(code = "unknown-order")]
    UnknownOrder(String),
    /// Somebody else works on it.
    #[error("the order is locked by {by}")]
    #[refusal(code = "order-is-locked")]
    OrderIsLocked {
        /// Who.
        by: String,
    },
    /// The lock was taken from who wanted to settle it.
    #[error("the order is no longer locked by {by}")]
    #[refusal(code = "lock-is-gone")]
    LockIsGone {
        /// Who held it.
        by: String,
    },
    /// It is confirmed or cancelled, for good.
    #[error("the order is {status} already")]
    #[refusal(code = "already-settled")]
    AlreadySettled {
        /// What it is.
        status: Status,
    },
}

/// Makes the order, locked by `holder`.
pub async fn create(tx: Tx, create: Create, holder: String) -> Decided<Created, Rejected> {
    let Create { order_id, customer_id, lines } = create;
    let named =
        identifier("orderId", &order_id).and_then(|()| identifier("customerId", &customer_id));
    let total_cents = match named.and_then(|()| total_cents(&lines)) {
        Ok(total_cents) => total_cents,
        Err(reason) => return refused(Rejected::InvalidOrder(reason)),
    };
    let lines = serde_json::to_string(&lines)?;
    let created = tx
        .execute(
            "INSERT INTO orders (order_id, customer_id, status, total_cents, lines, locked_by)
             VALUES ($1, $2, 'pending', $3, $4, $5) ON CONFLICT (order_id) DO NOTHING",
            (&order_id, customer_id, total_cents, lines, holder),
        )
        .await?;
    if created == 0 {
        return refused(Rejected::OrderExists(order_id));
    }
    done(Created { order_id, total_cents })
}

/// The order stands. `holder` is who locked it; none for somebody from outside, who is refused while it is locked.
pub async fn confirm(tx: Tx, confirm: Confirm, holder: Option<String>) -> Decided<(), Rejected> {
    let Confirm { order_id, tracking } = confirm;
    if let Err(reason) = identifier("orderId", &order_id).and_then(|()| text("tracking", &tracking))
    {
        return refused(Rejected::InvalidOrder(reason));
    }
    settle(tx, order_id, Status::Confirmed, Some(tracking), holder).await
}

/// The order is off. `holder` as for [`confirm`].
pub async fn cancel(tx: Tx, order_id: String, holder: Option<String>) -> Decided<(), Rejected> {
    settle(tx, order_id, Status::Cancelled, None, holder).await
}

/// Takes the lock from `holder`, so that anybody may settle the order: for an operator, when the holder never will.
pub async fn unlock(tx: Tx, order_id: String, holder: String) -> Decided<(), Rejected> {
    if Text::new(&order_id).is_err() || Text::new(&holder).is_err() {
        return refused(Rejected::UnknownOrder(order_id));
    }
    let unlocked = tx
        .execute(
            "UPDATE orders SET locked_by = NULL WHERE order_id = $1 AND status = 'pending' AND locked_by = $2",
            (&order_id, &holder),
        )
        .await?;
    if unlocked == 0 {
        return refused(obstacle(&tx, order_id, Some(holder)).await?);
    }
    done(())
}

async fn settle(
    tx: Tx,
    order_id: String,
    status: Status,
    tracking: Option<String>,
    holder: Option<String>,
) -> Decided<(), Rejected> {
    if Text::new(&order_id).is_err() {
        return refused(Rejected::UnknownOrder(order_id));
    }
    let settled = tx
        .execute(
            "UPDATE orders SET status = $2, tracking = $3, locked_by = NULL
             WHERE order_id = $1 AND status = 'pending' AND COALESCE(locked_by, '') = $4",
            (&order_id, status.as_str(), tracking, holder.as_deref().unwrap_or_default()),
        )
        .await?;
    if settled == 0 {
        return refused(obstacle(&tx, order_id, holder).await?);
    }
    done(())
}

/// What kept a settling from happening, found afterwards. `holder` is who tried, none for somebody from outside.
async fn obstacle(tx: &Tx, order_id: String, holder: Option<String>) -> Result<Rejected, Fault> {
    let rows =
        tx.query("SELECT status, locked_by FROM orders WHERE order_id = $1", (&order_id,)).await?;
    let Some(row) = rows.first() else { return Ok(Rejected::UnknownOrder(order_id)) };
    let (status, locked_by): (String, Option<String>) = (row.get(0)?, row.get(1)?);
    Ok(match (Status::read(&status), locked_by, holder) {
        (Some(status @ (Status::Confirmed | Status::Cancelled)), _, _) => {
            Rejected::AlreadySettled { status }
        }
        (Some(Status::Pending), Some(by), _) => Rejected::OrderIsLocked { by },
        (Some(Status::Pending), None, Some(by)) => Rejected::LockIsGone { by },
        (Some(Status::Pending), None, None) => {
            return Err(Fault::new(format!("order {order_id} was just unlocked")));
        }
        (None, _, _) => {
            return Err(Fault::new(format!("order {order_id}: '{status}' is no status")));
        }
    })
}
