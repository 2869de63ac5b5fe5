//! The payment service's local transactions.
//!
//! **Invariant:** the balances plus the charges without a refund equal the loaded balances.

use sagamore::sdk::{Decided, Fault, Migration, Refusal, Tx, done, refused};

use super::messages::{Charge, Charged};
use crate::form::{CENTS_MAX, identifier};
use crate::schema::table;

/// Two tables. An order is charged at most once.
pub const MIGRATIONS: &[Migration] = &[
    table!(
        "0001-account",
        "CREATE TABLE account (
            customer_id TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            balance_cents BIGINT NOT NULL CHECK (balance_cents >= 0)
        )"
    ),
    table!(
        "0002-charge",
        "CREATE TABLE charge (
            order_id TEXT PRIMARY KEY,
            customer_id TEXT NOT NULL,
            amount_cents BIGINT NOT NULL,
            refunded BOOLEAN NOT NULL
        )"
    ),
];

/// Refusals of the payment service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Refusal)]
pub enum Declined {
    /// The balance is lower than the amount.
    #[error("the account holds less than the order costs")]
    #[refusal(code = "not-enough-money")]
    NotEnoughMoney,
    /// The account does not exist.
    #[error("there is no account of {0}")]
    #[refusal(code = "unknown-customer")]
    UnknownCustomer(String),
    /// The order's id or the customer's id is not a valid name.
    #[error("{0}")]
    #[refusal(code = "invalid-charge")]
    InvalidCharge(String),
    /// The amount is negative or too large.
    #[error("{0} is not a valid amount in cents")]
    #[refusal(code = "invalid-amount")]
    InvalidAmount(i64),
    /// Another saga or chain charged this order.
    #[error("order {0} was already charged")]
    #[refusal(code = "already-charged")]
    AlreadyCharged(String),
    /// The charge does not exist or was refunded.
    #[error("there is no charge of order {0} to refund")]
    #[refusal(code = "nothing-to-refund")]
    NothingToRefund(String),
}

/// Charges the account. The outer error is a fault (retried), the inner one a refusal (stored,
/// final).
pub async fn charge(tx: Tx, charge: Charge) -> Decided<Charged, Declined> {
    let Charge { order_id, customer_id, amount_cents } = charge;
    if let Err(reason) =
        identifier("orderId", &order_id).and_then(|()| identifier("customerId", &customer_id))
    {
        return refused(Declined::InvalidCharge(reason));
    }
    if !(0..=CENTS_MAX).contains(&amount_cents) {
        return refused(Declined::InvalidAmount(amount_cents));
    }
    let debited = tx
        .execute(
            "UPDATE account SET balance_cents = balance_cents - $2 WHERE customer_id = $1 AND \
             balance_cents >= $2",
            (&customer_id, amount_cents),
        )
        .await?;
    if debited == 0 {
        return refused(shortage(&tx, customer_id).await?);
    }
    let noted = tx
        .execute(
            "INSERT INTO charge (order_id, customer_id, amount_cents, refunded) VALUES ($1, $2, \
             $3, FALSE)
             ON CONFLICT (order_id) DO NOTHING",
            (&order_id, &customer_id, amount_cents),
        )
        .await?;
    if noted == 0 {
        return refused(Declined::AlreadyCharged(order_id)); // the refusal rolls back the debit
    }
    done(Charged { order_id, customer_id, amount_cents })
}

/// Refunds a charge, once.
pub async fn refund(tx: Tx, charged: Charged) -> Decided<(), Declined> {
    let Charged { order_id, customer_id, amount_cents } = charged;
    let marked = tx
        .execute(
            "UPDATE charge SET refunded = TRUE
             WHERE order_id = $1 AND customer_id = $2 AND amount_cents = $3 AND refunded = FALSE",
            (&order_id, &customer_id, amount_cents),
        )
        .await?;
    if marked == 0 {
        return refused(Declined::NothingToRefund(order_id));
    }
    let credited = tx
        .execute(
            "UPDATE account SET balance_cents = balance_cents + $2 WHERE customer_id = $1",
            (&customer_id, amount_cents),
        )
        .await?;
    if credited == 0 {
        return refused(Declined::UnknownCustomer(customer_id)); // the refusal rolls back the mark
    }
    done(())
}

/// Returns the reason why nothing was debited, read afterwards.
async fn shortage(tx: &Tx, customer_id: String) -> Result<Declined, Fault> {
    let known = tx.query("SELECT 1 FROM account WHERE customer_id = $1", (&customer_id,)).await?;
    Ok(if known.is_empty() {
        Declined::UnknownCustomer(customer_id)
    } else {
        Declined::NotEnoughMoney
    })
}
