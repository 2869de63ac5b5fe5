//! The shapes of the request bodies of the shop's routes.

use sagamore::server::http::shape::{Shape, field, optional};

pub static ORDER: Shape = Shape::Object(&[
    field("orderId", Shape::Text),
    field("customerId", Shape::Text),
    field("lines", Shape::List(&LINE)),
    field("shipTo", SHIP_TO),
    optional("placedOn", Shape::Any), // a field of old order files, ignored
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
pub static ACCOUNTS: Shape = Shape::Lines(&Shape::Object(&[
    field("customerId", Shape::Text),
    field("name", Shape::Text),
    field("balanceCents", Shape::Whole),
]));
pub static STOCK: Shape = Shape::Lines(&Shape::Object(&[
    field("sku", Shape::Text),
    field("name", Shape::Text),
    field("onHand", Shape::Whole),
]));
pub static DESTINATIONS: Shape =
    Shape::Lines(&Shape::Object(&[field("country", Shape::Text), field("served", Shape::Flag)]));

#[cfg(test)]
mod tests {
    use sagamore::server::http::shape::Field;

    use super::*;
    use crate::{Order, sample_order};

    /// The shape has exactly the fields that the type requires.
    #[test]
    fn the_shape_of_an_order_has_the_fields_of_its_type() {
        let text = sample_order("1");
        assert!(ORDER.check(text.as_str().as_bytes()).is_ok());
        let order = serde_json::to_value(&text).unwrap();
        let Shape::Object(fields) = ORDER else { panic!("an order is an object") };
        let needed: Vec<&Field> = fields.iter().filter(|field| !field.optional).collect();
        assert_eq!(order.as_object().unwrap().len(), needed.len());
        for field in needed {
            let mut without = order.clone();
            without.as_object_mut().unwrap().remove(field.name).expect("the order has the field");
            assert!(serde_json::from_value::<Order>(without).is_err(), "{}", field.name);
        }
    }
}
