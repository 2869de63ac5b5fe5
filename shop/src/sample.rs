//! The sample order. Its account, product and country are its own, so it always completes, and
//! totals exclude them.

mod load;
pub use load::load;

use crate::form::{Line, Order, ShipTo};

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
