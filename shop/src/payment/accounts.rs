//! The accounts: loaded once, read by the HTTP API.

use sagamore::database::{Row, Text};
use sagamore::sdk::Database;
use serde::{Deserialize, Serialize};

use crate::rows::{Error, insert};
use crate::{form, sample};

/// A customer's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Account {
    /// The customer's id.
    pub customer_id: String,
    /// The customer's name.
    pub name: String,
    /// The balance in cents, never negative.
    pub balance_cents: i64,
}

impl Account {
    /// Checks the account. The error names the field.
    pub fn check(&self) -> Result<(), String> {
        form::identifier("customerId", &self.customer_id)?;
        form::text("name", &self.name)?;
        form::within("balanceCents", self.balance_cents, 0, form::CENTS_MAX)
    }

    fn read(row: &Row) -> Result<Account, Error> {
        Ok(Account { customer_id: row.get(0)?, name: row.get(1)?, balance_cents: row.get(2)? })
    }
}

/// Adds new accounts, keeps existing ones unchanged, and returns the number of new ones.
pub async fn load(database: &Database, accounts: &[Account]) -> Result<u64, Error> {
    const SQL: &str = "INSERT INTO account (customer_id, name, balance_cents) VALUES ($1, $2, $3)
        ON CONFLICT (customer_id) DO NOTHING";
    let row = |account: &Account| {
        vec![(&account.customer_id).into(), (&account.name).into(), account.balance_cents.into()]
    };
    insert(database, SQL, accounts.iter().map(row).collect()).await
}

/// Returns the account of this customer.
pub async fn account(database: &Database, customer_id: &str) -> Result<Option<Account>, Error> {
    const SQL: &str = "SELECT customer_id, name, balance_cents FROM account WHERE customer_id = $1";
    let Ok(customer_id) = Text::new(customer_id) else { return Ok(None) };
    database.query(SQL, (customer_id,)).await?.first().map(Account::read).transpose()
}

/// Returns at most `limit` accounts with a customer above `after`, by customer. An empty `after`
/// starts at the first.
pub async fn accounts(database: &Database, after: &str, limit: u32) -> Result<Vec<Account>, Error> {
    const SQL: &str = "SELECT customer_id, name, balance_cents FROM account
        WHERE customer_id > $1 ORDER BY customer_id LIMIT $2";
    database.query(SQL, (Text::beginning(after), limit)).await?.iter().map(Account::read).collect()
}

/// Returns the sum of all balances in cents, except the sample's.
pub async fn balance_cents(database: &Database) -> Result<i64, Error> {
    const SQL: &str = "SELECT CAST(COALESCE(SUM(balance_cents), 0) AS BIGINT) FROM account WHERE \
        customer_id <> $1";
    let rows = database.query(SQL, (sample::CUSTOMER_ID,)).await?;
    rows.first().map_or(Ok(0), |row| Ok(row.get(0)?))
}
