//! The rows that sample orders need.

use super::{COUNTRY, CUSTOMER_ID, SKU};
use crate::databases::Databases;
use crate::form::{CENTS_MAX, PIECES_MAX};
use crate::inventory::{self, Delivery};
use crate::payment::{self, Account};
use crate::rows::Error;
use crate::shipping::{self, Destination};

/// Creates the account, the product and the country of sample orders. Keeps existing rows.
pub async fn load(databases: &Databases) -> Result<(), Error> {
    let account = Account {
        customer_id: CUSTOMER_ID.to_owned(),
        name: "Sam Ample".to_owned(),
        balance_cents: CENTS_MAX,
    };
    let delivery = Delivery { sku: SKU.to_owned(), name: "Sample".to_owned(), on_hand: PIECES_MAX };
    let destination = Destination { country: COUNTRY.to_owned(), served: true };
    payment::load(&databases.payment, &[account]).await?;
    inventory::load(&databases.inventory, &[delivery]).await?;
    shipping::load(&databases.shipping, &[destination]).await?;
    Ok(())
}
