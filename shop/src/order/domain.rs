//! The order service's local transactions.
//!
//! A pending order is locked by the saga or chain that works on it, named in its row. Only the
//! holder settles it, which unlocks it in the same statement. Others are refused at once.

use sagamore::database::Text;
use sagamore::sdk::{Decided, Fault, Migration, Refusal, Tx, done, refused};

use super::messages::{Confirm, Create, Created};
use super::orders::Status;
use crate::form::{identifier, text, total_cents};
use crate::schema::table;

/// One table. `lines` is JSON. A null `locked_by` means that any caller may settle the order.
/// `order_key` is unused: the SDK stores idempotency keys in `chain_key`. Migrations never remove a
/// table, so that an older program still runs.
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

/// Refusals of the order service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Refusal)]
pub enum Rejected {
    /// The order has invalid fields.
    #[error("{0}")]
    #[refusal(code = "invalid-order")]
    InvalidOrder(String),
    /// An order of this id exists.
    #[error("order {0} already exists")]
    #[refusal(code = "order-exists")]
    OrderExists(String),
    /// The idempotency key belongs to another request.
    #[error("the idempotency key belongs to another request")]
    #[refusal(code = "key-used")]
    KeyUsed,
    /// The order does not exist.
    #[error("there is no order {0}")]
    #[refusal(code = "unknown-order")]
    UnknownOrder(String),
    /// Another saga or chain holds the order's lock.
    #[error("the order is locked by {by}")]
    #[refusal(code = "order-is-locked")]
    OrderIsLocked {
        /// The holder of the lock.
        by: String,
    },
    /// The caller no longer holds the lock.
    #[error("the order is no longer locked by {by}")]
    #[refusal(code = "lock-is-gone")]
    LockIsGone {
        /// The former holder.
        by: String,
    },
    /// The order was confirmed or cancelled before.
    #[error("the order is already {status}")]
    #[refusal(code = "already-settled")]
    AlreadySettled {
        /// The final status.
        status: Status,
    },
}

/// Creates a pending order, locked by `holder`.
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

/// Confirms the order. `holder` is the saga or chain that locked it. Callers from outside pass
/// `None`, and are refused while it is locked.
pub async fn confirm(tx: Tx, confirm: Confirm, holder: Option<String>) -> Decided<(), Rejected> {
    let Confirm { order_id, tracking } = confirm;
    if let Err(reason) = identifier("orderId", &order_id).and_then(|()| text("tracking", &tracking))
    {
        return refused(Rejected::InvalidOrder(reason));
    }
    settle(tx, order_id, Status::Confirmed, Some(tracking), holder).await
}

/// Cancels the order, with `holder` as in [`confirm`].
pub async fn cancel(tx: Tx, order_id: String, holder: Option<String>) -> Decided<(), Rejected> {
    settle(tx, order_id, Status::Cancelled, None, holder).await
}

/// Removes the lock of `holder`, after which any caller may settle the order. Operators use it when
/// the holder never will.
pub async fn unlock(tx: Tx, order_id: String, holder: String) -> Decided<(), Rejected> {
    if Text::new(&order_id).is_err() || Text::new(&holder).is_err() {
        return refused(Rejected::UnknownOrder(order_id));
    }
    let unlocked = tx
        .execute(
            "UPDATE orders SET locked_by = NULL WHERE order_id = $1 AND status = 'pending' AND \
             locked_by = $2",
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

/// Returns the reason why nothing was settled, read afterwards. `holder` is `None` for callers from
/// outside.
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
            return Err(Fault::new(format!("order {order_id}: '{status}' is not a status")));
        }
    })
}
