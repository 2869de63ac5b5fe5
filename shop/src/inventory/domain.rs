//! The inventory service's local transactions.
//!
//! **Invariant:** for each sku, pieces on hand plus reserved pieces equal the delivered pieces. The
//! pieces of a completed order stay reserved: they are sold.
//!
//! Rows of stock are updated in the order of their skus, so that transactions never deadlock.

use std::collections::BTreeMap;

use sagamore::database::Value;
use sagamore::sdk::{Decided, Fault, Migration, Refusal, Tx, done, refused};

use super::messages::{Pieces, Reserve, Reserved};
use crate::form::{Line, PIECES_MAX, identifier};
use crate::schema::table;

/// Two tables. `pieces` is JSON, a list of [`Pieces`]. An order has at most one reservation.
pub const MIGRATIONS: &[Migration] = &[
    table!(
        "0001-stock",
        "CREATE TABLE stock (
            sku TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            on_hand BIGINT NOT NULL CHECK (on_hand >= 0),
            reserved BIGINT NOT NULL CHECK (reserved >= 0)
        )"
    ),
    table!(
        "0002-reservation",
        "CREATE TABLE reservation (
            order_id TEXT PRIMARY KEY,
            pieces TEXT NOT NULL,
            released BOOLEAN NOT NULL
        )"
    ),
];

const TAKE: &str = "UPDATE stock SET on_hand = on_hand - $2, reserved = reserved + $2 WHERE sku = \
    $1 AND on_hand >= $2";
const GIVE_BACK: &str = "UPDATE stock SET on_hand = on_hand + $2, reserved = reserved - $2 WHERE \
    sku = $1 AND reserved >= $2";

/// Refusals of the inventory service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Refusal)]
pub enum Short {
    /// Fewer pieces are on hand than ordered.
    #[error("there are not enough pieces of {sku}")]
    #[refusal(code = "out-of-stock")]
    OutOfStock {
        /// The product.
        sku: String,
    },
    /// The order's id or a sku is not a valid name.
    #[error("{0}")]
    #[refusal(code = "invalid-reservation")]
    InvalidReservation(String),
    /// The product does not exist.
    #[error("there is no product {0}")]
    #[refusal(code = "unknown-sku")]
    UnknownSku(String),
    /// The quantity is not positive or too large.
    #[error("{quantity} is not a valid number of pieces of {sku}")]
    #[refusal(code = "invalid-quantity")]
    InvalidQuantity {
        /// The product.
        sku: String,
        /// The ordered quantity.
        quantity: i64,
    },
    /// Another saga or chain reserved pieces for this order.
    #[error("order {0} already has a reservation")]
    #[refusal(code = "already-reserved")]
    AlreadyReserved(String),
    /// The reservation does not exist or was released.
    #[error("there is no reservation of order {0} to release")]
    #[refusal(code = "nothing-to-release")]
    NothingToRelease(String),
}

/// Reserves all pieces of an order, or none.
pub async fn reserve(tx: Tx, reserve: Reserve) -> Decided<Reserved, Short> {
    let Reserve { order_id, lines } = reserve;
    let mut skus = lines.iter().map(|line| identifier("sku", &line.sku));
    if let Err(reason) =
        identifier("orderId", &order_id).and_then(|()| skus.try_for_each(|sku| sku))
    {
        return refused(Short::InvalidReservation(reason));
    }
    let pieces = match by_sku(lines) {
        Ok(pieces) => pieces,
        Err(short) => return refused(short),
    };
    if pieces.len() > 1
        && let Some(short) = shortage(&tx, &pieces).await?
    {
        return refused(short); // nothing is written yet, so there is nothing to roll back
    }
    let taken = tx.execute_each(TAKE, sets(&pieces)).await?;
    if let Some(first) = short_of(&taken, &pieces) {
        let first = Short::OutOfStock { sku: first.sku.clone() };
        return refused(shortage(&tx, &pieces).await?.unwrap_or(first));
    }
    let noted = tx
        .execute(
            "INSERT INTO reservation (order_id, pieces, released) VALUES ($1, $2, FALSE)
             ON CONFLICT (order_id) DO NOTHING",
            (&order_id, serde_json::to_string(&pieces)?),
        )
        .await?;
    if noted == 0 {
        return refused(Short::AlreadyReserved(order_id)); // the refusal rolls back the update
    }
    done(Reserved { order_id, pieces })
}

/// Releases a reservation, once.
pub async fn release(tx: Tx, reserved: Reserved) -> Decided<(), Short> {
    let Reserved { order_id, pieces } = reserved;
    let marked = tx
        .execute(
            "UPDATE reservation SET released = TRUE WHERE order_id = $1 AND pieces = $2 AND \
             released = FALSE",
            (&order_id, serde_json::to_string(&pieces)?),
        )
        .await?;
    if marked == 0 {
        return refused(Short::NothingToRelease(order_id));
    }
    let given_back = tx.execute_each(GIVE_BACK, sets(&pieces)).await?;
    if short_of(&given_back, &pieces).is_some() {
        return refused(Short::NothingToRelease(order_id)); // the refusal rolls back the update
    }
    done(())
}

/// Sums the lines per sku, sorted by sku.
fn by_sku(lines: Vec<Line>) -> Result<Vec<Pieces>, Short> {
    let mut sums = BTreeMap::<String, i64>::new();
    for Line { sku, quantity, .. } in lines {
        let sum = sums.get(&sku).copied().unwrap_or(0).checked_add(quantity);
        match sum.filter(|sum| quantity > 0 && *sum <= PIECES_MAX) {
            Some(sum) => sums.insert(sku, sum),
            None => return Err(Short::InvalidQuantity { sku, quantity }),
        };
    }
    Ok(sums.into_iter().map(|(sku, quantity)| Pieces { sku, quantity }).collect())
}

/// Returns the first shortage at this moment. The later update checks again.
async fn shortage(tx: &Tx, pieces: &[Pieces]) -> Result<Option<Short>, Fault> {
    let skus = pieces.iter().map(|pieces| vec![(&pieces.sku).into()]).collect();
    let found = tx.query_each("SELECT on_hand FROM stock WHERE sku = $1", skus).await?;
    for (Pieces { sku, quantity }, rows) in pieces.iter().zip(found) {
        match rows.first().map(|row| row.get::<i64>(0)).transpose()? {
            None => return Ok(Some(Short::UnknownSku(sku.clone()))),
            Some(on_hand) if on_hand < *quantity => {
                return Ok(Some(Short::OutOfStock { sku: sku.clone() }));
            }
            Some(_) => {}
        }
    }
    Ok(None)
}

fn sets(pieces: &[Pieces]) -> Vec<Vec<Value>> {
    pieces.iter().map(|Pieces { sku, quantity }| vec![sku.into(), (*quantity).into()]).collect()
}

fn short_of<'a>(changed: &[u64], pieces: &'a [Pieces]) -> Option<&'a Pieces> {
    changed.iter().zip(pieces).find(|(changed, _)| **changed == 0).map(|(_, pieces)| pieces)
}
