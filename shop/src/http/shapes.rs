//! The shapes of the bodies that the shop's routes take.

use sagamore::server::http::shape::{Shape, field, optional};

/// An order.
pub static ORDER: Shape = Shape::Object(&[
    field("orderId", Shape::Text),
    field("customerId", Shape::Text),
    field("lines", Shape::List(&LINE)),
    field("shipTo", SHIP_TO),
    optional("placedOn", Shape::Any), // stands in files of old orders, and is not used
]);
static LINE: Shape = Shape::Object(&[
    field("sku", Shape::Text),
    field("quantity", Shape::Whole),
    field("unitPriceCents", Shape::Whole),
]);
const SHIP_TO: Shape = Shape::Object(&[
    field("name", Shape::Text),
    field("address", Shape::Text),
    field("city", Shape::Text),
    optional("region", Shape::Note),
    optional("postalCode", Shape::Note),
    field("country", Shape::Text),
]);
/// Accounts to load.
pub static ACCOUNTS: Shape = Shape::Lines(&Shape::Object(&[
    field("customerId", Shape::Text),
    field("name", Shape::Text),
    field("balanceCents", Shape::Whole),
]));
/// Stock to load.
pub static STOCK: Shape = Shape::Lines(&Shape::Object(&[
    field("sku", Shape::Text),
    field("name", Shape::Text),
    field("onHand", Shape::Whole),
]));
/// Destinations to load.
pub static DESTINATIONS: Shape =
    Shape::Lines(&Shape::Object(&[field("country", Shape::Text), field("served", Shape::Flag)]));

#[cfg(test)]
mod tests {
    use sagamore::server::http::shape::Field;

    use super::*;
    use crate::{Order, sample_order};

    /// Each field of the shape is one that the type reads, and none is missing.
    #[test]
    fn the_shape_of_an_order_is_that_of_its_type() {
        let text = sample_order("1");
        assert!(ORDER.check(text.as_str().as_bytes()).is_ok());
        let order = serde_json::to_value(&text).unwrap();
        let Shape::Object(fields) = ORDER else { panic!("an order is an object") };
        let needed: Vec<&Field> = fields.iter().filter(|field| !field.optional).collect();
        assert_eq!(order.as_object().unwrap().len(), needed.len());
        for field in needed {
            let mut without = order.clone();
            without.as_object_mut().unwrap().remove(field.name).expect("it has the field");
            assert!(serde_json::from_value::<Order>(without).is_err(), "{}", field.name);
        }
    }
}
