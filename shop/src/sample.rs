//! The sample order. Its account, product and country are its own, so it always completes, and
//! totals exclude them.

use crate::databases::{Databases, Error};
use crate::form::{CENTS_MAX, Line, Order, PIECES_MAX, ShipTo};
use crate::inventory::{self, Delivery};
use crate::payment::{self, Account};
use crate::shipping::{self, Destination};

/// The customer of sample orders.
pub const CUSTOMER_ID: &str = "SAMPLE";
/// The product in sample orders.
pub const SKU: &str = "SAMPLE";
/// The country of sample orders.
pub const COUNTRY: &str = "Sampleland";

/// Returns the sample order with this id, always with the same content.
pub fn order(order_id: &str) -> Order {
    Order {
        order_id: order_id.to_owned(),
        customer_id: CUSTOMER_ID.to_owned(),
        lines: vec![Line { sku: SKU.to_owned(), quantity: 1, unit_price_cents: 100 }],
        ship_to: ShipTo {
            name: "Sam Ample".to_owned(),
            address: "1 Example Street".to_owned(),
            city: "Sampleton".to_owned(),
            region: None,
            postal_code: None,
            country: COUNTRY.to_owned(),
        },
    }
}

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
